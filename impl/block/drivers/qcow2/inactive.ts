/**
 * Internal snapshots as an open image knows them: read with it, and kept out of the way of writes. How they are made and used
 * is in snapshots.ts.
 *
 * What may fail: a snapshot table that cannot be read or breaks the rules: BlockError with QEMU's texts.
 */
import { assert, type Co, OK, strerror } from '../../../co'
import { BlockError } from '../../error'
import type { BlockChild } from '../../node'
import type { Qcow2Image } from './image'
import { entryOffset, L1_BYTES_MAX, OFFSET_END_BYTES, readU32 } from './layout'
import { Place, type TableRange } from './overlap'
import { readSnapshotTable } from './snapshot_table'

/** Reads the snapshot table, and what writes must not touch because of it. */
export function* findInactiveTables(image: Qcow2Image, file: BlockChild): Co<void> {
  const { snapshotCount, snapshotsOffsetBytes, sizeBytes } = image.header
  const read = (at: number, bytes: Uint8Array): Co<number> => file.pread(at, bytes)
  const table = yield* readSnapshotTable(read, snapshotsOffsetBytes, snapshotCount, sizeBytes, null)
  assert(table.entries.length === snapshotCount, 'snapshots-read')
  image.takeSnapshots(table.entries, table.lengthBytes)
  yield* findInactiveL2Tables(image, file)
}

/** A snapshot without a proper L1 table cannot be used; nothing of it can be overwritten. */
export function inactiveL1Tables(image: Qcow2Image): TableRange[] {
  const found: TableRange[] = []
  for (const { l1OffsetBytes, l1Entries } of image.snapshots) {
    const isAligned = l1OffsetBytes % image.geometry.clusterBytes === 0 && l1OffsetBytes < OFFSET_END_BYTES
    if (isAligned && l1Entries * 8 <= L1_BYTES_MAX) found.push({ offsetBytes: l1OffsetBytes, lengthBytes: l1Entries * 8 })
  }
  assert(found.length <= image.snapshots.length, 'inactive-tables')
  return found
}

/** Where the snapshots' L2 tables lie, if writes are held against them. */
export function* findInactiveL2Tables(image: Qcow2Image, file: BlockChild): Co<void> {
  const { places } = image
  if ((places.checked & Place.InactiveL2) !== 0) places.inactiveL2Tables.fill(yield* l2Tables(file, places.inactiveL1))
}

/** As many of the L2 tables as the longest possible L1 table has: what an image asks for must have an end. */
function* l2Tables(file: BlockChild, l1Tables: readonly TableRange[]): Co<number[]> {
  const offsets = new Set<number>()
  let budgetBytes = L1_BYTES_MAX
  for (const { offsetBytes, lengthBytes } of l1Tables) {
    budgetBytes -= lengthBytes
    if (budgetBytes < 0) break
    const table = new Uint8Array(lengthBytes)
    const errno = lengthBytes === 0 ? OK : yield* file.pread(offsetBytes, table)
    if (errno !== OK) throw new BlockError(`Failed to read snapshot table: ${strerror(errno)}`, { errno })
    for (let at = 0; at < lengthBytes; at += 8) offsets.add(entryOffset(readU32(table, at), readU32(table, at + 4)))
  }
  assert(!offsets.has(Number.NaN), 'l2-offsets')
  return [...offsets]
}
