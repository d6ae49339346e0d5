import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { disassemble, encode, INSTRUCTIONS, type Instruction } from '../isa'
import { unhandled } from './execute'
import { Oracle } from './oracle/testing'
import { Cause } from './state'
import { bench, join, RAM, split } from './testing'

const VALUES: readonly bigint[] = [
  0n,
  1n,
  2n,
  31n,
  0x7fn,
  0x80n,
  0x8000n,
  0xffff_ffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0x1_0000_0000n,
  0x1f_ffff_ffff_ffffn,
  0x20_0000_0000_0001n,
  0x1234_5678_9abc_def0n,
  0x0080_0000_ff00_0100n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_0000_0000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_ffff_fff9n,
  0xffff_ffff_ffff_ffffn,
]

test('everything in the table is executed by something', () => assert.equal(unhandled(), []))

const base = bench({ ramBytes: 0x4000 })
const oracle = new Oracle(BigInt(RAM), new Uint8Array(base.ram.length))

/** Puts hart and oracle at the begin of RAM with the same registers and memory. */
function prepare(registers: readonly bigint[], code: readonly number[]): void {
  base.hart.reset(RAM)
  base.put(RAM, ...code)
  for (const [index, value] of registers.entries()) {
    ;[base.hart.x[index * 2], base.hart.x[index * 2 + 1]] = split(index === 0 ? 0n : value)
    oracle.x[index] = index === 0 ? 0n : value
  }
  oracle.bytes.set(base.ram)
  oracle.pc = BigInt(RAM)
  oracle.reservation = undefined
}

const sameMemory = (): boolean => Buffer.compare(base.ram, oracle.bytes) === 0

function compare(what: string): void {
  assert.is(base.pc(), oracle.pc, `${what}: pc`)
  for (let index = 0; index < 32; index++) {
    const mine = join(base.hart.x[index * 2]!, base.hart.x[index * 2 + 1]!)
    if (mine === oracle.x[index]) continue
    assert.unreachable(`${what}: x${index} is ${mine.toString(16)}, not ${oracle.x[index]!.toString(16)}`)
  }
}

/** One instruction on both, which must agree on registers, memory, exception and count. */
function both(what: string): void {
  const { state } = base.hart
  const [before, trapped] = [state.count, state.trapped]
  const expected = oracle.step()
  base.run(1)
  assert.is(state.count, before + 1)
  if (expected === undefined) {
    assert.is(state.trapped, trapped, `${what}: no exception, but cause ${state.mcause.low}`)
    compare(what)
  } else {
    assert.is(state.trapped, trapped + 1, `${what}: exception ${expected} is raised`)
    assert.is(state.mcause.low, expected, what)
    assert.is(join(state.mepc.low, state.mepc.high), oracle.pc, `${what}: mepc`)
    base.setPc(oracle.pc)
    compare(what)
  }
}

const isArithmetic = (entry: Instruction): boolean =>
  /^(I|M|Zba|Zbb|Zbs)$/.test(entry.extension) &&
  entry.operands.some(({ name }) => name === 'rd') &&
  !/^(l[bhwd]u?|jalr?|auipc|lui)$/.test(entry.mnemonic)

/** Immediates worth trying for an operand. */
function immediates(entry: Instruction): number[] {
  const operand = entry.operands.find(({ name }) => /^(imm|shamt.)$/.test(name))
  if (operand === undefined) return [0]
  return [operand.least, operand.most, 0, 1, 5, 31].filter((value) => value <= operand.most)
}

for (const entry of INSTRUCTIONS.filter(isArithmetic)) {
  test(`${entry.mnemonic} gives what the specification says`, () => {
    const names = entry.operands.map(({ name }) => name)
    const registers = new Array<bigint>(32).fill(0x5555n)
    for (const a of VALUES) {
      for (const b of names.includes('rs2') ? VALUES : [0n]) {
        for (const imm of immediates(entry)) {
          // The destination apart from the sources, the same as either, and none.
          const code = [5, 10, 11, 0].map((rd) =>
            encode(entry.mnemonic, ...names.map((name) => ({ rd, rs1: 10, rs2: 11 })[name] ?? imm)),
          )
          for (const word of code) {
            registers[10] = a
            registers[11] = b
            prepare(registers, [word])
            both(`${disassemble(word)} of ${a.toString(16)}, ${b.toString(16)}`)
          }
        }
      }
    }
  })
}

for (const entry of INSTRUCTIONS.filter(({ format }) => format === 'rs1,rs2,branch')) {
  test(`${entry.mnemonic} goes where the specification says`, () => {
    for (const a of VALUES) {
      for (const b of VALUES) {
        for (const offset of [-4096, -8, 8, 2, 4094]) {
          const registers = new Array<bigint>(32).fill(a)
          registers[11] = b
          prepare(registers, [encode(entry.mnemonic, 10, 11, offset)])
          both(`${entry.mnemonic} ${offset} of ${a.toString(16)}, ${b.toString(16)}`)
        }
      }
    }
  })
}

test('jumps link the address behind them and go to an even address', () => {
  for (const rd of [0, 1, 5, 10]) {
    for (const imm of [-2048, -1, 0, 1, 2047]) {
      const registers = new Array<bigint>(32).fill(BigInt(RAM) + 0x1000n)
      prepare(registers, [encode('jalr', rd, imm, 10)])
      both(`jalr ${rd} ${imm}`)
      for (const word of [encode('jal', rd, imm * 2), encode('auipc', rd, 0xfffff), encode('lui', rd, 0x80000 + rd)]) {
        prepare(registers, [word])
        both(disassemble(word))
      }
    }
  }
})

test('a jump leaves for any address, and is not itself what traps there', () => {
  prepare(new Array<bigint>(32).fill(0xdead_beef_0000n), [encode('jalr', 1, 0, 10)])
  both('jalr')
  assert.is(base.pc(), 0xdead_beef_0000n)
  both('the fetch there')
})

const WIDTHS: Readonly<Record<string, number>> = { b: 1, h: 2, w: 4, d: 8 }
for (const entry of INSTRUCTIONS.filter(({ mnemonic }) => /^(l[bhwd]u?|s[bhwd])$/.test(mnemonic))) {
  test(`${entry.mnemonic} reaches aligned, misaligned and missing memory`, () => {
    const width = WIDTHS[entry.mnemonic[1]!]!
    const end = BigInt(RAM + base.ram.length)
    for (const address of [
      BigInt(RAM) + 0x2000n,
      BigInt(RAM) + 0x2ffdn,
      BigInt(RAM) + 0x3001n,
      end - 8n,
      end - 3n,
      end,
      0n,
      2n ** 63n,
    ]) {
      for (const imm of [0, -width, 1]) {
        const registers = new Array<bigint>(32).fill(0xfedc_ba98_7654_3210n)
        registers[10] = address
        prepare(registers, [encode(entry.mnemonic, 11, imm, 10)])
        for (let index = 0; index < 4096; index++) base.ram[0x2000 + index] = (index * 37) ^ 0x85
        oracle.bytes.set(base.ram)
        both(`${entry.mnemonic} at ${address.toString(16)} + ${imm}`)
        assert.ok(sameMemory(), 'memory is the same')
      }
    }
  })
}

for (const entry of INSTRUCTIONS.filter(({ extension }) => extension === 'A')) {
  test(`${entry.mnemonic} works on aligned memory alone`, () => {
    const hasSource = entry.operands.some(({ name }) => name === 'rs2')
    const word = hasSource ? encode(entry.mnemonic, 12, 11, 10) : encode(entry.mnemonic, 12, 10)
    for (const value of VALUES) {
      for (const other of VALUES) {
        const registers = new Array<bigint>(32).fill(0n)
        registers[10] = BigInt(RAM) + 0x2000n
        registers[11] = other
        // Twice: the second store conditional has no reservation left.
        prepare(registers, [encode('lr.d', 13, 10), word, word])
        base.put64(RAM + 0x2000, value)
        oracle.bytes.set(base.ram)
        for (let step = 0; step < 3; step++) both(`${entry.mnemonic} ${value.toString(16)} ${other.toString(16)}`)
        assert.is(base.get64(RAM + 0x2000), new DataView(oracle.bytes.buffer).getBigUint64(0x2000, true))
      }
    }
    for (const address of [BigInt(RAM) + 0x2002n, BigInt(RAM) + 0x2004n, 8n]) {
      prepare(new Array<bigint>(32).fill(address), [word])
      both(`${entry.mnemonic} at ${address.toString(16)}`)
    }
  })
}

test('illegal words and halfwords trap with their bits', () => {
  for (const [bits, value] of [
    [0, 0],
    [0xffffffff | 0, -1],
    [0x6101, 0x6101],
    [0x0000_8000, 0x8000],
    [0x02b57553, 0x02b57553],
  ] as const) {
    prepare([], [bits])
    base.run(1)
    assert.is(base.hart.state.mcause.low, Cause.illegal)
    assert.is(base.hart.state.mtval.low, value)
    assert.is(base.hart.state.mepc.low, RAM | 0)
  }
})

const KNOWN_TO_ORACLE = INSTRUCTIONS.filter(({ extension }) => /^(I|M|A|Zba|Zbb|Zbs|Zifencei)$/.test(extension)).filter(
  ({ mnemonic }) => mnemonic !== 'ecall',
)
const value64 = fc.oneof(fc.constantFrom(...VALUES), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
/** Addresses near memory, so that loads and jumps meet it. */
const address = fc.integer({ min: -16, max: 0x4100 }).map((offset) => BigInt(RAM + offset))
const word32 = fc
  .tuple(fc.constantFrom(...KNOWN_TO_ORACLE), fc.integer())
  .map(([entry, random]) => entry.match | (random & ~entry.mask & ~entry.ignored))
const word = fc.oneof(
  { weight: 6, arbitrary: word32 },
  { weight: 2, arbitrary: fc.integer().map((bits) => bits & ~2) },
  { weight: 1, arbitrary: fc.integer() },
)
const isFloatOrSystem = (bits: number): boolean => {
  const text = disassemble(bits)
  return /^(f[^e]|csr|[ms]ret|wfi|sfence|ecall)/.test(text)
}

test('random programs do the same as the oracle, instruction by instruction', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(value64, address), { minLength: 32, maxLength: 32 }),
      fc.array(word, { minLength: 4, maxLength: 40 }),
      (registers, code) => {
        prepare(registers, code)
        for (let step = 0; step < 60; step++) {
          const at = Number(oracle.pc - BigInt(RAM))
          const isInside = at >= 0 && at + 4 <= base.ram.length
          const bits = isInside ? new DataView(base.ram.buffer).getInt32(at, true) : 0
          if (isInside && isFloatOrSystem(bits)) return
          const before = oracle.pc
          both(`${before.toString(16)}: ${disassemble(bits)}`)
          // An exception leaves the program counter where it was: the program is at its end.
          if (oracle.pc === before && base.hart.state.trapped > 0) break
        }
        assert.ok(sameMemory(), 'memory is the same')
      },
    ),
    { numRuns: 1500, seed: 3, includeErrorInReport: true },
  )
})

test.run()
