/**
 * After a power cut: what the guest was told to be flushed is there, or something newer; nothing is there that nobody wrote.
 * The guest's disk is the source until the job is said to be COMPLETED, and the destination afterwards: whatever the guest
 * had been told of before the job did its work is safe there. A copy that is said to be done, and that nobody has written to
 * since, is there to the last byte.
 */
import type { Change } from '../../model/disk'
import { DurableDisk, type Moment } from '../../model/durability'
import { SECTOR_BYTES, writerOf, ZERO_WRITER } from '../../model/stamp'
import type { Checker, JobEventView, SurvivingImages, WorldView } from '../../sim/observer'
import type { GuestOperation } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { discardEffects, firstDifference, STATUS_OK, writerNames, writersOfDiscards } from './shared'

export function makePowerChecker(world: WorldView): Checker {
  const hasWork = world.plan.control.some(({ kind }) => kind === 'power-cut')
  return hasWork ? new PowerChecker(world) : { name: 'power' }
}

class PowerChecker implements Checker {
  readonly name = 'power'
  private readonly world: WorldView
  private readonly model: DurableDisk
  private readonly effects: ReturnType<typeof discardEffects>
  private readonly changes = new Map<string, Change>()
  private readonly flushes = new Map<string, Moment>()
  /** Changes in flight when the mirror started; and those of them that the source may have had before, and only the source. */
  private early: readonly string[] = []
  private left: ReadonlySet<string> = new Set()
  /** When the job had done its work, and what the destination held then. */
  private doneAt: Moment = 0
  private copy: Uint8Array | null = null
  private isGuestMoved = false
  private isCopyPromised = false

  constructor(world: WorldView) {
    const { source } = world.plan
    this.world = world
    this.effects = discardEffects(world.plan)
    this.model = new DurableDisk(source.lengthBytes, writerNames(world.plan))
    this.model.hits = world.corruption
    for (const { id, offsetBytes, lengthBytes, content } of source.initial) {
      this.model.place(content === 'zero' ? ZERO_WRITER : writerOf(id), offsetBytes, lengthBytes)
    }
  }

  guestSubmitted(operation: GuestOperation): Finding | null {
    const { id, kind, offsetBytes, lengthBytes } = operation
    if (kind === 'flush') this.flushes.set(id, this.model.moment())
    const writer =
      kind === 'write'
        ? operation.zeroData === true
          ? ZERO_WRITER
          : writerOf(id)
        : kind === 'write-zeroes'
          ? ZERO_WRITER
          : kind === 'discard'
            ? writersOfDiscards(this.effects[this.world.guestDisk])
            : null
    if (writer !== null) this.changes.set(id, this.model.begin(writer, offsetBytes, lengthBytes))
    return null
  }

  guestCompleted({ id, kind }: GuestOperation, status: number): Finding | null {
    const isDone = status === STATUS_OK
    const began = this.flushes.get(id)
    if (began !== undefined && isDone) this.model.flushed(began)
    // A discard is advice: nobody promises what the range reads then.
    this.end(id, isDone && kind !== 'discard' && !this.left.has(id))
    return null
  }

  guestAborted({ id }: GuestOperation): Finding | null {
    this.end(id, false)
    return null
  }

  private end(id: string, isCertain: boolean): void {
    const change = this.changes.get(id)
    if (change === undefined) return
    this.changes.delete(id)
    this.model.end(change, isCertain, isCertain && !this.world.plan.device.writeCache)
  }

  jobEvent({ event, data }: JobEventView): Finding | null {
    // A new mirror makes the copy of the one before it into something else.
    if (event === 'JOB_STATUS_CHANGE' && data['status'] === 'created') {
      this.isCopyPromised = false
      this.early = [...this.changes.keys()]
    }
    if (event === 'JOB_STATUS_CHANGE' && data['status'] === 'pending') {
      this.doneAt = this.model.moment()
      this.copy = this.world.destination.bytes.slice()
    } else if (event === 'BLOCK_JOB_COMPLETED' && data['error'] === undefined && this.copy !== null) this.completed(this.copy)
    return null
  }

  private completed(copy: Uint8Array): void {
    if (this.world.guestDisk === 'source') {
      this.isCopyPromised = true
      return
    }
    this.isGuestMoved = true
    const { sync, targetIsZero } = this.world.plan.mirror
    if (sync === 'full' && !targetIsZero) this.model.flushed(this.doneAt)
    // Nobody has promised that these are equal; whatever is there has been flushed.
    else {
      this.left = new Set(this.early.filter((id) => this.changes.has(id)))
      this.model.moveTo(copy, this.doneAt)
    }
  }

  powerCut(images: SurvivingImages): Finding | null {
    const disk = this.isGuestMoved ? 'destination' : 'source'
    const mismatch = this.model.check(images[disk])
    if (mismatch !== null) {
      const { sectorIndex, expected, actual } = mismatch
      const offsetBytes = sectorIndex * SECTOR_BYTES
      const text = `after the power cut the ${disk} holds ${actual} where the guest must find ${expected}`
      return { ...finding('lost', text), disk, offsetBytes, lengthBytes: SECTOR_BYTES, expected, actual }
    }
    if (!this.isCopyPromised || Buffer.compare(this.copy!, images.destination) === 0) return null
    const offsetBytes = this.firstLoss(this.copy!, images.destination)
    if (offsetBytes < 0) return null
    const text = `the copy was said to be done, and after the power cut it is another one from byte ${offsetBytes} on`
    return { ...finding('copy-lost', text), disk: 'destination', offsetBytes }
  }

  /** The first byte that is another one, without those that silent faults have hit; -1 if there is none. */
  private firstLoss(copy: Uint8Array, found: Uint8Array): number {
    const { corruption } = this.world
    let at = firstDifference(copy, found, 0)
    while (at < copy.length && corruption?.isHit(at) === true) at = firstDifference(copy, found, at + 1)
    return at < copy.length ? at : -1
  }
}

function finding(what: string, text: string): Finding {
  return { class: 'durability', key: `power/${what}`, text }
}
