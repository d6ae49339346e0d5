/**
 * Writing zeroes by saying so in the tables: whole subclusters (clusters without extended L2 entries), and parts of those
 * that read zero already.
 *
 * What may fail: reading and making tables, as an errno; ENOTSUP where only data can say it: version 2 above something, parts
 * of clusters that hold data, single subclusters of compressed clusters.
 */
import { assert, type Co, EIO, ENOTSUP, type Errno, OK } from '../../../co'
import { RequestFlag, StatusFlag } from '../../flags'
import { bitRange } from './allocate'
import type { Table } from './cache'
import { discardClusters, freeEntry, waitAllocations } from './discard'
import type { Qcow2Image } from './image'
import { ClusterType, COPIED_HIGH, entryOffset, standardType, ZERO_LOW } from './layout'
import { findRunLocked, Run } from './mapping'
import { FreeKind } from './refcount'
import { ownedSlice, ownSlice } from './tables'

/** Makes [guestBytes, guestBytes + lengthBytes) read zero. `flags` are RequestFlag bits. */
export function* zeroImage(image: Qcow2Image, guestBytes: number, lengthBytes: number, flags: number): Co<Errno> {
  if (image.isBroken) return EIO
  // Without the zero flag, a cluster that is not there says it, unless something lies below, or will: an image that the header
  // names and that is not attached yet.
  if (image.header.version < 3 && (image.backing !== null || image.mayNameBacking)) return ENOTSUP
  const { clusterBytes, subclusterBytes } = image.geometry
  const endBytes = guestBytes + lengthBytes
  const isLast = endBytes >= image.header.sizeBytes
  const fromBytes = guestBytes - (guestBytes % subclusterBytes)
  const toBytes = Math.ceil(endBytes / subclusterBytes) * subclusterBytes
  const isWhole = fromBytes === guestBytes && (toBytes === endBytes || isLast)
  const clusterFrom = guestBytes - (guestBytes % clusterBytes)
  yield* image.lock.lock()
  yield* waitAllocations(image, clusterFrom, Math.ceil(endBytes / clusterBytes) * clusterBytes)
  let errno = image.isBroken ? EIO : OK
  if (errno === OK && !isWhole) errno = yield* checkRestZero(image, fromBytes, guestBytes, endBytes, isLast ? endBytes : toBytes)
  if (errno === OK && image.isDataFileRaw)
    errno = yield* image.data.pwriteZeroes(guestBytes, lengthBytes, flags & RequestFlag.MayUnmap)
  if (errno === OK && image.header.version < 3) {
    errno = yield* discardClusters(image, fromBytes, toBytes, FreeKind.Request, false)
  } else if (errno === OK) errno = yield* zeroSubclusters(image, fromBytes, toBytes, flags)
  const passes = (flags & RequestFlag.MayUnmap) !== 0 && image.settings.passDiscardRequest
  if (errno === OK && image.hasDataFile && !image.isDataFileRaw && passes)
    errno = yield* image.discardData(guestBytes, lengthBytes)
  image.lock.unlock()
  return errno
}

/** OK if what surrounds [guestBytes, endBytes) in [fromBytes, toBytes) reads zero, so that all of it may be zeroed. */
function* checkRestZero(image: Qcow2Image, fromBytes: number, guestBytes: number, endBytes: number, toBytes: number): Co<Errno> {
  assert(fromBytes <= guestBytes && endBytes <= toBytes, 'zero-around')
  if (toBytes - fromBytes > image.geometry.subclusterBytes) return ENOTSUP
  const run = new Run()
  const errno = yield* findRunLocked(image, fromBytes, toBytes - fromBytes, run)
  if (errno !== OK) return errno
  if (run.type === ClusterType.ZeroPlain || run.type === ClusterType.ZeroAllocated) return OK
  if (run.type !== ClusterType.UnallocatedPlain && run.type !== ClusterType.UnallocatedAllocated) return ENOTSUP
  const headErrno = yield* checkBackingZero(image, fromBytes, guestBytes - fromBytes)
  return headErrno === OK ? yield* checkBackingZero(image, endBytes, toBytes - endBytes) : headErrno
}

function* checkBackingZero(image: Qcow2Image, guestBytes: number, lengthBytes: number): Co<Errno> {
  const { backing } = image
  if (backing === null) return OK
  for (let at = 0; at < lengthBytes; ) {
    const status = yield* backing.node.blockStatusAbove(null, 'want-zero', guestBytes + at, lengthBytes - at)
    if (status.errno !== OK || (status.bytes > 0 && (status.flags & StatusFlag.Zero) === 0)) return ENOTSUP
    // Beyond the end of the backing image everything reads zero.
    if (status.bytes === 0) return OK
    at += status.bytes
  }
  return OK
}

/** Both ends are subcluster boundaries, or behind the end of the disk. Under the lock. */
export function* zeroSubclusters(image: Qcow2Image, fromBytes: number, toBytes: number, flags: number): Co<Errno> {
  const { clusterBytes } = image.geometry
  const keptOffsets: number[] = []
  for (let at = fromBytes; at < toBytes; ) {
    let errno = image.refcounts.mustSettle ? yield* image.refcounts.settle() : OK
    if (errno === OK) errno = yield* ownSlice(image, at)
    if (errno !== OK) return errno
    const slice = ownedSlice(image, at)
    const inCluster = at % clusterBytes
    const isLast = toBytes >= image.header.sizeBytes
    const clusterEnd = at - inCluster + clusterBytes
    if (inCluster !== 0 || (toBytes < clusterEnd && !isLast)) {
      const partEnd = Math.min(toBytes, clusterEnd)
      errno = zeroPart(image, slice, image.sliceIndex(at), inCluster, partEnd - (clusterEnd - clusterBytes))
      if (errno !== OK) return errno
      at = partEnd
      continue
    }
    const whole = isLast ? Math.ceil((toBytes - at) / clusterBytes) : Math.floor((toBytes - at) / clusterBytes)
    const first = image.sliceIndex(at)
    const count = Math.min(image.sliceEntries - first, whole)
    assert(count > 0, 'zero-progress')
    for (let number = 0; number < count; number++) {
      const kept = zeroEntry(image, slice, first + number, flags)
      if (kept !== 0 && image.settings.passDiscardRequest) keptOffsets.push(kept)
    }
    at += count * clusterBytes
  }
  return keptOffsets.length > 0 ? yield* image.discardKept(keptOffsets) : OK
}

/** Zeroes the subclusters from byte `from` to byte `to` of one cluster. */
function zeroPart(image: Qcow2Image, slice: Table, index: number, from: number, to: number): Errno {
  const { subclusterBytes } = image.geometry
  const { words } = slice
  const at = index * 4
  assert(image.entryWords === 4, 'parts-are-subclusters')
  if (standardType(words[at]!, words[at + 1]!, image.hasDataFile) === ClusterType.Compressed) return ENOTSUP
  const bits = bitRange(from / subclusterBytes, to / subclusterBytes)
  const zeroBits = (words[at + 2]! | bits) >>> 0
  const dataBits = (words[at + 3]! & ~bits) >>> 0
  if (zeroBits === words[at + 2] && dataBits === words[at + 3]) return OK
  words[at + 2] = zeroBits
  words[at + 3] = dataBits
  image.noteHidden()
  image.metadata.l2.markDirty(slice, at * 4, (at + 4) * 4)
  return OK
}

/** Gives the offset of a cluster whose content may go while the entry keeps it, or 0. */
function zeroEntry(image: Qcow2Image, slice: Table, index: number, flags: number): number {
  const { words } = slice
  const { entryWords } = image
  const at = index * entryWords
  const high = words[at]!
  const low = words[at + 1]!
  const type = standardType(high, low, image.hasDataFile)
  const isAllocated = type === ClusterType.Normal || type === ClusterType.ZeroAllocated
  const mayKeep = image.settings.discardNoUnref && (high & COPIED_HIGH) !== 0
  const mayUnmap = (flags & RequestFlag.MayUnmap) !== 0 && isAllocated
  const givesUp = type === ClusterType.Compressed || (mayUnmap && !mayKeep)
  assert(index < image.sliceEntries, 'zero-entry')
  const newHigh = givesUp ? 0 : high
  const keptLow = givesUp ? 0 : low
  const newLow = entryWords === 2 ? (keptLow | ZERO_LOW) >>> 0 : keptLow
  const hasBits = entryWords === 4 && (words[at + 2] !== 0xffffffff || words[at + 3] !== 0)
  if (newHigh === high && newLow === low && !hasBits) return 0
  words[at] = newHigh
  words[at + 1] = newLow
  if (entryWords === 4) {
    words[at + 2] = 0xffffffff
    words[at + 3] = 0
  }
  image.metadata.l2.markDirty(slice, at * 4, (at + entryWords) * 4)
  if (!givesUp || image.hasDataFile) image.noteHidden()
  if (givesUp) freeEntry(image, high, low, FreeKind.Request)
  return mayUnmap && mayKeep && !image.hasDataFile ? entryOffset(high, low) : 0
}
