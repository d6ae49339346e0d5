/**
 * The directory of persistent bitmaps and the tables it points to, as bytes and as objects. Pure functions, except that
 * `readBitmapDirectory` and `readBitmapTable` read the file.
 *
 * What may fail: a directory that contradicts itself or the rules, as BlockError with QEMU's text; the file, likewise.
 */
import { assert, type Co, EFBIG, OK, strerror } from '../../../co'
import { BlockError } from '../../error'
import { BITMAP_DIRECTORY_BYTES_MAX, type BitmapsExtension } from './header'
import { OFFSET_END_BYTES, readU32, readU64, writeU32, writeU64 } from './layout'
import type { ReadFile } from './snapshot_table'

/** Fixed part of an entry of the directory. */
const ENTRY_BYTES = 24
const BITMAP_TABLE_ENTRIES_MAX = 0x8000000
const BITMAP_BYTES_MAX = 0x20000000
export const BITMAP_GRANULARITY_BITS_MIN = 9
export const BITMAP_GRANULARITY_BITS_MAX = 31
export const BITMAP_NAME_BYTES_MAX = 1023
const TYPE_DIRTY_TRACKING = 1
export const BITMAP_IN_USE = 1
export const BITMAP_AUTO = 2
const FLAGS_RESERVED = 0xfffffffc
/** Bit of a table entry without offset: all bits of the cluster are set. */
export const TABLE_ENTRY_ALL_ONES = 1

export interface StoredBitmap {
  name: string
  tableOffsetBytes: number
  tableEntries: number
  flags: number
  granularityBits: number
}

/** What the rules are held against. */
export interface BitmapGeometry {
  clusterBytes: number
  diskBytes: number
}

/** Throws BlockError. */
export function* readBitmapDirectory(
  read: ReadFile,
  { count, directoryBytes, directoryOffsetBytes }: BitmapsExtension,
  geometry: BitmapGeometry,
): Co<StoredBitmap[]> {
  if (directoryBytes === 0) throw new BlockError('Requested bitmap_directory_size is zero')
  if (directoryBytes > BITMAP_DIRECTORY_BYTES_MAX) throw new BlockError('Requested bitmap_directory_size is too big')
  const bytes = new Uint8Array(directoryBytes)
  const errno = yield* read(directoryOffsetBytes, bytes)
  if (errno !== OK) throw new BlockError('Failed to read bitmap directory', { errno })
  return decodeDirectory(bytes, count, geometry)
}

export function decodeDirectory(bytes: Uint8Array, count: number, geometry: BitmapGeometry): StoredBitmap[] {
  const bitmaps: StoredBitmap[] = []
  for (let at = 0; at < bytes.length; ) {
    if (at + ENTRY_BYTES > bytes.length) throw new BlockError('Broken bitmap directory')
    if (bitmaps.length === count) throw new BlockError('More bitmaps found than specified in header extension')
    const nameBytes = (bytes[at + 18]! << 8) | bytes[at + 19]!
    const extraBytes = readU32(bytes, at + 20)
    const endAt = at + Math.ceil((ENTRY_BYTES + nameBytes + extraBytes) / 8) * 8
    if (endAt > bytes.length) throw new BlockError('Broken bitmap directory')
    if (extraBytes !== 0) throw new BlockError('Bitmap extra data is not supported')
    const name = Buffer.from(bytes.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes)).toString('utf8')
    const bitmap: StoredBitmap = {
      name,
      tableOffsetBytes: readU64(bytes, at),
      tableEntries: readU32(bytes, at + 8),
      flags: readU32(bytes, at + 12),
      granularityBits: bytes[at + 17]!,
    }
    if (bytes[at + 16] !== TYPE_DIRTY_TRACKING || nameBytes > BITMAP_NAME_BYTES_MAX || !isSound(bitmap, geometry)) {
      throw new BlockError(`Bitmap '${name}' doesn't satisfy the constraints`)
    }
    bitmaps.push(bitmap)
    at = endAt
  }
  if (bitmaps.length !== count) throw new BlockError('Less bitmaps found than specified in header extension')
  assert(count > 0, 'bitmap-count')
  return bitmaps
}

function isSound(
  { name, tableOffsetBytes, tableEntries, flags, granularityBits }: StoredBitmap,
  geometry: BitmapGeometry,
): boolean {
  const { clusterBytes, diskBytes } = geometry
  if (tableEntries === 0 || tableEntries > BITMAP_TABLE_ENTRIES_MAX || name === '') return false
  if (tableOffsetBytes === 0 || tableOffsetBytes % clusterBytes !== 0 || tableOffsetBytes >= OFFSET_END_BYTES) return false
  if (granularityBits < BITMAP_GRANULARITY_BITS_MIN || granularityBits > BITMAP_GRANULARITY_BITS_MAX) return false
  if ((flags & FLAGS_RESERVED) !== 0 || tableEntries * clusterBytes > BITMAP_BYTES_MAX) return false
  // One that was not put away properly may have the length that the disk had before.
  return (flags & BITMAP_IN_USE) !== 0 || diskBytes <= tableEntries * clusterBytes * 8 * 2 ** granularityBits
}

export function encodeDirectory(bitmaps: readonly StoredBitmap[]): Uint8Array {
  const names = bitmaps.map(({ name }) => Buffer.from(name, 'utf8'))
  const sizes = names.map((name) => Math.ceil((ENTRY_BYTES + name.length) / 8) * 8)
  const lengthBytes = sizes.reduce((sum, size) => sum + size, 0)
  if (lengthBytes > BITMAP_DIRECTORY_BYTES_MAX) throw new BlockError('Bitmap directory is too large', { errno: EFBIG })
  const bytes = new Uint8Array(lengthBytes)
  let at = 0
  for (const [index, bitmap] of bitmaps.entries()) {
    const name = names[index]!
    assert(name.length > 0 && name.length <= BITMAP_NAME_BYTES_MAX, 'bitmap-name-fits')
    writeU64(bytes, at, bitmap.tableOffsetBytes)
    writeU32(bytes, at + 8, bitmap.tableEntries)
    writeU32(bytes, at + 12, bitmap.flags)
    bytes[at + 16] = TYPE_DIRTY_TRACKING
    bytes[at + 17] = bitmap.granularityBits
    bytes[at + 18] = name.length >>> 8
    bytes[at + 19] = name.length
    bytes.set(name, at + ENTRY_BYTES)
    at += sizes[index]!
  }
  assert(at === lengthBytes, 'bitmap-directory-filled')
  return bytes
}

/** The words of a bitmap's table, high and low of each entry. Throws BlockError if it cannot be read. */
export function* readBitmapTable(read: ReadFile, { name, tableOffsetBytes, tableEntries }: StoredBitmap): Co<Uint32Array> {
  const bytes = new Uint8Array(tableEntries * 8)
  const errno = yield* read(tableOffsetBytes, bytes)
  if (errno !== OK) throw new BlockError(`Could not read bitmap_table table from image for bitmap '${name}': ${strerror(errno)}`)
  const words = new Uint32Array(tableEntries * 2)
  for (let index = 0; index < words.length; index++) words[index] = readU32(bytes, index * 4)
  return words
}

/** Whether an entry of a bitmap's table keeps the rules: an offset of a whole cluster, or none and perhaps "all ones". */
export function isTableEntry(high: number, low: number, clusterBytes: number): boolean {
  if (high >>> 24 !== 0 || (low & 0x1fe) !== 0) return false
  const offsetBytes = (high & 0x00ffffff) * 2 ** 32 + ((low & 0xfffffe00) >>> 0)
  if (offsetBytes === 0) return true
  return (low & TABLE_ENTRY_ALL_ONES) === 0 && offsetBytes % clusterBytes === 0 && offsetBytes < OFFSET_END_BYTES
}

/** Entries of the table of a bitmap over a disk. */
export function bitmapTableEntries(diskBytes: number, granularityBits: number, clusterBytes: number): number {
  const bits = Math.ceil(diskBytes / 2 ** granularityBits)
  return Math.ceil(Math.ceil(bits / 8) / clusterBytes)
}

/** Throws BlockError, with QEMU's text, if no bitmap of that granularity can be stored. */
export function checkStorable(name: string, granularityBytes: number, { clusterBytes, diskBytes }: BitmapGeometry): void {
  if (Buffer.byteLength(name) > BITMAP_NAME_BYTES_MAX)
    throw new BlockError(`Name length exceeds maximum (${BITMAP_NAME_BYTES_MAX} characters)`)
  const least = 2 ** BITMAP_GRANULARITY_BITS_MIN
  const most = 2 ** BITMAP_GRANULARITY_BITS_MAX
  if (granularityBytes > most) throw new BlockError(`Granularity exceeds maximum (${most} bytes)`)
  if (granularityBytes < least) throw new BlockError(`Granularity is under minimum (${least} bytes)`)
  const isTooLong = diskBytes > BITMAP_BYTES_MAX * granularityBytes
  if (isTooLong || diskBytes > BITMAP_TABLE_ENTRIES_MAX * clusterBytes * granularityBytes) {
    throw new BlockError('Too much space will be occupied by the bitmap. Use larger granularity')
  }
}
