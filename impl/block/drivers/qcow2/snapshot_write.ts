/**
 * Putting the snapshot table into the file. The new table is stable before the header names it, and the old one is given up
 * after that. What may fail: the file, as an errno; EFBIG for a table that is too long. Under the lock.
 */
import { type Co, type Errno, OK } from '../../../co'
import { BlockError } from '../../error'
import type { Qcow2Image } from './image'
import { findInactiveL2Tables } from './inactive'
import { HEADER_SNAPSHOTS_AT, writeU32, writeU64 } from './layout'
import { Place } from './overlap'
import { FreeKind } from './refcount'
import { encodeSnapshotTable, type SnapshotEntry } from './snapshot_table'

/** Writes the table of these snapshots to a new place and lets the header name it. */
export function* writeSnapshots(image: Qcow2Image, entries: readonly SnapshotEntry[]): Co<Errno> {
  let bytes: Uint8Array
  try {
    bytes = encodeSnapshotTable(entries)
  } catch (error) {
    if (error instanceof BlockError) return error.errno
    throw error
  }
  const { refcounts, header } = image
  let offsetBytes = refcounts.freeFrom * image.geometry.clusterBytes
  if (bytes.length > 0) {
    let errno = yield* refcounts.allocate(Math.ceil(bytes.length / image.geometry.clusterBytes))
    if (errno !== OK) return errno
    offsetBytes = refcounts.allocatedBytes
    const refusal = image.guard(offsetBytes, bytes.length, Place.None)
    if (refusal !== null) return yield* refusal
    errno = yield* image.writeThrough(offsetBytes, bytes)
    if (errno !== OK) {
      refcounts.free(offsetBytes, bytes.length, FreeKind.Keep)
      return errno
    }
  }
  let errno = yield* image.metadata.refcounts.writeAll()
  if (errno === OK) errno = yield* image.metadata.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  const before = tableField(header.snapshotCount, header.snapshotsOffsetBytes)
  if (errno === OK) errno = yield* image.writeField(HEADER_SNAPSHOTS_AT, tableField(entries.length, offsetBytes), before)
  if (errno !== OK) {
    if (bytes.length > 0) refcounts.free(offsetBytes, bytes.length, FreeKind.Keep)
    return errno
  }
  const oldBytes = image.snapshotTableBytes
  if (oldBytes > 0) errno = yield* giveUp(image, header.snapshotsOffsetBytes, oldBytes)
  header.snapshotsOffsetBytes = offsetBytes
  image.takeSnapshots([...entries], bytes.length)
  yield* findInactiveL2Tables(image, image.file)
  return errno
}

/** A table where none can be leads nowhere: better a leak than a wrong refcount. But a repair counts it where it is. */
function* giveUp(image: Qcow2Image, offsetBytes: number, lengthBytes: number): Co<Errno> {
  const { refcounts } = image
  if (image.isPlace(offsetBytes)) refcounts.free(offsetBytes, lengthBytes, FreeKind.Snapshot)
  if (offsetBytes !== 0) return OK
  const errno = yield* refcounts.read(0)
  if (errno !== OK || refcounts.value <= 1) return errno
  return yield* refcounts.lowerNow(0, lengthBytes, FreeKind.Keep)
}

/** Number and offset of the snapshot table as the header has them. */
function tableField(count: number, offsetBytes: number): Uint8Array {
  const field = new Uint8Array(12)
  writeU32(field, 0, count)
  writeU64(field, 4, offsetBytes)
  return field
}
