/**
 * Changing the length of an image, and mapping clusters before anything is written to them (preallocation).
 *
 * The order when it grows: a longer L1 table, the clusters, then the length in the header. When it shrinks: entries first,
 * then what they pointed to, then the length. A power cut in between leaves the old length, or leaked clusters.
 *
 * What may fail: files, as an errno; EINVAL for lengths that are no whole sectors, and for preallocation when shrinking;
 * EFBIG for an L1 table that would be too long; ENOTSUP for version 2 with snapshots.
 */
import { assert, type Co, EFBIG, EINVAL, ENOTSUP, type Errno, OK } from '../../../co'
import type { PreallocationMode } from '../../driver'
import { link, writeImage } from './allocate'
import { Allocation } from './allocation'
import { discardClusters } from './discard'
import { encodeWords, type Qcow2Image } from './image'
import {
  ClusterType,
  entryOffset,
  HEADER_L1_SIZE_AT,
  HEADER_SIZE_AT,
  L1_BYTES_MAX,
  l1EntriesFor,
  writeU32,
  writeU64,
} from './layout'
import { findRun, findRunLocked, Run } from './mapping'
import { Place } from './overlap'
import { FreeKind } from './refcount'
import { ownSlice } from './tables'

const SECTOR_BYTES = 512

/** Makes a guest's disk `newBytes` long. */
export function* resizeImage(image: Qcow2Image, newBytes: number, preallocation: PreallocationMode): Co<Errno> {
  const oldBytes = image.header.sizeBytes
  if (newBytes % SECTOR_BYTES !== 0) return EINVAL
  if (image.header.snapshotCount > 0 && image.header.version < 3) return ENOTSUP
  if (image.header.bitmaps !== null && !image.canResizeBitmaps()) return ENOTSUP
  if (newBytes < oldBytes && preallocation !== 'off') return EINVAL
  if (newBytes > oldBytes) {
    const zeroErrno = yield* zeroTail(image, oldBytes, newBytes)
    if (zeroErrno !== OK) return zeroErrno
  }
  yield* image.lock.lock()
  const errno = newBytes < oldBytes ? yield* shrink(image, newBytes) : yield* grow(image, newBytes, preallocation)
  image.lock.unlock()
  return errno
}

/** What lies in the last cluster behind the end of the disk, left there when it was longer once, must not appear again. */
function* zeroTail(image: Qcow2Image, oldBytes: number, newBytes: number): Co<Errno> {
  const { clusterBytes } = image.geometry
  const endBytes = Math.min(Math.ceil(oldBytes / clusterBytes) * clusterBytes, newBytes)
  assert(endBytes - oldBytes < clusterBytes, 'tail-of-cluster')
  const run = new Run()
  let hasWritten = false
  for (let at = oldBytes; at < endBytes; at += run.bytes) {
    let errno = yield* findRun(image, at, endBytes - at, run)
    if (errno !== OK) return errno
    if (run.type !== ClusterType.Normal && run.type !== ClusterType.Compressed) continue
    hasWritten = true
    errno = yield* writeImage(image, at, new Uint8Array(run.bytes))
    if (errno !== OK) return errno
  }
  if (!hasWritten) return OK
  // Stable before the length is.
  yield* image.lock.lock()
  let errno = yield* image.metadata.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  image.lock.unlock()
  return errno
}

function* shrink(image: Qcow2Image, newBytes: number): Co<Errno> {
  const { clusterBytes } = image.geometry
  const oldBytes = image.header.sizeBytes
  const fromBytes = Math.ceil(newBytes / clusterBytes) * clusterBytes
  assert(newBytes < oldBytes, 'shrink-shrinks')
  let errno = yield* discardClusters(image, fromBytes, Math.ceil(oldBytes / clusterBytes) * clusterBytes, FreeKind.Other, true)
  if (errno === OK) errno = yield* image.refcounts.settle()
  if (errno === OK) errno = yield* dropTables(image, l1EntriesFor(image.geometry, newBytes))
  if (errno === OK) errno = yield* image.refcounts.settle()
  if (errno === OK) errno = yield* image.metadata.writeAll()
  if (errno === OK && image.hasDataFile && image.data.node.lengthBytes > newBytes) {
    errno = yield* image.data.truncate(newBytes, false, 'off')
  }
  if (errno === OK) errno = yield* writeSize(image, newBytes)
  if (errno === OK) errno = yield* cutFile(image)
  return errno
}

/** Empties the L1 entries from number `first` on and gives their tables up. */
export function* dropTables(image: Qcow2Image, first: number): Co<Errno> {
  const { l1 } = image
  if (first * 2 >= l1.length) return OK
  const dropped = l1.slice(first * 2)
  assert(dropped.length > 0, 'tables-dropped')
  l1.fill(0, first * 2)
  const at = image.header.l1OffsetBytes + first * 8
  const refusal = image.guard(at, dropped.length * 4, Place.ActiveL1)
  let errno = refusal === null ? yield* image.writeThrough(at, new Uint8Array(dropped.length * 4)) : yield* refusal
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno !== OK) {
    l1.set(dropped, first * 2)
    return errno
  }
  image.refreshPlaces()
  for (let index = 0; index < dropped.length; index += 2) {
    const offset = entryOffset(dropped[index]!, dropped[index + 1]!)
    if (offset !== 0 && offset % image.geometry.clusterBytes === 0) {
      image.refcounts.free(offset, image.geometry.clusterBytes, FreeKind.Other)
    }
  }
  return OK
}

/** The file ends after the last cluster in use. That this fails costs nothing but space. */
export function* cutFile(image: Qcow2Image): Co<Errno> {
  const { clusterBytes } = image.geometry
  let last = Math.ceil(image.file.node.lengthBytes / clusterBytes) - 1
  for (; last > 0; last--) {
    const errno = yield* image.refcounts.read(last)
    if (errno !== OK) return errno
    if (image.refcounts.value > 0) break
  }
  assert(last >= 0, 'file-has-header')
  const endBytes = (last + 1) * clusterBytes
  if (endBytes < image.file.node.lengthBytes) yield* image.file.truncate(endBytes, false, 'off')
  return OK
}

function* writeSize(image: Qcow2Image, newBytes: number): Co<Errno> {
  const field = new Uint8Array(8)
  writeU64(field, 0, newBytes)
  let errno = yield* image.writeThrough(HEADER_SIZE_AT, field)
  if (errno === OK) errno = yield* image.flushFiles()
  assert(newBytes % SECTOR_BYTES === 0, 'size-whole-sectors')
  if (errno === OK) image.header.sizeBytes = newBytes
  return errno
}

function* grow(image: Qcow2Image, newBytes: number, wanted: PreallocationMode): Co<Errno> {
  const oldBytes = image.header.sizeBytes
  // "A raw data file can be read as it is" includes what was never written.
  const mode: PreallocationMode = wanted === 'off' && image.isDataFileRaw ? 'metadata' : wanted
  let errno = yield* growL1(image, l1EntriesFor(image.geometry, newBytes))
  const { node } = image.data
  if (errno === OK && image.hasDataFile && newBytes > node.lengthBytes) {
    errno = yield* image.data.truncate(newBytes, false, mode === 'metadata' ? 'off' : mode)
  }
  if (errno === OK && mode !== 'off') errno = yield* preallocate(image, oldBytes, newBytes, mode)
  if (errno === OK && newBytes !== oldBytes) errno = yield* writeSize(image, newBytes)
  assert(errno !== OK || image.header.sizeBytes === newBytes, 'size-grown')
  return errno
}

/** Moves the L1 table to where it has room for `entries`. */
export function* growL1(image: Qcow2Image, entries: number): Co<Errno> {
  const { refcounts, header } = image
  const { clusterBytes } = image.geometry
  if (entries * 2 <= image.l1.length) return OK
  if (entries * 8 > L1_BYTES_MAX) return EFBIG
  const words = new Uint32Array(entries * 2)
  words.set(image.l1)
  let errno = yield* image.markDirty()
  if (errno === OK) errno = yield* refcounts.allocate(Math.ceil((entries * 8) / clusterBytes))
  if (errno !== OK) return errno
  const offsetBytes = refcounts.allocatedBytes
  const refusal = image.guard(offsetBytes, entries * 8, Place.None)
  if (refusal !== null) return yield* refusal
  errno = yield* image.metadata.refcounts.writeAll()
  if (errno === OK) errno = yield* image.writeThrough(offsetBytes, encodeWords(words))
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno !== OK) {
    refcounts.free(offsetBytes, entries * 8, FreeKind.Other)
    return errno
  }
  const before = tableField(header.l1Entries, header.l1OffsetBytes)
  errno = yield* image.writeField(HEADER_L1_SIZE_AT, tableField(entries, offsetBytes), before)
  if (errno !== OK) return errno
  const oldOffsetBytes = header.l1OffsetBytes
  const oldBytes = image.l1.length * 4
  image.setL1(words, offsetBytes)
  if (oldBytes > 0) refcounts.free(oldOffsetBytes, oldBytes, FreeKind.Other)
  assert(image.l1.length === entries * 2, 'l1-grown')
  return OK
}

/** Length and offset of the L1 table as the header has them. */
function tableField(entries: number, offsetBytes: number): Uint8Array {
  const field = new Uint8Array(12)
  writeU32(field, 0, entries)
  writeU64(field, 4, offsetBytes)
  return field
}

/** Gives every cluster of a range that has none a place. Data reads zero there. Under the lock. */
export function* preallocate(image: Qcow2Image, fromBytes: number, toBytes: number, mode: PreallocationMode): Co<Errno> {
  const { clusterBytes } = image.geometry
  const freshFrom = image.file.node.lengthBytes
  assert(mode !== 'off', 'preallocation-wanted')
  if (mode !== 'metadata' && !image.hasDataFile) {
    const errno = yield* image.file.truncate(freshFrom + allocationBytes(image, toBytes - fromBytes), false, mode)
    if (errno !== OK) return errno
  }
  const run = new Run()
  let endBytes = 0
  for (let at = fromBytes; at < toBytes; at += run.bytes) {
    let errno = yield* ownSlice(image, at)
    if (errno === OK) errno = yield* findRunLocked(image, at, toBytes - at, run)
    if (errno !== OK) return errno
    if (run.type !== ClusterType.UnallocatedPlain) continue
    errno = yield* preallocateRun(image, at, run, freshFrom)
    if (errno !== OK) return errno
    endBytes = Math.max(endBytes, run.hostBytes + Math.ceil(run.bytes / clusterBytes) * clusterBytes)
  }
  // What reads the file by itself must not meet its end in the middle of a mapped cluster.
  if (!image.hasDataFile && endBytes > image.file.node.lengthBytes)
    return yield* image.file.truncate(endBytes, false, mode === 'metadata' ? 'off' : mode)
  image.hasPreallocatedMetadata = true
  return OK
}

function* preallocateRun(image: Qcow2Image, guestBytes: number, run: Run, freshFromBytes: number): Co<Errno> {
  const { clusterBytes } = image.geometry
  const clusterFrom = guestBytes - (guestBytes % clusterBytes)
  const clusters = Math.ceil((guestBytes + run.bytes - clusterFrom) / clusterBytes)
  assert(clusters > 0, 'preallocate-something')
  let hostBytes = clusterFrom
  if (!image.hasDataFile) {
    let errno = yield* image.markDirty()
    if (errno === OK) errno = yield* image.refcounts.allocate(clusters)
    if (errno !== OK) return errno
    hostBytes = image.refcounts.allocatedBytes
    const refusal = image.guard(hostBytes, clusters * clusterBytes, Place.None)
    if (refusal !== null) return yield* refusal
    if (hostBytes < freshFromBytes) errno = yield* image.data.pwriteZeroes(hostBytes, clusters * clusterBytes)
    if (errno !== OK) return errno
  }
  const allocation = new Allocation(image.kernel, clusterFrom, clusterFrom + clusters * clusterBytes, hostBytes, false)
  run.hostBytes = hostBytes
  return yield* link(image, allocation)
}

/** About what a range takes in the file: its clusters, their L2 tables and refcounts. */
function allocationBytes(image: Qcow2Image, lengthBytes: number): number {
  const { clusterBytes, l2Entries, refcountBlockEntries } = image.geometry
  const clusters = Math.ceil(lengthBytes / clusterBytes)
  const tables = Math.ceil(clusters / l2Entries)
  assert(clusters >= 0, 'allocation-bytes')
  return (clusters + tables + Math.ceil((clusters + tables) / refcountBlockEntries)) * clusterBytes
}
