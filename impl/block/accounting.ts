/**
 * What a backend's user has asked for and how it went: the numbers of query-blockstats. Bytes and operations count what
 * succeeded; latencies run from when a request is made to its end, throttling and drained sections included.
 *
 * What may fail: boundaries of histograms that make no sense (BlockError with QEMU's text). What never may: a request that
 * is counted twice, or that is delayed by being counted.
 */
import { assert, type Clock, type Co, type Errno, OK } from '../co'
import { BlockError } from './error'
import { TimedAverage } from './timed_average'

export const ACCOUNTED = ['read', 'write', 'flush', 'unmap'] as const
export type Accounted = (typeof ACCOUNTED)[number]

/** Names of QMP start with these. */
const PREFIX = { read: 'rd', write: 'wr', flush: 'flush', unmap: 'unmap' } as const
/** Operations that intervals and histograms are kept of. */
const TIMED = ['read', 'write', 'flush'] as const
type Timed = (typeof TIMED)[number]
const NS_PER_SECOND = 1_000_000_000

export interface AccountingOptions {
  /** Whether requests that are refused, or fail, count for latencies and for the time of the last access. */
  accountInvalid?: boolean
  accountFailed?: boolean
  /** What every request is said to have taken: on clocks that do not move by themselves. */
  fixedLatencyNs?: number
}

/** Counts of latencies: bin i is [boundaries[i - 1], boundaries[i]) nanoseconds, the last one open. */
export interface LatencyHistogram {
  boundaries: number[]
  bins: number[]
}

interface Counters {
  bytes: number
  operations: number
  merged: number
  failed: number
  invalid: number
  totalNs: number
  histogram: LatencyHistogram | null
}

interface Interval {
  seconds: number
  latency: Record<Timed, TimedAverage>
}

export class BlockAccounting {
  private readonly clock: Pick<Clock, 'nowNs'>
  private readonly fixedLatencyNs: number | null
  private readonly accountInvalid: boolean
  private readonly accountFailed: boolean
  private readonly counters: Record<Accounted, Counters> = {
    read: newCounters(),
    write: newCounters(),
    flush: newCounters(),
    unmap: newCounters(),
  }
  private readonly intervals: Interval[] = []
  private lastAccessNs: number | null = null

  constructor(clock: Pick<Clock, 'nowNs'>, options: AccountingOptions = {}) {
    this.clock = clock
    this.fixedLatencyNs = options.fixedLatencyNs ?? null
    this.accountInvalid = options.accountInvalid ?? true
    this.accountFailed = options.accountFailed ?? true
  }

  /** Runs `request` and counts how it went. */
  *watch(operation: Accounted, bytes: number, request: Co<Errno>): Co<Errno> {
    const startNs = this.clock.nowNs()
    const errno = yield* request
    this.ended(operation, bytes, startNs, errno)
    return errno
  }

  /** A request that began at `startNs` has ended. */
  ended(operation: Accounted, bytes: number, startNs: number, errno: Errno): void {
    const counters = this.counters[operation]
    const nowNs = this.clock.nowNs()
    const latencyNs = this.fixedLatencyNs ?? nowNs - startNs
    assert(latencyNs >= 0, 'latency-forward')
    if (errno === OK) {
      counters.bytes += bytes
      counters.operations++
    } else counters.failed++
    if (counters.histogram !== null) countLatency(counters.histogram, latencyNs)
    if (errno !== OK && !this.accountFailed) return
    counters.totalNs += latencyNs
    this.lastAccessNs = nowNs
    if (operation !== 'unmap') for (const { latency } of this.intervals) latency[operation].account(nowNs, latencyNs)
  }

  /** A request that the device refused without sending it. */
  invalid(operation: Accounted): void {
    this.counters[operation].invalid++
    if (this.accountInvalid) this.lastAccessNs = this.clock.nowNs()
  }

  /** `count` requests went as a part of another one. */
  merged(operation: Accounted, count: number): void {
    assert(count > 0, 'merged-count')
    this.counters[operation].merged += count
  }

  /** Keeps statistics of about the last `seconds`, besides those of other intervals. Throws BlockError. */
  addInterval(seconds: number): void {
    if (!Number.isSafeInteger(seconds) || seconds <= 0 || seconds > 2 ** 32 - 1) {
      throw new BlockError(`Invalid interval length: ${seconds}`)
    }
    const nowNs = this.clock.nowNs()
    const average = (): TimedAverage => new TimedAverage(seconds * NS_PER_SECOND, nowNs)
    this.intervals.push({ seconds, latency: { read: average(), write: average(), flush: average() } })
  }

  /** Starts a histogram afresh, or ends it without boundaries. False if they do not rise. */
  setHistogram(operation: Timed, boundaries: readonly number[] | null): boolean {
    const rises = boundaries?.every((boundary, index) => boundary > (index === 0 ? 0 : boundaries[index - 1]!)) ?? true
    if (!rises) return false
    this.counters[operation].histogram =
      boundaries === null ? null : { boundaries: [...boundaries], bins: new Array<number>(boundaries.length + 1).fill(0) }
    return true
  }

  /** BlockDeviceStats of QMP, without what the node knows. */
  report(): Record<string, unknown> {
    const nowNs = this.clock.nowNs()
    const stats: Record<string, unknown> = {}
    for (const operation of ACCOUNTED) {
      const { bytes, operations, merged, failed, invalid, totalNs } = this.counters[operation]
      const prefix = PREFIX[operation]
      if (operation !== 'flush') stats[`${prefix}_bytes`] = bytes
      stats[`${prefix}_operations`] = operations
      stats[`${prefix}_total_time_ns`] = totalNs
      if (operation !== 'flush') stats[`${prefix}_merged`] = merged
      stats[`failed_${prefix}_operations`] = failed
      stats[`invalid_${prefix}_operations`] = invalid
    }
    // No device here has zones.
    for (const name of ['bytes', 'operations', 'total_time_ns', 'merged']) stats[`zone_append_${name}`] = 0
    for (const name of ['failed', 'invalid']) stats[`${name}_zone_append_operations`] = 0
    if (this.lastAccessNs !== null) stats['idle_time_ns'] = nowNs - this.lastAccessNs
    stats['account_invalid'] = this.accountInvalid
    stats['account_failed'] = this.accountFailed
    stats['timed_stats'] = this.intervals.map((interval) => timedStats(interval, nowNs))
    for (const operation of TIMED) {
      const { histogram } = this.counters[operation]
      if (histogram === null) continue
      const { boundaries, bins } = histogram
      stats[`${PREFIX[operation]}_latency_histogram`] = { boundaries: [...boundaries], bins: [...bins] }
    }
    return stats
  }
}

function newCounters(): Counters {
  return { bytes: 0, operations: 0, merged: 0, failed: 0, invalid: 0, totalNs: 0, histogram: null }
}

/** The bin of a latency is the number of boundaries that it has reached. */
function countLatency({ boundaries, bins }: LatencyHistogram, latencyNs: number): void {
  let low = 0
  let high = boundaries.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (boundaries[middle]! <= latencyNs) low = middle + 1
    else high = middle
  }
  assert(low < bins.length, 'histogram-bin')
  bins[low]!++
}

/** BlockDeviceTimedStats of QMP. Queue depths are means over the time that the interval covers. */
function timedStats({ seconds, latency }: Interval, nowNs: number): Record<string, number> {
  const stats: Record<string, number> = { interval_length: seconds }
  for (const operation of TIMED) {
    const { least, most, mean, sum, elapsedNs } = latency[operation].report(nowNs)
    const prefix = PREFIX[operation]
    stats[`min_${prefix}_latency_ns`] = least
    stats[`max_${prefix}_latency_ns`] = most
    stats[`avg_${prefix}_latency_ns`] = mean
    if (operation !== 'flush') stats[`avg_${prefix}_queue_depth`] = elapsedNs === 0 ? 0 : sum / elapsedNs
  }
  return stats
}

/** The arguments of block-latency-histogram-set. */
export interface HistogramBoundaries {
  boundaries?: readonly number[]
  'boundaries-read'?: readonly number[]
  'boundaries-write'?: readonly number[]
  'boundaries-flush'?: readonly number[]
}

/** Sets the histograms that are named, all of them by `boundaries`; ends all of them if none is named. Throws BlockError. */
export function setLatencyHistograms(accounting: BlockAccounting, device: string, wanted: HistogramBoundaries): void {
  const all = wanted.boundaries ?? null
  const isNone = TIMED.every((operation) => (wanted[`boundaries-${operation}`] ?? all) === null)
  for (const operation of TIMED) {
    const boundaries = wanted[`boundaries-${operation}`] ?? all
    if (boundaries === null && !isNone) continue
    if (!accounting.setHistogram(operation, boundaries)) {
      throw new BlockError(`Device '${device}' set ${operation} boundaries fail`)
    }
  }
}
