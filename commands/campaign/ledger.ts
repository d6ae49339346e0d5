/**
 * All that is known of a campaign, and which records of its store that makes. Chunks come in whole: one that was not written before
 * the process was killed runs again, and gives the same, so that a campaign adds up the same however often it was interrupted.
 */
import * as v from 'valibot'
import { emptyTally, type FoundFailure, KEEP_ORDERS, mergeTally, type Tally } from '../../properties/campaign'
import { CHUNK_WORLDS } from '../campaign_chunks'
import { UsageError } from '../cli'
import { History, type Sample } from './history'
import { type Score, scoreChanges, scoresIn } from './scores'
import { type CampaignSetup, parseSetup } from './setup'
import { chunkOfIndex, DoneChunks } from './shards'

const COUNTS = v.record(v.string(), v.number())
/** What arithmetic goes on with; failures and samples are read as they were written. */
const STATE = v.looseObject({
  tally: v.looseObject({
    ...{ worlds: v.number(), replays: v.number(), events: v.number(), simulatedNs: v.number() },
    ...{ hashLow: v.number(), hashHigh: v.number(), memoryBytesMax: v.number(), probes: COUNTS, faults: COUNTS },
    groups: v.array(v.looseObject({ class: v.string(), key: v.string(), count: v.number(), found: v.array(v.unknown()) })),
  }),
  done: v.record(v.string(), v.looseObject({ upTo: v.number(), beyond: v.array(v.number()) })),
  firstIndexes: COUNTS,
})

interface StoredState {
  tally: Tally
  done: DoneChunks['parts']
  firstIndexes: Record<string, number>
}

const failureName = (key: string, index: number): string => `failure/${key}/${index}`
const smallestFirst = KEEP_ORDERS.smallest
const sampleName = (index: number): string => `sample/${String(index).padStart(6, '0')}`

export class Ledger {
  readonly setup: CampaignSetup
  readonly tally: Tally
  readonly done: DoneChunks
  /** The first world of all that failed, by key. */
  readonly firstIndexes: Record<string, number>
  readonly history: History
  /** What was recorded beside it, the oldest first. */
  readonly scores: Score[]
  /** Scores of other parts; those of this store are written by whoever records them. */
  private joinedScores: Score[] = []
  private readonly storedFailures: Set<string>
  /** Chunks of which a world hung, until the rest of them has come. */
  private readonly partial = new Map<number, Tally>()

  constructor(setup: CampaignSetup, records: ReadonlyMap<string, string> = new Map()) {
    this.setup = setup
    const text = records.get('state')
    const state: StoredState =
      text === undefined ? { tally: emptyTally(), done: {}, firstIndexes: {} } : (v.parse(STATE, JSON.parse(text)) as StoredState)
    this.tally = state.tally
    this.done = new DoneChunks(setup.shard, state.done)
    this.firstIndexes = state.firstIndexes
    this.scores = scoresIn(records)
    this.storedFailures = new Set([...records.keys()].filter((name) => name.startsWith('failure/')))
    const samples: Sample[] = []
    for (const [name, body] of records) if (name.startsWith('sample/')) samples.push(JSON.parse(body))
    for (const name of this.storedFailures) this.addStored(JSON.parse(records.get(name)!))
    this.history = new History(samples)
  }

  /** The campaign that a store holds. */
  static of(place: string, records: ReadonlyMap<string, string>): Ledger {
    const setup = parseSetup(place, records.get('setup'))
    try {
      return new Ledger(setup, records)
    } catch (error) {
      throw new UsageError(
        `${place}: a record cannot be read: ${error instanceof Error ? error.message : error}: give another store`,
      )
    }
  }

  private addStored(found: FoundFailure): void {
    const group = this.tally.groups.find(({ key }) => key === found.failure.key)
    if (group === undefined) throw new Error(`a failure of a key that was not counted, ${found.failure.key}`)
    group.found.push(found)
    group.found.sort(smallestFirst)
  }

  /** Adds worlds from `firstIndex` on: a chunk, or what came of one up to a world that hung. Gives keys that are new. */
  add(firstIndex: number, part: Tally, nowMs: number): string[] {
    const chunk = chunkOfIndex(this.setup.firstIndex, firstIndex)
    const whole = this.partial.get(chunk) ?? emptyTally()
    mergeTally(whole, part, smallestFirst)
    this.partial.set(chunk, whole)
    if (whole.worlds < CHUNK_WORLDS) return []
    this.partial.delete(chunk)
    this.done.add(chunk)
    this.history.add(whole, nowMs)
    return this.merge(whole)
  }

  /** Adds another part of the same campaign. */
  join(other: Ledger): void {
    for (const [part, done] of Object.entries(other.done.parts)) this.done.parts[part] = done
    this.merge(other.tally, other.firstIndexes)
    const samples = [...this.history.samples, ...other.history.samples].sort((left, right) => left.startMs - right.startMs)
    this.history.replace(samples)
    this.joinedScores.push(...other.scores)
    this.scores.push(...other.scores)
    this.scores.sort((left, right) => left.atMs - right.atMs)
  }

  private merge(part: Tally, firstIndexes?: Record<string, number>): string[] {
    const news: string[] = []
    for (const { key, found } of part.groups) {
      // A chunk keeps the first ones that failed in it.
      const first = firstIndexes?.[key] ?? Math.min(...found.map(({ index }) => index))
      if (this.firstIndexes[key] === undefined) news.push(key)
      this.firstIndexes[key] = Math.min(first, this.firstIndexes[key] ?? first)
    }
    mergeTally(this.tally, part, smallestFirst)
    return news
  }

  /** What has changed since it was asked for last; to be written as a whole. */
  takeChanges(): Map<string, string | null> {
    const bare: Tally = { ...this.tally, groups: this.tally.groups.map((group) => ({ ...group, found: [] })) }
    const state: StoredState = { tally: bare, done: this.done.parts, firstIndexes: this.firstIndexes }
    const changes = scoreChanges(new Map(), this.joinedScores)
    this.joinedScores = []
    changes.set('setup', JSON.stringify(this.setup)).set('state', JSON.stringify(state))
    for (const [index, sample] of this.history.takeChanges()) {
      changes.set(sampleName(index), sample === null ? null : JSON.stringify(sample))
    }
    const kept = new Map<string, FoundFailure>()
    for (const group of this.tally.groups) for (const found of group.found) kept.set(failureName(group.key, found.index), found)
    for (const name of this.storedFailures) if (!kept.has(name)) changes.set(name, null)
    for (const [name, found] of kept) if (!this.storedFailures.has(name)) changes.set(name, JSON.stringify(found))
    this.storedFailures.clear()
    for (const name of kept.keys()) this.storedFailures.add(name)
    return changes
  }
}
