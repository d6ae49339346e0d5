/**
 * Giving clusters up. What was discarded reads zero afterwards (in version 2 it reads from the backing image, so there it is
 * refused if there is one). The clusters themselves go with the next `settle`.
 *
 * What may fail: reading and making tables, as an errno; ENOTSUP for parts of clusters, which are left alone.
 */
import { assert, type Co, EIO, ENOTSUP, type Errno, OK } from '../../../co'
import { RequestFlag } from '../../flags'
import { overlapping } from './allocation'
import type { Table } from './cache'
import type { Qcow2Image } from './image'
import { ClusterType, COPIED_HIGH, compressedBytes, compressedOffset, entryOffset, standardType, ZERO_LOW } from './layout'
import { FreeKind } from './refcount'
import { ownedSlice, ownSlice } from './tables'

/** Gives up what an entry points to, if anything. A stray one leads nowhere: better a leak than a wrong refcount. */
export function freeEntry(image: Qcow2Image, high: number, low: number, kind: FreeKind): void {
  // The clusters of an external data file have no refcounts.
  if (image.hasDataFile) return
  const { clusterBits, clusterBytes } = image.geometry
  const type = standardType(high, low, false)
  if (type === ClusterType.Compressed) {
    const offset = compressedOffset(clusterBits, high, low)
    if (offset >= clusterBytes) image.refcounts.free(offset, compressedBytes(clusterBits, high, low), kind)
  } else if (type === ClusterType.Normal || type === ClusterType.ZeroAllocated) {
    const offset = entryOffset(high, low)
    if (offset % clusterBytes === 0 && offset > 0) image.refcounts.free(offset, clusterBytes, kind)
  }
}

/** Waits, under the lock, until no write allocates clusters of [fromBytes, toBytes). */
export function* waitAllocations(image: Qcow2Image, fromBytes: number, toBytes: number): Co<void> {
  assert(image.lock.isLocked, 'wait-under-lock')
  for (;;) {
    const other = overlapping(image.allocations, fromBytes, toBytes)
    if (other === null) return
    image.lock.unlock()
    yield* other.wait()
    yield* image.lock.lock()
  }
}

/** Discards [guestBytes, guestBytes + lengthBytes), both ends at cluster boundaries or at the end of the disk. */
export function* discardImage(image: Qcow2Image, guestBytes: number, lengthBytes: number): Co<Errno> {
  const { clusterBytes } = image.geometry
  const endBytes = guestBytes + lengthBytes
  if (image.isBroken) return EIO
  if (image.header.version < 3 && image.backing !== null) return ENOTSUP
  const isWhole = guestBytes % clusterBytes === 0 && (endBytes % clusterBytes === 0 || endBytes === image.header.sizeBytes)
  if (!isWhole) return ENOTSUP
  yield* image.lock.lock()
  let errno = yield* discardClusters(image, guestBytes, endBytes, FreeKind.Request, false)
  if (errno === OK && image.hasDataFile) errno = yield* discardInDataFile(image, guestBytes, lengthBytes)
  image.lock.unlock()
  return errno
}

/** A raw data file has to show the zeroes that the image promises; otherwise a discard there is only advice. */
function* discardInDataFile(image: Qcow2Image, guestBytes: number, lengthBytes: number): Co<Errno> {
  assert(image.hasDataFile, 'discard-data-file')
  if (image.isDataFileRaw) return yield* image.data.pwriteZeroes(guestBytes, lengthBytes, RequestFlag.MayUnmap)
  if (!image.settings.passDiscardRequest) return OK
  return yield* image.discardData(guestBytes, lengthBytes)
}

/**
 * Under the lock. `isFull`: nothing is left of the clusters, not even that they read zero; for shrinking and for images
 * whose content goes as a whole.
 */
export function* discardClusters(
  image: Qcow2Image,
  fromBytes: number,
  toBytes: number,
  kind: FreeKind,
  isFull: boolean,
): Co<Errno> {
  const { clusterBytes, l2CoversBytes } = image.geometry
  yield* waitAllocations(image, fromBytes, toBytes)
  const keptOffsets: number[] = []
  let errno = image.isBroken ? EIO : OK
  for (let at = fromBytes; at < toBytes && errno === OK; ) {
    if (image.refcounts.mustSettle) errno = yield* image.refcounts.settle()
    const l2Offset = image.l2Offset(at)
    if (l2Offset === 0 && (isFull || image.backing === null)) {
      // Nothing is there, and it reads zero already.
      at = (Math.floor(at / l2CoversBytes) + 1) * l2CoversBytes
      continue
    }
    if (errno === OK) errno = yield* ownSlice(image, at)
    if (errno !== OK) break
    const slice = ownedSlice(image, at)
    const first = image.sliceIndex(at)
    const count = Math.min(image.sliceEntries - first, Math.ceil((toBytes - at) / clusterBytes))
    for (let number = 0; number < count; number++) {
      const kept = discardEntry(image, slice, first + number, kind, isFull)
      if (kept !== 0 && image.passesDiscard(kind)) keptOffsets.push(kept)
    }
    at += count * clusterBytes
  }
  return errno === OK && keptOffsets.length > 0 ? yield* image.discardKept(keptOffsets) : errno
}

/** Gives the offset of a cluster whose content has gone while the entry keeps it, or 0. */
function discardEntry(image: Qcow2Image, slice: Table, index: number, kind: FreeKind, isFull: boolean): number {
  const { words } = slice
  const { entryWords } = image
  const at = index * entryWords
  const high = words[at]!
  const low = words[at + 1]!
  const type = standardType(high, low, image.hasDataFile)
  const isAllocated = type !== ClusterType.UnallocatedPlain && type !== ClusterType.ZeroPlain
  const keepsCluster =
    image.settings.discardNoUnref &&
    image.header.version >= 3 &&
    !image.hasDataFile &&
    !isFull &&
    type !== ClusterType.Compressed &&
    (high & COPIED_HIGH) !== 0 &&
    isAllocated
  const readsZero = !isFull && (isAllocated || image.backing !== null)
  assert(index < image.sliceEntries, 'discard-entry')
  if (!isFull && !readsZero) return 0
  const newHigh = keepsCluster ? high : 0
  let newLow = keepsCluster ? low : 0
  if (readsZero && entryWords === 2 && image.header.version >= 3) newLow |= ZERO_LOW
  const hasChanged = newHigh !== high || newLow >>> 0 !== low || (entryWords === 4 && changesBits(words, at, readsZero))
  if (!hasChanged) return 0
  words[at] = newHigh
  words[at + 1] = newLow
  if (entryWords === 4) {
    words[at + 2] = readsZero ? 0xffffffff : 0
    words[at + 3] = 0
  }
  image.metadata.l2.markDirty(slice, at * 4, (at + entryWords) * 4)
  if (keepsCluster || image.hasDataFile) image.noteHidden()
  if (keepsCluster) return entryOffset(high, low)
  freeEntry(image, high, low, kind)
  return 0
}

function changesBits(words: Uint32Array, at: number, readsZero: boolean): boolean {
  return words[at + 2] !== (readsZero ? 0xffffffff : 0) || words[at + 3] !== 0
}
