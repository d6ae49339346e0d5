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
import { compare128, multiply64, subtract128 } from './words'

const TWO_32 = 4294967296
const DIGIT_BITS = 21
const DIGIT = 1 << DIGIT_BITS

/** The remainder of the division under way: below 2^64, the high word first. */
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

/** The radicand less the square of the root, and bounds to compare it with: four words, the highest first. */
const rest = new Int32Array(4)
const square = new Int32Array(4)
const bound = new Int32Array(4)

function setBound(value: number): void {
  bound[2] = Math.floor(value / TWO_32)
  bound[3] = value
}

/** Sets `rest` to what a root of at most 2^53 leaves of the radicand; false if that is less than nothing. */
function setRest(radicandHigh: number, radicandLow: number, root: number): boolean {
  const rootHigh = Math.floor(root / TWO_32)
  multiply64(square, rootHigh, root | 0, rootHigh, root | 0)
  // 62 bits after the point become 104, the square of 52.
  rest[0] = radicandHigh >>> 22
  rest[1] = (radicandHigh << 10) | (radicandLow >>> 22)
  rest[2] = radicandLow << 10
  rest[3] = 0
  if (compare128(square, rest) > 0) return false
  subtract128(rest, square)
  return true
}

/**
 * The root to 52 bits after the point is the whole number r with r^2 <= radicand < (r + 1)^2. The host's root is a guess at
 * it, and what the guess leaves of the radicand is exact: the result does not depend on how good the guess was. The rest r'
 * tells the digits that follow: they are above a half exactly if r' > r, since (r + 1/2)^2 = r^2 + r + 1/4, and never a half.
 */
function rootFinite(): void {
  const exponent = first[EXPONENT]!
  const isOdd = (exponent & 1) !== 0
  // The radicand as a fixed-point number in [1, 4) with 62 bits after the point; of its digits at most the first 53 are set.
  const high = isOdd ? first[HIGH]! : first[HIGH]! >>> 1
  const low = isOdd ? first[LOW]! : (first[LOW]! >>> 1) | (first[HIGH]! << 31)
  let root = Math.floor(Math.sqrt(((high >>> 0) * TWO_32 + (low >>> 0)) / 2 ** 62) * 2 ** 52)
  while (!setRest(high, low, root)) root--
  setBound(2 * root)
  while (compare128(rest, bound) > 0) {
    root++
    setRest(high, low, root)
    setBound(2 * root)
  }
  setBound(root)
  const isAboveHalf = compare128(rest, bound) > 0
  const isExact = (rest[0]! | rest[1]! | rest[2]! | rest[3]!) === 0
  outcome[KIND] = FINITE
  outcome[SIGN] = 0
  outcome[EXPONENT] = exponent >> 1
  outcome[HIGH] = (Math.floor(root / TWO_32) << 11) | ((root | 0) >>> 21)
  outcome[LOW] = ((root | 0) << 11) | (isAboveHalf ? 0x401 : isExact ? 0 : 1)
}
