/**
 * Requests as they enter a node through an edge: the backend's gate, checks, tracking, read-modify-write of blocks that
 * are covered in part. One generator frame for each node that a request passes.
 *
 * What may fail: everything below, as an errno. A range outside the node gives EIO, a write to a read-only node EPERM.
 * What never may: a change that completes before the node's dirty bitmaps know of it; two requests that wait for each
 * other.
 */
import { assert, type Co, EIO, ENOMEDIUM, ENOMEM, EPERM, type Errno, OK } from '../co'
import { Permission, RequestFlag } from './flags'
import { alignDown, alignmentRest, isAligned, isInside } from './io_range'
import { submitDiscard, submitRead, submitWrite, submitZeroes } from './io_submit'
import type { BlockChild, BlockNode } from './node'
import type { TrackedRequest } from './tracked_requests'
import { isZero } from './zero_detect'

/** The errno of a changing request that must not start, or OK. A missing permission is a defect of the caller. */
export function checkChange(child: BlockChild, offsetBytes: number, lengthBytes: number, flags: number): Errno {
  const node = child.node
  if (!child.isAttached) return ENOMEDIUM
  if (!isInside(offsetBytes, lengthBytes, node.lengthBytes) && !mayGrow(child, offsetBytes, lengthBytes)) return EIO
  if (node.options.readOnly || node.isInactive) return EPERM
  const wanted = (flags & RequestFlag.WriteUnchanged) !== 0 ? Permission.Write | Permission.WriteUnchanged : Permission.Write
  assert((child.permission & wanted) !== 0, 'write-permitted', () => `${child.parent.describe()} on ${node.describe()}`)
  checkQuiesced(child)
  return OK
}

/** A format may write behind the end of its file, which grows by that; a guest or a job never may. */
function mayGrow(child: BlockChild, offsetBytes: number, lengthBytes: number): boolean {
  return (
    child.gate === null && (child.permission & Permission.Resize) !== 0 && isInside(offsetBytes, lengthBytes, GROWTH_END_BYTES)
  )
}
const GROWTH_END_BYTES = Number.MAX_SAFE_INTEGER

/** A quiesced node hears only from parents that were told to stop and finish what they had begun. */
export function checkQuiesced(child: BlockChild): void {
  assert(child.hasQuiescedParent === child.node.quiesceCount > 0, 'quiesced-parent-knows', () => child.node.name)
}

/** After a change reached the driver, whether it worked or not: a failed write may have changed something. */
export function finishChange(node: BlockNode, offsetBytes: number, lengthBytes: number): void {
  assert(lengthBytes > 0, 'change-not-empty')
  node.writeGeneration++
  if (node.dirtyBitmaps.size === 0) return
  for (const bitmap of node.dirtyBitmaps) {
    const endBytes = Math.min(offsetBytes + lengthBytes, bitmap.lengthBytes)
    if (offsetBytes < endBytes) bitmap.set(offsetBytes, endBytes - offsetBytes)
  }
}

/** See `BlockChild.pread`. */
export function* readThrough(child: BlockChild, offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
  const gate = child.gate
  if (gate !== null) {
    if (gate.isShut()) yield* gate.waitOpen()
    gate.inFlight++
  }
  const node = child.node
  const endBytes = node.lengthBytes
  let errno = OK
  if (!child.isAttached) errno = ENOMEDIUM
  else if (gate !== null && node.isInactive) errno = EPERM
  else if (offsetBytes < 0 || (gate !== null && !isInside(offsetBytes, buffer.length, endBytes))) errno = EIO
  else if (buffer.length > 0) {
    checkQuiesced(child)
    node.enter()
    const request = node.requests.begin(offsetBytes, buffer.length)
    if (node.requests.hasSerialising) yield* node.requests.waitForConflicts(request)
    const reachBytes = endBytes + alignmentRest(endBytes, node.limits.requestAlignmentBytes)
    if (offsetBytes + buffer.length > reachBytes) errno = yield* readPastEnd(node, offsetBytes, buffer, reachBytes)
    else errno = yield* submitRead(node, offsetBytes, buffer)
    node.requests.end(request)
    node.leave()
  }
  if (gate !== null) gate.leave()
  return errno
}

function* readPastEnd(node: BlockNode, offsetBytes: number, buffer: Uint8Array, reachBytes: number): Co<Errno> {
  const insideBytes = Math.max(0, Math.min(buffer.length, reachBytes - offsetBytes))
  assert(insideBytes < buffer.length, 'read-past-end')
  const errno = insideBytes === 0 ? OK : yield* submitRead(node, offsetBytes, buffer.subarray(0, insideBytes))
  if (errno === OK) buffer.fill(0, insideBytes)
  return errno
}

/** What a request that excludes others excludes them from: what the node allocates at once. */
function exclusiveUnit(node: BlockNode): number {
  return Math.max(node.driver.info().clusterBytes, node.limits.requestAlignmentBytes)
}

/** See `BlockChild.pwrite`. */
export function* writeThrough(child: BlockChild, offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
  const gate = child.gate
  if (gate !== null) {
    if (gate.isShut()) yield* gate.waitOpen()
    gate.inFlight++
  }
  let errno = checkChange(child, offsetBytes, buffer.length, flags)
  if (errno === OK && buffer.length > 0) {
    const node = child.node
    if (offsetBytes + buffer.length > node.watermarkBytes) node.noteWrite(offsetBytes + buffer.length)
    node.enter()
    const request = node.requests.begin(offsetBytes, buffer.length)
    if (isAligned(offsetBytes, buffer.length, node.limits.requestAlignmentBytes)) {
      if ((flags & RequestFlag.Serialising) !== 0) node.requests.serialise(request, exclusiveUnit(node))
      if (node.requests.hasSerialising) yield* node.requests.waitForConflicts(request)
      errno = yield* submitWrite(node, offsetBytes, buffer, flags)
    } else errno = yield* writePadded(node, request, offsetBytes, buffer, flags)
    finishChange(node, offsetBytes, buffer.length)
    node.requests.end(request)
    node.leave()
  }
  if (gate !== null) gate.leave()
  return errno
}

/** Read-modify-write through one bounce buffer that holds whole blocks; nothing that overlaps runs meanwhile. */
function* writePadded(
  node: BlockNode,
  request: TrackedRequest,
  offsetBytes: number,
  buffer: Uint8Array,
  flags: number,
): Co<Errno> {
  const alignmentBytes = node.limits.requestAlignmentBytes
  node.requests.serialise(request, alignmentBytes)
  yield* node.requests.waitForConflicts(request)
  const startBytes = request.offsetBytes
  const bounce = node.graph.bounceBuffer(node, startBytes, request.endBytes - startBytes, true)
  if (bounce === null) return ENOMEM
  const errno = yield* readEnds(node, startBytes, bounce, offsetBytes, offsetBytes + buffer.length)
  if (errno !== OK) return errno
  bounce.set(buffer, offsetBytes - startBytes)
  return yield* submitWrite(node, startBytes, bounce, flags)
}

/**
 * Reads those blocks at the ends of `bounce` (which stands for the node from `startBytes` on) that the range from
 * `offsetBytes` to `endBytes` covers only in part: one read if the two ends meet.
 */
function* readEnds(node: BlockNode, startBytes: number, bounce: Uint8Array, offsetBytes: number, endBytes: number): Co<Errno> {
  const alignmentBytes = node.limits.requestAlignmentBytes
  const hasHead = offsetBytes > startBytes
  const hasTail = endBytes < startBytes + bounce.length
  assert(hasHead || hasTail, 'padding-needed')
  assert(isAligned(startBytes, bounce.length, alignmentBytes), 'padding-aligned')
  if (bounce.length === alignmentBytes || (hasHead && hasTail && bounce.length === 2 * alignmentBytes)) {
    return yield* readEnd(node, startBytes, bounce, hasHead, hasTail)
  }
  if (hasHead) {
    const errno = yield* readEnd(node, startBytes, bounce.subarray(0, alignmentBytes), true, false)
    if (errno !== OK) return errno
  }
  if (!hasTail) return OK
  const tailAt = bounce.length - alignmentBytes
  return yield* readEnd(node, startBytes + tailAt, bounce.subarray(tailAt), false, true)
}

/** A read of blocks at an end, or at both; whoever listens below may hold it up before and after. */
function readEnd(node: BlockNode, startBytes: number, bounce: Uint8Array, isHead: boolean, isTail: boolean): Co<Errno> {
  const read = submitRead(node, startBytes, bounce)
  return node.hearsEvents ? announcedRead(node, read, isHead, isTail) : read
}

function* announcedRead(node: BlockNode, read: Co<Errno>, isHead: boolean, isTail: boolean): Co<Errno> {
  assert(isHead || isTail, 'padding-needed')
  if (isHead) yield* node.debugEvent('pwritev_rmw_head')
  if (isTail) yield* node.debugEvent('pwritev_rmw_tail')
  const errno = yield* read
  if (errno !== OK) return errno
  if (isHead) yield* node.debugEvent('pwritev_rmw_after_head')
  if (isTail) yield* node.debugEvent('pwritev_rmw_after_tail')
  return OK
}

/** See `BlockChild.pwriteZeroes`. */
export function* writeZeroesThrough(child: BlockChild, offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
  const gate = child.gate
  if (gate !== null) {
    if (gate.isShut()) yield* gate.waitOpen()
    gate.inFlight++
  }
  let errno = checkChange(child, offsetBytes, lengthBytes, flags)
  if (errno === OK && lengthBytes > 0) {
    const node = child.node
    if (offsetBytes + lengthBytes > node.watermarkBytes) node.noteWrite(offsetBytes + lengthBytes)
    const effective = node.options.discard === 'ignore' ? flags & ~RequestFlag.MayUnmap : flags
    node.enter()
    const request = node.requests.begin(offsetBytes, lengthBytes)
    if (isAligned(offsetBytes, lengthBytes, node.limits.requestAlignmentBytes)) {
      if ((flags & RequestFlag.Serialising) !== 0) node.requests.serialise(request, exclusiveUnit(node))
      if (node.requests.hasSerialising) yield* node.requests.waitForConflicts(request)
      errno = yield* submitZeroes(node, offsetBytes, lengthBytes, effective)
    } else errno = yield* writeZeroesPadded(node, request, offsetBytes, lengthBytes, effective)
    finishChange(node, offsetBytes, lengthBytes)
    node.requests.end(request)
    node.leave()
  }
  if (gate !== null) gate.leave()
  return errno
}

/** Zeroes whole blocks as such, and the partial ones at the ends by read-modify-write. */
function* writeZeroesPadded(
  node: BlockNode,
  request: TrackedRequest,
  offsetBytes: number,
  lengthBytes: number,
  flags: number,
): Co<Errno> {
  const alignmentBytes = node.limits.requestAlignmentBytes
  const endBytes = offsetBytes + lengthBytes
  node.requests.serialise(request, alignmentBytes)
  yield* node.requests.waitForConflicts(request)
  const headBytes = alignmentRest(offsetBytes, alignmentBytes)
  const tailBytes = endBytes & (alignmentBytes - 1)
  const innerBytes = lengthBytes - headBytes - tailBytes
  if (innerBytes < 0) return yield* zeroInBlock(node, request.offsetBytes, offsetBytes, endBytes, flags)
  let errno = OK
  if (headBytes > 0) errno = yield* zeroInBlock(node, request.offsetBytes, offsetBytes, offsetBytes + headBytes, flags)
  if (errno === OK && innerBytes > 0) errno = yield* submitZeroes(node, offsetBytes + headBytes, innerBytes, flags)
  if (errno === OK && tailBytes > 0) errno = yield* zeroInBlock(node, endBytes - tailBytes, endBytes - tailBytes, endBytes, flags)
  return errno
}

/** Zeroes a part of the block at `startBytes`. A block that is all zero then is zeroed as a whole: it may stay a hole. */
function* zeroInBlock(node: BlockNode, startBytes: number, offsetBytes: number, endBytes: number, flags: number): Co<Errno> {
  const bounce = node.graph.bounceBuffer(node, startBytes, node.limits.requestAlignmentBytes, true)
  if (bounce === null) return ENOMEM
  assert(offsetBytes >= startBytes && endBytes <= startBytes + bounce.length, 'zero-inside-block')
  const errno = yield* readEnds(node, startBytes, bounce, offsetBytes, endBytes)
  if (errno !== OK) return errno
  bounce.fill(0, offsetBytes - startBytes, endBytes - startBytes)
  const dataFlags = flags & ~(RequestFlag.MayUnmap | RequestFlag.NoFallback)
  if (!isZero(bounce)) return yield* submitWrite(node, startBytes, bounce, dataFlags)
  return yield* submitZeroes(node, startBytes, bounce.length, flags & ~RequestFlag.NoFallback)
}

/** See `BlockChild.pdiscard`. Only whole blocks of the node can be discarded; the rest of the range is left alone. */
export function* discardThrough(child: BlockChild, offsetBytes: number, lengthBytes: number): Co<Errno> {
  const gate = child.gate
  if (gate !== null) {
    if (gate.isShut()) yield* gate.waitOpen()
    gate.inFlight++
  }
  let errno = checkChange(child, offsetBytes, lengthBytes, RequestFlag.None)
  const node = child.node
  const alignmentBytes = node.limits.requestAlignmentBytes
  const startBytes = offsetBytes + alignmentRest(offsetBytes, alignmentBytes)
  const innerBytes = alignDown(offsetBytes + lengthBytes, alignmentBytes) - startBytes
  if (errno === OK && innerBytes > 0 && node.options.discard === 'unmap') {
    node.enter()
    const request = node.requests.begin(startBytes, innerBytes)
    if (node.requests.hasSerialising) yield* node.requests.waitForConflicts(request)
    errno = yield* submitDiscard(node, startBytes, innerBytes)
    finishChange(node, startBytes, innerBytes)
    node.requests.end(request)
    node.leave()
  }
  if (gate !== null) gate.leave()
  return errno
}
