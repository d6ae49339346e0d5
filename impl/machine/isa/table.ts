/**
 * Every instruction of 32 bits that the machine knows: mnemonic, match, mask, operands, extension. Interpreter, translator,
 * assembler and disassembler read this one table; compressed instructions expand to it (compressed.ts).
 *
 * A word is instruction `i` where (word & i.mask) === i.match; no word is two instructions (a test checks). The mask is what
 * the operands leave, less the bits in `ignored`, which the specification tells to take no notice of.
 * Encodings: Unprivileged ISA, "RV32/64G Instruction Set Listings"; Bit-manipulation 1.0; Privileged ISA, "SYSTEM".
 */
import { type Operand, operandsOf } from './operands'

export type Extension = 'I' | 'M' | 'A' | 'F' | 'D' | 'Zicsr' | 'Zifencei' | 'Zba' | 'Zbb' | 'Zbs' | 'S'

export interface Instruction {
  /** Place in the table. */
  readonly index: number
  readonly mnemonic: string
  readonly match: number
  readonly mask: number
  readonly ignored: number
  /** Operands as assembler writes them: `rd,imm(rs1)`; a last `rm` is left out where it is dynamic. */
  readonly format: string
  readonly operands: readonly Operand[]
  readonly extension: Extension
}

const table: Instruction[] = []

function add(extension: Extension, mnemonic: string, match: number, format: string, ignored = 0): void {
  const operands = operandsOf(format)
  const taken = operands.reduce((sum, { mask }) => sum | mask, ignored)
  const index = table.length
  table.push({ index, mnemonic, match: match | 0, mask: ~taken, ignored, format, operands, extension })
}

/** Words separated by blanks; `-` leaves its place out. */
function series(mnemonics: string, each: (mnemonic: string, place: number) => void): void {
  for (const [place, mnemonic] of mnemonics.split(' ').entries()) if (mnemonic !== '-') each(mnemonic, place)
}

/** Fields of the common formats; all else is zero. */
const code = (opcode: number, funct3 = 0, funct7 = 0, rs2 = 0): number => opcode | (funct3 << 12) | (rs2 << 20) | (funct7 << 25)

const REGISTERS = 'rd,rs1,rs2'
const OP = 0x33
const OP_32 = 0x3b
const OP_IMM = 0x13
const OP_IMM_32 = 0x1b
const SYSTEM = 0x73
const OP_FP = 0x53

function addBase(): void {
  add('I', 'lui', 0x37, 'rd,upper')
  add('I', 'auipc', 0x17, 'rd,upper')
  add('I', 'jal', 0x6f, 'rd,jump')
  add('I', 'jalr', 0x67, 'rd,imm(rs1)')
  series('beq bne - - blt bge bltu bgeu', (name, funct3) => add('I', name, code(0x63, funct3), 'rs1,rs2,branch'))
  series('lb lh lw ld lbu lhu lwu', (name, funct3) => add('I', name, code(0x03, funct3), 'rd,imm(rs1)'))
  series('sb sh sw sd', (name, funct3) => add('I', name, code(0x23, funct3), 'rs2,store(rs1)'))
  series('addi - slti sltiu xori - ori andi', (name, funct3) => add('I', name, code(OP_IMM, funct3), 'rd,rs1,imm'))
  add('I', 'slli', code(OP_IMM, 1), 'rd,rs1,shamt6')
  add('I', 'srli', code(OP_IMM, 5), 'rd,rs1,shamt6')
  add('I', 'srai', code(OP_IMM, 5, 0x20), 'rd,rs1,shamt6')
  add('I', 'addiw', code(OP_IMM_32), 'rd,rs1,imm')
  add('I', 'slliw', code(OP_IMM_32, 1), 'rd,rs1,shamt5')
  add('I', 'srliw', code(OP_IMM_32, 5), 'rd,rs1,shamt5')
  add('I', 'sraiw', code(OP_IMM_32, 5, 0x20), 'rd,rs1,shamt5')
  series('add sll slt sltu xor srl or and', (name, funct3) => add('I', name, code(OP, funct3), REGISTERS))
  series('sub - - - - sra', (name, funct3) => add('I', name, code(OP, funct3, 0x20), REGISTERS))
  series('addw sllw - - - srlw', (name, funct3) => add('I', name, code(OP_32, funct3), REGISTERS))
  series('subw - - - - sraw', (name, funct3) => add('I', name, code(OP_32, funct3, 0x20), REGISTERS))
  // Reserved fields of fences are ignored, so that finer fences of later versions work.
  add('I', 'fence', 0x0f, 'pred,succ', 0xf00f8f80)
  add('Zifencei', 'fence.i', code(0x0f, 1), '', 0xffff8f80)
  add('I', 'ecall', SYSTEM, '')
  add('I', 'ebreak', code(SYSTEM, 0, 0, 1), '')
}

function addMultiplyAndAtomic(): void {
  series('mul mulh mulhsu mulhu div divu rem remu', (name, funct3) => add('M', name, code(OP, funct3, 1), REGISTERS))
  series('mulw - - - divw divuw remw remuw', (name, funct3) => add('M', name, code(OP_32, funct3, 1), REGISTERS))
  for (const [suffix, funct3] of [
    ['w', 2],
    ['d', 3],
  ] as const) {
    add('A', `lr.${suffix}`, code(0x2f, funct3, 0x02 << 2), 'aqrl:rd,(rs1)')
    series(
      'amoadd amoswap - sc amoxor - - - amoor - - - amoand - - - amomin - - - amomax - - - amominu - - - amomaxu',
      (name, funct5) => add('A', `${name}.${suffix}`, code(0x2f, funct3, funct5 << 2), 'aqrl:rd,rs2,(rs1)'),
    )
  }
}

function addSystem(): void {
  series('- csrrw csrrs csrrc', (name, funct3) => add('Zicsr', name, code(SYSTEM, funct3), 'rd,csr,rs1'))
  series('- - - - - csrrwi csrrsi csrrci', (name, funct3) => add('Zicsr', name, code(SYSTEM, funct3), 'rd,csr,uimm'))
  add('S', 'mret', code(SYSTEM, 0, 0x18, 2), '')
  add('S', 'sret', code(SYSTEM, 0, 0x08, 2), '')
  add('S', 'wfi', code(SYSTEM, 0, 0x08, 5), '')
  add('S', 'sfence.vma', code(SYSTEM, 0, 0x09), 'rs1,rs2')
}

function addBits(): void {
  add('Zba', 'add.uw', code(OP_32, 0, 0x04), REGISTERS)
  series('- - sh1add - sh2add - sh3add', (name, funct3) => {
    add('Zba', name, code(OP, funct3, 0x10), REGISTERS)
    add('Zba', `${name}.uw`, code(OP_32, funct3, 0x10), REGISTERS)
  })
  add('Zba', 'slli.uw', code(OP_IMM_32, 1, 0x04), 'rd,rs1,shamt6')
  series('- - - - xnor - orn andn', (name, funct3) => add('Zbb', name, code(OP, funct3, 0x20), REGISTERS))
  series('clz ctz cpop - sext.b sext.h', (name, rs2) => add('Zbb', name, code(OP_IMM, 1, 0x30, rs2), 'rd,rs1'))
  series('clzw ctzw cpopw', (name, rs2) => add('Zbb', name, code(OP_IMM_32, 1, 0x30, rs2), 'rd,rs1'))
  series('- - - - min minu max maxu', (name, funct3) => add('Zbb', name, code(OP, funct3, 0x05), REGISTERS))
  add('Zbb', 'zext.h', code(OP_32, 4, 0x04), 'rd,rs1')
  add('Zbb', 'orc.b', code(OP_IMM, 5, 0x14, 7), 'rd,rs1')
  add('Zbb', 'rev8', code(OP_IMM, 5, 0x35, 0x18), 'rd,rs1')
  series('- rol - - - ror', (name, funct3) => add('Zbb', name, code(OP, funct3, 0x30), REGISTERS))
  series('- rolw - - - rorw', (name, funct3) => add('Zbb', name, code(OP_32, funct3, 0x30), REGISTERS))
  add('Zbb', 'rori', code(OP_IMM, 5, 0x30), 'rd,rs1,shamt6')
  add('Zbb', 'roriw', code(OP_IMM_32, 5, 0x30), 'rd,rs1,shamt5')
  for (const [name, funct3, funct7] of [
    ['bset', 1, 0x14],
    ['bclr', 1, 0x24],
    ['binv', 1, 0x34],
    ['bext', 5, 0x24],
  ] as const) {
    add('Zbs', name, code(OP, funct3, funct7), REGISTERS)
    add('Zbs', `${name}i`, code(OP_IMM, funct3, funct7), 'rd,rs1,shamt6')
  }
}

function addFloat(extension: 'F' | 'D', suffix: 's' | 'd', format: 0 | 1): void {
  const fp = (funct3: number, funct7: number, rs2 = 0): number => code(OP_FP, funct3, funct7 | format, rs2)
  const width = 2 + format
  add(extension, format === 0 ? 'flw' : 'fld', code(0x07, width), 'fd,imm(rs1)')
  add(extension, format === 0 ? 'fsw' : 'fsd', code(0x27, width), 'fs2,store(rs1)')
  series('fmadd fmsub fnmsub fnmadd', (name, place) =>
    add(extension, `${name}.${suffix}`, code(0x43 + place * 4, 0, format), 'fd,fs1,fs2,fs3,rm'),
  )
  series('fadd fsub fmul fdiv', (name, place) => add(extension, `${name}.${suffix}`, fp(0, place << 2), 'fd,fs1,fs2,rm'))
  add(extension, `fsqrt.${suffix}`, fp(0, 0x2c), 'fd,fs1,rm')
  series('fsgnj fsgnjn fsgnjx', (name, funct3) => add(extension, `${name}.${suffix}`, fp(funct3, 0x10), 'fd,fs1,fs2'))
  series('fmin fmax', (name, funct3) => add(extension, `${name}.${suffix}`, fp(funct3, 0x14), 'fd,fs1,fs2'))
  series('fle flt feq', (name, funct3) => add(extension, `${name}.${suffix}`, fp(funct3, 0x50), 'rd,fs1,fs2'))
  add(extension, `fclass.${suffix}`, fp(1, 0x70), 'rd,fs1')
  series('w wu l lu', (name, rs2) => {
    add(extension, `fcvt.${name}.${suffix}`, fp(0, 0x60, rs2), 'rd,fs1,rm')
    add(extension, `fcvt.${suffix}.${name}`, fp(0, 0x68, rs2), 'fd,rs1,rm')
  })
  add(extension, format === 0 ? 'fmv.x.w' : 'fmv.x.d', fp(0, 0x70), 'rd,fs1')
  add(extension, format === 0 ? 'fmv.w.x' : 'fmv.d.x', fp(0, 0x78), 'fd,rs1')
}

addBase()
addMultiplyAndAtomic()
addSystem()
addBits()
addFloat('F', 's', 0)
addFloat('D', 'd', 1)
add('D', 'fcvt.s.d', code(OP_FP, 0, 0x20, 1), 'fd,fs1,rm')
add('D', 'fcvt.d.s', code(OP_FP, 0, 0x21, 0), 'fd,fs1,rm')

export const INSTRUCTIONS: readonly Instruction[] = table

const byMnemonic = new Map(table.map((entry) => [entry.mnemonic, entry]))

/** Undefined: the machine knows no such instruction. */
export function instructionNamed(mnemonic: string): Instruction | undefined {
  return byMnemonic.get(mnemonic)
}

// Opcode and funct3 leave a handful of candidates.
const buckets: Instruction[][] = Array.from({ length: 256 }, () => [])
for (const entry of table) {
  for (let bucket = 0; bucket < 256; bucket++) {
    const word = ((bucket >> 3) << 2) | 3 | ((bucket & 7) << 12)
    if (((word ^ entry.match) & entry.mask & 0x707f) === 0) buckets[bucket]!.push(entry)
  }
}

/** The instruction that a word of 32 bits is; undefined: illegal (or compressed: its low two bits are not 11). */
export function decode(word: number): Instruction | undefined {
  if ((word & 3) !== 3) return undefined
  for (const entry of buckets[((word >> 2) & 31) * 8 + ((word >> 12) & 7)]!) if ((word & entry.mask) === entry.match) return entry
  return undefined
}
