/**
 * Operands that find mistakes of rounding, for tests: specials, numbers whose digits are long runs, powers of two give or
 * take an ulp, and, for the last operand of an operation, one that brings the exact result next to a halfway case, to zero,
 * or to the least normal number. The n-th case of a seed is always the same.
 */
import { mix32 } from '../../co'
import { expectAdd, expectMultiply, type Format, infinityOf, signOf } from './testing'

export type OperandType = Format | 'i32' | 'i64'

/** Positive data with rules of their own, and those beside them. */
export function specialsOf(format: Format): bigint[] {
  const infinity = infinityOf(format)
  const leastNormal = 1n << BigInt(format.precision - 1)
  const quiet = leastNormal >> 1n
  const one = BigInt(format.exponentMax) << BigInt(format.precision - 1)
  const subnormal = [0n, 1n, leastNormal - 1n]
  const normal = [leastNormal, leastNormal + 1n, one - 1n, one, one + 1n, one + quiet, infinity - 1n]
  const signalling = [infinity + 1n, infinity + quiet - 1n]
  return [...subnormal, ...normal, infinity, ...signalling, infinity + quiet, infinity + quiet + 1n, infinity + leastNormal - 1n]
}

/** 2^exponent. */
export function powerOf(format: Format, exponent: number): bigint {
  return BigInt(format.exponentMax + exponent) << BigInt(format.precision - 1)
}

export class OperandSource {
  private counter = 0
  private readonly seed: number

  constructor(seed: number) {
    this.seed = mix32(seed)
  }

  /** 0 <= result < count. */
  below(count: number): number {
    return mix32(this.seed + Math.imul(++this.counter, 0x9e3779b9)) % count
  }

  bits(count: number): bigint {
    let value = 0n
    for (let at = 0; at < count; at += 16) value = (value << 16n) | BigInt(this.below(65536))
    return value & ((1n << BigInt(count)) - 1n)
  }

  /** Digits in which runs of ones or zeros are likely. */
  private runs(count: number): bigint {
    const all = (1n << BigInt(count)) - 1n
    const run = () => ((1n << BigInt(this.below(count + 1))) - 1n) << BigInt(this.below(count))
    switch (this.below(6)) {
      case 0:
        return this.bits(count)
      case 1:
        return run() & all
      case 2:
        return (run() ^ run()) & all
      case 3:
        return (all - run() + (1n << BigInt(this.below(count)))) & all
      case 4:
        return (this.bits(count) << BigInt(this.below(count))) & all
      default:
        return all - BigInt(this.below(4))
    }
  }

  integer(widthBits: number): bigint {
    const value = this.below(4) === 0 ? this.bits(widthBits) : this.runs(widthBits) >> BigInt(this.below(widthBits))
    return this.below(2) === 0 ? value : BigInt.asUintN(widthBits, -value)
  }

  /** An exponent field: any, near the middle, or next to either end. */
  private exponentField(format: Format): bigint {
    const top = format.exponentMax * 2 + 1
    switch (this.below(4)) {
      case 0:
        return BigInt(this.below(top + 1))
      case 1:
        return BigInt(this.below(2) === 0 ? this.below(4) : top - this.below(4))
      default:
        return BigInt(format.exponentMax + this.below(2 * format.precision) - format.precision)
    }
  }

  private special(format: Format): bigint {
    const values = specialsOf(format)
    return values[this.below(values.length)]!
  }

  float(format: Format): bigint {
    const sign = this.below(2) === 0 ? 0n : signOf(format)
    const digits = format.precision - 1
    switch (this.below(9)) {
      case 0:
        return sign | this.special(format)
      case 3:
        // Few digits: sums of such numbers are often exact, however far apart they are.
        return sign | (this.exponentField(format) << BigInt(digits)) | (this.bits(3) << BigInt(digits - 3))
      case 1:
        return this.bits(format.widthBits)
      case 2: {
        // A power of two give or take an ulp, zero and infinity among them.
        const magnitude = (this.exponentField(format) << BigInt(digits)) + BigInt(this.below(3)) - 1n
        return sign | (magnitude < 0n ? 0n : magnitude)
      }
      default:
        return sign | (this.exponentField(format) << BigInt(digits)) | this.runs(digits)
    }
  }

  /** A few ulps beside a number, perhaps a few exponents away, of either sign. */
  near(format: Format, bits: bigint): bigint {
    const magnitudeBits = format.widthBits - 1
    const jump = this.below(3) === 0 ? BigInt(this.below(2 * format.precision + 4) - format.precision - 2) : 0n
    const moved = bits + (jump << BigInt(format.precision - 1)) + BigInt(this.below(5)) - 2n
    const sign = this.below(2) === 0 ? signOf(format) : 0n
    return BigInt.asUintN(format.widthBits, moved ^ sign) & ((1n << BigInt(magnitudeBits + 1)) - 1n)
  }

  /** An operand for a place after others of the same format. */
  following(format: Format, before: bigint[]): bigint {
    const first = before[0]
    if (first === undefined || this.below(3) === 0) return this.float(format)
    if (before.length === 2) {
      // Beside the product, for sums that cancel or lie just beside a halfway case.
      return this.near(format, expectMultiply(format, first, before[1]!, this.below(5)).bits)
    }
    const one = BigInt(format.exponentMax) << BigInt(format.precision - 1)
    switch (this.below(4)) {
      case 0:
        return this.near(format, first)
      case 1:
        return this.near(format, expectAdd(format, first, this.float(format), this.below(5)).bits)
      case 2: {
        // The product, or the quotient, comes to lie next to the least normal number: the exponents add up to it.
        const field = (first >> BigInt(format.precision - 1)) & BigInt(format.exponentMax * 2 + 1)
        const target = BigInt(1 - this.below(3) - (this.below(4) === 0 ? this.below(format.precision) : 0))
        const wanted =
          this.below(2) === 0 ? target + BigInt(format.exponentMax) - field : field + BigInt(format.exponentMax) - target
        const clamped = wanted < 0n ? 0n : wanted > BigInt(format.exponentMax * 2) ? BigInt(format.exponentMax * 2) : wanted
        return (clamped << BigInt(format.precision - 1)) | this.runs(format.precision - 1)
      }
      default:
        return this.near(format, one)
    }
  }

  /** Factors beside powers of two, and an addend that the product is about half an ulp of: ties but for the last digits. */
  nearTie(format: Format): bigint[] {
    const digits = format.precision
    const exponents = [this.below(20) - 10, this.below(20) - 10] as const
    const factors = exponents.map((exponent) => powerOf(format, exponent) + BigInt(this.below(7) - 3))
    const distance = exponents[0] + exponents[1] + digits + this.below(5) - 2
    const sign = this.below(2) === 0 ? signOf(format) : 0n
    return [...factors, sign | (powerOf(format, distance) + BigInt(this.below(7) - 3))]
  }

  /** A number that makes the first operand of a quotient, or the radicand of a root, from the others. */
  product(format: Format, a: bigint, b: bigint): bigint {
    return this.near(format, expectMultiply(format, a, b, this.below(5)).bits)
  }
}
