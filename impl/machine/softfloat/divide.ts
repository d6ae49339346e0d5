/**
 * Quotients and square roots (IEEE 754-2019, 5.4.1, 6.3, 7.2, 7.3) of `first` and `second` into `outcome`, exact but for a
 * jammed lowest bit. Raises NV for signalling NaNs, 0/0, infinity/infinity and roots of negative numbers, DZ for a finite
 * number over zero. Doubles serve only to hold whole numbers below 2^53 and to guess digits that exact remainders correct.
 */
import { outcomeIsNan } from './add'
import { DIVIDE_BY_ZERO, flags } from './state'
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
  ZERO,
} from './unpacked'

const TWO_32 = 4294967296
const DIGIT_BITS = 21
const DIGIT = 1 << DIGIT_BITS

/** The remainder of the division or root under way: below 2^64, the high word first. */
const remainder = new Int32Array(2)

export function divide(): void {
  const kind = first[KIND]!
  const otherKind = second[KIND]!
  const sign = first[SIGN]! ^ second[SIGN]!
  outcome[SIGN] = sign
  if (kind === FINITE && otherKind === FINITE) {
    divideFinite()
  } else if (kind >= QUIET_NAN || otherKind >= QUIET_NAN) {
    outcomeIsNan(kind === SIGNALLING_NAN || otherKind === SIGNALLING_NAN)
  } else if (kind === otherKind) {
    outcomeIsNan(true)
  } else {
    outcome[KIND] = kind === INFINITE || otherKind === ZERO ? INFINITE : ZERO
    if (kind === FINITE && otherKind === ZERO) flags[0]! |= DIVIDE_BY_ZERO
  }
}

/** The next digit of the quotient (base 2^21) of `remainder`, which is below the divisor and stays so. */
function nextDigit(divisorHigh: number, divisorLow: number): number {
  const high = remainder[0]!
  const low = remainder[1]!
  const divisor = divisorHigh * TWO_32 + divisorLow
  // Remainder and divisor are below 2^53 and exact. Rounding is monotonic, so the guess is the digit, or one more where the
  // quotient lies just below a whole number; it may then be the base itself.
  let digit = Math.floor(((high * TWO_32 + (low >>> 0)) / divisor) * DIGIT)
  const productLow = divisorLow * digit
  const productHigh = divisorHigh * digit + Math.floor(productLow / TWO_32)
  // Modulo 2^64 the difference is exact, because it lies between -divisor and divisor.
  const shiftedLow = (low << DIGIT_BITS) >>> 0
  const shiftedHigh = (high << DIGIT_BITS) | (low >>> (32 - DIGIT_BITS))
  let nextLow = shiftedLow - (productLow >>> 0)
  let nextHigh = (shiftedHigh - (productHigh | 0) - (nextLow < 0 ? 1 : 0)) | 0
  if (nextHigh < 0) {
    digit--
    nextLow = (nextLow >>> 0) + divisorLow
    nextHigh += divisorHigh + (nextLow >= TWO_32 ? 1 : 0)
  }
  remainder[0] = nextHigh
  remainder[1] = nextLow
  return digit
}

function divideFinite(): void {
  // Significands as whole numbers of 53 bits: that many the larger format has.
  const divisorHigh = second[HIGH]! >>> 11
  const divisorLow = ((second[HIGH]! << 21) | (second[LOW]! >>> 11)) >>> 0
  let high = first[HIGH]! >>> 11
  let low = ((first[HIGH]! << 21) | (first[LOW]! >>> 11)) >>> 0
  const exponent = first[EXPONENT]! - second[EXPONENT]!
  const isAtLeastOne = high > divisorHigh || (high === divisorHigh && low >= divisorLow)
  if (isAtLeastOne) {
    high -= divisorHigh + (low < divisorLow ? 1 : 0)
    low = (low - divisorLow) >>> 0
  }
  remainder[0] = high
  remainder[1] = low
  const one = nextDigit(divisorHigh, divisorLow)
  const two = nextDigit(divisorHigh, divisorLow)
  const three = nextDigit(divisorHigh, divisorLow)
  // 1 bit before the point and 63 after it: |1|21|10 . 11|21|
  const quotientHigh = (isAtLeastOne ? 0x80000000 : 0) | (one << 10) | (two >>> 11)
  const quotientLow = (two << DIGIT_BITS) | three
  outcome[KIND] = FINITE
  setNormalised(outcome, exponent, quotientHigh, quotientLow)
  if ((remainder[0]! | remainder[1]!) !== 0) outcome[LOW]! |= 1
}

export function squareRoot(): void {
  const kind = first[KIND]!
  if (kind >= QUIET_NAN) outcomeIsNan(kind === SIGNALLING_NAN)
  else if (kind === ZERO) outcome.set(first)
  else if (first[SIGN] === 1) outcomeIsNan(true)
  else if (kind === INFINITE) outcome.set(first)
  else rootFinite()
}

/**
 * The first 26 bits of the root come from 52 bits of the radicand, which a double holds; the other 30 one at a time, by the
 * rule that (2r + 1)^2 = 4r^2 + (4r + 1). 56 bits and a jammed one are more than either format keeps.
 */
function rootFinite(): void {
  const exponent = first[EXPONENT]!
  const isOdd = (exponent & 1) !== 0
  // The radicand as a fixed-point number in [1, 4), with 62 bits after the point; the low word's lowest bits are zero anyway.
  const high = isOdd ? first[HIGH]! : first[HIGH]! >>> 1
  const low = isOdd ? first[LOW]! : (first[LOW]! >>> 1) | (first[HIGH]! << 31)
  const leading = (high >>> 0) * 1048576 + (low >>> 12)
  let root = Math.floor(Math.sqrt(leading))
  while (root * root > leading) root--
  while ((root + 1) * (root + 1) <= leading) root++
  let rest = leading - root * root
  // Two bits of the radicand a step: the 12 that are left, then zeros. Root and rest stay below 2^53 until the last steps,
  // where they go on as pairs of words.
  let pending = low << 20
  for (let step = 0; step < 24; step++) {
    rest = rest * 4 + (pending >>> 30)
    pending <<= 2
    const trial = root * 4 + 1
    root *= 2
    if (rest >= trial) {
      rest -= trial
      root++
    }
  }
  finishRoot(exponent >> 1, root, rest)
}

/** The last 6 bits of a root of 56, for which doubles are too short. */
function finishRoot(exponent: number, leadingRoot: number, leadingRest: number): void {
  let rootHigh = Math.floor(leadingRoot / TWO_32)
  let rootLow = leadingRoot >>> 0
  let restHigh = Math.floor(leadingRest / TWO_32)
  let restLow = leadingRest >>> 0
  for (let step = 0; step < 6; step++) {
    restHigh = (restHigh << 2) | (restLow >>> 30)
    restLow = (restLow << 2) >>> 0
    const trialHigh = (rootHigh << 2) | (rootLow >>> 30)
    const trialLow = ((rootLow << 2) | 1) >>> 0
    rootHigh = (rootHigh << 1) | (rootLow >>> 31)
    rootLow = (rootLow << 1) >>> 0
    if (restHigh > trialHigh || (restHigh === trialHigh && restLow >= trialLow)) {
      restHigh -= trialHigh + (restLow < trialLow ? 1 : 0)
      restLow = (restLow - trialLow) >>> 0
      rootLow++
    }
  }
  outcome[KIND] = FINITE
  outcome[SIGN] = 0
  outcome[EXPONENT] = exponent
  outcome[HIGH] = (rootHigh << 8) | (rootLow >>> 24)
  outcome[LOW] = (rootLow << 8) | ((restHigh | restLow) !== 0 ? 1 : 0)
}
