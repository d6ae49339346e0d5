/** Zba, Zbb and Zbs (Bit-manipulation 1.0), on pairs of halves. No handler here traps. */
import type { Core, Handler, Handlers } from './core'
import * as int64 from './int64'
import { carryHigh, countOnes, lessSigned, lessUnsigned, result, reverseBytes32, rotateRight, trailingZeros32 } from './int64'
import { NEXT } from './state'

function put({ x }: Core, d: number, low: number, high: number): number {
  x[d] = low
  x[d + 1] = high
  return NEXT
}
const putWord = (core: Core, d: number, word: number): number => put(core, d, word, word >> 31)
const putResult = (core: Core, d: number): number => put(core, d, result[0]!, result[1]!)

/** rs1 shifted by some bits, added to rs2; `keep` is what is taken of the high half of rs1. */
const shiftAdd =
  (count: number, keep: number): Handler =>
  (core, d, a, b) => {
    const { x } = core
    int64.shiftLeft(x[a]!, x[a + 1]! & keep, count)
    const low = (result[0]! + x[b]!) | 0
    return put(core, d, low, carryHigh(result[0]!, result[1]!, x[b + 1]!, low))
  }

const addresses: Handlers = {
  'add.uw': shiftAdd(0, 0),
  sh1add: shiftAdd(1, -1),
  sh2add: shiftAdd(2, -1),
  sh3add: shiftAdd(3, -1),
  'sh1add.uw': shiftAdd(1, 0),
  'sh2add.uw': shiftAdd(2, 0),
  'sh3add.uw': shiftAdd(3, 0),
  'slli.uw'(core, d, a, _b, imm) {
    int64.shiftLeft(core.x[a]!, 0, imm)
    return putResult(core, d)
  },
}

/** One of two registers, copied whole. */
const choose =
  (takesFirst: (aLow: number, aHigh: number, bLow: number, bHigh: number) => boolean): Handler =>
  (core, d, a, b) => {
    const { x } = core
    const from = takesFirst(x[a]!, x[a + 1]!, x[b]!, x[b + 1]!) ? a : b
    return put(core, d, x[from]!, x[from + 1]!)
  }

const leadingZeros = (low: number, high: number): number => (high === 0 ? 32 + Math.clz32(low) : Math.clz32(high))
const trailingZeros = (low: number, high: number): number => (low === 0 ? 32 + trailingZeros32(high) : trailingZeros32(low))
const rotateWord = (word: number, count: number): number => (count === 0 ? word : (word >>> count) | (word << (32 - count)))

const logic: Handlers = {
  andn: (core, d, a, b) => put(core, d, core.x[a]! & ~core.x[b]!, core.x[a + 1]! & ~core.x[b + 1]!),
  orn: (core, d, a, b) => put(core, d, core.x[a]! | ~core.x[b]!, core.x[a + 1]! | ~core.x[b + 1]!),
  xnor: (core, d, a, b) => put(core, d, ~(core.x[a]! ^ core.x[b]!), ~(core.x[a + 1]! ^ core.x[b + 1]!)),
  clz: (core, d, a) => put(core, d, leadingZeros(core.x[a]!, core.x[a + 1]!), 0),
  ctz: (core, d, a) => put(core, d, trailingZeros(core.x[a]!, core.x[a + 1]!), 0),
  cpop: (core, d, a) => put(core, d, countOnes(core.x[a]!) + countOnes(core.x[a + 1]!), 0),
  clzw: (core, d, a) => put(core, d, Math.clz32(core.x[a]!), 0),
  ctzw: (core, d, a) => put(core, d, trailingZeros32(core.x[a]!), 0),
  cpopw: (core, d, a) => put(core, d, countOnes(core.x[a]!), 0),
  min: choose(lessSigned),
  minu: choose(lessUnsigned),
  max: choose((aLow, aHigh, bLow, bHigh) => lessSigned(bLow, bHigh, aLow, aHigh)),
  maxu: choose((aLow, aHigh, bLow, bHigh) => lessUnsigned(bLow, bHigh, aLow, aHigh)),
  'sext.b': (core, d, a) => putWord(core, d, (core.x[a]! << 24) >> 24),
  'sext.h': (core, d, a) => putWord(core, d, (core.x[a]! << 16) >> 16),
  'zext.h': (core, d, a) => put(core, d, core.x[a]! & 0xffff, 0),
  'orc.b': (core, d, a) => put(core, d, int64.spreadBytes32(core.x[a]!), int64.spreadBytes32(core.x[a + 1]!)),
  rev8: (core, d, a) => put(core, d, reverseBytes32(core.x[a + 1]!), reverseBytes32(core.x[a]!)),
  rol(core, d, a, b) {
    rotateRight(core.x[a]!, core.x[a + 1]!, -core.x[b]! & 63)
    return putResult(core, d)
  },
  ror(core, d, a, b) {
    rotateRight(core.x[a]!, core.x[a + 1]!, core.x[b]! & 63)
    return putResult(core, d)
  },
  rori(core, d, a, _b, imm) {
    rotateRight(core.x[a]!, core.x[a + 1]!, imm)
    return putResult(core, d)
  },
  rolw: (core, d, a, b) => putWord(core, d, rotateWord(core.x[a]!, -core.x[b]! & 31)),
  rorw: (core, d, a, b) => putWord(core, d, rotateWord(core.x[a]!, core.x[b]! & 31)),
  roriw: (core, d, a, _b, imm) => putWord(core, d, rotateWord(core.x[a]!, imm)),
}

type BitChange = (half: number, mask: number) => number

function change(core: Core, d: number, a: number, bit: number, how: BitChange): number {
  const { x } = core
  const mask = 1 << (bit & 31)
  return bit < 32 ? put(core, d, how(x[a]!, mask), x[a + 1]!) : put(core, d, x[a]!, how(x[a + 1]!, mask))
}
const extract = (core: Core, d: number, a: number, bit: number): number =>
  put(core, d, (core.x[a + (bit >> 5)]! >>> (bit & 31)) & 1, 0)

const set: BitChange = (half, mask) => half | mask
const clear: BitChange = (half, mask) => half & ~mask
const invert: BitChange = (half, mask) => half ^ mask

const single: Handlers = {
  bset: (core, d, a, b) => change(core, d, a, core.x[b]! & 63, set),
  bclr: (core, d, a, b) => change(core, d, a, core.x[b]! & 63, clear),
  binv: (core, d, a, b) => change(core, d, a, core.x[b]! & 63, invert),
  bext: (core, d, a, b) => extract(core, d, a, core.x[b]! & 63),
  bseti: (core, d, a, _b, imm) => change(core, d, a, imm, set),
  bclri: (core, d, a, _b, imm) => change(core, d, a, imm, clear),
  binvi: (core, d, a, _b, imm) => change(core, d, a, imm, invert),
  bexti: (core, d, a, _b, imm) => extract(core, d, a, imm),
}

export const BITS: Handlers = { ...addresses, ...logic, ...single }
