/**
 * What RV64IMAC with Zba, Zbb, Zbs does to registers and memory in one mode without translation, written from the
 * specification with BigInt and nothing else: what the hart is compared with. Slow and plain on purpose; it shares the table
 * of encodings with the hart and no line of its execution.
 */
import { decode, expand, type Instruction } from '../../isa'
import { Cause } from '../state'

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value)
const s64 = (value: bigint): bigint => BigInt.asIntN(64, value)
const u32 = (value: bigint): bigint => BigInt.asUintN(32, value)
const s32 = (value: bigint): bigint => BigInt.asIntN(32, value)
const bool = (value: boolean): bigint => (value ? 1n : 0n)

type Binary = (a: bigint, b: bigint) => bigint

function bitsOf(value: bigint, width: number): string {
  return BigInt.asUintN(width, value).toString(2).padStart(width, '0')
}
const leading = (bits: string): bigint => BigInt(bits.indexOf('1') < 0 ? bits.length : bits.indexOf('1'))
const trailing = (bits: string): bigint => leading([...bits].reverse().join(''))
const ones = (bits: string): bigint => BigInt([...bits].filter((bit) => bit === '1').length)
/** To the left. */
const rotate = (value: bigint, count: bigint, width: number): bigint => {
  const bits = bitsOf(value, width)
  const place = Number(count) % width
  return BigInt(`0b${bits.slice(place)}${bits.slice(0, place)}`)
}
const bytesOf = (value: bigint): bigint[] => Array.from({ length: 8 }, (_, index) => (value >> BigInt(8 * index)) & 255n)
const fromBytes = (bytes: bigint[]): bigint => bytes.reduceRight((sum, byte) => (sum << 8n) | byte, 0n)

function divide(a: bigint, b: bigint): bigint {
  return b === 0n ? -1n : a / b
}
const remainder = (a: bigint, b: bigint): bigint => (b === 0n ? a : a % b)

/** Operands are unsigned; answers are cut to 64 bits by the caller. The second is a register or an immediate. */
export const BINARY: Readonly<Record<string, Binary>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  sll: (a, b) => a << (b & 63n),
  srl: (a, b) => a >> (b & 63n),
  sra: (a, b) => s64(a) >> (b & 63n),
  slt: (a, b) => bool(s64(a) < s64(b)),
  sltu: (a, b) => bool(a < b),
  xor: (a, b) => a ^ b,
  or: (a, b) => a | b,
  and: (a, b) => a & b,
  addw: (a, b) => s32(a + b),
  subw: (a, b) => s32(a - b),
  sllw: (a, b) => s32(a << (b & 31n)),
  srlw: (a, b) => s32(u32(a) >> (b & 31n)),
  sraw: (a, b) => s32(a) >> (b & 31n),
  mul: (a, b) => a * b,
  mulh: (a, b) => (s64(a) * s64(b)) >> 64n,
  mulhsu: (a, b) => (s64(a) * b) >> 64n,
  mulhu: (a, b) => (a * b) >> 64n,
  div: (a, b) => divide(s64(a), s64(b)),
  divu: (a, b) => divide(a, b),
  rem: (a, b) => remainder(s64(a), s64(b)),
  remu: (a, b) => remainder(a, b),
  mulw: (a, b) => s32(a * b),
  divw: (a, b) => s32(divide(s32(a), s32(b))),
  divuw: (a, b) => s32(divide(u32(a), u32(b))),
  remw: (a, b) => s32(remainder(s32(a), s32(b))),
  remuw: (a, b) => s32(remainder(u32(a), u32(b))),
  'add.uw': (a, b) => u32(a) + b,
  sh1add: (a, b) => (a << 1n) + b,
  sh2add: (a, b) => (a << 2n) + b,
  sh3add: (a, b) => (a << 3n) + b,
  'sh1add.uw': (a, b) => (u32(a) << 1n) + b,
  'sh2add.uw': (a, b) => (u32(a) << 2n) + b,
  'sh3add.uw': (a, b) => (u32(a) << 3n) + b,
  'slli.uw': (a, b) => u32(a) << b,
  andn: (a, b) => a & ~b,
  orn: (a, b) => a | ~b,
  xnor: (a, b) => ~(a ^ b),
  min: (a, b) => (s64(a) < s64(b) ? a : b),
  minu: (a, b) => (a < b ? a : b),
  max: (a, b) => (s64(a) > s64(b) ? a : b),
  maxu: (a, b) => (a > b ? a : b),
  rol: (a, b) => rotate(a, b & 63n, 64),
  ror: (a, b) => rotate(a, 64n - (b & 63n), 64),
  rolw: (a, b) => s32(rotate(a, b & 31n, 32)),
  rorw: (a, b) => s32(rotate(a, 32n - (b & 31n), 32)),
  bset: (a, b) => a | (1n << (b & 63n)),
  bclr: (a, b) => a & ~(1n << (b & 63n)),
  binv: (a, b) => a ^ (1n << (b & 63n)),
  bext: (a, b) => (a >> (b & 63n)) & 1n,
}
/** Immediate forms, by the operation that they are. */
const IMMEDIATE: Readonly<Record<string, string>> = {
  addi: 'add',
  slti: 'slt',
  sltiu: 'sltu',
  xori: 'xor',
  ori: 'or',
  andi: 'and',
  slli: 'sll',
  srli: 'srl',
  srai: 'sra',
  addiw: 'addw',
  slliw: 'sllw',
  srliw: 'srlw',
  sraiw: 'sraw',
  rori: 'ror',
  roriw: 'rorw',
  bseti: 'bset',
  bclri: 'bclr',
  binvi: 'binv',
  bexti: 'bext',
  'slli.uw': 'slli.uw',
}
export const UNARY: Readonly<Record<string, (a: bigint) => bigint>> = {
  clz: (a) => leading(bitsOf(a, 64)),
  ctz: (a) => trailing(bitsOf(a, 64)),
  cpop: (a) => ones(bitsOf(a, 64)),
  clzw: (a) => leading(bitsOf(a, 32)),
  ctzw: (a) => trailing(bitsOf(a, 32)),
  cpopw: (a) => ones(bitsOf(a, 32)),
  'sext.b': (a) => BigInt.asIntN(8, a),
  'sext.h': (a) => BigInt.asIntN(16, a),
  'zext.h': (a) => a & 0xffffn,
  'orc.b': (a) => fromBytes(bytesOf(a).map((byte) => (byte === 0n ? 0n : 255n))),
  rev8: (a) => fromBytes(bytesOf(a).reverse()),
}
const BRANCHES: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  beq: (a, b) => a === b,
  bne: (a, b) => a !== b,
  blt: (a, b) => s64(a) < s64(b),
  bge: (a, b) => s64(a) >= s64(b),
  bltu: (a, b) => a < b,
  bgeu: (a, b) => a >= b,
}
const ATOMICS: Readonly<Record<string, Binary>> = {
  amoswap: (_m, r) => r,
  amoadd: (m, r) => m + r,
  amoxor: (m, r) => m ^ r,
  amoor: (m, r) => m | r,
  amoand: (m, r) => m & r,
  amomin: (m, r) => (m < r ? m : r),
  amomax: (m, r) => (m > r ? m : r),
  amominu: (m, r) => (u64(m) < u64(r) ? m : r),
  amomaxu: (m, r) => (u64(m) > u64(r) ? m : r),
}

export class Oracle {
  readonly x: bigint[] = new Array<bigint>(32).fill(0n)
  pc: bigint
  reservation: bigint | undefined
  retired = 0

  constructor(
    readonly base: bigint,
    readonly bytes: Uint8Array,
  ) {
    this.pc = base
  }

  #read(address: bigint, width: number): bigint | undefined {
    const place = u64(address) - this.base
    if (place < 0n || place + BigInt(width) > BigInt(this.bytes.length)) return undefined
    let value = 0n
    for (let index = width - 1; index >= 0; index--) value = (value << 8n) | BigInt(this.bytes[Number(place) + index]!)
    return value
  }

  #write(address: bigint, width: number, value: bigint): boolean {
    if (this.#read(address, width) === undefined) return false
    const place = Number(u64(address) - this.base)
    for (let index = 0; index < width; index++) this.bytes[place + index] = Number((value >> BigInt(8 * index)) & 255n)
    return true
  }

  #put(register: number, value: bigint): undefined {
    if (register !== 0) this.x[register] = u64(value)
    return undefined
  }

  /** One instruction; the cause of its exception where it has one, and then nothing changed. */
  step(): number | undefined {
    const half = this.#read(this.pc, 2)
    if (half === undefined) return Cause.fetchAccess
    const isWide = (half & 3n) === 3n
    const bits = isWide ? this.#read(this.pc, 4) : half
    if (bits === undefined) return Cause.fetchAccess
    const word = isWide ? Number(s32(bits)) : expand(Number(bits))
    const entry = word === 0 ? undefined : decode(word)
    if (entry === undefined) return Cause.illegal
    const next = u64(this.pc + (isWide ? 4n : 2n))
    const before = this.pc
    this.pc = next
    const cause = this.#execute(entry, word, before)
    if (cause !== undefined) this.pc = before
    else this.retired++
    return cause
  }

  #execute(entry: Instruction, word: number, pc: bigint): number | undefined {
    const { mnemonic } = entry
    const field = (name: string): number => entry.operands.find((operand) => operand.name === name)?.get(word) ?? 0
    const [rd, a, b] = [field('rd'), this.x[field('rs1')]!, this.x[field('rs2')]!]
    const imm = BigInt(field('imm') || field('shamt6') || field('shamt5'))
    const [stem, suffix] = mnemonic.split('.') as [string, string | undefined]
    if (UNARY[mnemonic] !== undefined) return this.#put(rd, UNARY[mnemonic](a))
    if (IMMEDIATE[mnemonic] !== undefined) return this.#put(rd, BINARY[IMMEDIATE[mnemonic]]!(a, u64(imm)))
    if (BINARY[mnemonic] !== undefined) return this.#put(rd, BINARY[mnemonic](a, b))
    if (BRANCHES[mnemonic] !== undefined) {
      if (BRANCHES[mnemonic](a, b)) this.pc = u64(pc + BigInt(field('branch')))
      return undefined
    }
    if (/^l[bhwd]u?$/.test(mnemonic)) return this.#load(mnemonic, rd, u64(a + imm))
    if (/^s[bhwd]$/.test(mnemonic)) {
      const width = { b: 1, h: 2, w: 4, d: 8 }[mnemonic[1]!]!
      return this.#write(a + BigInt(field('store')), width, b) ? undefined : Cause.storeAccess
    }
    if (entry.extension === 'A') return this.#atomic(stem, suffix === 'd' ? 8 : 4, rd, a, b)
    return this.#jump(mnemonic, rd, u64(a + imm), pc, field)
  }

  #load(mnemonic: string, rd: number, address: bigint): number | undefined {
    const width = { b: 1, h: 2, w: 4, d: 8 }[mnemonic[1]!]!
    const value = this.#read(address, width)
    if (value === undefined) return Cause.loadAccess
    return this.#put(rd, mnemonic.endsWith('u') ? value : BigInt.asIntN(width * 8, value))
  }

  #atomic(stem: string, width: 4 | 8, rd: number, address: bigint, r: bigint): number | undefined {
    const isLoad = stem === 'lr'
    if (address % BigInt(width) !== 0n) return isLoad ? Cause.loadMisaligned : Cause.storeMisaligned
    const value = this.#read(address, width)
    if (value === undefined) return isLoad ? Cause.loadAccess : Cause.storeAccess
    const old = BigInt.asIntN(width * 8, value)
    if (isLoad) this.reservation = address / 8n
    else if (stem === 'sc') {
      const succeeds = this.reservation === address / 8n
      this.reservation = undefined
      if (succeeds) this.#write(address, width, r)
      return this.#put(rd, bool(!succeeds))
    } else this.#write(address, width, ATOMICS[stem]!(old, BigInt.asIntN(width * 8, r)))
    return this.#put(rd, old)
  }

  #jump(mnemonic: string, rd: number, target: bigint, pc: bigint, field: (name: string) => number): number | undefined {
    const next = this.pc
    switch (mnemonic) {
      case 'lui':
        return this.#put(rd, s32(BigInt(field('upper')) << 12n))
      case 'auipc':
        return this.#put(rd, pc + s32(BigInt(field('upper')) << 12n))
      case 'jal':
        this.pc = u64(pc + BigInt(field('jump')))
        return this.#put(rd, next)
      case 'jalr':
        this.pc = target & ~1n
        return this.#put(rd, next)
      case 'fence':
      case 'fence.i':
        return undefined
      case 'ebreak':
        return Cause.breakpoint
      default:
        throw new RangeError(`the oracle does not know '${mnemonic}'`)
    }
  }
}
