/**
 * The volatile cache of a disk, for worlds with a power cut. It knows what is on the medium, and which changes have come
 * since the last flush or are on their way. A cut leaves the medium with any subset of those: sector by sector, in any order
 * between two flushes, requests in flight included. Which one, is decided under the label of each request's maker.
 *
 * What never may happen: that something is lost which had ended before a flush began that succeeded, unless the flush has lied
 * by a planned fault; what is lost by that is marked.
 */
import { assert, type Errno, type Label, makeLabel, OK } from '../impl/co'
import type { Corruption } from './corruption'
import { Attempts, type Decider, Site } from './decider'
import type { DiskRequest } from './disk'
import type { MetRequest } from './faults'
import { type DiskPlan, SECTOR_BYTES } from './plan'
import type { ProbeName } from './probes'
import type { DiskStore } from './store'

interface Change {
  readonly label: Label
  readonly operation: 'write' | 'write-zeroes' | 'discard' | 'truncate'
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly data: Uint8Array | null
  readonly mayUnmap: boolean
  readonly newLengthBytes: number
}

/** What becomes of the changes of a whole disk, by decision. */
const enum Fate {
  /** What has ended stays, what was in flight is lost: the dull cut. */
  Ended = 0,
  /** Nothing stays that was not flushed. */
  Flushed = 1,
  /** The medium was quick: even what was in flight is there. */
  All = 2,
  /** Each request, and each sector, has its own fate. */
  Mixed = 3,
}
const FATES = 4

const WHOLE_DISK = makeLabel('power-cut')

export class WriteCache {
  /** What is safe. After `cut`, what has survived. */
  readonly medium: DiskStore
  private readonly plan: DiskPlan
  private readonly inFlight = new Set<DiskRequest>()
  /** In the order of their ends. */
  private readonly ended: Change[] = []
  /** How many changes have become safe: the number of the first one in `ended`. */
  private safeCount = 0
  /** By flush in flight: how many changes had ended when it began. */
  private readonly flushes = new Map<DiskRequest, number>()
  private readonly attempts = new Attempts()
  /** Changes with lower numbers were said to be safe. */
  private liedUntil = 0

  /** Whatever is in the store now is safe. */
  constructor(store: DiskStore, plan: DiskPlan) {
    this.plan = plan
    this.medium = store.copy()
  }

  submitted(request: DiskRequest): void {
    if (request.operation === 'flush') this.flushes.set(request, this.safeCount + this.ended.length)
    else if (request.operation !== 'read') this.inFlight.add(request)
  }

  /** The request has changed the store, or has failed; `met`: what a fault has made of it. */
  completed(request: DiskRequest, errno: Errno, met: MetRequest | null): void {
    const { operation } = request
    if (operation === 'read' || operation === 'status') return
    if (operation === 'flush') {
      const count = this.flushes.get(request)
      assert(count !== undefined, 'flush-was-submitted')
      this.flushes.delete(request)
      if (request.fault?.kind === 'lying-flush') this.liedUntil = Math.max(this.liedUntil, count)
      else if (errno === OK) this.makeSafe(count)
      return
    }
    const wasInFlight = this.inFlight.delete(request)
    assert(wasInFlight, 'change-was-submitted')
    if (met === null) this.ended.push(changeOf(request, operation))
    else if (met.landedBytes > 0) this.ended.push(changeOf(request, operation, met.landsAtBytes, met.landedBytes))
    assert(met !== null || errno === OK, 'failure-has-a-fault')
  }

  private makeSafe(count: number): void {
    for (; this.safeCount < count; this.safeCount++) {
      const change = this.ended.shift()
      assert(change !== undefined, 'safe-change-has-ended')
      this.apply(change, change.offsetBytes, change.offsetBytes + change.lengthBytes)
    }
  }

  private apply(change: Change, startBytes: number, endBytes: number): void {
    const { operation, data, offsetBytes, mayUnmap } = change
    const { medium } = this
    const plan = this.plan
    const lengthBytes = endBytes - startBytes
    if (operation === 'truncate') medium.resize(change.newLengthBytes)
    else if (operation === 'write') medium.write(startBytes, data!.subarray(startBytes - offsetBytes, endBytes - offsetBytes))
    else if (operation === 'write-zeroes') {
      medium.writeZeroes(startBytes, lengthBytes, mayUnmap && plan.writeZeroes === 'unmapping')
    } else if (plan.discard !== 'none') medium.discard(startBytes, lengthBytes, plan.discard)
  }

  /** The power is gone: `medium` is what somebody finds afterwards. */
  cut(decider: Decider, hit: (probe: ProbeName) => void, corruption: Corruption | null): void {
    const site = this.medium.name === 'source' ? Site.SourceCut : Site.DestinationCut
    const { ended, inFlight } = this
    if (ended.length + inFlight.size === 0) return
    for (let index = 0; index < this.liedUntil - this.safeCount; index++) {
      const { offsetBytes, lengthBytes } = ended[index]!
      corruption?.mark(offsetBytes, offsetBytes + lengthBytes)
      hit('power/behind-a-lie')
    }
    const fate = decider.decide(site, WHOLE_DISK, 0, FATES) as Fate
    const keptWhole = fate === Fate.All || fate === Fate.Ended
    for (const change of ended) {
      if (fate === Fate.Mixed) this.keepSome(site, decider, change, true, hit)
      else if (keptWhole) this.keep(change)
      else hit('power/unflushed-lost')
    }
    for (const request of inFlight) {
      const { operation } = request
      assert(operation !== 'read' && operation !== 'flush' && operation !== 'status', 'change-in-flight')
      const change = changeOf(request, operation)
      if (fate === Fate.Mixed) this.keepSome(site, decider, change, false, hit)
      else if (fate === Fate.All) {
        this.keep(change)
        hit('power/in-flight-kept')
      }
    }
  }

  private keep(change: Change): void {
    this.apply(change, change.offsetBytes, change.offsetBytes + change.lengthBytes)
  }

  /** Kept or lost as a whole, or torn at any sectors. */
  private keepSome(site: Label, decider: Decider, change: Change, hasEnded: boolean, hit: (probe: ProbeName) => void): void {
    const { label, offsetBytes, lengthBytes } = change
    const choice = decider.decide(site, label, this.attempts.next(label), 3)
    if (choice < 2) {
      const isKept = (choice === 0) === hasEnded
      if (isKept) this.keep(change)
      if (isKept !== hasEnded) hit(isKept ? 'power/in-flight-kept' : 'power/unflushed-lost')
      return
    }
    hit('power/torn')
    const endBytes = offsetBytes + lengthBytes
    let keptFromBytes = -1
    for (let at = offsetBytes; at < endBytes; ) {
      const isKept = decider.decide(site, label, this.attempts.next(label), 2) === 0
      if (isKept && keptFromBytes < 0) keptFromBytes = at
      else if (!isKept && keptFromBytes >= 0) {
        this.apply(change, keptFromBytes, at)
        keptFromBytes = -1
      }
      at = Math.min(at - (at % SECTOR_BYTES) + SECTOR_BYTES, endBytes)
    }
    if (keptFromBytes >= 0) this.apply(change, keptFromBytes, endBytes)
  }
}

function changeOf(
  request: DiskRequest,
  operation: Change['operation'],
  offsetBytes = request.offsetBytes,
  lengthBytes = request.lengthBytes,
): Change {
  const { label, mayUnmap, newLengthBytes } = request
  // `slice` of a Buffer is no copy.
  const data = operation === 'write' ? Uint8Array.from(request.data!.subarray(0, lengthBytes)) : null
  return { label, operation, offsetBytes, lengthBytes, data, mayUnmap, newLengthBytes }
}
