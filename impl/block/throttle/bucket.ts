/**
 * A leaky bucket, kept as time. What has been used fills it, and it leaks at the average rate; so instead of its level it
 * is enough to know when it will have run empty. All arithmetic is in whole nanoseconds, rounded against the user, so
 * that no rate is ever exceeded in the long run.
 *
 * The rules are those of QEMU's throttling: without a burst rate the bucket holds a tenth of a second of the average; with
 * one it holds the burst rate for the burst's length, and a second bucket, of a tenth of a second, holds the burst to its
 * own rate if the burst is longer than a second.
 */
import { assert } from '../../co'

/** Largest rate per second that may be set. */
export const RATE_MAX = 1e15
/** Nobody waits longer than 13 days: sums of two such times and of the clock stay exact. */
const DURATION_MAX_NS = 2 ** 50
const TENTH_NS = 100_000_000
/** Their product is 10^9; a remainder below RATE_MAX times the largest of them is exact. */
const NS_FACTORS = [8, 8, 8, 5, 5, 5, 5, 5, 5, 5, 5, 5] as const

/** How long `units` take at `perSecond`, in nanoseconds rounded up, at most 2^50. Exact long division, without fractions. */
export function durationNs(units: number, perSecond: number): number {
  assert(Number.isSafeInteger(units) && units >= 0, 'rate-units', () => String(units))
  assert(Number.isSafeInteger(perSecond) && perSecond > 0 && perSecond <= RATE_MAX, 'rate', () => String(perSecond))
  let rest = units % perSecond
  let quotient = (units - rest) / perSecond
  for (const factor of NS_FACTORS) {
    const scaled = rest * factor
    rest = scaled % perSecond
    quotient = quotient * factor + (scaled - rest) / perSecond
    if (quotient > DURATION_MAX_NS) return DURATION_MAX_NS
  }
  return rest === 0 ? quotient : quotient + 1
}

export class LeakyBucket {
  /** Units per second; 0: no limit. */
  private average = 0
  /** The burst's own rate where the burst has one, else 0. */
  private burst = 0
  private sizeNs = TENTH_NS
  private emptyAtNs = 0
  private burstEmptyAtNs = 0

  get isLimited(): boolean {
    return this.average > 0
  }

  /** All rates are valid together (config.ts). An empty bucket starts. */
  configure(average: number, max: number, lengthSeconds: number): void {
    assert(max === 0 || max >= average, 'burst-above-average')
    assert(lengthSeconds === 1 || max > 0, 'burst-has-rate')
    this.average = average
    this.burst = lengthSeconds > 1 ? max : 0
    this.sizeNs = max > 0 && average > 0 ? durationNs(max * lengthSeconds, average) : TENTH_NS
    this.emptyAtNs = 0
    this.burstEmptyAtNs = 0
  }

  /** How long the next request has to wait; its size does not matter. */
  waitNs(nowNs: number): number {
    if (this.average === 0) return 0
    const waitNs = this.emptyAtNs - nowNs - this.sizeNs
    const burstNs = this.burst === 0 ? 0 : this.burstEmptyAtNs - nowNs - TENTH_NS
    return Math.max(0, waitNs, burstNs)
  }

  /** `units` / `divisor` have been used; `divisor` is at least 1. */
  account(nowNs: number, units: number, divisor: number): void {
    if (this.average === 0) return
    const usedNs = durationNs(units, Math.min(this.average * divisor, RATE_MAX))
    this.emptyAtNs = nowNs + Math.min(Math.max(this.emptyAtNs - nowNs, 0) + usedNs, DURATION_MAX_NS)
    assert(this.emptyAtNs >= nowNs, 'bucket-forward')
    if (this.burst === 0) return
    const burstNs = durationNs(units, Math.min(this.burst * divisor, RATE_MAX))
    this.burstEmptyAtNs = nowNs + Math.min(Math.max(this.burstEmptyAtNs - nowNs, 0) + burstNs, DURATION_MAX_NS)
  }
}
