/**
 * A campaign runs the worlds of consecutive seeds and adds them up. It is cut into chunks that may run anywhere and in any
 * order: a tally is plain data, adding tallies is commutative, and its hash says whether two campaigns saw the same worlds.
 *
 * Nothing here may depend on the clock or on the number of workers. What may go wrong inside a world (a finding, an
 * exception, a replay that differs) ends up in the tally; only a plan that cannot be made ends the campaign.
 */
import { firingsOf } from '../sim/faults'
import type { Plan } from '../sim/plan'
import type { Failure, FailureClass, TraceRecord, WorldResult } from '../sim/verdict'

/** Failures kept of one key. */
export const KEPT_PER_KEY = 4
/** Distance of the checkpoints of a world's hash, in events. */
export const CHECKPOINT_EVENTS = 64

/** The system under test as campaigns see it. */
export interface Subject {
  planOf(seed: string): Plan
  /** `decisions`: by key, in place of what the plan's seed gives. */
  run(plan: Plan, trace: 'last' | 'all', decisions?: Readonly<Record<string, number>>): WorldResult
}

/** A subject of which only the worlds matter. */
export type Runner = Pick<Subject, 'run'>

export interface CampaignOptions {
  /** Root of the seeds: world i has the seed `root.i`. */
  seed: string
  /** Share of the worlds that run twice to compare their hashes, in percent. */
  replayPercent: number
  /** Which failures of one key are kept (default: first). */
  keep?: KeepName
}

/** A failing world with all that a report needs. */
export interface FoundFailure {
  index: number
  seed: string
  plan: Plan
  failure: Failure
  events: number
  timeNs: number
  hash: string
  checkpoints: string[]
  trace: TraceRecord[]
  /** By key, where they are not what the plan's seed gives. */
  decisions?: Record<string, number>
}

/** Failures that have the same key. */
export interface FailureGroup {
  class: FailureClass
  key: string
  count: number
  found: FoundFailure[]
}

/** The sum of any set of worlds; plain data, so that it crosses threads. */
export interface Tally {
  worlds: number
  /** Worlds that ran twice. */
  replays: number
  events: number
  simulatedNs: number
  /** Sums of the worlds' hashes, modulo 2^32. */
  hashLow: number
  hashHigh: number
  /** How many worlds met a named situation. */
  probes: Record<string, number>
  /** How often faults fired, by name. */
  faults: Record<string, number>
  /** The most memory that one world made us ask for, where that is measured; no part of the hash. */
  memoryBytesMax: number
  groups: FailureGroup[]
}

export function emptyTally(): Tally {
  return {
    worlds: 0,
    replays: 0,
    events: 0,
    simulatedNs: 0,
    hashLow: 0,
    hashHigh: 0,
    probes: {},
    faults: {},
    memoryBytesMax: 0,
    groups: [],
  }
}

/** The seed of one world of a campaign. */
export function seedOfWorld(root: string, index: number): string {
  return `${root}.${index}`
}

/** 16 hex digits: the same for the same worlds with the same outcomes, in whatever order they were added. */
export function campaignHash(tally: Tally): string {
  return hex(tally.hashHigh) + hex(tally.hashLow)
}

/** Which of two failures of one key is kept rather: negative, the left one. */
export type KeepOrder = (left: Kept, right: Kept) => number
export type KeepName = 'first' | 'smallest'
type Kept = Pick<FoundFailure, 'index' | 'plan'>

export const KEEP_ORDERS: Readonly<Record<KeepName, KeepOrder>> = {
  first: (left, right) => left.index - right.index,
  /** Smaller plans are easier to understand; of equal ones the first. */
  smallest: (left, right) => sizeOf(left.plan) - sizeOf(right.plan) || left.index - right.index,
}

const sizes = new WeakMap<Plan, number>()
function sizeOf(plan: Plan): number {
  const size = sizes.get(plan) ?? JSON.stringify(plan).length
  sizes.set(plan, size)
  return size
}

/** Adds `from` to `into`. */
export function mergeTally(into: Tally, from: Tally, order: KeepOrder = KEEP_ORDERS.first): void {
  into.worlds += from.worlds
  into.replays += from.replays
  into.events += from.events
  into.simulatedNs += from.simulatedNs
  into.hashLow = (into.hashLow + from.hashLow) >>> 0
  into.hashHigh = (into.hashHigh + from.hashHigh) >>> 0
  addCounts(into.probes, from.probes)
  addCounts(into.faults, from.faults)
  into.memoryBytesMax = Math.max(into.memoryBytesMax, from.memoryBytesMax)
  for (const group of from.groups) {
    const mine = groupOf(into, group.class, group.key)
    mine.count += group.count
    for (const found of group.found) keep(mine, found, order)
  }
}

/** The failure with the lowest index of all; its class gives the exit code, whoever ran which chunk. */
export function firstFailure(tally: Tally): FoundFailure | null {
  let first: FoundFailure | null = null
  for (const group of tally.groups) {
    for (const found of group.found) if (first === null || found.index < first.index) first = found
  }
  return first
}

/** Runs the worlds [firstIndex, firstIndex + count) one by one, so that a caller can watch over each. */
export class Chunk {
  readonly tally = emptyTally()
  /** The world that `step` runs next, or is running. */
  index: number
  readonly endIndex: number
  private readonly subject: Subject
  private readonly options: CampaignOptions
  private readonly order: KeepOrder

  constructor(subject: Subject, options: CampaignOptions, firstIndex: number, count: number) {
    this.subject = subject
    this.options = options
    this.order = KEEP_ORDERS[options.keep ?? 'first']
    this.index = firstIndex
    this.endIndex = firstIndex + count
  }

  /** Runs the next world; false when there is none. */
  step(): boolean {
    if (this.index >= this.endIndex) return false
    const seed = seedOfWorld(this.options.seed, this.index)
    const plan = this.planOf(seed)
    const result = runOrCatch(this.subject, plan, 'last')
    this.add(seed, plan, this.examine(plan, result))
    this.index++
    return true
  }

  /** Records that the world at `index` did not come back after `seconds` of real time, and goes past it. */
  recordHang(seconds: number): void {
    const seed = seedOfWorld(this.options.seed, this.index)
    this.add(seed, this.planOf(seed), hangResult(seconds))
    this.index++
  }

  private planOf(seed: string): Plan {
    try {
      return this.subject.planOf(seed)
    } catch (error) {
      throw new Error(`no plan can be made of seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error })
    }
  }

  /**
   * A share of the worlds runs again, from a copy of the plan with its keys in another order; so does each failure that would
   * be kept, because a report that does not replay is worth nothing.
   */
  private examine(plan: Plan, result: WorldResult): WorldResult {
    const isKept = result.failure !== null && this.wouldKeep(plan, result.failure)
    if (!isKept && !isChosen(this.options.seed, this.index, this.options.replayPercent)) return result
    this.tally.replays++
    return checkExactness(this.subject, plan, result)
  }

  private wouldKeep(plan: Plan, failure: Failure): boolean {
    const group = this.tally.groups.find((other) => other.key === failure.key)
    if (group === undefined || group.found.length < KEPT_PER_KEY) return true
    return this.order({ index: this.index, plan }, group.found.at(-1)!) < 0
  }

  private add(seed: string, plan: Plan, result: WorldResult): void {
    const { tally } = this
    const identity = `${seed}:${result.hash}:${result.failure?.key ?? ''}`
    tally.worlds++
    tally.events += result.events
    tally.simulatedNs += result.timeNs
    tally.hashLow = (tally.hashLow + hashText(identity, 0x811c9dc5)) >>> 0
    tally.hashHigh = (tally.hashHigh + hashText(identity, 0x9747b28c)) >>> 0
    tally.memoryBytesMax = Math.max(tally.memoryBytesMax, result.end.memoryBytesMax ?? 0)
    for (const name in result.probes) tally.probes[name] = (tally.probes[name] ?? 0) + 1
    for (const [name, fired] of firingsOf(result.probes)) tally.faults[name] = (tally.faults[name] ?? 0) + fired
    if (result.failure === null) return
    const group = groupOf(tally, result.failure.class, result.failure.key)
    group.count++
    if (!this.wouldKeep(plan, result.failure)) return
    const { failure, events, timeNs, hash, checkpoints, trace } = result
    keep(group, { index: this.index, seed, plan, failure, events, timeNs, hash, checkpoints, trace }, this.order)
  }
}

/** Runs a plan; an exception that comes out of a world is a failure of the harness, not the end of the campaign. */
export function runOrCatch(subject: Runner, plan: Plan, trace: 'last' | 'all'): WorldResult {
  try {
    return subject.run(plan, trace)
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : { message: String(error), stack: undefined }
    return failedResult({
      class: 'harness',
      key: 'campaign/exception',
      text: `an exception left the world: ${message}`,
      details: (stack ?? '').split('\n').slice(1, 9),
    })
  }
}

/** The outcome of a world that did not come back after `seconds` of real time. */
export function hangResult(seconds: number): WorldResult {
  return failedResult({
    class: 'liveness',
    key: 'campaign/hang',
    text: `the world did not come back within ${seconds} s of real time`,
  })
}

/** A copy of what JSON can hold, with the keys of each object in the other order: nothing may depend on that. */
function withKeysReversed<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withKeysReversed) as T
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([, field]) => field !== undefined)
  return Object.fromEntries(entries.reverse().map(([name, field]) => [name, withKeysReversed(field)])) as T
}

/** Runs a plan a second time. Gives the first result back if both agree, and otherwise a failure that says where they part. */
export function checkExactness(subject: Runner, plan: Plan, first: WorldResult): WorldResult {
  const copy = withKeysReversed(plan)
  const second = runOrCatch(subject, copy, 'last')
  if (sameRun(first, second)) return first
  const window = firstDifferentCheckpoint(first, second)
  const details = describeDivergence(runOrCatch(subject, plan, 'all').trace, runOrCatch(subject, copy, 'all').trace)
  return {
    ...first,
    failure: {
      class: 'nondeterminism',
      key: 'campaign/replay-differs',
      text: `two runs of one plan differ, first between events ${window} and ${window + CHECKPOINT_EVENTS}`,
      expected: outcomeOf(first),
      actual: outcomeOf(second),
      details,
      step: window,
      timeNs: first.timeNs,
    },
  }
}

function sameRun(first: WorldResult, second: WorldResult): boolean {
  return first.hash === second.hash && first.events === second.events && first.failure?.key === second.failure?.key
}

function outcomeOf(result: WorldResult): string {
  return `${result.failure?.key ?? 'no failure'}, hash ${result.hash} after ${result.events} events`
}

function firstDifferentCheckpoint(first: WorldResult, second: WorldResult): number {
  const count = Math.min(first.checkpoints.length, second.checkpoints.length)
  let index = 0
  while (index < count && first.checkpoints[index] === second.checkpoints[index]) index++
  return index * CHECKPOINT_EVENTS
}

/** The last common event and the two that follow it, one line each. */
function describeDivergence(first: readonly TraceRecord[], second: readonly TraceRecord[]): string[] {
  const line = (record: TraceRecord | undefined): string =>
    record === undefined ? 'the end' : `#${record.step} ${record.timeNs} ns ${record.lane} ${record.text}`
  for (let index = 0; index < Math.max(first.length, second.length); index++) {
    if (line(first[index]) === line(second[index])) continue
    const before = index === 0 ? 'the start' : line(first[index - 1])
    return [`both after: ${before}`, `one run:    ${line(first[index])}`, `the other:  ${line(second[index])}`]
  }
  return ['two further runs with a full trace agree with one another: the cause lies outside the world']
}

function failedResult(finding: Pick<Failure, 'class' | 'key' | 'text' | 'details'>): WorldResult {
  return {
    failure: { ...finding, step: 0, timeNs: 0 },
    events: 0,
    timeNs: 0,
    hash: '00000000',
    checkpoints: [],
    probes: {},
    faultsFired: {},
    trace: [],
    end: {
      jobStatus: 'none',
      jobError: null,
      guestOperationsDone: 0,
      sourceAllocatedBytes: 0,
      destinationAllocatedBytes: 0,
      skippedZeroBytes: 0,
      copiedBytes: 0,
    },
  }
}

/** The group of a key, which is made if it is new. */
export function groupOf(tally: Tally, failureClass: FailureClass, key: string): FailureGroup {
  let group = tally.groups.find((other) => other.key === key)
  if (group === undefined) {
    group = { class: failureClass, key, count: 0, found: [] }
    tally.groups.push(group)
    tally.groups.sort((a, b) => (a.key < b.key ? -1 : 1))
  }
  return group
}

function keep(group: FailureGroup, found: FoundFailure, order: KeepOrder): void {
  group.found.push(found)
  group.found.sort(order)
  if (group.found.length > KEPT_PER_KEY) group.found.length = KEPT_PER_KEY
}

/** Adds up numbers by name. */
export function addCounts(into: Record<string, number>, from: Record<string, number>): void {
  for (const name in from) into[name] = (into[name] ?? 0) + from[name]!
}

/** Whether a world is one of those that run twice: a property of its seed, not of the order of the runs. */
function isChosen(root: string, index: number, percent: number): boolean {
  return percent > 0 && hashText(`exactness:${root}.${index}`, 0x811c9dc5) % 100 < percent
}

/** FNV-1a with a final avalanche, so that sums of similar texts do not look alike. */
function hashText(text: string, basis: number): number {
  let hash = basis
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

function hex(word: number): string {
  return word.toString(16).padStart(8, '0')
}
