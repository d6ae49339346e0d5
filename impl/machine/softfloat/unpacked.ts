/**
 * Numbers of either format taken apart: kind, sign, exponent, and a significand of 64 bits whose top bit is set. A finite
 * number is (-1)^sign * (HIGH:LOW / 2^63) * 2^EXPONENT. f32 and f64 both fit without loss, subnormal numbers become
 * normalised, so that every operation is written once; `pack32` and `pack64` round to the format (IEEE 754-2019, 4.3, 7.4,
 * 7.5). Nothing here fails. The records are preallocated: operations neither allocate nor nest.
 */
import {
  DOWNWARD,
  flags,
  INEXACT,
  NAN_F32,
  NAN_F64_HIGH,
  NEAREST_AWAY,
  NEAREST_EVEN,
  OVERFLOW,
  result,
  UNDERFLOW,
  UPWARD,
} from './state'

/** Fields of a record. */
export const KIND = 0
export const SIGN = 1
export const EXPONENT = 2
export const HIGH = 3
export const LOW = 4

/** Kinds, ordered so that `>= QUIET_NAN` asks for any NaN. */
export const ZERO = 0
export const FINITE = 1
export const INFINITE = 2
export const QUIET_NAN = 3
export const SIGNALLING_NAN = 4

/** The operands and the outcome of the operation under way. */
export const first = new Int32Array(5)
export const second = new Int32Array(5)
export const third = new Int32Array(5)
export const outcome = new Int32Array(5)

/** Sets exponent and significand (not zero) with the top bit in place. */
export function setNormalised(record: Int32Array, exponent: number, high: number, low: number): void {
  let topHigh = high
  let topLow = low
  let places = 0
  if (topHigh === 0) {
    topHigh = topLow
    topLow = 0
    places = 32
  }
  const left = Math.clz32(topHigh)
  if (left > 0) {
    topHigh = (topHigh << left) | (topLow >>> (32 - left))
    topLow <<= left
  }
  record[EXPONENT] = exponent - places - left
  record[HIGH] = topHigh
  record[LOW] = topLow
}

export function unpack32(record: Int32Array, bits: number): void {
  const biased = (bits >>> 23) & 0xff
  const fraction = bits & 0x7fffff
  record[SIGN] = bits >>> 31
  if (biased === 0xff) {
    record[KIND] = fraction === 0 ? INFINITE : (fraction & 0x400000) !== 0 ? QUIET_NAN : SIGNALLING_NAN
  } else if (biased !== 0) {
    record[KIND] = FINITE
    record[EXPONENT] = biased - 127
    record[HIGH] = 0x80000000 | (fraction << 8)
    record[LOW] = 0
  } else if (fraction === 0) {
    record[KIND] = ZERO
  } else {
    record[KIND] = FINITE
    setNormalised(record, -126, fraction << 8, 0)
  }
}

export function unpack64(record: Int32Array, low: number, high: number): void {
  const biased = (high >>> 20) & 0x7ff
  const fraction = high & 0xfffff
  const topHigh = (fraction << 11) | (low >>> 21)
  record[SIGN] = high >>> 31
  if (biased === 0x7ff) {
    const isInfinite = (fraction | low) === 0
    record[KIND] = isInfinite ? INFINITE : (fraction & 0x80000) !== 0 ? QUIET_NAN : SIGNALLING_NAN
  } else if (biased !== 0) {
    record[KIND] = FINITE
    record[EXPONENT] = biased - 1023
    record[HIGH] = 0x80000000 | topHigh
    record[LOW] = low << 11
  } else if ((fraction | low) === 0) {
    record[KIND] = ZERO
  } else {
    record[KIND] = FINITE
    setNormalised(record, -1022, topHigh, low << 11)
  }
}

/** Shifts a record's significand to the right, jamming (see words.ts). Any count from 0 up. */
export function shiftRightJam(record: Int32Array, bits: number): void {
  const high = record[HIGH]!
  const low = record[LOW]!
  if (bits === 0) return
  let lost = 0
  if (bits < 32) {
    lost = low << (32 - bits)
    record[HIGH] = high >>> bits
    record[LOW] = (low >>> bits) | (high << (32 - bits))
  } else if (bits < 64) {
    // A shift by 32 would be one by 0, which is right for the word that stays and not for what is lost.
    lost = bits === 32 ? low : low | (high << (64 - bits))
    record[HIGH] = 0
    record[LOW] = high >>> (bits - 32)
  } else {
    lost = high | low
    record[HIGH] = 0
    record[LOW] = 0
  }
  if (lost !== 0) record[LOW]! |= 1
}

/** What is added below the last kept place before the rest is cut off: half of it, all but nothing of it, or nothing. */
function increment(mode: number, sign: number, half: number): number {
  if (mode === NEAREST_EVEN || mode === NEAREST_AWAY) return half
  return mode === (sign === 0 ? UPWARD : DOWNWARD) ? half + half - 1 : 0
}

/** Whether a result too large for the format becomes infinite (IEEE 754-2019, 7.4), not the largest finite number. */
function overflowsToInfinity(mode: number, sign: number): boolean {
  return mode === NEAREST_EVEN || mode === NEAREST_AWAY || mode === (sign === 0 ? UPWARD : DOWNWARD)
}

/** The outcome as an f32, rounded; raises OF, UF and NX. */
export function pack32(mode: number): number {
  const sign = outcome[SIGN]! << 31
  const kind = outcome[KIND]!
  if (kind === FINITE) return sign | roundedFinite32(mode)
  if (kind === ZERO) return sign
  return kind === INFINITE ? sign | 0x7f800000 : NAN_F32
}

function roundedFinite32(mode: number): number {
  const sign = outcome[SIGN]!
  const added = increment(mode, sign, 0x80)
  let biased = outcome[EXPONENT]! + 127
  let significand = (outcome[HIGH]! | (outcome[LOW]! !== 0 ? 1 : 0)) >>> 0
  let isTiny = false
  if (biased < 1) {
    // Tiny after rounding: with an exponent of unbounded range the rounded value would still lie below 2^-126.
    isTiny = biased < 0 || significand + added < 0x100000000
    const bits = 1 - biased
    significand = bits < 32 ? (significand >>> bits) | (significand << (32 - bits) !== 0 ? 1 : 0) : 1
    biased = 1
  }
  const rest = significand & 0xff
  let rounded = significand + added
  if (rounded >= 0x100000000) {
    rounded = 0x80000000
    biased++
  }
  if (biased > 254) {
    flags[0]! |= OVERFLOW | INEXACT
    return overflowsToInfinity(mode, sign) ? 0x7f800000 : 0x7f7fffff
  }
  if (rest !== 0) flags[0]! |= isTiny ? UNDERFLOW | INEXACT : INEXACT
  let kept = rounded >>> 8
  if (rest === 0x80 && mode === NEAREST_EVEN) kept &= ~1
  // The leading bit, where there is one, adds the last 1 to the exponent; a subnormal number has none.
  return ((biased - 1) << 23) + kept
}

/** The outcome as an f64 in `result`, rounded; raises OF, UF and NX. */
export function pack64(mode: number): void {
  const sign = outcome[SIGN]! << 31
  const kind = outcome[KIND]!
  if (kind === FINITE) {
    roundFinite64(mode)
    return
  }
  result[0] = 0
  result[1] = kind === ZERO ? sign : kind === INFINITE ? sign | 0x7ff00000 : NAN_F64_HIGH
}

function roundFinite64(mode: number): void {
  const sign = outcome[SIGN]!
  const added = increment(mode, sign, 0x400)
  let biased = outcome[EXPONENT]! + 1023
  let isTiny = false
  if (biased < 1) {
    const carriesOut = outcome[HIGH] === -1 && (outcome[LOW]! >>> 0) + added >= 0x100000000
    isTiny = biased < 0 || !carriesOut
    shiftRightJam(outcome, 1 - biased)
    biased = 1
  }
  const rest = outcome[LOW]! & 0x7ff
  const lowSum = (outcome[LOW]! >>> 0) + added
  let high = (outcome[HIGH]! >>> 0) + (lowSum >= 0x100000000 ? 1 : 0)
  let low = lowSum | 0
  if (high >= 0x100000000) {
    high = 0x80000000
    low = 0
    biased++
  }
  if (biased > 2046) {
    flags[0]! |= OVERFLOW | INEXACT
    const isInfinite = overflowsToInfinity(mode, sign)
    result[0] = isInfinite ? 0 : -1
    result[1] = (sign << 31) | (isInfinite ? 0x7ff00000 : 0x7fefffff)
    return
  }
  if (rest !== 0) flags[0]! |= isTiny ? UNDERFLOW | INEXACT : INEXACT
  if (rest === 0x400 && mode === NEAREST_EVEN) low &= ~0x800
  result[0] = (low >>> 11) | (high << 21)
  result[1] = (sign << 31) | (((biased - 1) << 20) + (high >>> 11))
}
