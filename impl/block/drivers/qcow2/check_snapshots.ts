/**
 * The snapshot table as a check sees it: nothing of it has been looked at before. What it has too much of is dropped by a
 * repair, and what entries lack of extra data is added when the table is written again.
 */
import { assert, type Co, type Errno, OK, strerror } from '../../../co'
import { BlockError } from '../../error'
import type { CheckRun } from './check_run'
import { checkTable, HEADER_SNAPSHOTS_AT, readU32, readU64, SNAPSHOT_HEADER_BYTES, SNAPSHOTS_MAX, writeU32 } from './layout'
import { readSnapshotTable, SNAPSHOT_EXTRA_BYTES_MIN, type SnapshotRepair } from './snapshot_table'
import { writeSnapshots } from './snapshot_write'

/** Reads the table into the image, and says what is wrong with it. */
export function* checkSnapshotTable(run: CheckRun): Co<Errno> {
  const { image, found } = run
  const { header } = image
  const field = new Uint8Array(12)
  const readErrno = yield* image.readThrough(HEADER_SNAPSHOTS_AT, field)
  if (readErrno !== OK) {
    found.checkErrors++
    run.tell(`ERROR failed to read the snapshot table pointer from the image header: ${strerror(readErrno)}`)
    return readErrno
  }
  header.snapshotCount = readU32(field, 0)
  header.snapshotsOffsetBytes = readU64(field, 4)
  const repair: SnapshotRepair = { tell: run.tell, droppedEntries: 0, droppedExtras: 0 }
  try {
    const count = limitCount(run, header.snapshotCount, repair)
    const { clusterBytes } = image.geometry
    const bytesMax = SNAPSHOTS_MAX * SNAPSHOT_HEADER_BYTES
    checkTable(header.snapshotsOffsetBytes, count, SNAPSHOT_HEADER_BYTES, bytesMax, clusterBytes, 'snapshot table')
    const read = (at: number, bytes: Uint8Array): Co<Errno> => image.readThrough(at, bytes)
    const wanted = run.fixesErrors ? repair : null
    const table = yield* readSnapshotTable(read, header.snapshotsOffsetBytes, count, header.sizeBytes, wanted)
    image.takeSnapshots(table.entries, table.lengthBytes)
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    tellFailure(run, error)
    return error.errno
  }
  found.corruptions += repair.droppedEntries + repair.droppedExtras
  const errno = repair.droppedEntries > 0 ? yield* writeCount(run, repair.droppedEntries) : OK
  if (errno === OK) findIncomplete(run)
  assert(image.snapshots.length <= SNAPSHOTS_MAX, 'snapshots-bounded')
  return errno
}

function limitCount(run: CheckRun, count: number, repair: SnapshotRepair): number {
  if (count <= SNAPSHOTS_MAX || !run.fixesErrors) return count
  run.tell(`Discarding ${count - SNAPSHOTS_MAX} overhanging snapshots`)
  repair.droppedEntries += count - SNAPSHOTS_MAX
  return SNAPSHOTS_MAX
}

function tellFailure(run: CheckRun, error: BlockError): void {
  const { image, found } = run
  found.checkErrors++
  const isOfTable = error.message.startsWith('snapshot table ')
  run.tell(`ERROR ${isOfTable ? '' : 'failed to read the snapshot table: '}${error.message}`)
  const over = image.header.snapshotCount - SNAPSHOTS_MAX
  if (over > 0) run.tell(`You can force-remove all ${over} overhanging snapshots with qemu-img check -r all`)
  image.takeSnapshots([], 0)
}

function* writeCount(run: CheckRun, dropped: number): Co<Errno> {
  const { image, found } = run
  const field = new Uint8Array(4)
  writeU32(field, 0, image.snapshots.length)
  let errno = yield* image.writeThrough(HEADER_SNAPSHOTS_AT, field)
  if (errno === OK) errno = yield* image.flushFiles()
  assert(dropped > 0, 'snapshots-dropped')
  if (errno !== OK) {
    found.checkErrors++
    run.tell(`ERROR failed to update the snapshot count in the image header: ${strerror(errno)}`)
    return errno
  }
  found.corruptionsFixed += dropped
  found.corruptions -= dropped
  return OK
}

/** Entries of version 3 images say how large vm state and disk are. */
function findIncomplete(run: CheckRun): void {
  const { image } = run
  if (image.header.version < 3) return
  for (const [number, { extraBytes }] of image.snapshots.entries()) {
    if (extraBytes < SNAPSHOT_EXTRA_BYTES_MIN) run.corrupt(`${run.verb} snapshot table entry ${number} is incomplete`)
  }
}

/** Writes the table anew if something about it was wrong. */
export function* fixSnapshotTable(run: CheckRun): Co<Errno> {
  const { image, found } = run
  if (found.corruptions === 0 || !run.fixesErrors) return OK
  const errno = yield* writeSnapshots(image, image.snapshots)
  if (errno !== OK) {
    found.checkErrors++
    run.tell(`ERROR failed to update snapshot table: ${strerror(errno)}`)
    return errno
  }
  found.corruptionsFixed += found.corruptions
  found.corruptions = 0
  return OK
}
