/**
 * The table of internal snapshots, as bytes and as objects. Entries have no fixed length, so the table is read from its start
 * to its end. What an entry holds beyond the fields known here is kept.
 *
 * What may fail: the file; a table that is longer than any may be, or an entry with more extra data than QEMU takes:
 * BlockError with QEMU's text. A repair drops what is too much instead.
 */
import { assert, type Co, EFBIG, EINVAL, type Errno, OK, strerror } from '../../../co'
import { BlockError } from '../../error'
import { readBits, readU32, readU64, SNAPSHOT_HEADER_BYTES, SNAPSHOTS_MAX, writeBits, writeU32, writeU64 } from './layout'

/** The whole table may not be longer than that. */
export const SNAPSHOT_TABLE_BYTES_MAX = 1024 * SNAPSHOTS_MAX
/** More extra data than that is refused. */
export const SNAPSHOT_EXTRA_BYTES_MAX = 1024
/** Large vm state size and disk size: every entry of a version 3 image has them. */
export const SNAPSHOT_EXTRA_BYTES_MIN = 16
/** And the instruction count. */
export const SNAPSHOT_EXTRA_BYTES = 24
/** No instruction count. */
const ICOUNT_NONE = 0xffffffffffffffffn
const WINDOW_BYTES = 32768
const NOTHING = new Uint8Array(0)

/** One entry of the table. Texts stay the bytes that they are in the file. */
export class SnapshotEntry {
  l1OffsetBytes = 0
  /** The low word of the offset, which is exact however large the offset is. */
  l1OffsetLow = 0
  l1Entries = 0
  idBytes: Uint8Array = NOTHING
  nameBytes: Uint8Array = NOTHING
  dateSeconds = 0
  dateNanoseconds = 0
  vmClockNs = 0n
  vmStateBytes = 0
  diskBytes = 0
  icount: bigint | null = null
  /** Length of the extra data in the file: less than SNAPSHOT_EXTRA_BYTES in images of old programs. */
  extraBytes = SNAPSHOT_EXTRA_BYTES
  unknownExtra: Uint8Array = NOTHING

  get id(): string {
    return textOf(this.idBytes)
  }
  get name(): string {
    return textOf(this.nameBytes)
  }
  /** Length of the entry as it is written: never without the extra data that version 3 asks for. */
  get lengthBytes(): number {
    const extraBytes = Math.max(this.extraBytes, SNAPSHOT_EXTRA_BYTES_MIN)
    return SNAPSHOT_HEADER_BYTES + extraBytes + this.idBytes.length + this.nameBytes.length
  }
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')
}

/** Reads a range of the image file. */
export type ReadFile = (offsetBytes: number, bytes: Uint8Array) => Co<Errno>

/** What a repair has found too much, and dropped. */
export interface SnapshotRepair {
  tell: (line: string) => void
  droppedEntries: number
  droppedExtras: number
}

/** Reads bytes one after the other, a window at a time: a table has up to 65536 entries of a few bytes each. */
class TableReader {
  private readonly read: ReadFile
  private windowAt = 0
  private window: Uint8Array = NOTHING
  at: number

  constructor(read: ReadFile, at: number) {
    this.read = read
    this.at = at
  }
  /** The next bytes, as a copy. */
  *take(lengthBytes: number): Co<Uint8Array> {
    if (lengthBytes === 0) return NOTHING
    const from = this.at
    this.at += lengthBytes
    if (from < this.windowAt || from + lengthBytes > this.windowAt + this.window.length) {
      const window = new Uint8Array(Math.max(WINDOW_BYTES, lengthBytes))
      const errno = yield* this.read(from, window)
      if (errno !== OK) throw new BlockError(`Failed to read snapshot table: ${strerror(errno)}`, { errno })
      this.window = window
      this.windowAt = from
    }
    assert(from >= this.windowAt, 'snapshot-window')
    return this.window.slice(from - this.windowAt, from - this.windowAt + lengthBytes)
  }
}

/**
 * Reads `count` entries from `offsetBytes` on; gives them with the length of the table. `diskBytes` is for entries that do not
 * say it. Without `repair` nothing is too much: it is refused.
 */
export function* readSnapshotTable(
  read: ReadFile,
  offsetBytes: number,
  count: number,
  diskBytes: number,
  repair: SnapshotRepair | null,
): Co<{ entries: SnapshotEntry[]; lengthBytes: number }> {
  assert(count >= 0 && count <= SNAPSHOTS_MAX, 'snapshot-count', () => String(count))
  const reader = new TableReader(read, offsetBytes)
  const entries: SnapshotEntry[] = []
  let lengthBytes = 0
  for (let number = 0; number < count; number++) {
    reader.at = Math.ceil(reader.at / 8) * 8
    const entry = yield* readEntry(reader, number, diskBytes, repair)
    if (reader.at - offsetBytes > SNAPSHOT_TABLE_BYTES_MAX) {
      if (repair === null) throw new BlockError('Snapshot table is too big', { errno: EFBIG })
      repair.tell(`Discarding ${count - number} overhanging snapshots (snapshot table is too big)`)
      repair.droppedEntries += count - number
      break
    }
    lengthBytes = reader.at - offsetBytes
    entries.push(entry)
  }
  assert(lengthBytes <= SNAPSHOT_TABLE_BYTES_MAX, 'snapshot-table-bounded')
  return { entries, lengthBytes }
}

function* readEntry(reader: TableReader, number: number, diskBytes: number, repair: SnapshotRepair | null): Co<SnapshotEntry> {
  const fixed = yield* reader.take(SNAPSHOT_HEADER_BYTES)
  const entry = new SnapshotEntry()
  entry.l1OffsetBytes = readU64(fixed, 0)
  entry.l1OffsetLow = readU32(fixed, 4)
  entry.l1Entries = readU32(fixed, 8)
  entry.dateSeconds = readU32(fixed, 16)
  entry.dateNanoseconds = readU32(fixed, 20)
  entry.vmClockNs = readBits(fixed, 24)
  entry.vmStateBytes = readU32(fixed, 32)
  entry.diskBytes = diskBytes
  const fullBytes = readU32(fixed, 36)
  entry.extraBytes = Math.min(fullBytes, SNAPSHOT_EXTRA_BYTES_MAX)
  if (fullBytes > SNAPSHOT_EXTRA_BYTES_MAX) {
    if (repair === null) throw new BlockError(`Too much extra metadata in snapshot table entry ${number}`, { errno: EINVAL })
    const size = `(${fullBytes} > ${SNAPSHOT_EXTRA_BYTES_MAX})`
    repair.tell(`Discarding too much extra metadata in snapshot table entry ${number} ${size}`)
    repair.droppedExtras++
  }
  const extra = yield* reader.take(entry.extraBytes)
  reader.at += fullBytes - entry.extraBytes
  if (extra.length >= 8) entry.vmStateBytes = readU64(extra, 0)
  if (extra.length >= 16) entry.diskBytes = readU64(extra, 8)
  if (extra.length >= 24) {
    const icount = readBits(extra, 16)
    entry.icount = icount === ICOUNT_NONE ? null : icount
  }
  if (extra.length > SNAPSHOT_EXTRA_BYTES) entry.unknownExtra = extra.slice(SNAPSHOT_EXTRA_BYTES)
  const idBytes = (fixed[12]! << 8) | fixed[13]!
  const nameBytes = (fixed[14]! << 8) | fixed[15]!
  entry.idBytes = yield* reader.take(idBytes)
  entry.nameBytes = yield* reader.take(nameBytes)
  assert(entry.extraBytes <= SNAPSHOT_EXTRA_BYTES_MAX, 'snapshot-extra-bounded')
  return entry
}

/** Length of the table of these entries. */
export function snapshotTableBytes(entries: readonly SnapshotEntry[]): number {
  let at = 0
  for (const entry of entries) at = Math.ceil(at / 8) * 8 + entry.lengthBytes
  return at
}

/** The table as it is written. Throws BlockError (EFBIG) if it is too long. */
export function encodeSnapshotTable(entries: readonly SnapshotEntry[]): Uint8Array {
  const lengthBytes = snapshotTableBytes(entries)
  if (lengthBytes > SNAPSHOT_TABLE_BYTES_MAX || entries.length > SNAPSHOTS_MAX) {
    throw new BlockError('Snapshot table is too big', { errno: EFBIG })
  }
  const bytes = new Uint8Array(lengthBytes)
  let at = 0
  for (const entry of entries) {
    at = Math.ceil(at / 8) * 8
    encodeEntry(bytes, at, entry)
    at += entry.lengthBytes
  }
  assert(at === lengthBytes, 'snapshot-table-filled')
  return bytes
}

function encodeEntry(bytes: Uint8Array, at: number, entry: SnapshotEntry): void {
  const extraBytes = Math.max(entry.extraBytes, SNAPSHOT_EXTRA_BYTES_MIN)
  assert(entry.idBytes.length < 65536 && entry.nameBytes.length < 65536, 'snapshot-texts-fit')
  writeExactOrHuge(bytes, at, entry.l1OffsetBytes)
  writeU32(bytes, at + 8, entry.l1Entries)
  bytes[at + 12] = entry.idBytes.length >>> 8
  bytes[at + 13] = entry.idBytes.length
  bytes[at + 14] = entry.nameBytes.length >>> 8
  bytes[at + 15] = entry.nameBytes.length
  writeU32(bytes, at + 16, entry.dateSeconds)
  writeU32(bytes, at + 20, entry.dateNanoseconds)
  writeBits(bytes, at + 24, entry.vmClockNs)
  writeU32(bytes, at + 32, entry.vmStateBytes <= 0xffffffff ? entry.vmStateBytes : 0)
  writeU32(bytes, at + 36, extraBytes)
  const extra = new Uint8Array(SNAPSHOT_EXTRA_BYTES)
  writeExactOrHuge(extra, 0, entry.vmStateBytes)
  writeExactOrHuge(extra, 8, entry.diskBytes)
  writeBits(extra, 16, entry.icount ?? ICOUNT_NONE)
  const extraAt = at + SNAPSHOT_HEADER_BYTES
  bytes.set(extra.subarray(0, Math.min(extraBytes, SNAPSHOT_EXTRA_BYTES)), extraAt)
  if (entry.unknownExtra.length > 0) bytes.set(entry.unknownExtra, extraAt + SNAPSHOT_EXTRA_BYTES)
  bytes.set(entry.idBytes, extraAt + extraBytes)
  bytes.set(entry.nameBytes, extraAt + extraBytes + entry.idBytes.length)
}

/** Sizes of a damaged entry may be more than a number holds exactly; they stay out of every range then. */
function writeExactOrHuge(bytes: Uint8Array, at: number, value: number): void {
  if (Number.isSafeInteger(value)) writeU64(bytes, at, value)
  else writeBits(bytes, at, value >= 2 ** 64 ? 0xffffffffffffffffn : BigInt(value))
}
