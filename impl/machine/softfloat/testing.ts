/**
 * What an operation must give, from the definitions alone: operands become exact rationals, the exact value of the operation
 * is rounded as IEEE 754-2019, clause 4.3, says, and exceptions follow clause 7 with tininess after rounding. BigInt
 * throughout; shares nothing with the implementation. For tests.
 */

export interface Format {
  widthBits: number
  /** Digits of a significand, the leading one included. */
  precision: number
  /** Exponents of the least and the greatest normal numbers. */
  exponentMin: number
  exponentMax: number
}

export const BINARY32: Format = { widthBits: 32, precision: 24, exponentMin: -126, exponentMax: 127 }
export const BINARY64: Format = { widthBits: 64, precision: 53, exponentMin: -1022, exponentMax: 1023 }

/** Bits of a result and the exceptions raised, as in `fflags`. */
export interface Expected {
  bits: bigint
  flags: number
}

/** A datum; a finite one is (-1)^isNegative * numerator / denominator, with a sign on zero too. */
type Datum =
  | { kind: 'nan'; isSignalling: boolean }
  | { kind: 'infinite'; isNegative: boolean }
  | { kind: 'finite'; isNegative: boolean; numerator: bigint; denominator: bigint }

const NX = 1
const UF = 2
const OF = 4
const DZ = 8
const NV = 16

function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length
}

export function infinityOf(format: Format): bigint {
  return (1n << BigInt(format.widthBits - 1)) - (1n << BigInt(format.precision - 1))
}

export function signOf(format: Format): bigint {
  return 1n << BigInt(format.widthBits - 1)
}

function canonicalNan(format: Format): bigint {
  return infinityOf(format) | (1n << BigInt(format.precision - 2))
}

export function decode(format: Format, bits: bigint): Datum {
  const isNegative = (bits & signOf(format)) !== 0n
  const magnitude = bits & (signOf(format) - 1n)
  const infinity = infinityOf(format)
  if (magnitude > infinity) return { kind: 'nan', isSignalling: (magnitude & (1n << BigInt(format.precision - 2))) === 0n }
  if (magnitude === infinity) return { kind: 'infinite', isNegative }
  const leading = 1n << BigInt(format.precision - 1)
  const biased = magnitude / leading
  const fraction = magnitude % leading
  const significand = biased === 0n ? fraction : fraction + leading
  const exponent = Number(biased === 0n ? 1n : biased) - 1 + format.exponentMin - (format.precision - 1)
  return exponent >= 0
    ? { kind: 'finite', isNegative, numerator: significand << BigInt(exponent), denominator: 1n }
    : { kind: 'finite', isNegative, numerator: significand, denominator: 1n << BigInt(-exponent) }
}

/** numerator / denominator as a multiple of 2^quantum. */
function roundAt(
  isNegative: boolean,
  numerator: bigint,
  denominator: bigint,
  quantum: number,
  mode: number,
): { multiple: bigint; isExact: boolean } {
  const scaled = quantum < 0 ? numerator << BigInt(-quantum) : numerator
  const unit = quantum > 0 ? denominator << BigInt(quantum) : denominator
  const below = scaled / unit
  const rest = scaled % unit
  if (rest === 0n) return { multiple: below, isExact: true }
  const isNearerAbove = rest * 2n > unit
  const isHalfway = rest * 2n === unit
  const goesAway = [
    isNearerAbove || (isHalfway && below % 2n === 1n),
    false,
    isNegative,
    !isNegative,
    isNearerAbove || isHalfway,
  ][mode]!
  return { multiple: goesAway ? below + 1n : below, isExact: false }
}

/** A rational in the format; a zero has the sign given. */
export function roundTo(format: Format, isNegative: boolean, numerator: bigint, denominator: bigint, mode: number): Expected {
  const sign = isNegative ? signOf(format) : 0n
  if (numerator === 0n) return { bits: sign, flags: 0 }
  let exponent = bitLength(numerator) - bitLength(denominator)
  if (exponent >= 0 ? numerator < denominator << BigInt(exponent) : numerator << BigInt(-exponent) < denominator) exponent--
  const digits = format.precision - 1
  const unbounded = roundAt(isNegative, numerator, denominator, exponent - digits, mode)
  const roundedExponent = unbounded.multiple === 1n << BigInt(format.precision) ? exponent + 1 : exponent
  if (roundedExponent > format.exponentMax) {
    const isInfinite = [true, false, isNegative, !isNegative, true][mode]!
    return { bits: sign | (isInfinite ? infinityOf(format) : infinityOf(format) - 1n), flags: OF | NX }
  }
  const quantumMin = format.exponentMin - digits
  const quantum = Math.max(exponent - digits, quantumMin)
  const { multiple, isExact } = roundAt(isNegative, numerator, denominator, quantum, mode)
  const isTiny = roundedExponent < format.exponentMin
  const bits = sign | ((BigInt(quantum - quantumMin) << BigInt(digits)) + multiple)
  return { bits, flags: isExact ? 0 : isTiny ? UF | NX : NX }
}

function invalid(format: Format): Expected {
  return { bits: canonicalNan(format), flags: NV }
}

/** The canonical NaN if an operand is a NaN. */
function nanOf(format: Format, data: Datum[]): Expected | undefined {
  const nans = data.filter((datum) => datum.kind === 'nan')
  if (nans.length === 0) return undefined
  return { bits: canonicalNan(format), flags: nans.some((nan) => nan.kind === 'nan' && nan.isSignalling) ? NV : 0 }
}

function infinite(format: Format, isNegative: boolean): Expected {
  return { bits: infinityOf(format) | (isNegative ? signOf(format) : 0n), flags: 0 }
}

function isZero(datum: Datum): boolean {
  return datum.kind === 'finite' && datum.numerator === 0n
}

/** The sum of two data that may be exact beyond the format, rounded once. */
function sum(format: Format, a: Datum, b: Datum, mode: number): Expected {
  if (a.kind === 'nan' || b.kind === 'nan') throw new Error('NaNs are dealt with before')
  if (a.kind === 'infinite' && b.kind === 'infinite' && a.isNegative !== b.isNegative) return invalid(format)
  if (a.kind === 'infinite') return infinite(format, a.isNegative)
  if (b.kind === 'infinite') return infinite(format, b.isNegative)
  const signed = (datum: typeof a) => (datum.isNegative ? -datum.numerator : datum.numerator)
  const numerator = signed(a) * b.denominator + signed(b) * a.denominator
  if (numerator === 0n) {
    // 6.3: two zeros of one sign keep it; else an exact zero sum is positive, except when rounding downward.
    const isNegative = isZero(a) && isZero(b) && a.isNegative === b.isNegative ? a.isNegative : mode === 2
    return { bits: isNegative ? signOf(format) : 0n, flags: 0 }
  }
  const denominator = a.denominator * b.denominator
  return roundTo(format, numerator < 0n, numerator < 0n ? -numerator : numerator, denominator, mode)
}

/** The exact product, or undefined for zero times infinity. Neither is a NaN. */
function productOf(a: Datum, b: Datum): Datum | undefined {
  if (a.kind === 'nan' || b.kind === 'nan') return undefined
  const isNegative = a.isNegative !== b.isNegative
  if (a.kind === 'infinite' || b.kind === 'infinite') {
    return isZero(a) || isZero(b) ? undefined : { kind: 'infinite', isNegative }
  }
  const numerator = a.numerator * b.numerator
  return { kind: 'finite', isNegative, numerator, denominator: a.denominator * b.denominator }
}

export function expectAdd(format: Format, a: bigint, b: bigint, mode: number): Expected {
  const data = [decode(format, a), decode(format, b)] as const
  return nanOf(format, [...data]) ?? sum(format, data[0], data[1], mode)
}

export function expectMultiply(format: Format, a: bigint, b: bigint, mode: number): Expected {
  const data = [decode(format, a), decode(format, b)] as const
  const nan = nanOf(format, [...data])
  if (nan !== undefined) return nan
  const product = productOf(data[0], data[1])
  if (product === undefined || product.kind === 'nan') return invalid(format)
  if (product.kind === 'infinite') return infinite(format, product.isNegative)
  return roundTo(format, product.isNegative, product.numerator, product.denominator, mode)
}

export function expectDivide(format: Format, a: bigint, b: bigint, mode: number): Expected {
  const x = decode(format, a)
  const y = decode(format, b)
  const nan = nanOf(format, [x, y])
  if (nan !== undefined) return nan
  if (x.kind === 'nan' || y.kind === 'nan') throw new Error('NaNs are dealt with before')
  const isNegative = x.isNegative !== y.isNegative
  if (x.kind === 'infinite') return y.kind === 'infinite' ? invalid(format) : infinite(format, isNegative)
  if (y.kind === 'infinite') return { bits: isNegative ? signOf(format) : 0n, flags: 0 }
  if (y.numerator === 0n) return x.numerator === 0n ? invalid(format) : { ...infinite(format, isNegative), flags: DZ }
  return roundTo(format, isNegative, x.numerator * y.denominator, x.denominator * y.numerator, mode)
}

/** a * b + c; the standard leaves 0 * infinity + quiet NaN open, RISC-V F has it raise NV. */
export function expectMultiplyAdd(format: Format, a: bigint, b: bigint, c: bigint, mode: number): Expected {
  const [x, y, z] = [decode(format, a), decode(format, b), decode(format, c)]
  const isUndefined = (isZero(x) && y.kind === 'infinite') || (x.kind === 'infinite' && isZero(y))
  const nan = nanOf(format, [x, y, z])
  if (isUndefined) return invalid(format)
  return nan ?? sum(format, productOf(x, y)!, z, mode)
}

/** The greatest integer whose square is at most the value. */
function integerRoot(value: bigint): bigint {
  let root = 1n << BigInt((bitLength(value) + 1) >> 1)
  for (;;) {
    const next = (root + value / root) >> 1n
    if (next >= root) return root
    root = next
  }
}

export function expectSquareRoot(format: Format, a: bigint, mode: number): Expected {
  const x = decode(format, a)
  const nan = nanOf(format, [x])
  if (nan !== undefined) return nan
  if (isZero(x)) return { bits: a, flags: 0 }
  if (x.kind === 'nan' || x.isNegative) return invalid(format)
  if (x.kind === 'infinite') return infinite(format, false)
  // sqrt(n / d) = sqrt(n * d * 4^k) / (d * 2^k). The root is cut to a whole number with far more digits than the format has;
  // a half stands for what was cut off, which lies strictly between two whole numbers as every such rest does.
  const extraBits = BigInt(2 * format.precision)
  const square = (x.numerator * x.denominator) << (2n * extraBits)
  const root = integerRoot(square)
  const numerator = root * root === square ? root * 2n : root * 2n + 1n
  return roundTo(format, false, numerator, (x.denominator << extraBits) * 2n, mode)
}

export function expectConvert(from: Format, to: Format, a: bigint, mode: number): Expected {
  const x = decode(from, a)
  const nan = nanOf(to, [x])
  if (nan !== undefined) return nan
  if (x.kind === 'nan') throw new Error('NaNs are dealt with before')
  return x.kind === 'infinite' ? infinite(to, x.isNegative) : roundTo(to, x.isNegative, x.numerator, x.denominator, mode)
}

/** `value` is the integer itself. */
export function expectFromInteger(format: Format, value: bigint, mode: number): Expected {
  return roundTo(format, value < 0n, value < 0n ? -value : value, 1n, mode)
}

/** The register of 64 bits after fcvt: a 32-bit integer is sign-extended, an unsigned one too. */
export function expectToInteger(format: Format, a: bigint, widthBits: number, isSigned: boolean, mode: number): Expected {
  const x = decode(format, a)
  const width = BigInt(widthBits)
  const greatest = (1n << (isSigned ? width - 1n : width)) - 1n
  const least = isSigned ? -greatest - 1n : 0n
  const asRegister = (value: bigint) => BigInt.asUintN(64, BigInt.asIntN(widthBits, value))
  if (x.kind === 'nan') return { bits: asRegister(greatest), flags: NV }
  if (x.kind === 'infinite') return { bits: asRegister(x.isNegative ? least : greatest), flags: NV }
  const { multiple, isExact } = roundAt(x.isNegative, x.numerator, x.denominator, 0, mode)
  const value = x.isNegative ? -multiple : multiple
  if (value > greatest) return { bits: asRegister(greatest), flags: NV }
  if (value < least) return { bits: asRegister(least), flags: NV }
  return { bits: asRegister(value), flags: isExact ? 0 : NX }
}

/** Negative, zero or positive; undefined if a NaN is there. Zeros are equal. */
function compare(x: Datum, y: Datum): number | undefined {
  if (x.kind === 'nan' || y.kind === 'nan') return undefined
  const rank = (datum: typeof x) => (datum.kind === 'finite' ? 0 : datum.isNegative ? -1 : 1)
  if (x.kind !== 'finite' || y.kind !== 'finite') return rank(x) - rank(y)
  const left = (x.isNegative ? -x.numerator : x.numerator) * y.denominator
  const right = (y.isNegative ? -y.numerator : y.numerator) * x.denominator
  return left < right ? -1 : left > right ? 1 : 0
}

export function expectCompare(format: Format, relation: 'eq' | 'lt' | 'le', a: bigint, b: bigint): Expected {
  const [x, y] = [decode(format, a), decode(format, b)]
  const order = compare(x, y)
  if (order === undefined) return { bits: 0n, flags: relation === 'eq' ? nanOf(format, [x, y])!.flags : NV }
  const holds = relation === 'eq' ? order === 0 : relation === 'lt' ? order < 0 : order <= 0
  return { bits: holds ? 1n : 0n, flags: 0 }
}

/** minimumNumber, or maximumNumber, with -0 less than +0 and the canonical NaN for two NaNs. */
export function expectExtreme(format: Format, isGreatest: boolean, a: bigint, b: bigint): Expected {
  const [x, y] = [decode(format, a), decode(format, b)]
  const flags = nanOf(format, [x, y])?.flags ?? 0
  if (x.kind === 'nan' && y.kind === 'nan') return { bits: canonicalNan(format), flags }
  if (x.kind === 'nan') return { bits: b, flags }
  if (y.kind === 'nan') return { bits: a, flags }
  const order = compare(x, y)!
  const isFirstLess = order < 0 || (order === 0 && x.isNegative && !y.isNegative)
  return { bits: isFirstLess !== isGreatest ? a : b, flags }
}

/** The bit of fclass, from the table in RISC-V F, "Single-Precision Floating-Point Classify Instruction". */
export function expectClass(format: Format, a: bigint): Expected {
  const x = decode(format, a)
  if (x.kind === 'nan') return { bits: x.isSignalling ? 256n : 512n, flags: 0 }
  if (x.kind === 'infinite') return { bits: x.isNegative ? 1n : 128n, flags: 0 }
  if (x.numerator === 0n) return { bits: x.isNegative ? 8n : 16n, flags: 0 }
  const isNormal = x.numerator << BigInt(-format.exponentMin) >= x.denominator
  return { bits: isNormal ? (x.isNegative ? 2n : 64n) : x.isNegative ? 4n : 32n, flags: 0 }
}
