/**
 * The qcow2 format as bytes: constants, sizes, table entries, refcounts (the header is in header.ts). Pure functions over
 * numbers and byte arrays; nothing here reads a file. Source: the published specification of the format, versions 2 and 3.
 *
 * 64-bit entries are handled as two 32-bit words, high and low, because a table is decoded once into a `Uint32Array` of such
 * pairs. Offsets in entries have 56 bits but are multiples of 512, so they are exact as numbers; whoever uses one checks
 * that it is aligned and below `OFFSET_END_BYTES` first.
 *
 * What never may: a value that does not fit its field (assertions).
 */
import { assert, EFBIG, EINVAL } from '../../../co'
import { BlockError } from '../../error'

export const MAGIC = 0x514649fb
export const CLUSTER_BITS_MIN = 9
export const CLUSTER_BITS_MAX = 21
export const HEADER_V2_BYTES = 72
/** The part of a version 3 header that every image has. */
export const HEADER_V3_BYTES_MIN = 104
/** As far as this code knows the header: including the compression type and its padding. */
export const HEADER_V3_BYTES = 112
export const L1_BYTES_MAX = 32 * 2 ** 20
export const REFCOUNT_TABLE_BYTES_MAX = 8 * 2 ** 20
export const SNAPSHOTS_MAX = 65536
/** The fixed part of an entry of the snapshot table. */
export const SNAPSHOT_HEADER_BYTES = 40
export const BACKING_NAME_BYTES_MAX = 1023
export const SUBCLUSTERS_PER_CLUSTER = 32
export const COMPRESSED_SECTOR_BYTES = 512
/** Offsets from here on are refused: they would not be exact as numbers. */
export const OFFSET_END_BYTES = Number.MAX_SAFE_INTEGER + 1

export const EXTENSION_END = 0
export const EXTENSION_BACKING_FORMAT = 0xe2792aca
export const EXTENSION_FEATURE_NAMES = 0x6803f857
export const EXTENSION_BITMAPS = 0x23852875
export const EXTENSION_CRYPTO = 0x0537be77
export const EXTENSION_DATA_FILE = 0x44415441

export const INCOMPATIBLE_DIRTY = 1n
export const INCOMPATIBLE_CORRUPT = 2n
export const INCOMPATIBLE_DATA_FILE = 4n
export const INCOMPATIBLE_COMPRESSION = 8n
export const INCOMPATIBLE_EXTENDED_L2 = 16n
export const INCOMPATIBLE_KNOWN = 31n
export const COMPATIBLE_LAZY_REFCOUNTS = 1n
export const AUTOCLEAR_BITMAPS = 1n
export const AUTOCLEAR_DATA_FILE_RAW = 2n
export const AUTOCLEAR_KNOWN = 3n

/** Where single fields of the header lie, for updates in place. */
export const HEADER_SIZE_AT = 24
export const HEADER_L1_SIZE_AT = 36
export const HEADER_REFCOUNT_TABLE_AT = 48
export const HEADER_SNAPSHOTS_AT = 60
export const HEADER_INCOMPATIBLE_AT = 72
export const HEADER_AUTOCLEAR_AT = 88

export const CRYPT_NONE = 0
export const CRYPT_AES = 1
export const CRYPT_LUKS = 2

export const COMPRESSION_ZLIB = 0
export const COMPRESSION_ZSTD = 1

/** Bits of the high word of an L1 or standard L2 entry. */
export const COPIED_HIGH = 0x80000000
export const COMPRESSED_HIGH = 0x40000000
/** Bit of the low word of a standard L2 entry: the cluster reads zero. Unused with extended L2 entries. */
export const ZERO_LOW = 1
const OFFSET_HIGH_MASK = 0x00ffffff
const OFFSET_LOW_MASK = 0xfffffe00

/** A big-endian 32-bit word. */
export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}
export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}
/** A big-endian 64-bit word as a number: exact below 2^53, and too large for every limit above it. */
export function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) * 2 ** 32 + readU32(bytes, at + 4)
}
export function writeU64(bytes: Uint8Array, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'u64-exact', () => String(value))
  writeU32(bytes, at, highWord(value))
  writeU32(bytes, at + 4, lowWord(value))
}
export function readBits(bytes: Uint8Array, at: number): bigint {
  return (BigInt(readU32(bytes, at)) << 32n) | BigInt(readU32(bytes, at + 4))
}
export function writeBits(bytes: Uint8Array, at: number, value: bigint): void {
  writeU32(bytes, at, Number(value >> 32n))
  writeU32(bytes, at + 4, Number(value & 0xffffffffn))
}
export function highWord(value: number): number {
  return Math.floor(value / 2 ** 32)
}
export function lowWord(value: number): number {
  return value >>> 0
}

/** A number as `printf` prints it with `%#x`. */
export function prefixedHex(value: number): string {
  if (value === 0) return '0'
  return `0x${Number.isSafeInteger(value) ? value.toString(16) : BigInt(value).toString(16)}`
}

/** Everything about sizes that follows from a header. */
export interface Geometry {
  clusterBits: number
  clusterBytes: number
  hasSubclusters: boolean
  /** Equal to clusterBytes without extended L2 entries. */
  subclusterBytes: number
  /** 8, or 16 with extended L2 entries. */
  l2EntryBytes: number
  /** Entries of a whole L2 table. */
  l2Entries: number
  /** Guest bytes that one L1 entry stands for. */
  l2CoversBytes: number
  refcountBits: number
  refcountOrder: number
  /** Largest value of a refcount, at most 2^53 - 1. */
  refcountMax: number
  /** Refcounts in one block, each for one cluster of the file. */
  refcountBlockEntries: number
}

export function geometryOf(clusterBits: number, refcountOrder: number, hasSubclusters: boolean): Geometry {
  assert(clusterBits >= CLUSTER_BITS_MIN && clusterBits <= CLUSTER_BITS_MAX, 'cluster-bits')
  assert(refcountOrder >= 0 && refcountOrder <= 6, 'refcount-order')
  const clusterBytes = 2 ** clusterBits
  const l2EntryBytes = hasSubclusters ? 16 : 8
  const l2Entries = clusterBytes / l2EntryBytes
  const refcountBits = 2 ** refcountOrder
  return {
    clusterBits,
    clusterBytes,
    hasSubclusters,
    subclusterBytes: hasSubclusters ? clusterBytes / SUBCLUSTERS_PER_CLUSTER : clusterBytes,
    l2EntryBytes,
    l2Entries,
    l2CoversBytes: l2Entries * clusterBytes,
    refcountBits,
    refcountOrder,
    refcountMax: Math.min(2 ** refcountBits - 1, Number.MAX_SAFE_INTEGER),
    refcountBlockEntries: (clusterBytes * 8) / refcountBits,
  }
}

/** L1 entries that a disk of `sizeBytes` needs. */
export function l1EntriesFor(geometry: Geometry, sizeBytes: number): number {
  return Math.ceil(sizeBytes / geometry.l2CoversBytes)
}

/**
 * How many refcount blocks `clusters` clusters need together with those blocks and their table, and how many clusters the table
 * has. `isGenerous`: with half a table more to grow into.
 */
export function refcountMetadata(
  { clusterBytes, refcountBlockEntries }: Geometry,
  clusters: number,
  isGenerous: boolean,
): { blocks: number; tableClusters: number } {
  let wanted = clusters
  let mayAdd = isGenerous
  let blocks = 0
  let tableClusters = 0
  for (let total = 0, last = -1; total !== last; ) {
    last = total
    blocks = Math.ceil((wanted + tableClusters + blocks) / refcountBlockEntries)
    tableClusters = Math.ceil(blocks / (clusterBytes / 8))
    total = wanted + blocks + tableClusters
    if (total === last && mayAdd) {
      wanted += Math.ceil(tableClusters / 2)
      total = 0
      mayAdd = false
    }
  }
  assert(blocks * refcountBlockEntries >= wanted, 'blocks-suffice')
  return { blocks, tableClusters }
}

/** What a cluster, or with extended L2 entries a subcluster, is. The order matters: `isAllocated…` below. */
export const enum ClusterType {
  /** Reads from the backing image; no cluster in the file. */
  UnallocatedPlain = 0,
  /** Reads from the backing image, in a cluster that other subclusters use. */
  UnallocatedAllocated = 1,
  /** Reads zero; no cluster in the file. */
  ZeroPlain = 2,
  /** Reads zero although a cluster is there for it. */
  ZeroAllocated = 3,
  Normal = 4,
  Compressed = 5,
  /** Bits that contradict each other: the image is corrupt. */
  Invalid = 6,
}

/** The offset in an L1 entry, or in an L2 entry that is not compressed. 0: none. */
export function entryOffset(high: number, low: number): number {
  return (high & OFFSET_HIGH_MASK) * 2 ** 32 + ((low & OFFSET_LOW_MASK) >>> 0)
}
/** High word of an entry that owns its cluster alone. */
export function copiedHigh(offsetBytes: number): number {
  assert(offsetBytes >= 0 && offsetBytes < OFFSET_END_BYTES, 'entry-offset')
  return (highWord(offsetBytes) | COPIED_HIGH) >>> 0
}

/** Where compressed data lies; `lengthBytes` is an upper bound, because only whole sectors are counted. */
export function compressedOffset(clusterBits: number, high: number, low: number): number {
  return (high & ((1 << (38 - clusterBits)) - 1)) * 2 ** 32 + low
}
export function compressedBytes(clusterBits: number, high: number, low: number): number {
  const sectors = ((high & 0x3fffffff) >>> (38 - clusterBits)) + 1
  return sectors * COMPRESSED_SECTOR_BYTES - (low & (COMPRESSED_SECTOR_BYTES - 1))
}
/** High word of the entry for `lengthBytes` of compressed data at `offsetBytes`; the low word is the offset's. */
export function compressedHigh(clusterBits: number, offsetBytes: number, lengthBytes: number): number {
  const last = Math.floor((offsetBytes + lengthBytes - 1) / COMPRESSED_SECTOR_BYTES)
  const sectors = last - Math.floor(offsetBytes / COMPRESSED_SECTOR_BYTES)
  assert(offsetBytes < compressedOffsetEnd(clusterBits) && sectors < 1 << (clusterBits - 8), 'compressed-entry-fits')
  return (COMPRESSED_HIGH | (sectors << (38 - clusterBits)) | highWord(offsetBytes)) >>> 0
}
/** Compressed data must start before this offset. */
export function compressedOffsetEnd(clusterBits: number): number {
  return Math.min(2 ** (70 - clusterBits), OFFSET_END_BYTES)
}

/** The type of a whole cluster by a standard entry. In an external data file offset 0 is a place like any other. */
export function standardType(high: number, low: number, hasDataFile: boolean): ClusterType {
  if ((high & COMPRESSED_HIGH) !== 0) return ClusterType.Compressed
  const hasOffset = ((high & OFFSET_HIGH_MASK) | (low & OFFSET_LOW_MASK)) !== 0 || (hasDataFile && (high & COPIED_HIGH) !== 0)
  if ((low & ZERO_LOW) !== 0) return hasOffset ? ClusterType.ZeroAllocated : ClusterType.ZeroPlain
  return hasOffset ? ClusterType.Normal : ClusterType.UnallocatedPlain
}

/** The type of subcluster number `index` by an extended entry; `zeroBits` and `dataBits` are the words of its bitmap. */
export function subclusterType(
  high: number,
  low: number,
  zeroBits: number,
  dataBits: number,
  index: number,
  hasDataFile: boolean,
): ClusterType {
  if ((high & COMPRESSED_HIGH) !== 0) return ClusterType.Compressed
  const bit = 1 << index
  const hasOffset = ((high & OFFSET_HIGH_MASK) | (low & OFFSET_LOW_MASK)) !== 0 || (hasDataFile && (high & COPIED_HIGH) !== 0)
  if (!hasOffset) {
    if (dataBits !== 0) return ClusterType.Invalid
    return (zeroBits & bit) !== 0 ? ClusterType.ZeroPlain : ClusterType.UnallocatedPlain
  }
  if ((dataBits & bit) !== 0) return (zeroBits & bit) !== 0 ? ClusterType.Invalid : ClusterType.Normal
  return (zeroBits & bit) !== 0 ? ClusterType.ZeroAllocated : ClusterType.UnallocatedAllocated
}

/** Number `index` of a refcount block. Widths below a byte fill each byte from its lowest bit on. */
export function getRefcount(block: Uint8Array, refcountOrder: number, index: number): number {
  switch (refcountOrder) {
    case 4:
      return (block[index * 2]! << 8) | block[index * 2 + 1]!
    case 3:
      return block[index]!
    case 5:
      return readU32(block, index * 4)
    case 6:
      return readU64(block, index * 8)
  }
  const bits = 1 << refcountOrder
  const perByteBits = 3 - refcountOrder
  const shift = (index & ((1 << perByteBits) - 1)) << refcountOrder
  return (block[index >>> perByteBits]! >>> shift) & ((1 << bits) - 1)
}

export function setRefcount(block: Uint8Array, refcountOrder: number, index: number, value: number): void {
  assert(value >= 0 && value <= Math.min(2 ** (1 << refcountOrder) - 1, Number.MAX_SAFE_INTEGER), 'refcount-fits')
  switch (refcountOrder) {
    case 4:
      block[index * 2] = value >>> 8
      block[index * 2 + 1] = value
      return
    case 3:
      block[index] = value
      return
    case 5:
      writeU32(block, index * 4, value)
      return
    case 6:
      writeU64(block, index * 8, value)
      return
  }
  const perByteBits = 3 - refcountOrder
  const shift = (index & ((1 << perByteBits) - 1)) << refcountOrder
  const refcountBits = 1 << refcountOrder
  const ones = 2 ** refcountBits - 1
  const at = index >>> perByteBits
  block[at] = (block[at]! & ~(ones << shift)) | (value << shift)
}

/** Whether a table lies where a table can: bounded, aligned, and exact as a number. Throws BlockError otherwise. */
export function checkTable(
  offsetBytes: number,
  entries: number,
  entryBytes: number,
  bytesMax: number,
  clusterBytes: number,
  name: string,
): void {
  assert(entryBytes > 0 && bytesMax >= entryBytes, 'table-limit')
  if (entries > bytesMax / entryBytes) throw new BlockError(`${name} too large`, { errno: EFBIG })
  if (offsetBytes % clusterBytes !== 0 || offsetBytes + entries * entryBytes >= OFFSET_END_BYTES) {
    throw new BlockError(`${name} offset invalid`, { errno: EINVAL })
  }
}
