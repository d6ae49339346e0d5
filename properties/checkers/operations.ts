/**
 * Who may work where, and when: a chunk belongs to one operation at a time, its in-flight bit says so, no two changes of a
 * chunk of the destination overlap in time, and nothing works on behalf of a job that stands still, is cancelled or is over.
 */
import type { Checker, DiskRequestView, JobEventView, MirrorOperationView, MirrorView, WorldView } from '../../sim/observer'
import type { DiskName } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { bitMap, guestIds, isAnyBitSet, isChange, markRange } from './shared'

/** Most background operations at a time. */
const BACKGROUND_MAX = 16

export function makeOperationChecker(world: WorldView): Checker {
  return new OperationChecker(world)
}

class OperationChecker implements Checker {
  readonly name = 'operations'
  private readonly world: WorldView
  private readonly guests: ReadonlySet<string>
  private readonly mayBeCancelled: boolean
  private mirror: MirrorView | null = null
  private lastInFlight: Uint32Array = new Uint32Array(0)
  /** Chunks that operations have claimed, as they say themselves. */
  private claimed: Uint32Array = new Uint32Array(0)
  /** Changes of the destination that are in flight. */
  private readonly changes: DiskRequestView[] = []
  /** Everything in flight at the destination, by origin: who had begun there may finish. */
  private readonly busyOrigins = new Map<string, number>()
  /** Once cancelled by force: who was at work at that moment. */
  private survivors: ReadonlySet<string> | null = null
  /** Where the destination has an image below that is not attached, clusters are claimed whole. */
  private readonly unitBytes: number

  constructor(world: WorldView) {
    const { format } = world.plan.destination
    this.unitBytes = format?.backing?.isDetached === true ? format.clusterBytes : 1
    this.world = world
    this.guests = guestIds(world.plan)
    this.mayBeCancelled = world.plan.control.some(({ kind }) => kind === 'cancel')
  }

  jobEvent(event: JobEventView): Finding | null {
    if (event.event !== 'JOB_STATUS_CHANGE' || event.data['status'] !== 'created') return null
    const { mirror } = this.world
    this.mirror = mirror
    this.survivors = null
    this.lastInFlight = bitMap(mirror?.chunkCount ?? 0, false)
    this.claimed = bitMap(mirror?.chunkCount ?? 0, false)
    return null
  }

  /** Requests of the job itself and of its background operations. */
  private isBackground(origin: string): boolean {
    return !this.guests.has(origin) && (origin.startsWith('job-') || /^b\d+$/.test(origin))
  }

  diskSubmitted(disk: DiskName, request: DiskRequestView): Finding | null {
    const { jobStatus } = this.world
    if (this.mirror === null) return null
    if ((jobStatus === 'paused' || jobStatus === 'standby') && this.isBackground(request.origin)) {
      const text = `the job stands still (${jobStatus}) and sends a ${request.operation} to the ${disk} all the same`
      return this.finding('works-while-paused', text, request)
    }
    if (disk === 'source' || this.world.guestDisk === 'destination') return null
    if (this.mayBeCancelled) this.busyOrigins.set(request.origin, (this.busyOrigins.get(request.origin) ?? 0) + 1)
    if (!isChange(request.operation)) return null
    const finding = this.checkMoment(request) ?? this.checkAlone(request)
    this.changes.push(request)
    return finding
  }

  private checkMoment(request: DiskRequestView): Finding | null {
    const { jobStatus } = this.world
    const isOver = jobStatus !== 'running' && jobStatus !== 'ready' && jobStatus !== 'paused' && jobStatus !== 'standby'
    if (this.mirror!.phase === 'finished' || (isOver && this.isBackground(request.origin))) {
      const text = `the job is over (${jobStatus}), and the destination is still being written to`
      return this.finding('writes-after-the-end', text, request)
    }
    // What a throttle above the disk held back was on its way before.
    const isHeldBack = this.world.plan.destination.throttle?.at === 'top'
    if (this.survivors !== null && !isHeldBack && !this.survivors.has(request.origin)) {
      const text = 'the job was cancelled by force, and a new write to the destination begins'
      return this.finding('writes-after-cancel', text, request)
    }
    return null
  }

  private checkAlone(request: DiskRequestView): Finding | null {
    const { granularityBytes } = this.mirror!
    const first = Math.floor(request.offsetBytes / granularityBytes)
    const last = Math.floor((request.offsetBytes + request.lengthBytes - 1) / granularityBytes)
    for (const other of this.changes) {
      if (Math.floor(other.offsetBytes / granularityBytes) > last) continue
      if (Math.floor((other.offsetBytes + other.lengthBytes - 1) / granularityBytes) < first) continue
      const text = `two changes of the same chunk of the destination are in flight, for ${other.origin} and for ${request.origin}`
      return this.finding('overlapping-writes', text, request)
    }
    return null
  }

  private finding(what: string, text: string, request: DiskRequestView): Finding {
    const { offsetBytes, lengthBytes, origin } = request
    const place = { disk: 'destination', offsetBytes, lengthBytes, operationId: origin } as const
    return { class: 'invariant', key: `operations/${what}`, text, ...place }
  }

  diskCompleted(disk: DiskName, request: DiskRequestView, _errno: number): Finding | null {
    if (disk === 'source') return null
    if (this.mayBeCancelled) this.noteEnd(request)
    const index = this.changes.indexOf(request)
    if (index >= 0) this.changes.splice(index, 1)
    return null
  }

  private noteEnd(request: DiskRequestView): void {
    const left = (this.busyOrigins.get(request.origin) ?? 0) - 1
    if (left > 0) this.busyOrigins.set(request.origin, left)
    else this.busyOrigins.delete(request.origin)
  }

  afterEvent(): Finding | null {
    const { mirror } = this
    if (mirror === null) return null
    if (this.survivors === null && this.world.isCancelledByForce) this.survivors = new Set(this.busyOrigins.keys())
    const { inFlightWords } = mirror
    if (inFlightWords === null) return null
    let isChanged = false
    for (let word = 0; word < inFlightWords.length; word++) {
      if (inFlightWords[word] === this.lastInFlight[word]) continue
      this.lastInFlight[word] = inFlightWords[word]!
      isChanged = true
    }
    return isChanged ? this.checkClaims(mirror, inFlightWords) : null
  }

  /** In-flight bits are the chunks of the live operations, which do not overlap. */
  private checkClaims(mirror: MirrorView, inFlightWords: Uint32Array): Finding | null {
    const { claimed } = this
    const unitBytes = this.unitBytes
    claimed.fill(0)
    let backgroundCount = 0
    let isAnyLive = false
    for (const operation of mirror.operations) {
      if (!operation.isInFlight) continue
      isAnyLive = true
      if (isBackgroundKind(operation.kind)) backgroundCount++
      if (operation.lengthBytes > 0 && !claim(claimed, mirror.granularityBytes, operation)) {
        const text = `two operations of the mirror are at work in the same chunk (${operation.kind})`
        return invariant('overlapping-operations', text, operation.offsetBytes)
      }
    }
    // Discards, and whoever completes clusters, work on less than they have claimed: the request tells the rest.
    if (isAnyLive) {
      for (const { offsetBytes, lengthBytes } of mirror.filterRequests) {
        const endBytes = Math.min(Math.ceil((offsetBytes + lengthBytes) / unitBytes) * unitBytes, mirror.lengthBytes)
        markRange(claimed, mirror.granularityBytes, offsetBytes - (offsetBytes % unitBytes), endBytes)
      }
    }
    if (backgroundCount > BACKGROUND_MAX && mirror.phase !== 'zeroing') {
      return invariant('too-many', `${backgroundCount} background operations are in flight, more than ${BACKGROUND_MAX}`)
    }
    return this.checkBits(mirror, inFlightWords, isAnyLive)
  }

  private checkBits(mirror: MirrorView, inFlightWords: Uint32Array, isAnyLive: boolean): Finding | null {
    if (!isAnyLive && isAnyBitSet(inFlightWords)) return invariant('claim-forgotten', 'chunks are in flight and nobody has them')
    for (let word = 0; word < inFlightWords.length; word++) {
      const orphans = inFlightWords[word]! & ~this.claimed[word]!
      if (orphans === 0) continue
      const offsetBytes = (word * 32 + (31 - Math.clz32(orphans & -orphans))) * mirror.granularityBytes
      return invariant('claim-forgotten', 'a chunk is in flight and nobody has it', offsetBytes)
    }
    for (const operation of mirror.operations) {
      if (!operation.isInFlight || operation.lengthBytes === 0) continue
      if (isClaimed(inFlightWords, mirror.granularityBytes, operation)) continue
      const text = `an operation of the mirror (${operation.kind}) is at work in a chunk that does not count as in flight`
      return invariant('unclaimed', text, operation.offsetBytes)
    }
    return null
  }
}

function isBackgroundKind(kind: MirrorOperationView['kind']): boolean {
  return kind === 'copy' || kind === 'zero' || kind === 'discard'
}

/** Notes the chunks of an operation; false if another one has one of them. */
function claim(claimed: Uint32Array, granularityBytes: number, operation: MirrorOperationView): boolean {
  const last = Math.floor((operation.offsetBytes + operation.lengthBytes - 1) / granularityBytes)
  for (let index = Math.floor(operation.offsetBytes / granularityBytes); index <= last; index++) {
    const bit = 1 << (index & 31)
    if ((claimed[index >> 5]! & bit) !== 0) return false
    claimed[index >> 5]! |= bit
  }
  return true
}

function isClaimed(inFlightWords: Uint32Array, granularityBytes: number, operation: MirrorOperationView): boolean {
  const last = Math.floor((operation.offsetBytes + operation.lengthBytes - 1) / granularityBytes)
  for (let index = Math.floor(operation.offsetBytes / granularityBytes); index <= last; index++) {
    if ((inFlightWords[index >> 5]! & (1 << (index & 31))) === 0) return false
  }
  return true
}

function invariant(what: string, text: string, offsetBytes?: number): Finding {
  const place = offsetBytes === undefined ? {} : { offsetBytes }
  return { class: 'invariant', key: `operations/${what}`, text, ...place }
}
