/**
 * Sums and differences of `first` and `second` into `outcome` (IEEE 754-2019, 5.4.1, 6.3, 7.2). Exact but for a jammed lowest
 * bit, so that packing rounds once. Raises NV for signalling NaNs and for the difference of infinities. Both operands are
 * used up.
 */
import { DOWNWARD, flags, INVALID } from './state'
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
  second,
  setNormalised,
  shiftRightJam,
  ZERO,
} from './unpacked'

/** The outcome is the canonical NaN; NV if an operand signals (`isInvalid`: or the operation has no value). */
export function outcomeIsNan(isInvalid: boolean): void {
  outcome[KIND] = QUIET_NAN
  if (isInvalid) flags[0]! |= INVALID
}

export function add(mode: number): void {
  const kind = first[KIND]!
  const otherKind = second[KIND]!
  if (kind === FINITE && otherKind === FINITE) {
    if (first[SIGN] === second[SIGN]) addMagnitudes()
    else subtractMagnitudes(mode)
  } else if (kind >= QUIET_NAN || otherKind >= QUIET_NAN) {
    outcomeIsNan(kind === SIGNALLING_NAN || otherKind === SIGNALLING_NAN)
  } else if (kind === INFINITE && otherKind === INFINITE && first[SIGN] !== second[SIGN]) {
    outcomeIsNan(true)
  } else if (kind === ZERO && otherKind === ZERO) {
    outcome[KIND] = ZERO
    outcome[SIGN] = first[SIGN] === second[SIGN] ? first[SIGN]! : zeroSign(mode)
  } else {
    // At most one is infinite or both alike; else one is zero: the greater of the two is the sum.
    outcome.set(kind === INFINITE || otherKind === ZERO ? first : second)
  }
}

/** The sign of an exact zero sum of operands of unlike sign (IEEE 754-2019, 6.3). */
export function zeroSign(mode: number): number {
  return mode === DOWNWARD ? 1 : 0
}

function addMagnitudes(): void {
  const isSwapped = first[EXPONENT]! < second[EXPONENT]!
  const large = isSwapped ? second : first
  const small = isSwapped ? first : second
  shiftRightJam(small, large[EXPONENT]! - small[EXPONENT]!)
  const low = (large[LOW]! >>> 0) + (small[LOW]! >>> 0)
  const high = (large[HIGH]! >>> 0) + (small[HIGH]! >>> 0) + (low >= 0x100000000 ? 1 : 0)
  outcome[KIND] = FINITE
  outcome[SIGN] = large[SIGN]!
  outcome[EXPONENT] = large[EXPONENT]!
  outcome[HIGH] = high
  outcome[LOW] = low
  if (high >= 0x100000000) {
    shiftRightJam(outcome, 1)
    outcome[HIGH]! |= 0x80000000
    outcome[EXPONENT]!++
  }
}

function subtractMagnitudes(mode: number): void {
  const isSwapped = isLess(first, second)
  const large = isSwapped ? second : first
  const small = isSwapped ? first : second
  shiftRightJam(small, large[EXPONENT]! - small[EXPONENT]!)
  const low = (large[LOW]! >>> 0) - (small[LOW]! >>> 0)
  const high = (large[HIGH]! >>> 0) - (small[HIGH]! >>> 0) - (low < 0 ? 1 : 0)
  if (high === 0 && low === 0) {
    outcome[KIND] = ZERO
    outcome[SIGN] = zeroSign(mode)
    return
  }
  outcome[KIND] = FINITE
  outcome[SIGN] = large[SIGN]!
  setNormalised(outcome, large[EXPONENT]!, high | 0, low | 0)
}

function isLess(a: Int32Array, b: Int32Array): boolean {
  if (a[EXPONENT] !== b[EXPONENT]) return a[EXPONENT]! < b[EXPONENT]!
  if (a[HIGH] !== b[HIGH]) return a[HIGH]! >>> 0 < b[HIGH]! >>> 0
  return a[LOW]! >>> 0 < b[LOW]! >>> 0
}
