/**
 * Fused products and sums on the host's doubles, where they are proved equal (see host.ts for the conditions). With RN for
 * rounding to nearest even and RO for rounding to odd (cut off, and the last digit set if anything was):
 *
 * - binary64: S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
 *   odd" (2008): with uh + ul = a * b, th + tl = c + ul and vh + vl = uh + th, all exact, RN(vh + RO(tl + vl)) is
 *   RN(a * b + c), provided that nothing overflows or underflows. Bounds on the operands see to it.
 * - binary32: a * b is exact in binary64, and RN to 24 digits of RO to 53 digits is RN of the exact value, as 53 >= 24 + 2
 *   (the same authors). No f32 operand can overflow or underflow the binary64 operations.
 *
 * The exact pairs are T. J. Dekker's product (1971) and D. E. Knuth's sum; ECMAScript's operations are the ones they need.
 */
import { flags, INEXACT, NEAREST_EVEN, result } from './state'

const doubles = new Float64Array(3)
const doubleWords = new Int32Array(doubles.buffer)
const singles = new Float32Array(3)
const singleWords = new Int32Array(singles.buffer)
const LOW = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1
const HIGH = 1 - LOW

const NORMAL_MIN_F64 = 2 ** -1022
const NORMAL_MIN_F32 = 2 ** -126
/** Factors between these have products, and errors of products, far from either end of the range. */
const FACTOR_MIN = 2 ** -400
const FACTOR_MAX = 2 ** 400
const ADDEND_MIN = 2 ** -900
const ADDEND_MAX = 2 ** 900
/** Splits a double into two of 26 digits. */
const SPLITTER = 2 ** 27 + 1

/** a + b rounded to odd; both finite, and so is the sum. */
function addToOdd(a: number, b: number): number {
  const sum = a + b
  const part = sum - a
  const error = a - (sum - part) + (b - part)
  if (error === 0) return sum
  doubles[0] = sum
  const low = doubleWords[LOW]!
  if ((low & 1) !== 0) return sum
  // The exact value lies between the even neighbour and the odd one on the side of the error.
  if (error > 0 === sum > 0) {
    doubleWords[LOW] = low | 1
  } else {
    doubleWords[LOW] = low - 1
    if (low === 0) doubleWords[HIGH]!--
  }
  return doubles[0]!
}

function isBetween(value: number, least: number, greatest: number): boolean {
  const magnitude = Math.abs(value)
  return magnitude >= least && magnitude <= greatest
}

function fused(a: number, b: number, c: number): number {
  const aSplit = a * SPLITTER
  const aTop = aSplit - (aSplit - a)
  const aRest = a - aTop
  const bSplit = b * SPLITTER
  const bTop = bSplit - (bSplit - b)
  const bRest = b - bTop
  const product = a * b
  const productError = aTop * bTop - product + aTop * bRest + aRest * bTop + aRest * bRest
  const small = c + productError
  const smallPart = small - c
  const smallError = c - (small - smallPart) + (productError - smallPart)
  const large = product + small
  const largePart = large - product
  const largeError = product - (large - largePart) + (small - largePart)
  return large + addToOdd(smallError, largeError)
}

/** Whether the host did it: a * b + c is then in `result`. */
export function hostFusedF64(
  aLow: number,
  aHigh: number,
  bLow: number,
  bHigh: number,
  cLow: number,
  cHigh: number,
  mode: number,
): boolean {
  if (mode !== NEAREST_EVEN || (flags[0]! & INEXACT) === 0) return false
  doubleWords[LOW] = aLow
  doubleWords[HIGH] = aHigh
  doubleWords[2 + LOW] = bLow
  doubleWords[2 + HIGH] = bHigh
  doubleWords[4 + LOW] = cLow
  doubleWords[4 + HIGH] = cHigh
  const a = doubles[0]!
  const b = doubles[1]!
  const c = doubles[2]!
  const isInBounds =
    isBetween(a, FACTOR_MIN, FACTOR_MAX) && isBetween(b, FACTOR_MIN, FACTOR_MAX) && isBetween(c, ADDEND_MIN, ADDEND_MAX)
  if (!isInBounds) return false
  const value = fused(a, b, c)
  // An exact zero has a sign of its own rule.
  if (!(Math.abs(value) > NORMAL_MIN_F64)) return false
  doubles[0] = value
  result[0] = doubleWords[LOW]!
  result[1] = doubleWords[HIGH]!
  return true
}

/** Whether the host did it: the bits of a * b + c are then in `result[0]`. */
export function hostFusedF32(a: number, b: number, c: number, mode: number): boolean {
  if (mode !== NEAREST_EVEN || (flags[0]! & INEXACT) === 0) return false
  singleWords[0] = a
  singleWords[1] = b
  singleWords[2] = c
  const product = singles[0]! * singles[1]!
  const addend = singles[2]!
  if (!(Math.abs(product + addend) < Infinity)) return false
  singles[0] = addToOdd(product, addend)
  const magnitude = Math.abs(singles[0]!)
  if (!(magnitude > NORMAL_MIN_F32 && magnitude < Infinity)) return false
  result[0] = singleWords[0]!
  return true
}
