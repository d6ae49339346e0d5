/**
 * Emptying an image whose content has gone elsewhere: all clusters of the disk are given up, and what was written here reads
 * from the image below again. Snapshots keep what they hold.
 *
 * What may fail: reading and writing tables, as an errno; a part of the disk may be empty then.
 */
import { assert, type Co, EIO, ENOTSUP, type Errno } from '../../../co'
import { discardClusters } from './discard'
import type { Qcow2Image } from './image'
import { FreeKind } from './refcount'

export function* emptyImage(image: Qcow2Image): Co<Errno> {
  if (image.isBroken) return EIO
  // What a raw data file holds is the disk, whatever the tables say.
  if (image.isDataFileRaw) return ENOTSUP
  const { clusterBytes } = image.geometry
  const endBytes = Math.ceil(image.header.sizeBytes / clusterBytes) * clusterBytes
  assert(!image.settings.isReadOnly, 'empty-writable')
  yield* image.lock.lock()
  const errno = yield* discardClusters(image, 0, endBytes, FreeKind.Snapshot, true)
  image.lock.unlock()
  return errno
}
