/**
 * Products, and products with an addend, rounded once (IEEE 754-2019, 5.4.1; RISC-V F, "Single-Precision Floating-Point
 * Computational Instructions"). Operands are `first`, `second` and, for the sum, `third`; the outcome goes to `outcome`,
 * exact but for a jammed lowest bit. Raises NV for signalling NaNs, for zero times infinity (whatever the addend, a quiet
 * NaN too), and for the difference of infinities.
 */
import { outcomeIsNan, zeroSign } from './add'
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
  third,
  ZERO,
} from './unpacked'
import { add128, compare128, multiply64, normalise128, shiftRightJam128, subtract128 } from './words'

/** The significands of product and addend, four words each, the highest first. */
const product = new Int32Array(4)
const addend = new Int32Array(4)

/** Zero times infinity has no value. */
function isZeroTimesInfinity(): boolean {
  return (first[KIND] === ZERO && second[KIND] === INFINITE) || (first[KIND] === INFINITE && second[KIND] === ZERO)
}

/** Fills `product` with the normalised product of two finite operands; its exponent. */
function multiplyFinite(): number {
  multiply64(product, first[HIGH]!, first[LOW]!, second[HIGH]!, second[LOW]!)
  // Two significands of [1, 2) give one of [1, 4): the frame's top bit stands for 2.
  return first[EXPONENT]! + second[EXPONENT]! + 1 - normalise128(product)
}

/** 128 bits to the 64 of a record; what is cut off is jammed. */
function setFinite(sign: number, exponent: number, words: Int32Array): void {
  outcome[KIND] = FINITE
  outcome[SIGN] = sign
  outcome[EXPONENT] = exponent
  outcome[HIGH] = words[0]!
  outcome[LOW] = words[1]! | ((words[2]! | words[3]!) !== 0 ? 1 : 0)
}

export function multiply(): void {
  const kind = first[KIND]!
  const otherKind = second[KIND]!
  const sign = first[SIGN]! ^ second[SIGN]!
  if (kind === FINITE && otherKind === FINITE) {
    setFinite(sign, multiplyFinite(), product)
  } else if (kind >= QUIET_NAN || otherKind >= QUIET_NAN) {
    outcomeIsNan(kind === SIGNALLING_NAN || otherKind === SIGNALLING_NAN)
  } else if (isZeroTimesInfinity()) {
    outcomeIsNan(true)
  } else {
    outcome[KIND] = kind === INFINITE || otherKind === INFINITE ? INFINITE : ZERO
    outcome[SIGN] = sign
  }
}

/** first * second + third. */
export function multiplyAdd(mode: number): void {
  const kind = first[KIND]!
  const otherKind = second[KIND]!
  const addendKind = third[KIND]!
  const sign = first[SIGN]! ^ second[SIGN]!
  if (kind === FINITE && otherKind === FINITE && addendKind === FINITE) {
    sumWithProduct(mode, sign)
  } else if (kind >= QUIET_NAN || otherKind >= QUIET_NAN || addendKind >= QUIET_NAN) {
    const isSignalling = kind === SIGNALLING_NAN || otherKind === SIGNALLING_NAN || addendKind === SIGNALLING_NAN
    outcomeIsNan(isSignalling || isZeroTimesInfinity())
  } else if (isZeroTimesInfinity()) {
    outcomeIsNan(true)
  } else if (kind === INFINITE || otherKind === INFINITE) {
    outcome[KIND] = INFINITE
    outcome[SIGN] = sign
    if (addendKind === INFINITE && third[SIGN] !== sign) outcomeIsNan(true)
  } else if (addendKind === INFINITE) {
    outcome.set(third)
  } else if (kind === FINITE && otherKind === FINITE) {
    setFinite(sign, multiplyFinite(), product)
  } else {
    // The product is an exact zero.
    outcome.set(third)
    if (addendKind === ZERO && third[SIGN] !== sign) outcome[SIGN] = zeroSign(mode)
  }
}

function sumWithProduct(mode: number, productSign: number): void {
  const productExponent = multiplyFinite()
  const addendExponent = third[EXPONENT]!
  addend[0] = third[HIGH]!
  addend[1] = third[LOW]!
  addend[2] = 0
  addend[3] = 0
  const isSwapped = productExponent === addendExponent ? compare128(product, addend) < 0 : productExponent < addendExponent
  const large = isSwapped ? addend : product
  const small = isSwapped ? product : addend
  const exponent = isSwapped ? addendExponent : productExponent
  // A product has at most 106 bits and an addend 53, so a difference of exponents below 2, the only one where leading digits
  // cancel, loses no bits; else at least 127 bits stay above the jammed one.
  shiftRightJam128(small, isSwapped ? addendExponent - productExponent : productExponent - addendExponent)
  if (productSign === third[SIGN]) {
    const carries = add128(large, small)
    if (carries) {
      shiftRightJam128(large, 1)
      large[0]! |= 0x80000000
    }
    setFinite(productSign, carries ? exponent + 1 : exponent, large)
    return
  }
  subtract128(large, small)
  if ((large[0]! | large[1]! | large[2]! | large[3]!) === 0) {
    outcome[KIND] = ZERO
    outcome[SIGN] = zeroSign(mode)
    return
  }
  setFinite(isSwapped ? third[SIGN]! : productSign, exponent - normalise128(large), large)
}
