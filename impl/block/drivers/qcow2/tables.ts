/**
 * L2 tables that may be changed: missing ones are made, shared ones are copied.
 *
 * The order: the new table and its refcount are stable before the L1 entry is written, and the old table is given up after
 * that (rules 3 and 4 of cache.ts). What may fail: the file, as an errno; the L1 entry is as before then.
 */
import { assert, type Co, type Errno, OK } from '../../../co'
import { zeroBytes } from '../../zero_detect'
import type { Table } from './cache'
import type { Qcow2Image } from './image'
import { COPIED_HIGH, copiedHigh, entryOffset, lowWord } from './layout'
import { Place } from './overlap'
import { FreeKind } from './refcount'

/** Sees to it that the slice for `guestBytes` is in memory and belongs to this image alone. Under the lock. */
export function* ownSlice(image: Qcow2Image, guestBytes: number): Co<Errno> {
  const index = Math.floor(guestBytes / image.geometry.l2CoversBytes)
  assert(index * 2 < image.l1.length, 'l1-index', () => `${index} of ${image.l1.length / 2}`)
  const high = image.l1[index * 2]!
  const oldBytes = entryOffset(high, image.l1[index * 2 + 1]!)
  const isOwn = oldBytes !== 0 && (high & COPIED_HIGH) !== 0
  if (!isOwn) {
    const refusal = image.refuseTable(oldBytes, guestBytes)
    if (refusal !== null) return yield* refusal
    const errno = yield* replaceTable(image, index, oldBytes, guestBytes)
    if (errno !== OK) return errno
  }
  return yield* image.loadSlice(image.l2Offset(guestBytes), guestBytes)
}

/** The slice that `ownSlice` has brought into memory. */
export function ownedSlice(image: Qcow2Image, guestBytes: number): Table {
  const slice = image.findSlice(image.l2Offset(guestBytes), guestBytes)
  assert(slice !== null, 'slice-owned')
  return slice
}

function* replaceTable(image: Qcow2Image, index: number, oldBytes: number, guestBytes: number): Co<Errno> {
  const { refcounts } = image
  const { clusterBytes } = image.geometry
  let errno = yield* image.markDirty()
  if (errno === OK) errno = yield* refcounts.allocate(1)
  if (errno !== OK) return errno
  const newBytes = refcounts.allocatedBytes
  const refusal = image.guard(newBytes, clusterBytes, Place.None)
  if (refusal !== null) return yield* refusal
  errno = yield* fillTable(image, newBytes, oldBytes)
  if (errno === OK && !image.metadata.hasLazyRefcounts) errno = yield* image.metadata.refcounts.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno === OK && oldBytes === 0) errno = yield* image.metadata.adoptL2(image.sliceOffset(newBytes, guestBytes))
  if (errno !== OK) {
    refcounts.free(newBytes, clusterBytes, FreeKind.Other)
    return errno
  }
  const { l1 } = image
  const oldHigh = l1[index * 2]!
  const oldLow = l1[index * 2 + 1]!
  assert((oldHigh & COPIED_HIGH) === 0 || oldBytes === 0, 'shared-table-replaced')
  l1[index * 2] = copiedHigh(newBytes)
  l1[index * 2 + 1] = lowWord(newBytes)
  errno = yield* image.writeL1Entry(index)
  if (errno !== OK) {
    // Nobody knows whether the entry has reached the file: the new table stays allocated.
    l1[index * 2] = oldHigh
    l1[index * 2 + 1] = oldLow
    image.metadata.l2.forget(newBytes, clusterBytes)
    return errno
  }
  image.places.l2Tables.add(newBytes)
  if (oldBytes !== 0) {
    image.places.l2Tables.remove(oldBytes)
    // Its refcount may be a lie: the cluster must not come back as a new table while slices of the old one are in memory.
    image.metadata.l2.forget(oldBytes, clusterBytes)
    refcounts.free(oldBytes, clusterBytes, FreeKind.Other)
  }
  return OK
}

/** Writes the new table: zeroes, or what the old one holds. */
function* fillTable(image: Qcow2Image, newBytes: number, oldBytes: number): Co<Errno> {
  const { clusterBytes } = image.geometry
  if (oldBytes === 0) return yield* writeZeroTable(image, newBytes)
  assert(oldBytes % clusterBytes === 0, 'l2-table-aligned')
  let errno = yield* image.metadata.writeL2()
  const table = new Uint8Array(clusterBytes)
  if (errno === OK) errno = yield* image.readThrough(oldBytes, table)
  return errno === OK ? yield* image.writeThrough(newBytes, table) : errno
}

function writeZeroTable(image: Qcow2Image, offsetBytes: number): Co<Errno> {
  const { clusterBytes } = image.geometry
  if (clusterBytes <= 65536) return image.writeThrough(offsetBytes, zeroBytes(clusterBytes))
  return image.file.pwriteZeroes(offsetBytes, clusterBytes)
}
