/**
 * The host's own arithmetic where it is proved equal: rounding to nearest even, NX already raised, and a result strictly
 * between the smallest normal number and infinity. Then nothing but NX can be raised, and it stands already.
 *
 * - ECMAScript's + - * / on numbers are IEEE 754 binary64 operations rounded to nearest, ties to even.
 * - An infinite or NaN operand gives an infinite, NaN or zero result; so do overflow and division by zero. All are left to
 *   the integer path, as is a result that may have been tiny before or after rounding.
 * - binary32: rounding an operation's binary64 result again to binary32 gives the correctly rounded result, because 53 >=
 *   2 * 24 + 2 (S. A. Figueroa, "When is double rounding innocuous?", 1995), and no binary64 result here is subnormal: the
 *   smallest product of two f32 is 2^-298. This does not hold for fused operations, see
 *   host_fused.ts.
 *
 * ECMAScript leaves Math.sqrt to the implementation, so square roots take the integer path.
 */
import { flags, INEXACT, NEAREST_EVEN, result } from './state'

const doubles = new Float64Array(2)
const doubleWords = new Int32Array(doubles.buffer)
const singles = new Float32Array(2)
const singleWords = new Int32Array(singles.buffer)
const LOW = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1
const HIGH = 1 - LOW

const NORMAL_MIN_F64 = 2 ** -1022
const NORMAL_MIN_F32 = 2 ** -126

export const ADD = 0
export const SUBTRACT = 1
export const MULTIPLY = 2
export const DIVIDE = 3

function compute(operation: number, a: number, b: number): number {
  if (operation === ADD) return a + b
  if (operation === SUBTRACT) return a - b
  return operation === MULTIPLY ? a * b : a / b
}

/** Whether the host did the operation: its result is then in `result`. */
export function hostF64(operation: number, aLow: number, aHigh: number, bLow: number, bHigh: number, mode: number): boolean {
  if (mode !== NEAREST_EVEN || (flags[0]! & INEXACT) === 0) return false
  doubleWords[LOW] = aLow
  doubleWords[HIGH] = aHigh
  doubleWords[2 + LOW] = bLow
  doubleWords[2 + HIGH] = bHigh
  const value = compute(operation, doubles[0]!, doubles[1]!)
  const magnitude = Math.abs(value)
  if (!(magnitude > NORMAL_MIN_F64 && magnitude < Infinity)) return false
  doubles[0] = value
  result[0] = doubleWords[LOW]!
  result[1] = doubleWords[HIGH]!
  return true
}

/** Whether the host did the operation: the bits of its result are then in `result[0]`. */
export function hostF32(operation: number, a: number, b: number, mode: number): boolean {
  if (mode !== NEAREST_EVEN || (flags[0]! & INEXACT) === 0) return false
  singleWords[0] = a
  singleWords[1] = b
  singles[0] = compute(operation, singles[0]!, singles[1]!)
  const magnitude = Math.abs(singles[0]!)
  if (!(magnitude > NORMAL_MIN_F32 && magnitude < Infinity)) return false
  result[0] = singleWords[0]!
  return true
}
