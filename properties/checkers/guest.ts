/**
 * Guests get one answer to each request, and an honest one: an error exactly if the disk they use has failed them. What
 * happens at the other disk is the job's affair.
 */
import type { Checker, CheckerHook, DiskRequestView, WorldView } from '../../sim/observer'
import type { DiskName, GuestOperation } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { completesClusters, OK, STATUS_IOERR, STATUS_OK } from './shared'

export function makeGuestChecker(world: WorldView): Checker {
  return new GuestChecker(world)
}

/** A request between its submission and its answer. */
interface Open {
  operation: GuestOperation
  /** A request made for it has failed, and the failure is one that it must tell. */
  hasFailed: boolean
  /** Failed in a way that may be told or made up for. */
  mayFail: boolean
  flushErrorsBefore: number
}

class GuestChecker implements Checker {
  readonly name = 'guest'
  readonly idle: readonly CheckerHook[]
  private readonly world: WorldView
  private readonly open = new Map<string, Open>()
  private readonly over = new Set<string>()
  /** At the disk that guests use; several requests may share one flush. */
  private flushErrors = 0

  constructor(world: WorldView) {
    this.world = world
    this.idle = world.plan.faults.length > 0 ? [] : ['diskCompleted']
  }

  guestSubmitted(operation: GuestOperation): Finding | null {
    const { id } = operation
    if (this.open.has(id) || this.over.has(id)) return finding('submitted-twice', `${id} was submitted twice`, operation)
    const mayFail = this.world.plan.source.node.readOnly === true
    this.open.set(id, { operation, hasFailed: false, mayFail, flushErrorsBefore: this.flushErrors })
    return null
  }

  diskCompleted(disk: DiskName, request: DiskRequestView, errno: number): Finding | null {
    if (errno === OK || disk !== this.world.guestDisk) return null
    if (request.operation === 'flush') this.flushErrors++
    const open = this.open.get(request.origin)
    if (open === undefined) return null
    // A discard that fails in one form may work in another.
    const { kind } = open.operation
    const isAround = request.operation === 'read' && kind !== 'read' && completesClusters(this.world.plan)
    if (isAround || (kind === 'discard' && request.operation === 'write-zeroes')) open.mayFail = true
    else open.hasFailed = true
    return null
  }

  guestCompleted(operation: GuestOperation, status: number): Finding | null {
    const { id, kind } = operation
    const open = this.open.get(id)
    if (open === undefined) return finding('answered-twice', `${id} is answered and was not in flight`, operation)
    this.open.delete(id)
    this.over.add(id)
    if (status === STATUS_OK) {
      return open.hasFailed
        ? finding('error-hidden', `the disk failed for ${id}, and the guest was told that all is well`, operation)
        : null
    }
    if (status !== STATUS_IOERR) return finding('unsupported', `${id} (${kind}) is answered with status ${status}`, operation)
    if (open.hasFailed || open.mayFail || this.flushErrors > open.flushErrorsBefore) return null
    return finding('error-made-up', `${id} (${kind}) failed, and the guest's disk did not`, operation)
  }

  guestAborted(operation: GuestOperation): Finding | null {
    if (!this.open.delete(operation.id)) {
      return finding('aborted-twice', `a reset ended ${operation.id}, which was not in flight`, operation)
    }
    this.over.add(operation.id)
    return null
  }

  atEnd(): Finding | null {
    for (const { operation } of this.open.values()) {
      return finding('never-answered', `${operation.id} (${operation.kind}) was never answered`, operation)
    }
    return null
  }
}

function finding(what: string, text: string, { id, offsetBytes, lengthBytes }: GuestOperation): Finding {
  return { class: 'protocol', key: `guest/${what}`, text, disk: 'guest', offsetBytes, lengthBytes, operationId: id }
}
