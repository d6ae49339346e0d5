/**
 * Emptying an image whose content has gone elsewhere: all clusters of the disk are given up, and what was written here reads
 * from the image below again. Snapshots keep what they hold. The tables go too, and the file ends where nothing more is.
 *
 * What may fail: reading and writing tables, as an errno; a part of the disk may be empty then.
 */
import { assert, type Co, ENOTSUP, type Errno, OK } from '../../../co'
import { discardClusters } from './discard'
import type { Qcow2Image } from './image'
import { FreeKind } from './refcount'
import { cutFile, dropTables } from './resize'

/** Under the lock, in a drained node. */
export function* emptyImage(image: Qcow2Image): Co<Errno> {
  // What a raw data file holds is the disk, whatever the tables say.
  if (image.isDataFileRaw) return ENOTSUP
  const { clusterBytes } = image.geometry
  const endBytes = Math.ceil(image.header.sizeBytes / clusterBytes) * clusterBytes
  assert(!image.settings.isReadOnly && image.lock.isLocked, 'empty-writable')
  let errno = yield* discardClusters(image, 0, endBytes, FreeKind.Snapshot, true)
  if (errno === OK) errno = yield* image.refcounts.settle()
  if (errno === OK) errno = yield* dropTables(image, 0)
  if (errno === OK) errno = yield* image.refcounts.settle()
  if (errno === OK) errno = yield* image.metadata.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  return errno === OK ? yield* cutFile(image) : errno
}
