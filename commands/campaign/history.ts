/**
 * How a campaign went over time: samples of some seconds, each with what came in. There are at most SAMPLES_MAX; when there would be
 * more, neighbours are joined and samples last twice as long, so that a campaign of any length stays small.
 */
import { addCounts, type Tally } from '../../properties/campaign'

export const SAMPLES_MAX = 512
const FIRST_SAMPLE_SECONDS = 2

export interface Sample {
  /** Real time, in milliseconds since 1970. */
  startMs: number
  seconds: number
  worlds: number
  events: number
  failures: number
  /** In how many worlds; how often. */
  probes: Record<string, number>
  faults: Record<string, number>
}

export function emptySample(startMs: number): Sample {
  return { startMs, seconds: 0, worlds: 0, events: 0, failures: 0, probes: {}, faults: {} }
}

function joined(first: Sample, second: Sample | undefined): Sample {
  if (second === undefined) return first
  const sum = structuredClone(first)
  for (const name of ['seconds', 'worlds', 'events', 'failures'] as const) sum[name] += second[name]
  addCounts(sum.probes, second.probes)
  addCounts(sum.faults, second.faults)
  return sum
}

export class History {
  samples: Sample[]
  /** Of the first sample that has changed since it was asked for last. */
  private changedFrom: number
  /** How many the store has. */
  private storedCount: number
  private isOpen = false
  private sampleSeconds: number

  constructor(samples: Sample[] = []) {
    this.samples = samples
    this.changedFrom = samples.length
    this.storedCount = samples.length
    this.sampleSeconds = samples.reduce((most, { seconds }) => Math.max(most, seconds), FIRST_SAMPLE_SECONDS)
  }

  /** Adds what came in by `nowMs`. The first sample of a session starts when `begin` is called. */
  add(part: Tally, nowMs: number): void {
    const sample = this.samples.at(-1)
    if (!this.isOpen || sample === undefined) throw new Error('a session begins first')
    sample.seconds = Math.max(sample.seconds, (nowMs - sample.startMs) / 1000)
    sample.worlds += part.worlds
    sample.events += part.events
    sample.failures += part.groups.reduce((sum, { count }) => sum + count, 0)
    addCounts(sample.probes, part.probes)
    addCounts(sample.faults, part.faults)
    this.changedFrom = Math.min(this.changedFrom, this.samples.length - 1)
    if (sample.seconds >= this.sampleSeconds) this.begin(nowMs)
  }

  begin(nowMs: number): void {
    if (this.samples.length >= SAMPLES_MAX) this.halve()
    this.samples.push(emptySample(nowMs))
    this.isOpen = true
  }

  /** Takes samples of several histories, in order. */
  replace(samples: Sample[]): void {
    this.samples = samples
    this.changedFrom = 0
    while (this.samples.length > SAMPLES_MAX) this.halve()
  }

  /** Samples to write, by index; null: to remove. */
  takeChanges(): Map<number, Sample | null> {
    const changes = new Map<number, Sample | null>()
    for (let index = this.changedFrom; index < this.samples.length; index++) changes.set(index, this.samples[index]!)
    for (let index = this.samples.length; index < this.storedCount; index++) changes.set(index, null)
    this.changedFrom = this.samples.length
    this.storedCount = this.samples.length
    return changes
  }

  private halve(): void {
    const { samples } = this
    this.samples = samples.flatMap((sample, index) => (index % 2 === 0 ? [joined(sample, samples[index + 1])] : []))
    this.sampleSeconds *= 2
    this.changedFrom = 0
  }
}
