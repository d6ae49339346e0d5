/**
 * What the mirror calls done is on stable storage: READY means that there was a moment without dirty or copied chunks, and
 * that a flush of the destination began after it and succeeded; a job that has done its work has flushed everything.
 */
import type { Checker, DiskRequestView, JobEventView, MirrorView, WorldView } from '../../sim/observer'
import type { DiskName, GuestOperation } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { isAnyBitSet, isChange, OK } from './shared'

export function makeDurabilityChecker(world: WorldView): Checker {
  return new DurabilityChecker(world)
}

class DurabilityChecker implements Checker {
  readonly name = 'durability'
  private readonly world: WorldView
  private mirror: MirrorView | null = null
  /** Changes of the destination that have ended, and how many of them a flush has made durable. */
  private endedCount = 0
  private durableCount = 0
  /** Who made each change that has ended, in order. */
  private readonly origins: string[] = []
  /** Requests of guests that are in flight: of them nobody has promised anything yet. */
  private readonly open = new Set<string>()
  /** By serial of a flush in flight: how many changes it covers. */
  private readonly flushes = new Map<number, number>()
  /** How many changes had ended when everything was copied for the first time; -1 before. */
  private copiedCount = -1

  constructor(world: WorldView) {
    this.world = world
  }

  guestSubmitted({ id }: GuestOperation): Finding | null {
    this.open.add(id)
    return null
  }
  guestCompleted({ id }: GuestOperation): Finding | null {
    this.open.delete(id)
    return null
  }

  diskSubmitted(disk: DiskName, request: DiskRequestView): Finding | null {
    if (disk === 'destination' && request.operation === 'flush') this.flushes.set(request.serial, this.endedCount)
    return null
  }

  diskCompleted(disk: DiskName, request: DiskRequestView, errno: number): Finding | null {
    if (disk === 'source') return null
    if (isChange(request.operation)) {
      this.endedCount++
      this.origins.push(request.origin)
    }
    const covered = this.flushes.get(request.serial)
    if (covered === undefined) return null
    this.flushes.delete(request.serial)
    if (errno === OK) this.durableCount = Math.max(this.durableCount, covered)
    return null
  }

  jobEvent(event: JobEventView): Finding | null {
    if (event.event === 'BLOCK_JOB_READY') return this.checkReady()
    if (event.event !== 'JOB_STATUS_CHANGE') return null
    if (event.data['status'] === 'created') {
      this.mirror = this.world.mirror
      this.copiedCount = -1
    }
    if (event.data['status'] !== 'pending' || this.durableCount === this.endedCount) return null
    const text = `the job has done its work, and ${this.endedCount - this.durableCount} changes of the destination were never flushed`
    return { class: 'durability', key: 'durability/not-flushed-at-end', text, disk: 'destination' }
  }

  private checkReady(): Finding | null {
    this.afterEvent()
    if (this.copiedCount >= 0 && this.isPromiseKept()) return null
    const isCopied = this.copiedCount >= 0
    const text = isCopied
      ? 'the job is READY, and the destination was not flushed after everything had been copied'
      : 'the job is READY, and there was no moment at which everything was copied'
    return { class: 'durability', key: isCopied ? 'durability/not-flushed-at-ready' : 'durability/never-copied', text }
  }

  /** Parts of a request that is still in flight need no flush. */
  private isPromiseKept(): boolean {
    for (let change = this.durableCount; change < this.copiedCount; change++) {
      if (!this.open.has(this.origins[change]!)) return false
    }
    return true
  }

  afterEvent(): Finding | null {
    const { mirror } = this
    if (mirror === null || this.copiedCount >= 0 || mirror.phase !== 'copying') return null
    if (isAnyBitSet(mirror.dirtyWords)) return null
    for (const { isInFlight, kind } of mirror.operations) if (isInFlight && !kind.startsWith('active-')) return null
    this.copiedCount = this.endedCount
    return null
  }
}
