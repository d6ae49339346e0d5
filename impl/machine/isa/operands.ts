/**
 * The operands of instructions: where each lies in the 32 bits, what values it takes, how it is written in assembler.
 * (Unprivileged ISA, chapter "RV32I": instruction formats and immediate variants.)
 *
 * A value is a number; registers are 0 to 31, immediates are signed as the instruction takes them, offsets of branches and
 * jumps are in bytes. `get` never fails. `put` throws RangeError for a value that the field cannot hold.
 */
import { csrName, csrNumber } from './csr_names'

export const INTEGER_NAMES: readonly string[] =
  'zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6'.split(' ')
export const FLOAT_NAMES: readonly string[] = (
  'ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 ' +
  'fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 fs10 fs11 ft8 ft9 ft10 ft11'
).split(' ')
const ROUNDING_NAMES: readonly string[] = ['rne', 'rtz', 'rdn', 'rup', 'rmm', 'reserved5', 'reserved6', 'dyn']

/** `[lowest bit of the word, width, lowest bit of the value]`: a value is made of such pieces. */
type Piece = readonly [wordBit: number, widthBits: number, valueBit: number]

export interface Operand {
  readonly name: string
  /** The bits of the word that the operand takes. */
  readonly mask: number
  readonly least: number
  readonly most: number
  get(word: number): number
  put(value: number): number
  print(value: number): string
  /** Undefined: the text names no value of this operand. */
  parse(text: string): number | undefined
}

function sumOf(pieces: readonly Piece[], from: (piece: Piece) => number): number {
  return pieces.reduce((sum, piece) => sum | from(piece), 0)
}

const ones = (widthBits: number): number => (widthBits === 32 ? -1 : (1 << widthBits) - 1)

interface Shape {
  name: string
  pieces: readonly Piece[]
  isSigned?: boolean
  /** Bits of the value below the first piece: they are zero. */
  print?: (value: number) => string
  parse?: (text: string) => number | undefined
}

function parseInteger(text: string): number | undefined {
  return /^-?(0x[0-9a-f]+|\d+)$/i.test(text) ? (text.startsWith('-') ? -Number(text.slice(1)) : Number(text)) : undefined
}

function operand(shape: Shape): Operand {
  const { pieces, name, isSigned = false } = shape
  const topBit = Math.max(...pieces.map(([, widthBits, valueBit]) => valueBit + widthBits))
  const step = 2 ** Math.min(...pieces.map(([, , valueBit]) => valueBit))
  const least = isSigned ? -(2 ** (topBit - 1)) : 0
  const most = (isSigned ? 2 ** (topBit - 1) : 2 ** topBit) - step
  const spare = isSigned ? 32 - topBit : 0
  return {
    name,
    least,
    most,
    mask: sumOf(pieces, ([wordBit, widthBits]) => ones(widthBits) << wordBit),
    get(word) {
      const raw = sumOf(pieces, ([wordBit, widthBits, valueBit]) => ((word >>> wordBit) & ones(widthBits)) << valueBit)
      return isSigned ? (raw << spare) >> spare : raw
    },
    put(value) {
      if (!Number.isInteger(value) || value < least || value > most || value % step !== 0) {
        throw new RangeError(`${name} cannot be ${value}: it takes ${least} to ${most} in steps of ${step}`)
      }
      return sumOf(pieces, ([wordBit, widthBits, valueBit]) => ((value >> valueBit) & ones(widthBits)) << wordBit)
    },
    print: shape.print ?? String,
    parse: shape.parse ?? parseInteger,
  }
}

function register(name: string, wordBit: number, names: readonly string[], prefix: string): Operand {
  return operand({
    name,
    pieces: [[wordBit, 5, 0]],
    print: (value) => names[value]!,
    parse(text) {
      const index = text === 'fp' && prefix === 'x' ? 8 : names.indexOf(text)
      if (index >= 0) return index
      return new RegExp(`^${prefix}([12]?\\d|3[01])$`).test(text) ? Number(text.slice(1)) : undefined
    },
  })
}

function named(name: string, pieces: readonly Piece[], names: readonly string[]): Operand {
  return operand({
    name,
    pieces,
    print: (value) => names[value]!,
    parse: (text) => (names.includes(text) ? names.indexOf(text) : undefined),
  })
}

/** Sets of accesses as `fence` writes them: i, o, r, w from bit 3 down. */
const FENCE_NAMES = Array.from({ length: 16 }, (_, set) =>
  set === 0 ? '0' : [...'iorw'].filter((_letter, index) => (set >> (3 - index)) & 1).join(''),
)

const list: readonly Operand[] = [
  register('rd', 7, INTEGER_NAMES, 'x'),
  register('rs1', 15, INTEGER_NAMES, 'x'),
  register('rs2', 20, INTEGER_NAMES, 'x'),
  register('fd', 7, FLOAT_NAMES, 'f'),
  register('fs1', 15, FLOAT_NAMES, 'f'),
  register('fs2', 20, FLOAT_NAMES, 'f'),
  register('fs3', 27, FLOAT_NAMES, 'f'),
  operand({ name: 'imm', pieces: [[20, 12, 0]], isSigned: true }),
  operand({
    name: 'store',
    pieces: [
      [7, 5, 0],
      [25, 7, 5],
    ],
    isSigned: true,
  }),
  operand({
    name: 'branch',
    pieces: [
      [8, 4, 1],
      [25, 6, 5],
      [7, 1, 11],
      [31, 1, 12],
    ],
    isSigned: true,
  }),
  operand({
    name: 'jump',
    pieces: [
      [21, 10, 1],
      [20, 1, 11],
      [12, 8, 12],
      [31, 1, 20],
    ],
    isSigned: true,
  }),
  operand({ name: 'upper', pieces: [[12, 20, 0]], print: (value) => `0x${value.toString(16)}` }),
  operand({ name: 'shamt6', pieces: [[20, 6, 0]] }),
  operand({ name: 'shamt5', pieces: [[20, 5, 0]] }),
  operand({ name: 'uimm', pieces: [[15, 5, 0]] }),
  operand({ name: 'csr', pieces: [[20, 12, 0]], print: csrName, parse: (text) => csrNumber(text) ?? parseInteger(text) }),
  named('pred', [[24, 4, 0]], FENCE_NAMES),
  named('succ', [[20, 4, 0]], FENCE_NAMES),
  named('rm', [[12, 3, 0]], ROUNDING_NAMES),
  // Acquire and release are written behind the mnemonic.
  named('aqrl', [[25, 2, 0]], ['', '.rl', '.aq', '.aqrl']),
]

export const OPERANDS: ReadonlyMap<string, Operand> = new Map(list.map((entry) => [entry.name, entry]))

/** The operands that a format names, in order; throws for a name that is none. */
export function operandsOf(format: string): readonly Operand[] {
  return (format.match(/[a-z0-9]+/g) ?? []).map((name) => {
    const found = OPERANDS.get(name)
    if (found === undefined) throw new Error(`operand '${name}' of format '${format}' is not defined`)
    return found
  })
}
