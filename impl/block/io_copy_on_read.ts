/**
 * Reads that leave a copy: what a read finds in the layers below is written to the node itself, so that the next read, or a
 * node without those layers, finds it there. Whole clusters are copied, and zeroes as zeroes.
 *
 * What may fail: the read, and also the copy; a copy that fails fails the read.
 * What never may: a copy that overwrites a newer write of somebody else. The request excludes everything that overlaps
 * its clusters from before it looks at the layers until it has written. What is allocated in the node itself, or nowhere, is
 * not written to.
 */
import { assert, type Co, EIO, ENOMEDIUM, EPERM, type Errno, OK } from '../co'
import type { BlockStatus } from './driver'
import { Permission, RequestFlag, StatusFlag } from './flags'
import { alignDown, isAligned, isInside } from './io_range'
import { submitRead, submitWrite, submitZeroes } from './io_submit'
import type { BlockChild, BlockNode } from './node'
import { nodeStatus, nodeStatusAbove } from './status'
import { isZero, zeroBytes } from './zero_detect'

/** The longest piece of data that is copied at once; a longer cluster is one piece nevertheless. */
const COPY_PIECE_BYTES = 1 << 20
const CHANGING = Permission.Write | Permission.WriteUnchanged

/**
 * Copies what [offsetBytes, offsetBytes + lengthBytes) shows of the layers below `child`'s node, down to `bottom` with that
 * included (null: of all layers), and fills `buffer` (of that length) if there is one. Needs WriteUnchanged.
 */
export function* copyOnReadThrough(
  child: BlockChild,
  offsetBytes: number,
  lengthBytes: number,
  buffer: Uint8Array | null,
  bottom: BlockNode | null,
): Co<Errno> {
  assert(buffer === null || buffer.length === lengthBytes, 'copy-on-read-buffer')
  const gate = child.gate
  if (gate !== null) {
    if (gate.isShut()) yield* gate.waitOpen()
    gate.inFlight++
  }
  const { node } = child
  let errno = OK
  if (!child.isAttached) errno = ENOMEDIUM
  else if (node.isInactive) errno = EPERM
  else if (!isInside(offsetBytes, lengthBytes, node.lengthBytes)) errno = EIO
  else if (lengthBytes > 0) {
    assert((child.permission & CHANGING) !== 0, 'copy-on-read-permitted', () => node.name)
    node.enter()
    const request = node.requests.begin(offsetBytes, lengthBytes)
    node.requests.serialise(request, copyUnit(node))
    yield* node.requests.waitForConflicts(request)
    errno = yield* copyRange(node, request.offsetBytes, Math.min(request.endBytes, node.lengthBytes), bottom, {
      offsetBytes,
      buffer,
    })
    node.requests.end(request)
    node.leave()
  }
  if (gate !== null) gate.leave()
  return errno
}

/** What a node allocates at once. */
function copyUnit(node: BlockNode): number {
  const { clusterBytes, subclusterBytes } = node.driver.info()
  const unitBytes = clusterBytes === 0 ? 1 : subclusterBytes || clusterBytes
  return Math.max(unitBytes, node.limits.requestAlignmentBytes)
}

/** Where the reader wants what is read. */
interface Wanted {
  readonly offsetBytes: number
  readonly buffer: Uint8Array | null
}

/** The part of the wanted buffer that a range fills; empty if it fills none. */
function wantedPart({ offsetBytes, buffer }: Wanted, atBytes: number, endBytes: number): Uint8Array | null {
  if (buffer === null) return null
  const from = Math.max(0, atBytes - offsetBytes)
  const to = Math.min(buffer.length, endBytes - offsetBytes)
  return from < to ? buffer.subarray(from, to) : null
}

/** All of [startBytes, endBytes), which is whole units except at the end of the node. */
function* copyRange(node: BlockNode, startBytes: number, endBytes: number, bottom: BlockNode | null, wanted: Wanted): Co<Errno> {
  const below = node.below()
  const canCopy = below !== null && (bottom === null || below.reaches(bottom))
  for (let at = startBytes; at < endBytes; ) {
    const own = yield* nodeStatus(node, 'allocation-only', at, endBytes - at)
    if (own.errno !== OK) return own.errno
    assert(own.bytes > 0, 'status-progress')
    const isOwn = (own.flags & StatusFlag.Allocated) !== 0
    const errno =
      isOwn || !canCopy
        ? yield* readPiece(node, at, at + own.bytes, wanted)
        : yield* copyRun(node, at, at + own.bytes, below, bottom?.below() ?? null, wanted)
    if (errno !== OK) return errno
    at += own.bytes
  }
  return OK
}

/** What the layers below hold of a piece; where they mix it is data. */
const enum Kind {
  Unallocated = 0,
  Hole = 1,
  Data = 2,
}

function kindOf({ flags, bytes }: BlockStatus, base: BlockNode | null): Kind {
  // The layer below ends before, and hides by that what `base` holds there.
  if (bytes === 0) return base === null ? Kind.Unallocated : Kind.Hole
  if ((flags & StatusFlag.Allocated) === 0) return Kind.Unallocated
  return (flags & StatusFlag.Zero) !== 0 ? Kind.Hole : Kind.Data
}

/** Copies a range that the node does not hold, in pieces of one kind. `base`: the first layer that is not looked at. */
function* copyRun(
  node: BlockNode,
  startBytes: number,
  endBytes: number,
  below: BlockNode,
  base: BlockNode | null,
  wanted: Wanted,
): Co<Errno> {
  const unitBytes = copyUnit(node)
  for (let at = startBytes; at < endBytes; ) {
    let kind = Kind.Unallocated
    let pieceEnd = at
    // One unit that holds several things is one piece; a longer run of one thing ends with its last whole unit.
    const unitEnd = Math.min(alignDown(at, unitBytes) + unitBytes, endBytes)
    while (pieceEnd < unitEnd) {
      const found = yield* nodeStatusAbove(below, base, 'want-zero', pieceEnd, endBytes - pieceEnd)
      if (found.errno !== OK) return found.errno
      const isFirst = pieceEnd === at
      const next = kindOf(found, base)
      // A hole beside what only the base holds: the unit must be read, or zeroes would hide the base's part.
      kind = isFirst || next === kind ? next : Kind.Data
      pieceEnd = found.bytes === 0 ? endBytes : pieceEnd + found.bytes
      if (!isFirst) pieceEnd = Math.min(pieceEnd, unitEnd)
    }
    if (kind === Kind.Data) pieceEnd = Math.min(pieceEnd, at + Math.max(COPY_PIECE_BYTES, unitBytes))
    if (pieceEnd < endBytes) pieceEnd = Math.max(alignDown(pieceEnd, unitBytes), unitEnd)
    assert(pieceEnd > at && pieceEnd <= endBytes, 'copy-progress')
    const errno =
      kind === Kind.Unallocated
        ? yield* readPiece(node, at, pieceEnd, wanted)
        : yield* copyPiece(node, at, pieceEnd, kind === Kind.Hole, wanted)
    if (errno !== OK) return errno
    at = pieceEnd
  }
  return OK
}

/** Reads what the reader wants of a piece that is not copied. */
function* readPiece(node: BlockNode, atBytes: number, endBytes: number, wanted: Wanted): Co<Errno> {
  const part = wantedPart(wanted, atBytes, endBytes)
  return part === null ? OK : yield* submitRead(node, Math.max(atBytes, wanted.offsetBytes), part)
}

/** Copies one piece of whole units, or up to the end of the node. A hole is not read: nothing in it is data. */
function* copyPiece(node: BlockNode, atBytes: number, endBytes: number, isHole: boolean, wanted: Wanted): Co<Errno> {
  const lengthBytes = endBytes - atBytes
  assert(lengthBytes > 0, 'copy-not-empty')
  // Zeroes are all that a hole needs of it.
  const bounce = isHole ? zeroBytes(0) : new Uint8Array(lengthBytes)
  let errno = isHole ? OK : yield* submitRead(node, atBytes, bounce)
  if (errno !== OK) return errno
  if (node.hearsEvents) yield* node.debugEvent('cor_write')
  // The last block of a node that is no whole number of blocks can be read, but not be written to.
  if (isAligned(atBytes, lengthBytes, node.limits.requestAlignmentBytes)) {
    errno =
      isHole || isZero(bounce)
        ? yield* submitZeroes(node, atBytes, lengthBytes, RequestFlag.WriteUnchanged)
        : yield* submitWrite(node, atBytes, bounce, RequestFlag.WriteUnchanged)
    // What dirty bitmaps tell has not changed, but there is something to flush.
    node.writeGeneration++
    if (errno !== OK) return errno
  }
  const part = wantedPart(wanted, atBytes, endBytes)
  if (part === null) return OK
  const from = Math.max(0, wanted.offsetBytes - atBytes)
  if (isHole) part.fill(0)
  else part.set(bounce.subarray(from, from + part.length))
  return OK
}
