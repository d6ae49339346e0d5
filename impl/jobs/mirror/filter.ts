/**
 * The mirror's filter node, `mirror_top`: every request of the guests passes here. Reads, flushes and changes that are
 * only noted go straight on; with copy mode `write-blocking` a change is copied before the guest hears of its end.
 *
 * What never may happen: a change of the source that ends unnoted, whether it worked or not, from the moment the filter
 * is in the graph.
 */
import { type BlockChild, BlockDriver, type BlockLimits, Permission, RequestFlag } from '../../block'
import { assert, type Co, type Errno, OK } from '../../co'
import { activeDiscard, activeWrite, activeWriteZeroes } from './active'
import type { FilterRequest, MirrorState } from './state'

export class MirrorFilter extends BlockDriver {
  readonly name = 'mirror_top'
  override readonly isFilter = true
  private mirror: MirrorState | null = null

  private get child(): BlockChild {
    const child = this.node.filtered
    assert(child !== null, 'filter-has-child')
    return child
  }

  /** From now on changes are noted. Called before the filter is put above the source. */
  serve(state: MirrorState): void {
    assert(this.mirror === null && this.node.parents.size === 0, 'filter-serves-once')
    this.mirror = state
  }

  private get state(): MirrorState {
    assert(this.mirror !== null, 'filter-serves')
    return this.mirror
  }

  lengthBytes(): number {
    return this.child.node.lengthBytes
  }

  /** What a commit writes shows in the layers below the source, so nobody can demand consistency there. */
  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    const { permission, shared } = super.childPermissions(child, parentPermission, parentShared)
    if (this.mirror?.options.commit === undefined) return { permission, shared }
    return { permission: permission & ~Permission.ConsistentRead, shared: shared | Permission.Write }
  }
  override refreshLimits(_limits: BlockLimits): void {
    const below = this.child.node.driver
    this.supportedWriteFlags = RequestFlag.WriteUnchanged | (RequestFlag.Fua & below.supportedWriteFlags)
    const handedOn = RequestFlag.Fua | RequestFlag.MayUnmap | RequestFlag.NoFallback
    this.supportedZeroFlags = RequestFlag.WriteUnchanged | (handedOn & below.supportedZeroFlags)
  }

  pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    return this.child.pread(offsetBytes, buffer, flags)
  }

  *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const state = this.state
    const request = enter(state, 'write', offsetBytes, buffer.length)
    if (isPaced(state)) yield* state.pace.take(buffer.length, () => isPaced(state))
    const isActive = state.copiesActively
    const errno = isActive
      ? yield* activeWrite(state, offsetBytes, buffer, flags)
      : yield* noted(state, request, this.child.pwrite(offsetBytes, buffer, flags))
    leave(state, request)
    return errno
  }

  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const state = this.state
    const request = enter(state, 'write-zeroes', offsetBytes, lengthBytes)
    if (isPaced(state) && state.zeroesTakeSpace) yield* state.pace.take(lengthBytes, () => isPaced(state))
    const isActive = state.copiesActively
    const errno = isActive
      ? yield* activeWriteZeroes(state, offsetBytes, lengthBytes, flags)
      : yield* noted(state, request, this.child.pwriteZeroes(offsetBytes, lengthBytes, flags))
    leave(state, request)
    return errno
  }

  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const state = this.state
    // The node below would drop it: there is nothing to copy.
    if (state.source.options.discard === 'ignore') return OK
    const request = enter(state, 'discard', offsetBytes, lengthBytes)
    const isActive = state.copiesActively
    const errno = isActive
      ? yield* activeDiscard(state, offsetBytes, lengthBytes)
      : yield* noted(state, request, this.child.pdiscard(offsetBytes, lengthBytes))
    leave(state, request)
    return errno
  }
}

/** Whether a request that enters now has to wait for its place; never in a drained section, which waits for it. */
function isPaced(state: MirrorState): boolean {
  return state.pace.limit.speed !== 0 && state.copiesActively && state.sourceDrains === 0
}

function enter(state: MirrorState, kind: FilterRequest['kind'], offsetBytes: number, lengthBytes: number): FilterRequest {
  assert(lengthBytes > 0 && offsetBytes + lengthBytes <= state.lengthBytes, 'filter-range')
  const request: FilterRequest = { kind, offsetBytes, lengthBytes }
  state.requests.push(request)
  return request
}

function leave(state: MirrorState, request: FilterRequest): void {
  const index = state.requests.indexOf(request)
  assert(index >= 0, 'filter-request-known')
  const last = state.requests.pop()!
  if (last !== request) state.requests[index] = last
}

/** A change that the background will copy. A failed one counts too: it may have changed a part. */
function* noted(state: MirrorState, request: FilterRequest, change: Co<Errno>): Co<Errno> {
  state.passiveCount++
  const errno = yield* change
  state.passiveCount--
  state.operationsInFlight.overtake(request.offsetBytes, request.lengthBytes)
  state.markDirty(request.offsetBytes, request.lengthBytes)
  return errno
}
