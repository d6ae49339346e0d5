/**
 * Which sectors a mirror promises to keep equal: all of them, or with sync=none those that were changed since it started.
 * Nothing is promised where the user has vouched for a destination that reads zero and does not.
 */

import type { CorruptionView } from '../../sim/corruption'
import type { DiskRequestView, WorldView } from '../../sim/observer'
import type { DiskName, GuestOperation } from '../../sim/plan'
import { bufferOn, firstDifference, isChange, isZeroRange, STATUS_OK } from './shared'

const SECTOR_BYTES = 512

export class MirrorScope {
  private readonly left: Buffer
  private readonly right: Buffer
  private readonly world: WorldView
  /** sync=none: one byte per sector, 1 where it was changed. null: everything is in scope. */
  private readonly changed: Uint8Array | null
  private readonly discards: ReadonlySet<string>
  /** Requests that the guest has made since the start. */
  private readonly submitted = new Set<string>()
  private isVouchedWrongly = false

  constructor(world: WorldView) {
    const { plan, source, destination } = world
    this.world = world
    this.left = bufferOn(source.bytes)
    this.right = bufferOn(destination.bytes)
    this.changed = plan.mirror.sync === 'none' ? new Uint8Array(source.lengthBytes / SECTOR_BYTES) : null
    this.discards = new Set(this.changed === null ? [] : plan.guest.filter(({ kind }) => kind === 'discard').map(({ id }) => id))
  }

  /** The mirror has come into the graph; nothing has been sent to the destination yet. */
  start(): void {
    this.changed?.fill(0)
    this.submitted.clear()
    const { targetIsZero } = this.world.plan.mirror
    this.isVouchedWrongly = targetIsZero && !isZeroRange(this.right, 0, this.right.length)
  }

  guestSubmitted({ id }: GuestOperation): void {
    if (this.changed !== null) this.submitted.add(id)
  }

  /**
   * Before its end a request may not have come as far as the mirror; one from before the start may not have met it, and one
   * that failed may not have reached the disk with all its parts.
   */
  guestCompleted({ id, kind, offsetBytes, lengthBytes }: GuestOperation, status: number): void {
    if (this.changed === null || status !== STATUS_OK || !this.submitted.has(id)) return
    if (kind === 'write' || kind === 'write-zeroes') this.note(offsetBytes, lengthBytes)
  }

  /** Discards may be carried out in part: what counts is what reaches the source. */
  diskCompleted(disk: DiskName, request: DiskRequestView): void {
    const { operation, origin, offsetBytes, lengthBytes } = request
    if (this.changed === null || disk !== 'source' || !isChange(operation)) return
    if (this.discards.has(origin) && this.submitted.has(origin)) this.note(offsetBytes, lengthBytes)
  }

  private note(offsetBytes: number, lengthBytes: number): void {
    this.changed!.fill(1, Math.floor(offsetBytes / SECTOR_BYTES), Math.ceil((offsetBytes + lengthBytes) / SECTOR_BYTES))
  }

  /** The first byte in [offset, end) that is promised to be equal and is not, or -1. */
  firstDifference(offsetBytes: number, endBytes: number): number {
    const left = this.left
    const { right, changed } = this
    if (left.compare(right, offsetBytes, endBytes, offsetBytes, endBytes) === 0 || this.isVouchedWrongly) return -1
    const { corruption } = this.world
    if (corruption?.isAny === true) return this.firstHonestDifference(corruption, offsetBytes, endBytes)
    if (changed === null) return firstDifference(left, right, offsetBytes)
    for (let at = offsetBytes; at < endBytes; at += SECTOR_BYTES) {
      const end = Math.min(at + SECTOR_BYTES, endBytes)
      if (changed[at / SECTOR_BYTES] === 0) continue
      if (left.compare(right, at, end, at, end) !== 0) return firstDifference(left, right, at)
    }
    return -1
  }

  /** The same without what silent faults have hit. */
  private firstHonestDifference(corruption: CorruptionView, offsetBytes: number, endBytes: number): number {
    const { left, right, changed } = this
    for (let at = offsetBytes; at < endBytes; at++) {
      if (left[at] === right[at] || corruption.isHit(at)) continue
      if (changed === null || changed[Math.floor(at / SECTOR_BYTES)] === 1) return at
    }
    return -1
  }
}
