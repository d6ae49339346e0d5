/**
 * Content: guests read what they have written, and at its end the copy reads as the original.
 *
 * Every read is held against the reference disk. When a job has done its work (`pending`: the source is drained) both disks
 * must be equal; at the end of the world both images are read afresh, and the guest's one must be what the guest made it.
 */
import { type Change, describeSector, type Mismatch, type Read, ReferenceDisk } from '../../model/disk'
import { SECTOR_BYTES, writerOf, ZERO_WRITER } from '../../model/stamp'
import type { Checker, CheckerHook, DiskRequestView, JobEventView, WorldView } from '../../sim/observer'
import type { DiskName, GuestOperation } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { MirrorScope } from './scope'
import { discardEffects, firstDifference, STATUS_OK, writerNames, writersOfDiscards } from './shared'

export function makeContentChecker(world: WorldView): Checker {
  return new ContentChecker(world)
}

class ContentChecker implements Checker {
  readonly name = 'content'
  readonly idle: readonly CheckerHook[]
  private readonly world: WorldView
  private readonly model: ReferenceDisk
  private readonly scope: MirrorScope
  private readonly changes = new Map<string, Change>()
  private readonly reads = new Map<string, Read>()
  /** Changes in flight when the mirror started; and those of them that the source may have had before, and only the source. */
  private early: readonly string[] = []
  private left: ReadonlySet<string> = new Set()
  /** What a discard may do, by the disk that the guest uses when it submits it: it may end on the other one. */
  private readonly effects: ReturnType<typeof discardEffects>

  constructor(world: WorldView) {
    const { source } = world.plan
    this.world = world
    this.idle = world.plan.mirror.sync === 'none' ? [] : ['diskCompleted']
    this.effects = discardEffects(world.plan)
    this.model = new ReferenceDisk(source.lengthBytes, writerNames(world.plan))
    for (const { id, offsetBytes, lengthBytes, content } of source.initial) {
      this.model.place(content === 'zero' ? ZERO_WRITER : writerOf(id), offsetBytes, lengthBytes)
    }
    this.scope = new MirrorScope(world)
    this.model.hits = world.corruption
  }

  guestSubmitted(operation: GuestOperation): Finding | null {
    const { id, kind, offsetBytes, lengthBytes } = operation
    this.scope.guestSubmitted(operation)
    if (kind === 'read') this.reads.set(id, this.model.beginRead(offsetBytes, lengthBytes))
    else if (kind === 'write') this.begin(operation, operation.zeroData === true ? ZERO_WRITER : writerOf(id))
    else if (kind === 'write-zeroes') this.begin(operation, ZERO_WRITER)
    else if (kind === 'discard') {
      const writer = writersOfDiscards(this.effects[this.world.guestDisk])
      if (writer !== null) this.begin(operation, writer)
    }
    return null
  }

  private begin({ id, offsetBytes, lengthBytes }: GuestOperation, writer: number): void {
    this.changes.set(id, this.model.begin(writer, offsetBytes, lengthBytes))
  }

  guestCompleted(operation: GuestOperation, status: number, data: Uint8Array | null): Finding | null {
    const { id, kind } = operation
    const change = this.changes.get(id)
    this.scope.guestCompleted(operation, status)
    if (change !== undefined) {
      this.changes.delete(id)
      // A discard is advice: nobody promises what the range reads then.
      this.model.end(change, status === STATUS_OK && kind !== 'discard' && !this.left.has(id))
    }
    return this.endRead(id, status === STATUS_OK ? data : null)
  }

  guestAborted(operation: GuestOperation): Finding | null {
    const change = this.changes.get(operation.id)
    if (change !== undefined) {
      this.changes.delete(operation.id)
      // The device finishes what it has begun before it begins anything new.
      this.model.end(change, false)
    }
    return this.endRead(operation.id, null)
  }

  private endRead(id: string, data: Uint8Array | null): Finding | null {
    const read = this.reads.get(id)
    if (read === undefined) return null
    this.reads.delete(id)
    const mismatch = this.model.endRead(read, data)
    if (mismatch === null) return null
    const text = `${id} read ${mismatch.actual} where the guest must find ${mismatch.expected}`
    return { ...this.describe('guest-read', text, 'guest', mismatch), operationId: id }
  }

  private describe(what: string, text: string, disk: 'source' | 'destination' | 'guest', mismatch: Mismatch): Finding {
    const { sectorIndex, expected, actual } = mismatch
    const offsetBytes = sectorIndex * SECTOR_BYTES
    return { class: 'content', key: `content/${what}`, text, disk, offsetBytes, lengthBytes: SECTOR_BYTES, expected, actual }
  }

  diskCompleted(disk: DiskName, request: DiskRequestView): Finding | null {
    this.scope.diskCompleted(disk, request)
    return null
  }

  jobEvent(event: JobEventView): Finding | null {
    if (event.event === 'BLOCK_JOB_COMPLETED' && this.world.guestDisk === 'destination') this.moveGuest()
    if (event.event !== 'JOB_STATUS_CHANGE') return null
    if (event.data['status'] === 'created') this.mirrorStarts()
    return event.data['status'] === 'pending' ? this.compareDisks() : null
  }

  private mirrorStarts(): void {
    this.scope.start()
    this.early = [...this.changes.keys()]
  }

  /**
   * A mirror without a first copy leaves the guest on a disk that holds only what was written meanwhile. What the source
   * had before is not copied, even if the guest hears of its end when it is on the other disk already.
   */
  private moveGuest(): void {
    if (this.world.plan.mirror.sync !== 'none') return
    this.left = new Set(this.early.filter((id) => this.changes.has(id)))
    this.model.moveTo(this.world.destination.bytes)
    this.reads.clear()
  }

  private compareDisks(): Finding | null {
    const { source, destination } = this.world
    const endBytes = Math.min(source.lengthBytes, destination.lengthBytes)
    const at = this.scope.firstDifference(0, endBytes)
    if (at < 0) return null
    const sectorIndex = Math.floor(at / SECTOR_BYTES)
    const mismatch = this.differenceAt(sectorIndex, source.bytes, destination.bytes)
    const text = `the job has done its work, and the destination holds ${mismatch.actual} where the source holds ${mismatch.expected}`
    return this.describe('copy-differs', text, 'destination', mismatch)
  }

  private differenceAt(sectorIndex: number, expected: Uint8Array, actual: Uint8Array): Mismatch {
    const at = sectorIndex * SECTOR_BYTES
    const nameOf = writerNames(this.world.plan)
    return {
      sectorIndex,
      expected: describeSector(expected, at, sectorIndex, nameOf),
      actual: describeSector(actual, at, sectorIndex, nameOf),
    }
  }

  /** The guest's disk is what the guest made it; the other one has kept what was on it. */
  atEnd(end: Parameters<NonNullable<Checker['atEnd']>>[0]): Finding | null {
    const [mine, other] = end.jobCompleted ? (['destination', 'source'] as const) : (['source', 'destination'] as const)
    const live = this.world[other].bytes
    if (Buffer.compare(live, end[other]) !== 0) {
      const sectorIndex = Math.floor(firstDifference(live, end[other], 0) / SECTOR_BYTES)
      const lost = this.differenceAt(sectorIndex, live, end[other])
      const text = `opened afresh, the ${other} reads ${lost.actual} where ${lost.expected} had been written`
      return this.describe('lost-on-reopen', text, other, lost)
    }
    const mismatch = this.model.checkWhole(end[mine])
    if (mismatch === null) return null
    const text = `at the end the guest's disk holds ${mismatch.actual} where ${mismatch.expected} is the only legal outcome`
    return this.describe('guest-disk-at-end', text, mine, mismatch)
  }
}
