/**
 * Smallest, largest and mean of what was measured in about the last period, in constant memory: two windows of that
 * length, half a period apart. Questions are answered by the older one, so an answer covers between a half and a whole
 * period. Integers; the mean is rounded down.
 */
import { assert } from '../co'

interface Window {
  endNs: number
  count: number
  sum: number
  least: number
  most: number
}

function newWindow(endNs: number): Window {
  return { endNs, count: 0, sum: 0, least: 0, most: 0 }
}

export class TimedAverage {
  readonly periodNs: number
  private readonly windows: [Window, Window]

  constructor(periodNs: number, nowNs: number) {
    assert(Number.isSafeInteger(periodNs) && periodNs > 1, 'average-period', () => String(periodNs))
    this.periodNs = periodNs
    this.windows = [newWindow(nowNs + Math.floor(periodNs / 2)), newWindow(nowNs + periodNs)]
  }

  account(nowNs: number, value: number): void {
    this.expire(nowNs)
    for (const window of this.windows) {
      window.least = window.count === 0 ? value : Math.min(window.least, value)
      window.most = Math.max(window.most, value)
      window.sum += value
      window.count++
      assert(Number.isSafeInteger(window.sum), 'average-sum')
    }
  }

  /** All are 0 if nothing was measured. `elapsedNs` is how long the answer covers, `sum` what was measured in that time. */
  report(nowNs: number): { least: number; most: number; mean: number; sum: number; elapsedNs: number } {
    this.expire(nowNs)
    const [first, second] = this.windows
    const older = first.endNs < second.endNs ? first : second
    const { least, most, sum, count, endNs } = older
    const elapsedNs = this.periodNs - (endNs - nowNs)
    assert(elapsedNs >= 0 && elapsedNs <= this.periodNs, 'average-elapsed')
    return { least, most, mean: count === 0 ? 0 : (sum - (sum % count)) / count, sum, elapsedNs }
  }

  /** Empties windows that have ended; their ends stay half a period apart, however long nobody asked. */
  private expire(nowNs: number): void {
    for (const [index, window] of this.windows.entries()) {
      if (window.endNs > nowNs) continue
      const overNs = (nowNs - window.endNs) % this.periodNs
      this.windows[index as 0 | 1] = newWindow(nowNs + this.periodNs - overNs)
    }
  }
}
