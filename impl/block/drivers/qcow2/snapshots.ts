/**
 * Internal snapshots: each is an L1 table of its own, whose clusters it shares with the disk and with other snapshots until one
 * of them is written to. Places of tables are QEMU's.
 *
 * While references change, the dirty bit says that refcounts and flags may not fit (version 3): a power cut in between costs
 * a repair at the next opening. In every version, refcounts rise before somebody new relies on them and fall after the last
 * one has gone, so nothing is ever lost. An L1 table that becomes the active one is a new table, named by one write of
 * the header together with the length of the disk; QEMU writes over the old one.
 *
 * Everything here runs under the lock, in a drained node. What may fail: files and tables, as an errno; a change that has
 * failed in the middle is followed by a repair.
 */
import { assert, type Co, EFBIG, EIO, ENOENT, ENOTSUP, type Errno, OK } from '../../../co'
import type { NewSnapshot } from '../../driver'
import { BlockError } from '../../error'
import { checkMetadata } from './check'
import { discardClusters } from './discard'
import { decodeWords, encodeWords, type Qcow2Image } from './image'
import {
  checkTable,
  HEADER_SIZE_AT,
  INCOMPATIBLE_DIRTY,
  L1_BYTES_MAX,
  l1EntriesFor,
  OFFSET_END_BYTES,
  SNAPSHOTS_MAX,
  writeU32,
  writeU64,
} from './layout'
import { Place } from './overlap'
import { FreeKind } from './refcount'
import { changeReferences, refreshCopied, writeL1 } from './references'
import { type ReadFile, SnapshotEntry } from './snapshot_table'
import { writeSnapshots } from './snapshot_write'

/** By id first, then by name, as the programs take both. Null: there is none. */
export function findSnapshot(image: Qcow2Image, idOrName: string): SnapshotEntry | null {
  const { snapshots } = image
  return snapshots.find(({ id }) => id === idOrName) ?? snapshots.find(({ name }) => name === idOrName) ?? null
}

/** The first that has all that is asked for; null stands for "any". */
export function findSnapshotBy(image: Qcow2Image, id: string | null, name: string | null): SnapshotEntry | null {
  assert(id !== null || name !== null, 'snapshot-asked-for')
  return image.snapshots.find((entry) => (id ?? entry.id) === entry.id && (name ?? entry.name) === entry.name) ?? null
}

/** By the id or else the name, or by both. */
export type WantedSnapshot = string | { readonly id?: string; readonly name?: string }

export function wantedSnapshot(image: Qcow2Image, wanted: WantedSnapshot): SnapshotEntry | null {
  if (typeof wanted === 'string') return findSnapshot(image, wanted)
  const { id = null, name = null } = wanted
  return id === null && name === null ? null : findSnapshotBy(image, id, name)
}

/** Where the state of a machine lies, behind the disk. */
export function vmStateOffset(image: Qcow2Image): number {
  return l1EntriesFor(image.geometry, image.header.sizeBytes) * image.geometry.l2CoversBytes
}

/** Runs a change of references between setting the dirty bit and clearing it. */
function* changing(image: Qcow2Image, body: () => Co<Errno>): Co<Errno> {
  if (image.isBroken) return EIO
  assert(image.lock.isLocked && image.allocations.length === 0, 'snapshot-drained')
  const { header, metadata } = image
  let errno = yield* image.markClean()
  if (errno === OK) errno = yield* metadata.refcounts.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno === OK && header.version >= 3) errno = yield* image.setIncompatible(header.incompatible | INCOMPATIBLE_DIRTY)
  if (errno !== OK) return errno
  errno = yield* body()
  if (errno !== OK) {
    yield* repair(image)
    return errno
  }
  return yield* image.markClean()
}

/** After a change that has failed: what it has left too high or too low is put right if the file lets us. */
function* repair(image: Qcow2Image): Co<void> {
  if (image.isBroken) return
  const { metadata, refcounts } = image
  let errno = yield* refcounts.settle()
  if (errno === OK) errno = yield* metadata.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno !== OK) return
  const { snapshots, snapshotTableBytes } = image
  yield* checkMetadata(image, 'all', () => {})
  if (image.snapshots.length !== snapshots.length) image.takeSnapshots(snapshots, snapshotTableBytes)
  if (!metadata.l2.hasDirty()) metadata.l2.clear()
}

function newEntry(image: Qcow2Image, wanted: NewSnapshot): SnapshotEntry {
  const entry = new SnapshotEntry()
  let idMax = 0
  assert(wanted.vmStateBytes >= 0 && Buffer.byteLength(wanted.name) < 65536, 'snapshot-fits')
  for (const { id } of image.snapshots) idMax = Math.max(idMax, Number.parseInt(id, 10) || 0)
  entry.idBytes = Buffer.from(String(idMax + 1))
  entry.nameBytes = Buffer.from(wanted.name)
  entry.dateSeconds = wanted.dateSeconds
  entry.dateNanoseconds = wanted.dateNanoseconds
  entry.vmClockNs = wanted.vmClockNs
  entry.vmStateBytes = wanted.vmStateBytes
  entry.icount = wanted.icount
  entry.diskBytes = image.header.sizeBytes
  entry.l1Entries = image.l1.length / 2
  return entry
}

/** ENOTSUP with an external data file, whose clusters cannot be shared; EFBIG for one snapshot too many. */
export function* createSnapshot(image: Qcow2Image, wanted: NewSnapshot): Co<Errno> {
  if (image.snapshots.length >= SNAPSHOTS_MAX) return EFBIG
  if (image.hasDataFile) return ENOTSUP
  const entry = newEntry(image, wanted)
  return yield* changing(image, function* (): Co<Errno> {
    const before = image.l1.slice()
    let errno = yield* writeNewL1(image, entry, before)
    if (errno === OK) errno = yield* changeReferences(image, image.l1, 1)
    if (errno === OK) errno = yield* writeL1(image, before)
    if (errno === OK) errno = yield* writeSnapshots(image, [...image.snapshots, entry])
    if (errno !== OK || wanted.vmStateBytes === 0) return errno
    // The state belongs to the snapshot alone now.
    const { clusterBytes } = image.geometry
    const from = vmStateOffset(image)
    const to = from + Math.ceil(wanted.vmStateBytes / clusterBytes) * clusterBytes
    return yield* discardClusters(image, from, Math.min(to, endOfL1(image)), FreeKind.Keep, false)
  })
}

function endOfL1(image: Qcow2Image): number {
  return (image.l1.length / 2) * image.geometry.l2CoversBytes
}

/** Writes words as an L1 table that nobody knows of yet. */
function* writeNewL1(
  image: Qcow2Image,
  entry: Pick<SnapshotEntry, 'l1OffsetBytes' | 'l1Entries'>,
  words: Uint32Array,
): Co<Errno> {
  const { refcounts, geometry } = image
  entry.l1Entries = words.length / 2
  entry.l1OffsetBytes = refcounts.freeFrom * geometry.clusterBytes
  if (words.length === 0) return OK
  const errno = yield* refcounts.allocate(Math.ceil((words.length * 4) / geometry.clusterBytes))
  if (errno !== OK) return errno
  entry.l1OffsetBytes = refcounts.allocatedBytes
  const refusal = image.guard(entry.l1OffsetBytes, words.length * 4, Place.None)
  if (refusal !== null) return yield* refusal
  assert(entry.l1OffsetBytes > 0, 'l1-placed')
  return yield* image.writeThrough(entry.l1OffsetBytes, encodeWords(words))
}

/** Reads the L1 table of a snapshot. Throws BlockError if it lies where none can. */
export function* readSnapshotL1(
  image: Qcow2Image,
  entry: SnapshotEntry,
  read: ReadFile = (at, bytes) => image.readThrough(at, bytes),
): Co<{ errno: Errno; words: Uint32Array<ArrayBuffer> }> {
  const { clusterBytes } = image.geometry
  checkTable(entry.l1OffsetBytes, entry.l1Entries, 8, L1_BYTES_MAX, clusterBytes, 'Snapshot L1 table')
  const bytes = new Uint8Array(entry.l1Entries * 8)
  const errno = bytes.length === 0 ? OK : yield* read(entry.l1OffsetBytes, bytes)
  return { errno, words: decodeWords(bytes) }
}

/** The disk is what it was when the snapshot was made, its length included. Throws BlockError for a table that cannot be. */
export function* applySnapshot(image: Qcow2Image, idOrName: string): Co<Errno> {
  if (image.hasDataFile) return ENOTSUP
  const entry = findSnapshot(image, idOrName)
  if (entry === null) return ENOENT
  const { errno: readErrno, words: stored } = yield* readSnapshotL1(image, entry)
  if (readErrno !== OK) return readErrno
  const entries = Math.max(entry.l1Entries, l1EntriesFor(image.geometry, entry.diskBytes))
  if (entry.diskBytes % 512 !== 0 || !(entries * 8 <= L1_BYTES_MAX)) return EFBIG
  const words = new Uint32Array(entries * 2)
  words.set(stored)
  return yield* changing(image, () => switchL1(image, entry.diskBytes, words))
}

function* switchL1(image: Qcow2Image, diskBytes: number, words: Uint32Array<ArrayBuffer>): Co<Errno> {
  const { header, refcounts, metadata } = image
  const place = { l1OffsetBytes: 0, l1Entries: 0 }
  let errno = yield* changeReferences(image, words, 1)
  if (errno === OK) errno = yield* writeNewL1(image, place, words)
  if (errno === OK) errno = yield* metadata.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno !== OK) return errno
  const before = diskField(image, header.sizeBytes, header.l1Entries, header.l1OffsetBytes)
  const after = diskField(image, diskBytes, place.l1Entries, place.l1OffsetBytes)
  errno = yield* image.writeField(HEADER_SIZE_AT, after, before)
  if (errno !== OK) return errno
  const old = { words: image.l1, offsetBytes: header.l1OffsetBytes }
  header.sizeBytes = diskBytes
  image.setL1(words, place.l1OffsetBytes)
  errno = yield* changeReferences(image, old.words, -1)
  if (errno === OK && old.words.length > 0) {
    errno = yield* refcounts.lowerNow(old.offsetBytes, old.words.length * 4, FreeKind.Other)
  }
  assert(image.l1 === words, 'l1-switched')
  return errno === OK ? yield* refreshCopied(image) : errno
}

/** Length of the disk, encryption, and the L1 table, which lie one behind the other in the header. */
function diskField(image: Qcow2Image, diskBytes: number, l1Entries: number, l1OffsetBytes: number): Uint8Array {
  const field = new Uint8Array(24)
  writeU64(field, 0, diskBytes)
  writeU32(field, 8, image.header.cryptMethod)
  writeU32(field, 12, l1Entries)
  writeU64(field, 16, l1OffsetBytes)
  return field
}

/** Forgets a snapshot. Throws BlockError for a table that cannot be. */
export function* deleteSnapshot(image: Qcow2Image, entry: SnapshotEntry): Co<Errno> {
  if (image.hasDataFile) return ENOTSUP
  const { errno: readErrno, words } = yield* readSnapshotL1(image, entry)
  if (readErrno !== OK) return readErrno
  assert(image.snapshots.includes(entry), 'snapshot-listed')
  return yield* changing(image, function* (): Co<Errno> {
    const rest = image.snapshots.filter((other) => other !== entry)
    let errno = yield* writeSnapshots(image, rest)
    // The old table is given up with what it referred to, now that the header does not name it any more.
    if (errno === OK) errno = yield* image.refcounts.settle()
    if (errno === OK) errno = yield* changeReferences(image, words, -1)
    if (errno === OK && words.length > 0) {
      errno = yield* image.refcounts.lowerNow(entry.l1OffsetBytes, words.length * 4, FreeKind.Snapshot)
    }
    return errno === OK ? yield* refreshCopied(image) : errno
  })
}

/**
 * An image that is opened for reading shows this snapshot from now on, with the length that the disk had then. Throws
 * BlockError with QEMU's texts.
 */
export function* showSnapshot(image: Qcow2Image, entry: SnapshotEntry | null, read: ReadFile): Co<void> {
  if (!image.settings.isReadOnly) throw new BlockError('Device is not readonly')
  if (entry === null) throw new BlockError("Can't find snapshot", { errno: ENOENT })
  const { errno, words } = yield* readSnapshotL1(image, entry, read)
  if (errno !== OK) throw new BlockError('Failed to read l1 table for snapshot', { errno })
  if (entry.diskBytes % 512 !== 0 || entry.diskBytes >= OFFSET_END_BYTES) throw new BlockError('Snapshot disk size is invalid')
  image.header.sizeBytes = entry.diskBytes
  image.setL1(words, entry.l1OffsetBytes)
  assert(image.l1.length === entry.l1Entries * 2, 'snapshot-shown')
}
