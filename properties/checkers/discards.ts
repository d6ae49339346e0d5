/**
 * Guests' discards come through, mirror or not: where the source can deallocate, the whole units of a discard that has
 * succeeded are free afterwards, unless somebody has written to them meanwhile.
 */
import type { Checker, DiskRequestView, WorldView } from '../../sim/observer'
import type { DiskName, GuestOperation, Plan } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { OK, STATUS_OK } from './shared'

export function makeDiscardChecker(world: WorldView): Checker {
  const { plan } = world
  const hasWork = pieceBytesOf(plan) > 0 && plan.guest.some(({ kind }) => kind === 'discard')
  return hasWork ? new DiscardChecker(world) : { name: 'discards' }
}

/** Size of the pieces that the source is sure to deallocate; 0 where it promises nothing. */
function pieceBytesOf({ source }: Plan): number {
  if (source.node.discard !== 'unmap' || source.discard === 'none') return 0
  if (source.format?.discardNoUnref === true) return 0
  const { allocationUnitBytes, discardAlignmentBytes, writeZeroesAlignmentBytes, requestAlignmentBytes } = source
  const pieceBytes = Math.max(allocationUnitBytes, discardAlignmentBytes, writeZeroesAlignmentBytes, requestAlignmentBytes)
  const isWhole = (bytes: number): boolean => bytes % pieceBytes === 0
  return isWhole(source.maxDiscardBytes) && isWhole(source.maxWriteZeroesBytes) ? pieceBytes : 0
}

class DiscardChecker implements Checker {
  readonly name = 'discards'
  private readonly world: WorldView
  private readonly pieceBytes: number
  /** A discard of the last unit, which may be short, is not cut in two where the disk ends between two blocks. */
  private readonly isTailWhole: boolean
  private readonly requestMaxBytes: number
  /** By unit of the source: the count of writes when the last one there ended. */
  private readonly writtenAt: Int32Array
  private writes = 0
  /** Discards in flight: the count of writes when each began. */
  private readonly open = new Map<string, number>()
  private readonly failed = new Set<string>()
  /** Changes of others that are under way: an image may show parts of one before its end. */
  private readonly underWay: DiskRequestView[] = []

  constructor(world: WorldView) {
    this.world = world
    this.pieceBytes = pieceBytesOf(world.plan)
    const { discardAlignmentBytes, writeZeroesAlignmentBytes, requestAlignmentBytes } = world.plan.source
    const { maxDiscardBytes, maxWriteZeroesBytes } = world.plan.source
    this.requestMaxBytes = Math.min(maxDiscardBytes || Infinity, maxWriteZeroesBytes || Infinity)
    const blockBytes = Math.max(discardAlignmentBytes, writeZeroesAlignmentBytes, requestAlignmentBytes)
    this.isTailWhole = world.source.lengthBytes % blockBytes === 0
    this.writtenAt = new Int32Array(world.source.allocated.length)
  }

  guestSubmitted({ id, kind }: GuestOperation): Finding | null {
    if (kind === 'discard' && this.world.guestDisk === 'source') this.open.set(id, this.writes)
    return null
  }

  guestAborted({ id }: GuestOperation): Finding | null {
    this.open.delete(id)
    return null
  }

  diskSubmitted(disk: DiskName, request: DiskRequestView): Finding | null {
    if (disk === 'source' && (request.operation === 'write' || request.operation === 'write-zeroes')) this.underWay.push(request)
    return null
  }

  diskCompleted(disk: DiskName, request: DiskRequestView, errno: number): Finding | null {
    if (disk !== 'source') return null
    const { operation, origin, offsetBytes, lengthBytes } = request
    const isDiscard = this.open.has(origin)
    if (isDiscard && errno !== OK) this.failed.add(origin)
    if (operation !== 'write' && operation !== 'write-zeroes') return null
    const place = this.underWay.indexOf(request)
    if (place !== -1) this.underWay.splice(place, 1)
    const { allocationUnitBytes } = this.world.source
    const endBytes = offsetBytes + lengthBytes
    const first = Math.floor(offsetBytes / allocationUnitBytes)
    const end = Math.ceil(endBytes / allocationUnitBytes)
    this.writes++
    if (!isDiscard) this.writtenAt.fill(this.writes, first, end)
    else {
      // The ends of a discard are zeroed, which may allocate what another one has just freed.
      if (offsetBytes % allocationUnitBytes !== 0) this.writtenAt[first] = this.writes
      if (endBytes % allocationUnitBytes !== 0 && endBytes < this.world.source.lengthBytes) this.writtenAt[end - 1] = this.writes
    }
    return null
  }

  guestCompleted(operation: GuestOperation, status: number): Finding | null {
    const began = this.open.get(operation.id)
    if (began === undefined) return null
    this.open.delete(operation.id)
    const isOver = status === STATUS_OK && !this.failed.has(operation.id) && this.world.guestDisk === 'source'
    return isOver ? this.checkUnits(operation, began) : null
  }

  private checkUnits({ id, offsetBytes, lengthBytes }: GuestOperation, began: number): Finding | null {
    const { allocated, allocationUnitBytes, lengthBytes: diskBytes } = this.world.source
    const pieceBytes = this.pieceBytes
    // Parts of a discard that is too long for one request begin wherever it does.
    if (lengthBytes > this.requestMaxBytes && offsetBytes % pieceBytes !== 0) return null
    const startBytes = Math.ceil(offsetBytes / pieceBytes) * pieceBytes
    let endBytes = offsetBytes + lengthBytes
    if (endBytes < diskBytes || !this.isTailWhole) endBytes -= endBytes % pieceBytes
    for (let at = startBytes; at < endBytes; at += allocationUnitBytes) {
      const unit = at / allocationUnitBytes
      if (allocated[unit] === 0 || this.writtenAt[unit]! > began || this.isUnderWay(at, at + allocationUnitBytes)) continue
      if (this.world.corruption?.touches(at, at + allocationUnitBytes) === true) continue
      const text = `the discard ${id} has succeeded, and the source keeps the space at ${at} allocated`
      return {
        class: 'sparseness',
        key: 'discards/not-effective',
        text,
        disk: 'source',
        offsetBytes: at,
        lengthBytes: allocationUnitBytes,
        operationId: id,
      }
    }
    return null
  }

  private isUnderWay(startBytes: number, endBytes: number): boolean {
    return this.underWay.some(({ offsetBytes, lengthBytes }) => offsetBytes < endBytes && startBytes < offsetBytes + lengthBytes)
  }
}
