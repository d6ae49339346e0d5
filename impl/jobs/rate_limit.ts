/**
 * A rate limit without slices: what has been sent moves the earliest time of the next operation. So the burst is one
 * operation, whatever the speed, and the average holds over any longer time.
 */
import { assert } from '../co'

const US_PER_SECOND = 1_000_000
const NS_PER_US = 1000

export class RateLimit {
  private bytesPerSecond = 0
  private nextNs = 0

  /** Bytes per second, 0 for no limit. What has been sent before is forgotten. */
  setSpeed(bytesPerSecond: number): void {
    assert(Number.isSafeInteger(bytesPerSecond) && bytesPerSecond >= 0, 'speed', () => String(bytesPerSecond))
    this.bytesPerSecond = bytesPerSecond
    this.nextNs = 0
  }

  get speed(): number {
    return this.bytesPerSecond
  }

  /** How long the next operation has to wait. */
  delayNs(nowNs: number): number {
    return this.nextNs > nowNs ? this.nextNs - nowNs : 0
  }

  /** An operation of `bytes` (below 2^32) starts. In whole microseconds, so that the product stays exact. */
  account(nowNs: number, bytes: number): void {
    assert(bytes >= 0 && bytes < 2 ** 32, 'rate-bytes', () => String(bytes))
    if (this.bytesPerSecond === 0) return
    const durationUs = Math.ceil((bytes * US_PER_SECOND) / this.bytesPerSecond)
    this.nextNs = Math.max(this.nextNs, nowNs) + durationUs * NS_PER_US
    assert(this.nextNs >= nowNs, 'rate-forward')
  }
}
