/**
 * Guests' changes that are copied before the guest hears of their end. The chunks are claimed first, so that source and
 * target see overlapping changes in the same order; then the source is changed, then the target.
 *
 * What may fail: the source, which the guest hears of; the target, which only the job hears of. Either way the chunks
 * are dirty afterwards and the background will copy them.
 * What never may: a chunk that is taken for clean although this request has covered only a part of it.
 */
import { type BlockNode, RequestFlag } from '../../block'
import { assert, type Co, ENOMEM, ENOTSUP, type Errno, OK } from '../../co'
import type { MirrorOperationView } from './inspect'
import { MirrorOperation } from './operations'
import type { MirrorState } from './state'
import { writeClusters, writeTarget, zeroTarget } from './target_writes'

export function* activeWrite(state: MirrorState, offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
  // The guest may change its memory meanwhile: both sides must get the same bytes.
  const storage = state.activeBuffers.take(offsetBytes, buffer.length)
  if (storage === null) return ENOMEM
  const data = storage.length === buffer.length ? storage : storage.subarray(0, buffer.length)
  data.set(buffer)
  const operation = begin(state, 'active-write', offsetBytes, data.length)
  if (!state.operationsInFlight.tryClaim(operation)) yield* state.operationsInFlight.waitForClaim(operation)
  const errno = yield* state.sourceChild.pwrite(offsetBytes, data, flags)
  if (errno === OK) yield* follow(state, operation, data, 0)
  else state.markDirty(offsetBytes, data.length)
  state.activeBuffers.giveBack(storage)
  end(state, operation)
  return errno
}

export function* activeWriteZeroes(state: MirrorState, offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
  const operation = begin(state, 'active-zero', offsetBytes, lengthBytes)
  if (!state.operationsInFlight.tryClaim(operation)) yield* state.operationsInFlight.waitForClaim(operation)
  const errno = yield* state.sourceChild.pwriteZeroes(offsetBytes, lengthBytes, flags)
  if (errno === OK) yield* follow(state, operation, null, state.zeroFlags)
  else state.markDirty(offsetBytes, lengthBytes)
  end(state, operation)
  return errno
}

/**
 * A discard says nothing about what the range reads afterwards, so the copy could not follow it. Where the source can, it
 * becomes a zero write that deallocates; elsewhere it is a real discard, and the background copies what is left.
 */
export function* activeDiscard(state: MirrorState, offsetBytes: number, lengthBytes: number): Co<Errno> {
  const operation = begin(state, 'active-discard', offsetBytes, lengthBytes)
  if (!state.operationsInFlight.tryClaim(operation)) yield* state.operationsInFlight.waitForClaim(operation)
  const errno = (yield* deallocate(state, operation)) ? OK : yield* discardAndMark(state, offsetBytes, lengthBytes)
  if (errno === OK) state.statistics.discardedBytes += lengthBytes
  end(state, operation)
  return errno
}

const DEALLOCATING = RequestFlag.MayUnmap | RequestFlag.NoFallback

/** Zeroes what can be deallocated in the source, and the target after it. False: not possible, or not successful. */
function* deallocate(state: MirrorState, operation: MirrorOperation): Co<boolean> {
  const { limits, driver } = state.source
  if ((driver.supportedZeroFlags & DEALLOCATING) !== DEALLOCATING || !discardsReachStorage(state.source)) return false
  const alignmentBytes = Math.max(limits.requestAlignmentBytes, limits.pwriteZeroesAlignmentBytes)
  const { offsetBytes, lengthBytes } = operation
  const startBytes = Math.ceil(offsetBytes / alignmentBytes) * alignmentBytes
  const endBytes = offsetBytes + lengthBytes
  const stopBytes = endBytes === state.lengthBytes ? endBytes : endBytes - (endBytes % alignmentBytes)
  if (startBytes >= stopBytes) return false
  const errno = yield* state.sourceChild.pwriteZeroes(startBytes, stopBytes - startBytes, DEALLOCATING)
  if (errno !== OK) {
    // Parts may have been zeroed before the refusal; the discard that follows marks the whole range.
    assert(errno === ENOTSUP || errno > 0, 'errno-positive')
    return false
  }
  operation.offsetBytes = startBytes
  operation.lengthBytes = stopBytes - startBytes
  yield* follow(state, operation, null, state.zeroFlags)
  return true
}

/** Where a node below drops discards, it would turn this zero write into one that allocates. */
function discardsReachStorage(source: BlockNode): boolean {
  for (let node: BlockNode | undefined = source; node !== undefined; ) {
    if (node.options.discard === 'ignore') return false
    node = (node.filtered ?? node.children.get('file'))?.node
  }
  return true
}

function* discardAndMark(state: MirrorState, offsetBytes: number, lengthBytes: number): Co<Errno> {
  const errno = yield* state.sourceChild.pdiscard(offsetBytes, lengthBytes)
  state.markDirty(offsetBytes, lengthBytes)
  return errno
}

function begin(state: MirrorState, kind: MirrorOperationView['kind'], offsetBytes: number, lengthBytes: number): MirrorOperation {
  assert(lengthBytes > 0 && offsetBytes + lengthBytes <= state.lengthBytes, 'active-range')
  let claimBytes = state.chunkFloor(offsetBytes)
  let claimEndBytes = state.chunkCeiling(offsetBytes + lengthBytes)
  if (state.needsWholeClusters(claimBytes, claimEndBytes)) {
    claimBytes = state.unitFloor(claimBytes)
    claimEndBytes = state.unitCeiling(claimEndBytes)
  }
  state.activeCount++
  return new MirrorOperation(state.operationsInFlight, kind, offsetBytes, lengthBytes, claimBytes, claimEndBytes)
}

function end(state: MirrorState, operation: MirrorOperation): void {
  state.activeCount--
  assert(state.activeCount >= 0, 'active-count')
  state.operationsInFlight.release(operation)
  if (state.activeCount === 0) state.source.graph.drainProgress()
}

/** The source has the change; brings the target up to it. `data` null: zeroes. */
function* follow(state: MirrorState, operation: MirrorOperation, data: Uint8Array | null, zeroFlags: number): Co<void> {
  // Their order at the source is not that of their ends.
  if (operation.isOvertaken) return state.markDirty(operation.offsetBytes, operation.lengthBytes)
  const { claimBytes, claimEndBytes } = operation
  const isWhole = operation.offsetBytes === claimBytes && operation.offsetBytes + operation.lengthBytes === claimEndBytes
  if (!isWhole && state.needsWholeClusters(claimBytes, claimEndBytes)) return yield* followWhole(state, operation)
  let startBytes = operation.offsetBytes
  let stopBytes = startBytes + operation.lengthBytes
  const innerBytes = state.chunkCeiling(startBytes)
  const innerEndBytes = stopBytes === state.lengthBytes ? stopBytes : state.chunkFloor(stopBytes)
  // A dirty chunk of which only a part is known here stays dirty, and the background copies all of it.
  if (innerBytes !== startBytes && state.dirty.get(startBytes)) startBytes = innerBytes
  if (innerEndBytes !== stopBytes && state.dirty.get(stopBytes - 1)) stopBytes = innerEndBytes
  if (startBytes >= stopBytes) return
  if (innerBytes < innerEndBytes) state.dirty.reset(innerBytes, innerEndBytes - innerBytes)
  const { control } = state
  const lengthBytes = stopBytes - startBytes
  control.progress.begin(lengthBytes)
  const from = startBytes - operation.offsetBytes
  const part = data === null || data.length === lengthBytes ? data : data.subarray(from, from + lengthBytes)
  const errno = yield* state.filledBytes > 1
    ? followPart(state, operation, startBytes, stopBytes, part, zeroFlags)
    : part === null
      ? zeroTarget(state, startBytes, stopBytes, zeroFlags)
      : writeTarget(state, startBytes, part)
  if (errno === OK) {
    control.progress.succeed(lengthBytes)
    state.noteFollowed(lengthBytes)
    if (isWhole && state.cow !== null) state.cow.set(claimBytes, claimEndBytes - claimBytes)
  } else fail(state, startBytes, lengthBytes, operation.hasFailedToRead, errno)
}

/** With the rest of the clusters at both ends, where nobody else would bring it. `data` null: zeroes. */
function* followPart(
  state: MirrorState,
  operation: MirrorOperation,
  startBytes: number,
  stopBytes: number,
  data: Uint8Array | null,
  zeroFlags: number,
): Co<Errno> {
  const unitBytes = state.filledBytes
  const firstBytes = Math.ceil(startBytes / unitBytes) * unitBytes
  const lastBytes = stopBytes === state.lengthBytes ? stopBytes : stopBytes - (stopBytes % unitBytes)
  assert(startBytes < stopBytes && unitBytes > 0, 'follow-part')
  let errno = firstBytes > startBytes ? yield* copyCluster(state, operation, firstBytes - unitBytes) : OK
  const innerBytes = Math.min(firstBytes, stopBytes)
  const innerEndBytes = Math.max(lastBytes, innerBytes)
  if (errno === OK && innerBytes < innerEndBytes) {
    errno =
      data === null
        ? yield* zeroTarget(state, innerBytes, innerEndBytes, zeroFlags)
        : yield* writeTarget(state, innerBytes, data.subarray(innerBytes - startBytes, innerEndBytes - startBytes))
  }
  return errno === OK && innerEndBytes < stopBytes ? yield* copyCluster(state, operation, innerEndBytes) : errno
}

/** The source has the change already. */
function* copyCluster(state: MirrorState, operation: MirrorOperation, offsetBytes: number): Co<Errno> {
  const cluster = new Uint8Array(Math.min(state.filledBytes, state.lengthBytes - offsetBytes))
  const errno = yield* state.sourceChild.pread(offsetBytes, cluster)
  operation.hasFailedToRead = errno !== OK
  return errno === OK ? yield* writeClusters(state, offsetBytes, cluster) : errno
}

/** The target must get whole clusters: what surrounds the change comes from the source. */
function* followWhole(state: MirrorState, operation: MirrorOperation): Co<void> {
  const { claimBytes, claimEndBytes } = operation
  assert(claimBytes % state.unitBytes === 0, 'claim-whole-clusters')
  const { control } = state
  state.dirty.reset(claimBytes, claimEndBytes - claimBytes)
  control.progress.begin(claimEndBytes - claimBytes)
  for (let at = claimBytes; at < claimEndBytes; ) {
    const lengthBytes = Math.min(state.copyMaxBytes, claimEndBytes - at)
    const buffer = new Uint8Array(lengthBytes)
    let errno = yield* state.sourceChild.pread(at, buffer)
    const isRead = errno !== OK
    if (errno === OK) errno = yield* writeClusters(state, at, buffer)
    if (errno !== OK) return fail(state, at, claimEndBytes - at, isRead, errno)
    control.progress.succeed(lengthBytes)
    state.noteFollowed(lengthBytes)
    state.cow!.set(at, lengthBytes)
    at += lengthBytes
  }
}

function fail(state: MirrorState, offsetBytes: number, lengthBytes: number, isRead: boolean, errno: Errno): void {
  assert(errno !== OK, 'failure-has-errno')
  state.control.progress.giveBack(lengthBytes)
  state.markDirty(offsetBytes, lengthBytes)
  if (!state.control.isForceCancelled) state.control.handleError(isRead, errno)
}
