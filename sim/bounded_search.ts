/**
 * Goes through the schedules of a plan that differ from the dull one in few decisions, depth first: run the world, call
 * `next`, and again as long as it says true. The first run is all dull. Most bugs of concurrency need one or two things to
 * happen out of order; bounding the number of deviations visits those first and all of them.
 *
 * What never may happen: a schedule that is visited twice, or one within the bounds that is not visited.
 */
import { type Label, mix32 } from '../impl/co'
import { type Decider, decisionKey } from './decider'

export interface SearchBounds {
  /** Decisions that are not dull in one schedule, at most; absent: any number, so that every schedule is visited. */
  deviationsMax?: number
  /** Decisions after so many stay dull: worlds that go on long are not searched to their end. */
  decisionsMax?: number
}

const DECISIONS_MAX = 1000

export class BoundedSearch implements Decider {
  private readonly deviationsMax: number
  private readonly decisionsMax: number
  private readonly digits: number[] = []
  private readonly counts: number[] = []
  private readonly keys: number[] = []
  private deviations = 0
  private at = 0

  constructor({ deviationsMax = Number.MAX_SAFE_INTEGER, decisionsMax = DECISIONS_MAX }: SearchBounds = {}) {
    this.deviationsMax = deviationsMax
    this.decisionsMax = decisionsMax
  }

  decide(site: Label, subject: Label, attempt: number, count: number): number {
    const at = this.at++
    if (at >= this.decisionsMax) return 0
    const key = mix32(site.hash ^ mix32(subject.hash + attempt))
    if (at === this.digits.length) {
      this.digits.push(0)
      this.counts.push(count)
      this.keys.push(key)
    }
    if (this.counts[at] !== count || this.keys[at] !== key) {
      throw new Error(`search: decision ${at} is another one than in the run before (${decisionKey(site, subject, attempt)})`)
    }
    return this.digits[at]!
  }

  /** The schedule that has just been run, for another run of it. */
  again(): this {
    this.at = 0
    return this
  }

  /** Turns to the next schedule; false when all have been run. */
  next(): boolean {
    this.at = 0
    while (this.digits.length > 0) {
      const last = this.digits.length - 1
      const digit = this.digits[last]!
      const isDeviation = digit > 0
      if (digit + 1 < this.counts[last]! && (isDeviation || this.deviations < this.deviationsMax)) {
        this.digits[last] = digit + 1
        if (!isDeviation) this.deviations++
        return true
      }
      if (isDeviation) this.deviations--
      this.digits.pop()
      this.counts.pop()
      this.keys.pop()
    }
    return false
  }
}
