/**
 * IEEE 754 binary32 as RISC-V's F extension wants it. Operands and results are the bits of an f32 as a signed 32-bit integer,
 * `mode` is a rounding mode of `frm` (0 to 4); integers of either width go to `result`, sign-extended to 64 bits. Exceptions
 * are OR-ed into `flags`; a NaN result is the canonical one. No function fails.
 */
import { add } from './add'
import { fromInteger64, passOn, toInteger } from './convert'
import { divide, squareRoot } from './divide'
import { ADD, DIVIDE, hostF32, MULTIPLY, SUBTRACT } from './host'
import { hostFusedF32 } from './host_fused'
import { multiply, multiplyAdd } from './multiply'
import { flags, INVALID, NAN_F32, result } from './state'
import { first, pack32, pack64, second, third, unpack32 } from './unpacked'

const SIGN_BIT = -0x80000000

export function f32Add(a: number, b: number, mode: number): number {
  if (hostF32(ADD, a, b, mode)) return result[0]!
  unpack32(first, a)
  unpack32(second, b)
  add(mode)
  return pack32(mode)
}

export function f32Sub(a: number, b: number, mode: number): number {
  if (hostF32(SUBTRACT, a, b, mode)) return result[0]!
  unpack32(first, a)
  unpack32(second, b ^ SIGN_BIT)
  add(mode)
  return pack32(mode)
}

export function f32Mul(a: number, b: number, mode: number): number {
  if (hostF32(MULTIPLY, a, b, mode)) return result[0]!
  unpack32(first, a)
  unpack32(second, b)
  multiply()
  return pack32(mode)
}

export function f32Div(a: number, b: number, mode: number): number {
  if (hostF32(DIVIDE, a, b, mode)) return result[0]!
  unpack32(first, a)
  unpack32(second, b)
  divide()
  return pack32(mode)
}

export function f32Sqrt(a: number, mode: number): number {
  unpack32(first, a)
  squareRoot()
  return pack32(mode)
}

/** fmadd: a * b + c, rounded once. */
export function f32MulAdd(a: number, b: number, c: number, mode: number): number {
  if (hostFusedF32(a, b, c, mode)) return result[0]!
  unpack32(first, a)
  unpack32(second, b)
  unpack32(third, c)
  multiplyAdd(mode)
  return pack32(mode)
}

/** fmsub: a * b - c. */
export function f32MulSub(a: number, b: number, c: number, mode: number): number {
  return f32MulAdd(a, b, c ^ SIGN_BIT, mode)
}

/** fnmsub: -(a * b) + c. */
export function f32NegMulSub(a: number, b: number, c: number, mode: number): number {
  return f32MulAdd(a ^ SIGN_BIT, b, c, mode)
}

/** fnmadd: -(a * b) - c. */
export function f32NegMulAdd(a: number, b: number, c: number, mode: number): number {
  return f32MulAdd(a ^ SIGN_BIT, b, c ^ SIGN_BIT, mode)
}

function isNan(a: number): boolean {
  return (a & 0x7fffffff) > 0x7f800000
}

function isSignalling(a: number): boolean {
  return isNan(a) && (a & 0x400000) === 0
}

/** An integer ordered as the numbers are, with -0 just below +0. */
function orderOf(a: number): number {
  return a ^ ((a >> 31) & 0x7fffffff)
}

function lesserOrGreater(a: number, b: number, isLesser: boolean): number {
  if (isSignalling(a) || isSignalling(b)) flags[0]! |= INVALID
  if (isNan(a)) return isNan(b) ? NAN_F32 : b
  if (isNan(b)) return a
  return orderOf(a) < orderOf(b) === isLesser ? a : b
}

/** minimumNumber of IEEE 754-2019: a NaN gives way to a number, -0 is less than +0; only signalling NaNs raise NV. */
export function f32Min(a: number, b: number): number {
  return lesserOrGreater(a, b, true)
}

/** maximumNumber of IEEE 754-2019. */
export function f32Max(a: number, b: number): number {
  return lesserOrGreater(a, b, false)
}

/** feq, a quiet comparison: only signalling NaNs raise NV. */
export function f32Eq(a: number, b: number): boolean {
  if (isNan(a) || isNan(b)) {
    if (isSignalling(a) || isSignalling(b)) flags[0]! |= INVALID
    return false
  }
  return a === b || ((a | b) & 0x7fffffff) === 0
}

/** flt, a signalling comparison: every NaN raises NV. */
export function f32Lt(a: number, b: number): boolean {
  if (isNan(a) || isNan(b)) {
    flags[0]! |= INVALID
    return false
  }
  return ((a | b) & 0x7fffffff) !== 0 && orderOf(a) < orderOf(b)
}

/** fle, a signalling comparison: every NaN raises NV. */
export function f32Le(a: number, b: number): boolean {
  if (isNan(a) || isNan(b)) {
    flags[0]! |= INVALID
    return false
  }
  return ((a | b) & 0x7fffffff) === 0 || orderOf(a) <= orderOf(b)
}

/** fclass: one bit of ten, from -infinity (0) by normal, subnormal and zero up to +infinity (7), signalling (8), quiet (9). */
export function f32Classify(a: number): number {
  if (isNan(a)) return isSignalling(a) ? 1 << 8 : 1 << 9
  const magnitude = a & 0x7fffffff
  const size = magnitude === 0 ? 0 : magnitude < 0x800000 ? 1 : magnitude < 0x7f800000 ? 2 : 3
  return 1 << (a < 0 ? 3 - size : 4 + size)
}

/** fsgnj: a with the sign of b. */
export function f32SignInject(a: number, b: number): number {
  return (a & 0x7fffffff) | (b & SIGN_BIT)
}

/** fsgnjn: a with the sign that b has not. */
export function f32SignInjectNegated(a: number, b: number): number {
  return (a & 0x7fffffff) | (~b & SIGN_BIT)
}

/** fsgnjx: a with its sign changed if b is negative. */
export function f32SignInjectXor(a: number, b: number): number {
  return a ^ (b & SIGN_BIT)
}

export function f32ToI32(a: number, mode: number): void {
  unpack32(first, a)
  toInteger(32, true, mode)
}

export function f32ToU32(a: number, mode: number): void {
  unpack32(first, a)
  toInteger(32, false, mode)
}

export function f32ToI64(a: number, mode: number): void {
  unpack32(first, a)
  toInteger(64, true, mode)
}

export function f32ToU64(a: number, mode: number): void {
  unpack32(first, a)
  toInteger(64, false, mode)
}

/** Into `result`; always exact. */
export function f32ToF64(a: number): void {
  unpack32(first, a)
  passOn()
  pack64(0)
}

export function i32ToF32(a: number, mode: number): number {
  fromInteger64(a, a >> 31, true)
  return pack32(mode)
}

export function u32ToF32(a: number, mode: number): number {
  fromInteger64(a, 0, false)
  return pack32(mode)
}

export function i64ToF32(low: number, high: number, mode: number): number {
  fromInteger64(low, high, true)
  return pack32(mode)
}

export function u64ToF32(low: number, high: number, mode: number): number {
  fromInteger64(low, high, false)
  return pack32(mode)
}

/** An f32 in a register of 64 bits, in `result`: the upper half is all ones (RISC-V D, "NaN Boxing of Narrower Values"). */
export function boxF32(bits: number): void {
  result[0] = bits
  result[1] = -1
}

/** The f32 of a register; the canonical NaN where it is not boxed. */
export function unboxF32(low: number, high: number): number {
  return high === -1 ? low : NAN_F32
}
