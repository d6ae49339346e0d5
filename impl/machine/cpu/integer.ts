/** RV64I arithmetic and M, on pairs of halves (Unprivileged ISA, chapters "RV64I" and "M"). No handler here traps. */
import type { Handler, Handlers } from './core'
import * as int64 from './int64'
import { carryHigh, lessSigned, lessUnsigned, result } from './int64'
import { NEXT } from './state'

const pairOf = (x: Int32Array, d: number, low: number, high: number): number => {
  x[d] = low
  x[d + 1] = high
  return NEXT
}
const wordOf = (x: Int32Array, d: number, word: number): number => {
  x[d] = word
  x[d + 1] = word >> 31
  return NEXT
}

type PairOperation = (aLow: number, aHigh: number, bLow: number, bHigh: number) => void
type ShiftOperation = (low: number, high: number, count: number) => void

/** An operation on two registers that leaves its answer in int64's `result`. */
const onPairs =
  (operation: PairOperation): Handler =>
  ({ x }, d, a, b) => {
    operation(x[a]!, x[a + 1]!, x[b]!, x[b + 1]!)
    return pairOf(x, d, result[0]!, result[1]!)
  }
const shift =
  (operation: ShiftOperation): Handler =>
  ({ x }, d, a, b) => {
    operation(x[a]!, x[a + 1]!, x[b]! & 63)
    return pairOf(x, d, result[0]!, result[1]!)
  }
const shiftBy =
  (operation: ShiftOperation): Handler =>
  ({ x }, d, a, _b, imm) => {
    operation(x[a]!, x[a + 1]!, imm)
    return pairOf(x, d, result[0]!, result[1]!)
  }

const registers: Handlers = {
  add({ x }, d, a, b) {
    const low = (x[a]! + x[b]!) | 0
    return pairOf(x, d, low, carryHigh(x[a]!, x[a + 1]!, x[b + 1]!, low))
  },
  sub({ x }, d, a, b) {
    const high = (x[a + 1]! - x[b + 1]! - (int64.below(x[a]!, x[b]!) ? 1 : 0)) | 0
    return pairOf(x, d, (x[a]! - x[b]!) | 0, high)
  },
  sll: shift(int64.shiftLeft),
  srl: shift(int64.shiftRight),
  sra: shift(int64.shiftRightSigned),
  slt: ({ x }, d, a, b) => pairOf(x, d, lessSigned(x[a]!, x[a + 1]!, x[b]!, x[b + 1]!) ? 1 : 0, 0),
  sltu: ({ x }, d, a, b) => pairOf(x, d, lessUnsigned(x[a]!, x[a + 1]!, x[b]!, x[b + 1]!) ? 1 : 0, 0),
  xor: ({ x }, d, a, b) => pairOf(x, d, x[a]! ^ x[b]!, x[a + 1]! ^ x[b + 1]!),
  or: ({ x }, d, a, b) => pairOf(x, d, x[a]! | x[b]!, x[a + 1]! | x[b + 1]!),
  and: ({ x }, d, a, b) => pairOf(x, d, x[a]! & x[b]!, x[a + 1]! & x[b + 1]!),
  addw: ({ x }, d, a, b) => wordOf(x, d, (x[a]! + x[b]!) | 0),
  subw: ({ x }, d, a, b) => wordOf(x, d, (x[a]! - x[b]!) | 0),
  sllw: ({ x }, d, a, b) => wordOf(x, d, x[a]! << (x[b]! & 31)),
  srlw: ({ x }, d, a, b) => wordOf(x, d, (x[a]! >>> (x[b]! & 31)) | 0),
  sraw: ({ x }, d, a, b) => wordOf(x, d, x[a]! >> (x[b]! & 31)),
}

const immediates: Handlers = {
  lui: ({ x }, d, _a, _b, imm) => wordOf(x, d, imm),
  addi({ x }, d, a, _b, imm) {
    const low = (x[a]! + imm) | 0
    return pairOf(x, d, low, carryHigh(x[a]!, x[a + 1]!, imm >> 31, low))
  },
  slti: ({ x }, d, a, _b, imm) => pairOf(x, d, lessSigned(x[a]!, x[a + 1]!, imm, imm >> 31) ? 1 : 0, 0),
  sltiu: ({ x }, d, a, _b, imm) => pairOf(x, d, lessUnsigned(x[a]!, x[a + 1]!, imm, imm >> 31) ? 1 : 0, 0),
  xori: ({ x }, d, a, _b, imm) => pairOf(x, d, x[a]! ^ imm, x[a + 1]! ^ (imm >> 31)),
  ori: ({ x }, d, a, _b, imm) => pairOf(x, d, x[a]! | imm, x[a + 1]! | (imm >> 31)),
  andi: ({ x }, d, a, _b, imm) => pairOf(x, d, x[a]! & imm, x[a + 1]! & (imm >> 31)),
  slli: shiftBy(int64.shiftLeft),
  srli: shiftBy(int64.shiftRight),
  srai: shiftBy(int64.shiftRightSigned),
  addiw: ({ x }, d, a, _b, imm) => wordOf(x, d, (x[a]! + imm) | 0),
  slliw: ({ x }, d, a, _b, imm) => wordOf(x, d, x[a]! << imm),
  srliw: ({ x }, d, a, _b, imm) => wordOf(x, d, (x[a]! >>> imm) | 0),
  sraiw: ({ x }, d, a, _b, imm) => wordOf(x, d, x[a]! >> imm),
}

/** Division of words: by zero gives all ones, and the dividend as remainder. */
function divideWords(a: number, b: number): number {
  return b === 0 ? -1 : (a / b) | 0
}
const remainderWords = (a: number, b: number): number => (b === 0 ? a : a % b) | 0

const multiplication: Handlers = {
  mul: onPairs(int64.multiply),
  mulh: onPairs(int64.multiplyHighSigned),
  mulhsu: onPairs(int64.multiplyHighMixed),
  mulhu: onPairs(int64.multiplyHighUnsigned),
  div: onPairs(int64.divideSigned),
  divu: onPairs(int64.divideUnsigned),
  rem: onPairs(int64.remainderSigned),
  remu: onPairs(int64.remainderUnsigned),
  mulw: ({ x }, d, a, b) => wordOf(x, d, Math.imul(x[a]!, x[b]!)),
  divw: ({ x }, d, a, b) => wordOf(x, d, divideWords(x[a]!, x[b]!)),
  divuw: ({ x }, d, a, b) => wordOf(x, d, divideWords(x[a]! >>> 0, x[b]! >>> 0)),
  remw: ({ x }, d, a, b) => wordOf(x, d, remainderWords(x[a]!, x[b]!)),
  remuw: ({ x }, d, a, b) => wordOf(x, d, remainderWords(x[a]! >>> 0, x[b]! >>> 0)),
}

export const INTEGER: Handlers = { ...registers, ...immediates, ...multiplication }
