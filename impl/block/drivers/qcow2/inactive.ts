/**
 * Where internal snapshots have their tables, as far as writes must not touch them. What snapshots are for, and how they are
 * made, is not known here.
 *
 * What may fail: a snapshot table that cannot be read or has no end: BlockError with QEMU's texts.
 */
import { assert, type Co, EFBIG, OK, strerror } from '../../../co'
import { BlockError } from '../../error'
import type { BlockChild } from '../../node'
import type { Qcow2Image } from './image'
import { entryOffset, L1_BYTES_MAX, OFFSET_END_BYTES, readU32, readU64, SNAPSHOT_HEADER_BYTES } from './layout'
import { Place, type TableRange } from './overlap'

/** The whole table may not be longer than that. */
const SNAPSHOT_TABLE_BYTES_MAX = 64 * 2 ** 20

/** Fills in where the snapshot table and the inactive L1 tables lie, and their L2 tables where those are checked too. */
export function* findInactiveTables(image: Qcow2Image, file: BlockChild): Co<void> {
  const { snapshotCount, snapshotsOffsetBytes } = image.header
  const { places } = image
  const found: TableRange[] = []
  let at = snapshotsOffsetBytes
  for (let number = 0; number < snapshotCount; number++) {
    const fixed = new Uint8Array(SNAPSHOT_HEADER_BYTES)
    yield* readOrThrow(file, at, fixed)
    const lengthBytes = readU32(fixed, 8) * 8
    const offsetBytes = readU64(fixed, 0)
    const isTable =
      offsetBytes % image.geometry.clusterBytes === 0 && offsetBytes < OFFSET_END_BYTES && lengthBytes <= L1_BYTES_MAX
    // A snapshot without a proper table cannot be used; nothing of it can be overwritten.
    if (isTable) found.push({ offsetBytes, lengthBytes })
    const textBytes = ((fixed[12]! << 8) | fixed[13]!) + ((fixed[14]! << 8) | fixed[15]!)
    at += Math.ceil((SNAPSHOT_HEADER_BYTES + readU32(fixed, 36) + textBytes) / 8) * 8
    if (at - snapshotsOffsetBytes > SNAPSHOT_TABLE_BYTES_MAX) throw new BlockError('Snapshot table is too big', { errno: EFBIG })
  }
  assert(found.length <= snapshotCount, 'inactive-tables')
  places.snapshotTable = { offsetBytes: snapshotsOffsetBytes, lengthBytes: at - snapshotsOffsetBytes }
  places.inactiveL1 = found
  if ((places.checked & Place.InactiveL2) !== 0) places.inactiveL2Tables.fill(yield* l2Tables(file, found))
}

/** As many of the L2 tables as the longest possible L1 table has: what an image asks for must have an end. */
function* l2Tables(file: BlockChild, l1Tables: TableRange[]): Co<number[]> {
  const offsets = new Set<number>()
  let budgetBytes = L1_BYTES_MAX
  for (const { offsetBytes, lengthBytes } of l1Tables) {
    budgetBytes -= lengthBytes
    if (budgetBytes < 0) break
    const table = new Uint8Array(lengthBytes)
    yield* readOrThrow(file, offsetBytes, table)
    for (let at = 0; at < lengthBytes; at += 8) offsets.add(entryOffset(readU32(table, at), readU32(table, at + 4)))
  }
  assert(!offsets.has(Number.NaN), 'l2-offsets')
  return [...offsets]
}

function* readOrThrow(file: BlockChild, offsetBytes: number, bytes: Uint8Array): Co<void> {
  const errno = bytes.length === 0 ? OK : yield* file.pread(offsetBytes, bytes)
  if (errno !== OK) throw new BlockError(`Failed to read snapshot table: ${strerror(errno)}`, { errno })
}
