/**
 * IEEE 754 binary64 as RISC-V's D extension wants it. Operands are the low and the high half of a number's bits as signed
 * 32-bit integers, `mode` is a rounding mode of `frm` (0 to 4); results go to `result`, 32-bit integers sign-extended.
 * Exceptions are OR-ed into `flags`; a NaN result is the canonical one. No function fails.
 */
import { add } from './add'
import { fromInteger64, passOn, toInteger } from './convert'
import { divide, squareRoot } from './divide'
import { ADD, DIVIDE, hostF64, MULTIPLY, SUBTRACT } from './host'
import { hostFusedF64 } from './host_fused'
import { multiply, multiplyAdd } from './multiply'
import { flags, INVALID, NAN_F64_HIGH, result } from './state'
import { first, pack32, pack64, second, third, unpack64 } from './unpacked'

const SIGN_BIT = -0x80000000

function setResult(low: number, high: number): void {
  result[0] = low
  result[1] = high
}

export function f64Add(aLow: number, aHigh: number, bLow: number, bHigh: number, mode: number): void {
  if (hostF64(ADD, aLow, aHigh, bLow, bHigh, mode)) return
  unpack64(first, aLow, aHigh)
  unpack64(second, bLow, bHigh)
  add(mode)
  pack64(mode)
}

export function f64Sub(aLow: number, aHigh: number, bLow: number, bHigh: number, mode: number): void {
  if (hostF64(SUBTRACT, aLow, aHigh, bLow, bHigh, mode)) return
  unpack64(first, aLow, aHigh)
  unpack64(second, bLow, bHigh ^ SIGN_BIT)
  add(mode)
  pack64(mode)
}

export function f64Mul(aLow: number, aHigh: number, bLow: number, bHigh: number, mode: number): void {
  if (hostF64(MULTIPLY, aLow, aHigh, bLow, bHigh, mode)) return
  unpack64(first, aLow, aHigh)
  unpack64(second, bLow, bHigh)
  multiply()
  pack64(mode)
}

export function f64Div(aLow: number, aHigh: number, bLow: number, bHigh: number, mode: number): void {
  if (hostF64(DIVIDE, aLow, aHigh, bLow, bHigh, mode)) return
  unpack64(first, aLow, aHigh)
  unpack64(second, bLow, bHigh)
  divide()
  pack64(mode)
}

export function f64Sqrt(low: number, high: number, mode: number): void {
  unpack64(first, low, high)
  squareRoot()
  pack64(mode)
}

/** fmadd: a * b + c, rounded once. */
export function f64MulAdd(
  aLow: number,
  aHigh: number,
  bLow: number,
  bHigh: number,
  cLow: number,
  cHigh: number,
  mode: number,
): void {
  if (hostFusedF64(aLow, aHigh, bLow, bHigh, cLow, cHigh, mode)) return
  unpack64(first, aLow, aHigh)
  unpack64(second, bLow, bHigh)
  unpack64(third, cLow, cHigh)
  multiplyAdd(mode)
  pack64(mode)
}

/** fmsub: a * b - c. */
export function f64MulSub(
  aLow: number,
  aHigh: number,
  bLow: number,
  bHigh: number,
  cLow: number,
  cHigh: number,
  mode: number,
): void {
  f64MulAdd(aLow, aHigh, bLow, bHigh, cLow, cHigh ^ SIGN_BIT, mode)
}

/** fnmsub: -(a * b) + c. */
export function f64NegMulSub(
  aLow: number,
  aHigh: number,
  bLow: number,
  bHigh: number,
  cLow: number,
  cHigh: number,
  mode: number,
): void {
  f64MulAdd(aLow, aHigh ^ SIGN_BIT, bLow, bHigh, cLow, cHigh, mode)
}

/** fnmadd: -(a * b) - c. */
export function f64NegMulAdd(
  aLow: number,
  aHigh: number,
  bLow: number,
  bHigh: number,
  cLow: number,
  cHigh: number,
  mode: number,
): void {
  f64MulAdd(aLow, aHigh ^ SIGN_BIT, bLow, bHigh, cLow, cHigh ^ SIGN_BIT, mode)
}

function isNan(low: number, high: number): boolean {
  const magnitude = high & 0x7fffffff
  return magnitude > 0x7ff00000 || (magnitude === 0x7ff00000 && low !== 0)
}

function isSignalling(low: number, high: number): boolean {
  return isNan(low, high) && (high & 0x80000) === 0
}

function areZero(aLow: number, aHigh: number, bLow: number, bHigh: number): boolean {
  return (aLow | bLow | ((aHigh | bHigh) & 0x7fffffff)) === 0
}

/** Whether a comes before b, neither being a NaN, with -0 just before +0. */
function isBefore(aLow: number, aHigh: number, bLow: number, bHigh: number): boolean {
  if (aHigh !== bHigh) return (aHigh ^ ((aHigh >> 31) & 0x7fffffff)) < (bHigh ^ ((bHigh >> 31) & 0x7fffffff))
  return aHigh < 0 ? aLow >>> 0 > bLow >>> 0 : aLow >>> 0 < bLow >>> 0
}

function lesserOrGreater(aLow: number, aHigh: number, bLow: number, bHigh: number, isLesser: boolean): void {
  if (isSignalling(aLow, aHigh) || isSignalling(bLow, bHigh)) flags[0]! |= INVALID
  const isOtherNan = isNan(bLow, bHigh)
  if (isNan(aLow, aHigh)) setResult(isOtherNan ? 0 : bLow, isOtherNan ? NAN_F64_HIGH : bHigh)
  else if (isOtherNan || isBefore(aLow, aHigh, bLow, bHigh) === isLesser) setResult(aLow, aHigh)
  else setResult(bLow, bHigh)
}

/** minimumNumber of IEEE 754-2019: a NaN gives way to a number, -0 is less than +0; only signalling NaNs raise NV. */
export function f64Min(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  lesserOrGreater(aLow, aHigh, bLow, bHigh, true)
}

/** maximumNumber of IEEE 754-2019. */
export function f64Max(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  lesserOrGreater(aLow, aHigh, bLow, bHigh, false)
}

/** feq, a quiet comparison: only signalling NaNs raise NV. */
export function f64Eq(aLow: number, aHigh: number, bLow: number, bHigh: number): boolean {
  if (isNan(aLow, aHigh) || isNan(bLow, bHigh)) {
    if (isSignalling(aLow, aHigh) || isSignalling(bLow, bHigh)) flags[0]! |= INVALID
    return false
  }
  return (aLow === bLow && aHigh === bHigh) || areZero(aLow, aHigh, bLow, bHigh)
}

/** flt, a signalling comparison: every NaN raises NV. */
export function f64Lt(aLow: number, aHigh: number, bLow: number, bHigh: number): boolean {
  if (isNan(aLow, aHigh) || isNan(bLow, bHigh)) {
    flags[0]! |= INVALID
    return false
  }
  return !areZero(aLow, aHigh, bLow, bHigh) && isBefore(aLow, aHigh, bLow, bHigh)
}

/** fle, a signalling comparison: every NaN raises NV. */
export function f64Le(aLow: number, aHigh: number, bLow: number, bHigh: number): boolean {
  if (isNan(aLow, aHigh) || isNan(bLow, bHigh)) {
    flags[0]! |= INVALID
    return false
  }
  return areZero(aLow, aHigh, bLow, bHigh) || !isBefore(bLow, bHigh, aLow, aHigh)
}

/** fclass: one bit of ten, from -infinity (0) by normal, subnormal and zero up to +infinity (7), signalling (8), quiet (9). */
export function f64Classify(low: number, high: number): number {
  if (isNan(low, high)) return isSignalling(low, high) ? 1 << 8 : 1 << 9
  const magnitude = high & 0x7fffffff
  const size = (magnitude | low) === 0 ? 0 : magnitude < 0x100000 ? 1 : magnitude < 0x7ff00000 ? 2 : 3
  return 1 << (high < 0 ? 3 - size : 4 + size)
}

/** fsgnj: a with the sign of b; of b the high half is enough. */
export function f64SignInject(aLow: number, aHigh: number, bHigh: number): void {
  setResult(aLow, (aHigh & 0x7fffffff) | (bHigh & SIGN_BIT))
}

/** fsgnjn: a with the sign that b has not. */
export function f64SignInjectNegated(aLow: number, aHigh: number, bHigh: number): void {
  setResult(aLow, (aHigh & 0x7fffffff) | (~bHigh & SIGN_BIT))
}

/** fsgnjx: a with its sign changed if b is negative. */
export function f64SignInjectXor(aLow: number, aHigh: number, bHigh: number): void {
  setResult(aLow, aHigh ^ (bHigh & SIGN_BIT))
}

export function f64ToI32(low: number, high: number, mode: number): void {
  unpack64(first, low, high)
  toInteger(32, true, mode)
}

export function f64ToU32(low: number, high: number, mode: number): void {
  unpack64(first, low, high)
  toInteger(32, false, mode)
}

export function f64ToI64(low: number, high: number, mode: number): void {
  unpack64(first, low, high)
  toInteger(64, true, mode)
}

export function f64ToU64(low: number, high: number, mode: number): void {
  unpack64(first, low, high)
  toInteger(64, false, mode)
}

export function f64ToF32(low: number, high: number, mode: number): number {
  unpack64(first, low, high)
  passOn()
  return pack32(mode)
}

/** Always exact. */
export function i32ToF64(a: number): void {
  fromInteger64(a, a >> 31, true)
  pack64(0)
}

/** Always exact. */
export function u32ToF64(a: number): void {
  fromInteger64(a, 0, false)
  pack64(0)
}

export function i64ToF64(low: number, high: number, mode: number): void {
  fromInteger64(low, high, true)
  pack64(mode)
}

export function u64ToF64(low: number, high: number, mode: number): void {
  fromInteger64(low, high, false)
  pack64(mode)
}
