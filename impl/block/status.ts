/**
 * Block status: what a range of a node holds without reading it. Answers are about the start of the range asked; callers
 * ask again for the rest. A filter answers as its child, an overlay for its own layer; `nodeStatusAbove` puts layers
 * together.
 *
 * What may fail: the driver, as `errno` in the answer. What never may: an answer of 0 bytes inside the node, or one that
 * reaches beyond the range asked.
 */
import { assert, type Co, type Errno, OK } from '../co'
import { type BlockStatus, type StatusMode, statusError, statusOf } from './driver'
import { REQUEST_MAX_BYTES, StatusFlag } from './flags'
import { alignDown, alignmentRest } from './io_range'
import type { BlockChild, BlockNode } from './node'
import { isZero } from './zero_detect'

/** See `BlockNode.blockStatus`. */
export function* nodeStatus(node: BlockNode, mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
  assert(offsetBytes >= 0 && lengthBytes >= 0, 'status-range', () => `${offsetBytes}+${lengthBytes}`)
  const totalBytes = node.lengthBytes
  if (offsetBytes >= totalBytes) return statusOf(StatusFlag.Eof, 0)
  const askedBytes = Math.min(lengthBytes, totalBytes - offsetBytes, REQUEST_MAX_BYTES)
  if (askedBytes === 0) return statusOf(StatusFlag.None, 0)
  node.enter()
  const status =
    node.filtered === null
      ? yield* layerStatus(node, mode, offsetBytes, askedBytes)
      : node.driver.judgesStatus
        ? yield* judgedStatus(node, mode, offsetBytes, askedBytes)
        : yield* nodeStatus(node.filtered.node, mode, offsetBytes, askedBytes)
  node.leave()
  if (status.errno !== OK) return status
  assert(status.bytes > 0 && status.bytes <= askedBytes, 'status-bytes', () => `${status.bytes} of ${askedBytes}`)
  status.flags &= ~StatusFlag.Eof
  if (offsetBytes + status.bytes === totalBytes) status.flags |= StatusFlag.Eof
  return status
}

/** The child's answer, if the filter lets the question through. */
function* judgedStatus(filter: BlockNode, mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
  assert(filter.filtered !== null, 'filter-has-child')
  const errno = yield* filter.driver.admitStatus(offsetBytes, lengthBytes)
  return errno === OK ? yield* nodeStatus(filter.filtered.node, mode, offsetBytes, lengthBytes) : statusError(errno)
}

/** Asks the driver about whole blocks, and adds what the block layer knows better. The range is inside the node. */
function* layerStatus(node: BlockNode, mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
  const alignmentBytes = node.limits.requestAlignmentBytes
  const startBytes = alignDown(offsetBytes, alignmentBytes)
  const endBytes = offsetBytes + lengthBytes
  const spanBytes = Math.min(endBytes + alignmentRest(endBytes, alignmentBytes), node.lengthBytes) - startBytes
  const answer = yield* node.driver.blockStatus(mode, startBytes, spanBytes)
  if (answer.errno !== OK) return answer
  assert(answer.bytes > 0 && answer.bytes <= spanBytes, 'driver-status-bytes', () => `${node.name}: ${answer.bytes}`)
  const skippedBytes = offsetBytes - startBytes
  assert(answer.bytes > skippedBytes, 'driver-status-aligned', () => node.name)
  const status = statusOf(answer.flags & ~StatusFlag.Recurse, Math.min(answer.bytes - skippedBytes, lengthBytes))
  if ((answer.flags & StatusFlag.OffsetValid) !== 0) {
    status.mapOffsetBytes = answer.mapOffsetBytes + skippedBytes
    status.mapNode = answer.mapNode
  }
  if ((status.flags & (StatusFlag.Data | StatusFlag.Zero)) !== 0) status.flags |= StatusFlag.Allocated
  else if ((status.flags & StatusFlag.Allocated) === 0 && node.driver.supportsBacking) {
    const backing = node.backing
    if (backing === null || (mode === 'want-zero' && offsetBytes >= backing.node.lengthBytes)) status.flags |= StatusFlag.Zero
  }
  const refines = StatusFlag.Recurse | StatusFlag.Data | StatusFlag.OffsetValid
  if (mode === 'want-zero' && (answer.flags & refines) === refines && status.mapNode !== node) yield* refine(status)
  return status
}

/** The storage below may know that what a format calls data is a hole that reads zero. Its errors are no news here. */
function* refine(status: BlockStatus): Co<void> {
  assert(status.mapNode !== null, 'status-map')
  const below = yield* nodeStatus(status.mapNode, 'want-zero', status.mapOffsetBytes, status.bytes)
  if (below.errno !== OK) return
  // A format may place data beyond the present end of its file; that reads zero.
  if (below.bytes === 0) status.flags |= StatusFlag.Zero
  else {
    status.bytes = below.bytes
    status.flags |= below.flags & StatusFlag.Zero
  }
}

/** See `BlockNode.blockStatusAbove`. */
export function* nodeStatusAbove(
  top: BlockNode,
  base: BlockNode | null,
  mode: StatusMode,
  offsetBytes: number,
  lengthBytes: number,
): Co<BlockStatus> {
  assert(top !== base, 'status-above-base')
  const endBytes = top.lengthBytes
  let status = statusOf(StatusFlag.None, Math.max(0, Math.min(lengthBytes, endBytes - offsetBytes, REQUEST_MAX_BYTES)))
  if (status.bytes === 0) return statusOf(offsetBytes >= endBytes ? StatusFlag.Eof : StatusFlag.None, 0)
  for (let layer: BlockNode | null = top; layer !== null && layer !== base; layer = layer.below()) {
    // A filter has no layer of its own: the next node answers for it.
    if (layer.filtered !== null) {
      const errno = layer.driver.judgesStatus ? yield* layer.driver.admitStatus(offsetBytes, status.bytes) : OK
      if (errno !== OK) return statusError(errno)
      continue
    }
    const askedBytes: number = status.bytes
    status = yield* nodeStatus(layer, mode, offsetBytes, askedBytes)
    if (status.errno !== OK) return status
    if (status.bytes === 0) {
      // The layers above left the range to this one, which ends before it.
      status = statusOf(StatusFlag.Zero | StatusFlag.Allocated, askedBytes)
      break
    }
    if ((status.flags & StatusFlag.Allocated) !== 0) break
  }
  status.flags &= ~StatusFlag.Eof
  if (offsetBytes + status.bytes === endBytes) status.flags |= StatusFlag.Eof
  return status
}

/** Whether the start of a range is allocated, and for how many bytes that holds (0 at or past the end). */
export interface Allocation {
  errno: Errno
  isAllocated: boolean
  bytes: number
}

/** Whether `top` or a layer between it and `base` (exclusive; null: the whole chain) determines the data of the range. */
export function* isAllocatedAbove(
  top: BlockNode,
  base: BlockNode | null,
  offsetBytes: number,
  lengthBytes: number,
): Co<Allocation> {
  const status = yield* nodeStatusAbove(top, base, 'allocation-only', offsetBytes, lengthBytes)
  assert(status.errno !== OK || status.bytes <= lengthBytes, 'allocation-bytes')
  return { errno: status.errno, isAllocated: (status.flags & StatusFlag.Allocated) !== 0, bytes: status.bytes }
}

/** An image of more extents than this is not asked to its end: the probe must stay cheap. */
const ZERO_PROBE_QUERIES_MAX = 64
/** Raw files often have a short allocated head, written to find out the file system's alignment. */
const ZERO_PROBE_READ_MAX_BYTES = 128 * 1024

/**
 * Whether the whole node reads zero, as far as that can be known cheaply: by status, and by reading a short head of
 * unknown content. `isZero` false means "not known".
 */
export function* probeAllZero(child: BlockChild): Co<{ errno: Errno; isZero: boolean }> {
  const node = child.node
  if (node.skipFilters().driver.readsAllZero()) return { errno: OK, isZero: true }
  const endBytes = node.lengthBytes
  let headBytes = 0
  let at = 0
  for (let query = 0; at < endBytes; query++) {
    if (query === ZERO_PROBE_QUERIES_MAX) return { errno: OK, isZero: false }
    const status = yield* nodeStatusAbove(node, null, 'want-zero', at, endBytes - at)
    if (status.errno !== OK) return { errno: status.errno, isZero: false }
    assert(status.bytes > 0, 'status-progress')
    if ((status.flags & StatusFlag.Zero) === 0) {
      if (at !== headBytes || at + status.bytes > ZERO_PROBE_READ_MAX_BYTES) return { errno: OK, isZero: false }
      headBytes = at + status.bytes
    }
    at += status.bytes
  }
  if (headBytes === 0) return { errno: OK, isZero: true }
  const head = new Uint8Array(headBytes)
  const errno = yield* child.pread(0, head)
  return { errno, isZero: errno === OK && isZero(head) }
}
