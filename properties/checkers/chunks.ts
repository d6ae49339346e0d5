/**
 * The promise of every step: a chunk that is neither dirty nor in flight reads the same on both disks, and while the mirror
 * calls itself actively synced and nothing is on its way, nothing is dirty.
 *
 * Only chunks are looked at that may have changed: those whose bits moved and those that a disk was told to change. A chunk
 * in which a guest's request is on its way is looked at when it has left. Now and then, and when the first scan ends, all
 * chunks are.
 */
import type { Checker, CheckerHook, DiskRequestView, JobEventView, MirrorView, WorldView } from '../../sim/observer'
import type { ControlOperation, DiskName, GuestOperation } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { MirrorScope } from './scope'
import { bitMap, isAnyBitSet, isChange, markRange, setAll } from './shared'

/** Events between two looks at every chunk. */
const FULL_CHECK_EVENTS = 256

export function makeChunkChecker(world: WorldView): Checker {
  return new ChunkChecker(world)
}

/** A job that has to wait after an error looks again by then. */
const UNSYNCED_MAX_NS = 2_000_000
/** Who has to keep to a speed, or waits for guests' requests to end for good, may sleep while guests clean the last chunk. */
const SLEEP_ORDERS: ReadonlyArray<ControlOperation['kind']> = ['set-speed', 'complete', 'cancel']

class ChunkChecker implements Checker {
  readonly name = 'chunks'
  readonly idle: readonly CheckerHook[]
  private readonly world: WorldView
  private readonly scope: MirrorScope
  private mirror: MirrorView | null = null
  private isCopying = false
  private events = 0
  /** When everything but the flag was in step; -1: it is not. */
  private unsyncedSinceNs = -1
  private readonly maySleep: boolean
  /** Chunks to look at as soon as they are clean and idle. */
  private pending: Uint32Array = new Uint32Array(0)
  private lastDirty: Uint32Array = new Uint32Array(0)
  private lastInFlight: Uint32Array = new Uint32Array(0)

  constructor(world: WorldView) {
    this.world = world
    this.idle = world.plan.mirror.sync === 'none' ? [] : ['guestSubmitted', 'guestCompleted']
    const { mirror, control } = world.plan
    this.maySleep = mirror.speedBytesPerSecond > 0 || control.some(({ kind }) => SLEEP_ORDERS.includes(kind))
    this.scope = new MirrorScope(world)
  }

  guestSubmitted(operation: GuestOperation): Finding | null {
    this.scope.guestSubmitted(operation)
    return null
  }

  guestCompleted(operation: GuestOperation, status: number): Finding | null {
    this.scope.guestCompleted(operation, status)
    return null
  }

  diskCompleted(disk: DiskName, request: DiskRequestView, _errno: number): Finding | null {
    const mirror = this.mirror
    this.scope.diskCompleted(disk, request)
    if (mirror === null || !isChange(request.operation)) return null
    const endBytes = Math.min(request.offsetBytes + request.lengthBytes, mirror.lengthBytes)
    if (request.offsetBytes < endBytes) markRange(this.pending, mirror.granularityBytes, request.offsetBytes, endBytes)
    return null
  }

  jobEvent(event: JobEventView): Finding | null {
    if (event.event === 'JOB_STATUS_CHANGE' && event.data['status'] === 'created') this.begin()
    return null
  }

  private begin(): void {
    const { mirror } = this.world
    this.mirror = mirror
    this.isCopying = false
    this.unsyncedSinceNs = -1
    this.scope.start()
    if (mirror === null) return
    this.pending = bitMap(mirror.chunkCount, false)
    this.lastDirty = bitMap(mirror.chunkCount, false)
    this.lastInFlight = bitMap(mirror.chunkCount, false)
  }

  afterEvent(): Finding | null {
    const { mirror } = this
    if (mirror === null) return null
    const { phase, inFlightWords } = mirror
    if (phase === 'finished' || inFlightWords === null) {
      this.mirror = null
      return null
    }
    if (phase !== 'copying' && phase !== 'completing') return null
    if (!this.isCopying || ++this.events % FULL_CHECK_EVENTS === 0) {
      this.isCopying = true
      setAll(this.pending, mirror.chunkCount)
    }
    if (mirror.activelySynced) this.unsyncedSinceNs = -1
    const finding = mirror.activelySynced ? checkSynced(mirror) : this.checkUnsynced(mirror)
    if (finding !== null) return finding
    return this.checkPending(mirror, inFlightWords)
  }

  /** Guests wait for their copies, all of it is copied, nothing is on its way, and time goes by: then the mirror is in step. */
  private checkUnsynced(mirror: MirrorView): Finding | null {
    const { world } = this
    if (this.maySleep) return null
    const isDue = mirror.copyMode === 'write-blocking' && world.jobStatus === 'ready' && isIdle(mirror)
    if (!isDue || isAnyBitSet(mirror.dirtyWords)) {
      this.unsyncedSinceNs = -1
      return null
    }
    if (this.unsyncedSinceNs < 0) this.unsyncedSinceNs = world.timeNs
    if (world.timeNs - this.unsyncedSinceNs < UNSYNCED_MAX_NS) return null
    const text = 'guests wait for their copies, everything is copied, and the mirror does not call itself actively synced'
    return { class: 'protocol', key: 'chunks/never-synced', text }
  }

  private checkPending(mirror: MirrorView, inFlightWords: Uint32Array): Finding | null {
    const pending = this.pending
    const lastDirty = this.lastDirty
    const lastInFlight = this.lastInFlight
    const { dirtyWords } = mirror
    for (let word = 0; word < pending.length; word++) {
      const dirty = dirtyWords[word]!
      const inFlight = inFlightWords[word]!
      let waiting = pending[word]! | (dirty ^ lastDirty[word]!) | (inFlight ^ lastInFlight[word]!)
      lastDirty[word] = dirty
      lastInFlight[word] = inFlight
      // A bit that goes brings its chunk back.
      waiting &= ~(dirty | inFlight)
      pending[word] = waiting
      while (waiting !== 0) {
        const bit = waiting & -waiting
        waiting ^= bit
        const chunkIndex = word * 32 + (31 - Math.clz32(bit))
        if (isBeingChanged(mirror, chunkIndex)) continue
        pending[word]! &= ~bit
        const finding = this.checkChunk(mirror, chunkIndex)
        if (finding !== null) return finding
      }
    }
    return null
  }

  private checkChunk(mirror: MirrorView, chunkIndex: number): Finding | null {
    const startBytes = chunkIndex * mirror.granularityBytes
    const endBytes = Math.min(startBytes + mirror.granularityBytes, mirror.lengthBytes)
    const at = this.scope.firstDifference(startBytes, endBytes)
    if (at < 0) return null
    return {
      class: 'content',
      key: 'chunks/clean-chunk-differs',
      text: `chunk ${chunkIndex} is neither dirty nor in flight, and the disks differ in it: nobody will copy it any more`,
      disk: 'destination',
      offsetBytes: at,
      lengthBytes: endBytes - at,
      chunkIndex,
    }
  }
}

/** A guest's request is somewhere between source and destination: they may differ there. */
function isBeingChanged(mirror: MirrorView, chunkIndex: number): boolean {
  const startBytes = chunkIndex * mirror.granularityBytes
  const endBytes = startBytes + mirror.granularityBytes
  for (const { offsetBytes, lengthBytes } of mirror.filterRequests) {
    if (offsetBytes < endBytes && startBytes < offsetBytes + lengthBytes) return true
  }
  return false
}

/** No request of a guest is under way in the filter, and nothing is being copied. */
function isIdle(mirror: MirrorView): boolean {
  for (const _request of mirror.filterRequests) return false
  for (const { isInFlight } of mirror.operations) if (isInFlight) return false
  return true
}

function checkSynced(mirror: MirrorView): Finding | null {
  if (mirror.copyMode === 'background' && mirror.lengthBytes > 0) {
    const text = 'the mirror calls itself actively synced although guests do not wait for its copies'
    return { class: 'invariant', key: 'chunks/synced-in-background', text }
  }
  if (!isAnyBitSet(mirror.dirtyWords)) return null
  if (!isIdle(mirror)) return null
  const text = 'the mirror calls itself actively synced, nothing is on its way, and chunks are dirty'
  return { class: 'invariant', key: 'chunks/synced-but-dirty', text, disk: 'destination' }
}
