/**
 * Change of a node's length. The area that appears or vanishes is excluded from all other requests meanwhile; dirty
 * bitmaps follow the new length, and what an overlay gains reads zero even where its backing image is longer.
 */
import { assert, type Co, EINVAL, EIO, ENOMEDIUM, ENOTSUP, EPERM, type Errno, OK } from '../co'
import type { PreallocationMode } from './driver'
import { Permission } from './flags'
import { checkQuiesced, finishChange } from './io'
import { submitZeroes } from './io_submit'
import type { BlockChild, BlockNode } from './node'

/** See `BlockChild.truncate`. `lengthBytes` out of range gives EINVAL, a driver that cannot change its length ENOTSUP. */
export function* truncateThrough(
  child: BlockChild,
  lengthBytes: number,
  exact: boolean,
  preallocation: PreallocationMode,
): Co<Errno> {
  const gate = child.gate
  if (gate !== null) {
    if (gate.isShut()) yield* gate.waitOpen()
    gate.inFlight++
  }
  const errno = child.isAttached ? yield* truncateNode(child, lengthBytes, exact, preallocation) : ENOMEDIUM
  if (gate !== null) gate.leave()
  return errno
}

function* truncateNode(child: BlockChild, lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
  const node = child.node
  if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0) return EINVAL
  if (node.options.readOnly || node.isInactive) return EPERM
  assert((child.permission & Permission.Resize) !== 0, 'resize-permitted', () => node.name)
  checkQuiesced(child)
  const oldBytes = node.lengthBytes
  const firstBytes = Math.min(oldBytes, lengthBytes)
  node.enter()
  const request = node.requests.begin(firstBytes, Math.max(oldBytes, lengthBytes) - firstBytes)
  node.requests.serialise(request, node.limits.requestAlignmentBytes)
  yield* node.requests.waitForConflicts(request)
  let errno = yield* node.driver.truncate(lengthBytes, exact, preallocation)
  const newBytes = node.lengthBytes
  if (errno === OK && exact && preallocation === 'off' && newBytes < lengthBytes) errno = EIO
  for (const bitmap of node.namedBitmaps.values()) bitmap.truncate(newBytes)
  for (const bitmap of node.dirtyBitmaps) if (bitmap.lengthBytes !== newBytes) bitmap.truncate(newBytes)
  if (errno === OK && newBytes > oldBytes) errno = yield* coverBacking(node, oldBytes, newBytes)
  node.writeGeneration++
  node.requests.end(request)
  node.leave()
  return errno
}

/** Zeroes what the backing image would otherwise show in the area that an overlay has gained. */
function* coverBacking(node: BlockNode, oldBytes: number, newBytes: number): Co<Errno> {
  assert(oldBytes < newBytes, 'truncate-grows')
  const endBytes = Math.min(node.backing?.node.lengthBytes ?? 0, newBytes)
  if (endBytes <= oldBytes) return OK
  const alignmentBytes = node.limits.requestAlignmentBytes
  // Both lengths are block boundaries of a node that may be written to.
  if (oldBytes % alignmentBytes !== 0) return ENOTSUP
  const coveredBytes = Math.min(Math.ceil(endBytes / alignmentBytes) * alignmentBytes, newBytes)
  const errno = yield* submitZeroes(node, oldBytes, coveredBytes - oldBytes, 0)
  finishChange(node, oldBytes, coveredBytes - oldBytes)
  return errno
}
