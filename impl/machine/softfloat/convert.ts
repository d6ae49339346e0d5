/**
 * Conversions between integers and records (IEEE 754-2019, 5.4.1, 5.8; RISC-V F, "Conversion and Move Instructions", and D).
 * A value that, rounded, does not fit gives the nearest integer of the type, a NaN the largest, and both raise NV alone;
 * otherwise a fraction raises NX.
 */
import { DOWNWARD, flags, INEXACT, INVALID, NEAREST_AWAY, NEAREST_EVEN, result, UPWARD } from './state'
import {
  EXPONENT,
  FINITE,
  first,
  HIGH,
  INFINITE,
  KIND,
  LOW,
  outcome,
  QUIET_NAN,
  SIGN,
  SIGNALLING_NAN,
  setNormalised,
  ZERO,
} from './unpacked'
import { shiftRightJam128 } from './words'

/** [0], [1] the whole part, [2] the fraction, [3] what is below it. */
const fixedPoint = new Int32Array(4)

/** Sets the outcome to an integer of 64 bits, exactly. */
export function fromInteger64(low: number, high: number, isSigned: boolean): void {
  const isNegative = isSigned && high < 0
  outcome[SIGN] = isNegative ? 1 : 0
  if ((low | high) === 0) {
    outcome[KIND] = ZERO
    return
  }
  outcome[KIND] = FINITE
  const magnitudeHigh = isNegative ? (low === 0 ? -high : ~high) : high
  setNormalised(outcome, 63, magnitudeHigh | 0, isNegative ? -low | 0 : low | 0)
}

/** Passes `first` on, for conversions between formats; a signalling NaN raises NV. */
export function passOn(): void {
  outcome.set(first)
  if (first[KIND] === SIGNALLING_NAN) flags[0]! |= INVALID
}

/** Whether what was cut off makes the magnitude one greater. `fraction` is jammed: only its top bit and its rest count. */
function roundsAway(mode: number, sign: number, fraction: number, isOdd: boolean): boolean {
  if (mode === NEAREST_EVEN) return fraction > 0x80000000 || (fraction === 0x80000000 && isOdd)
  if (mode === NEAREST_AWAY) return fraction >= 0x80000000
  return mode === (sign === 0 ? UPWARD : DOWNWARD) && fraction !== 0
}

function saturate(widthBits: 32 | 64, isSigned: boolean, isNegative: boolean): void {
  flags[0]! |= INVALID
  const top = isNegative ? (isSigned ? 0x80000000 : 0) : isSigned ? 0x7fffffff : -1
  const below = isNegative ? 0 : -1
  // A 32-bit result is sign-extended, an unsigned one too.
  result[0] = widthBits === 32 ? top : below
  result[1] = widthBits === 32 ? top >> 31 : top
}

/** `first` as an integer in `result`; one of 32 bits is sign-extended to 64, whether signed or not, as RV64 wants it. */
export function toInteger(widthBits: 32 | 64, isSigned: boolean, mode: number): void {
  const kind = first[KIND]!
  const sign = first[SIGN]!
  if (kind === ZERO) {
    result[0] = 0
    result[1] = 0
    return
  }
  if (kind >= QUIET_NAN || kind === INFINITE || first[EXPONENT]! > 63) {
    saturate(widthBits, isSigned, kind < QUIET_NAN && sign === 1)
    return
  }
  fixedPoint[0] = first[HIGH]!
  fixedPoint[1] = first[LOW]!
  fixedPoint[2] = 0
  fixedPoint[3] = 0
  shiftRightJam128(fixedPoint, 63 - first[EXPONENT]!)
  const fraction = (fixedPoint[2]! | (fixedPoint[3] !== 0 ? 1 : 0)) >>> 0
  let high = fixedPoint[0]! >>> 0
  let low = fixedPoint[1]! >>> 0
  if (roundsAway(mode, sign, fraction, (low & 1) !== 0)) {
    // A fraction means less than 54 whole bits: the sum carries at most into the high word.
    low++
    if (low === 0x100000000) {
      low = 0
      high++
    }
  }
  if (!fits(widthBits, isSigned, sign === 1, high, low)) {
    saturate(widthBits, isSigned, sign === 1)
    return
  }
  if (fraction !== 0) flags[0]! |= INEXACT
  result[0] = sign === 1 ? -low : low
  if (widthBits === 32) result[1] = result[0]! >> 31
  else result[1] = sign === 1 ? (low === 0 ? -high : ~high) : high
}

/** Whether an integer, given by sign and magnitude, is one of the type. */
function fits(widthBits: 32 | 64, isSigned: boolean, isNegative: boolean, high: number, low: number): boolean {
  const top = widthBits === 32 ? low : high
  const below = widthBits === 32 ? 0 : low
  if (widthBits === 32 && high !== 0) return false
  if (!isSigned) return !isNegative || (high === 0 && low === 0)
  return top < 0x80000000 || (isNegative && top === 0x80000000 && below === 0)
}
