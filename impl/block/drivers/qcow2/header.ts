/**
 * The header of a qcow2 image: its fields, its extensions and the name of the backing file, as bytes and as an object. Pure
 * functions. Whatever is not understood (fields, extensions, feature bits) is kept, so that it is there when the header is
 * written again.
 *
 * What may fail: a header that is wrong, or that needs what is not known here: BlockError with QEMU's text.
 */
import { assert, EACCES, EFBIG, ENOSPC, ENOTSUP } from '../../../co'
import { BlockError } from '../../error'
import {
  AUTOCLEAR_BITMAPS,
  BACKING_NAME_BYTES_MAX,
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  COMPRESSION_ZLIB,
  COMPRESSION_ZSTD,
  CRYPT_LUKS,
  checkTable,
  EXTENSION_BACKING_FORMAT,
  EXTENSION_BITMAPS,
  EXTENSION_CRYPTO,
  EXTENSION_DATA_FILE,
  EXTENSION_END,
  EXTENSION_FEATURE_NAMES,
  type Geometry,
  geometryOf,
  HEADER_INCOMPATIBLE_AT,
  HEADER_L1_SIZE_AT,
  HEADER_REFCOUNT_TABLE_AT,
  HEADER_SIZE_AT,
  HEADER_SNAPSHOTS_AT,
  HEADER_V2_BYTES,
  HEADER_V3_BYTES,
  HEADER_V3_BYTES_MIN,
  INCOMPATIBLE_COMPRESSION,
  INCOMPATIBLE_CORRUPT,
  INCOMPATIBLE_DATA_FILE,
  INCOMPATIBLE_EXTENDED_L2,
  INCOMPATIBLE_KNOWN,
  L1_BYTES_MAX,
  l1EntriesFor,
  MAGIC,
  OFFSET_END_BYTES,
  REFCOUNT_TABLE_BYTES_MAX,
  readBits,
  readU32,
  readU64,
  SNAPSHOT_HEADER_BYTES,
  SNAPSHOTS_MAX,
  SUBCLUSTERS_PER_CLUSTER,
  writeBits,
  writeU32,
  writeU64,
} from './layout'

/** A header extension that is not understood here, kept for when the header is written again. */
export interface HeaderExtension {
  type: number
  data: Uint8Array
}

/** The bitmaps extension: where the directory of persistent bitmaps lies. */
export interface BitmapsExtension {
  count: number
  directoryBytes: number
  directoryOffsetBytes: number
}

/** Where the container with the keys lies. */
export interface CryptoHeader {
  offsetBytes: number
  lengthBytes: number
}

/** A name of a feature bit, as an image tells it. `type`: 0 incompatible, 1 compatible, 2 autoclear. */
export interface FeatureName {
  type: number
  bit: number
  name: string
}

export interface Qcow2Header {
  version: 2 | 3
  clusterBits: number
  sizeBytes: number
  /** CRYPT_NONE, CRYPT_AES or CRYPT_LUKS. */
  cryptMethod: number
  l1Entries: number
  l1OffsetBytes: number
  refcountTableOffsetBytes: number
  refcountTableClusters: number
  snapshotCount: number
  snapshotsOffsetBytes: number
  /** Feature bits are kept whole, unknown ones included. All 0 in version 2. */
  incompatible: bigint
  compatible: bigint
  autoclear: bigint
  /** Width of a refcount is 2^refcountOrder bits. */
  refcountOrder: number
  /** COMPRESSION_ZLIB or COMPRESSION_ZSTD. */
  compressionType: number
  /** Header fields beyond those known here. */
  unknownFields: Uint8Array
  /** Null: no backing file. */
  backingName: string | null
  backingFormat: string | null
  dataFileName: string | null
  bitmaps: BitmapsExtension | null
  /** Exactly with CRYPT_LUKS. */
  cryptoHeader: CryptoHeader | null
  unknownExtensions: HeaderExtension[]
}

const FEATURES: readonly FeatureName[] = [
  { type: 0, bit: 0, name: 'dirty bit' },
  { type: 0, bit: 1, name: 'corrupt bit' },
  { type: 0, bit: 2, name: 'external data file' },
  { type: 0, bit: 3, name: 'compression type' },
  { type: 0, bit: 4, name: 'extended L2 entries' },
  { type: 1, bit: 0, name: 'lazy refcounts' },
  { type: 2, bit: 0, name: 'bitmaps' },
  { type: 2, bit: 1, name: 'raw external data' },
]
const FEATURE_NAME_BYTES = 48
/** Up to this cluster size the names would take too much of the one cluster that the header has. */
const FEATURE_NAMES_CLUSTER_BYTES = 4096

export function geometryOfHeader(header: Qcow2Header): Geometry {
  return geometryOf(header.clusterBits, header.refcountOrder, (header.incompatible & INCOMPATIBLE_EXTENDED_L2) !== 0n)
}

/** How strictly a header is looked at: a check wants to see images that must not be used. */
export interface HeaderRules {
  /** The image will be written to. */
  isWritable: boolean
  /** For checking and repair: a corrupt image and one without refcount table are let through. */
  isForCheck: boolean
}

/**
 * Decodes the header with its extensions. `bytes` starts at offset 0 of the file, zero-filled after its end, and is
 * `headerSpan(bytes)` long. Throws BlockError. Where tables lie has been checked afterwards, what they hold has not.
 */
export function decodeHeader(bytes: Uint8Array, rules: HeaderRules): Qcow2Header {
  const clusterBytes = headerSpan(bytes)
  assert(bytes.length >= clusterBytes, 'header-bytes', () => String(bytes.length))
  const version = readU32(bytes, 4) as 2 | 3
  const headerBytes = version === 2 ? HEADER_V2_BYTES : readU32(bytes, 100)
  if (headerBytes < HEADER_V3_BYTES_MIN && version === 3) throw new BlockError('qcow2 header too short')
  if (headerBytes > clusterBytes) throw new BlockError('qcow2 header exceeds cluster size')
  const hasV3 = version === 3
  const header: Qcow2Header = {
    version,
    clusterBits: readU32(bytes, 20),
    sizeBytes: readU64(bytes, HEADER_SIZE_AT),
    cryptMethod: readU32(bytes, 32),
    l1Entries: readU32(bytes, HEADER_L1_SIZE_AT),
    l1OffsetBytes: readU64(bytes, 40),
    refcountTableOffsetBytes: readU64(bytes, HEADER_REFCOUNT_TABLE_AT),
    refcountTableClusters: readU32(bytes, 56),
    snapshotCount: readU32(bytes, HEADER_SNAPSHOTS_AT),
    snapshotsOffsetBytes: readU64(bytes, 64),
    incompatible: hasV3 ? readBits(bytes, HEADER_INCOMPATIBLE_AT) : 0n,
    compatible: hasV3 ? readBits(bytes, 80) : 0n,
    autoclear: hasV3 ? readBits(bytes, 88) : 0n,
    refcountOrder: hasV3 ? readU32(bytes, 96) : 4,
    compressionType: headerBytes > 104 ? bytes[104]! : COMPRESSION_ZLIB,
    unknownFields: bytes.slice(Math.min(HEADER_V3_BYTES, headerBytes), headerBytes),
    backingName: null,
    backingFormat: null,
    dataFileName: null,
    bitmaps: null,
    cryptoHeader: null,
    unknownExtensions: [],
  }
  const backingAt = readU64(bytes, 8)
  if (backingAt > clusterBytes) throw new BlockError('Invalid backing file offset')
  const featureNames: FeatureName[] = []
  decodeExtensions(header, bytes, headerBytes, backingAt === 0 ? clusterBytes : backingAt, featureNames)
  checkFeatures(header, featureNames, rules)
  checkHeader(header, clusterBytes, rules)
  if (backingAt !== 0) {
    const nameBytes = readU32(bytes, 16)
    if (nameBytes > Math.min(BACKING_NAME_BYTES_MAX, clusterBytes - backingAt)) {
      throw new BlockError('Backing file name too long')
    }
    header.backingName = textOf(bytes.subarray(backingAt, backingAt + nameBytes))
  }
  return header
}

/**
 * Length of the area that header, extensions and backing file name may take: one cluster. Needs the first HEADER_V3_BYTES of
 * the file. Throws BlockError if that is no qcow2 image that this code knows.
 */
export function headerSpan(bytes: Uint8Array): number {
  assert(bytes.length >= HEADER_V3_BYTES, 'header-start', () => String(bytes.length))
  if (readU32(bytes, 0) !== MAGIC) throw new BlockError('Image is not in qcow2 format')
  const version = readU32(bytes, 4)
  if (version !== 2 && version !== 3) throw new BlockError(`Unsupported qcow2 version ${version}`, { errno: ENOTSUP })
  const clusterBits = readU32(bytes, 20)
  if (clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX) {
    throw new BlockError(`Unsupported cluster size: 2^${clusterBits}`)
  }
  return 2 ** clusterBits
}

function decodeExtensions(header: Qcow2Header, bytes: Uint8Array, fromAt: number, endAt: number, names: FeatureName[]): void {
  assert(fromAt >= HEADER_V2_BYTES && endAt <= bytes.length, 'extension-area')
  for (let at = fromAt; at < endAt; ) {
    if (at + 8 > endAt) throw new BlockError('Header extension too large')
    const type = readU32(bytes, at)
    const dataBytes = readU32(bytes, at + 4)
    at += 8
    if (at > endAt || dataBytes > endAt - at) throw new BlockError('Header extension too large')
    const data = bytes.subarray(at, at + dataBytes)
    if (type === EXTENSION_END) return
    decodeExtension(header, type, data, names)
    at += (dataBytes + 7) & ~7
  }
}

function decodeExtension(header: Qcow2Header, type: number, data: Uint8Array, names: FeatureName[]): void {
  assert(type !== EXTENSION_END, 'extension-type')
  switch (type) {
    case EXTENSION_BACKING_FORMAT:
      if (data.length >= 16) throw new BlockError(`ERROR: ext_backing_format: len=${data.length} too large (>=16)`)
      header.backingFormat = textOf(data)
      return
    case EXTENSION_DATA_FILE:
      header.dataFileName = textOf(data)
      return
    case EXTENSION_FEATURE_NAMES:
      for (let at = 0; at + FEATURE_NAME_BYTES <= data.length; at += FEATURE_NAME_BYTES) {
        const name = textOf(data.subarray(at + 2, at + FEATURE_NAME_BYTES))
        names.push({ type: data[at]!, bit: data[at + 1]!, name })
      }
      return
    case EXTENSION_BITMAPS:
      if (data.length !== 24) throw new BlockError('bitmaps_ext: Invalid extension length')
      if ((header.autoclear & AUTOCLEAR_BITMAPS) === 0n) return
      header.bitmaps = decodeBitmaps(header, data)
      return
    case EXTENSION_CRYPTO:
      header.cryptoHeader = decodeCryptoHeader(header, data)
      return
    default:
      header.unknownExtensions.push({ type, data: data.slice() })
  }
}

const CRYPTO_HEADER_BYTES = 16

function decodeCryptoHeader(header: Qcow2Header, data: Uint8Array): CryptoHeader {
  if (header.cryptMethod < CRYPT_LUKS) {
    throw new BlockError('CRYPTO header extension only expected with LUKS encryption method')
  }
  if (data.length !== CRYPTO_HEADER_BYTES) {
    throw new BlockError(`CRYPTO header extension size ${data.length}, but expected size ${CRYPTO_HEADER_BYTES}`)
  }
  const [offsetBytes, lengthBytes] = [readU64(data, 0), readU64(data, 8)]
  const clusterBytes = 2 ** header.clusterBits
  if (offsetBytes + lengthBytes >= OFFSET_END_BYTES) throw new BlockError('Encryption header lies behind every end of a file')
  if (offsetBytes % clusterBytes !== 0) {
    throw new BlockError(`Encryption header offset '${offsetBytes}' is not a multiple of cluster size '${clusterBytes}'`)
  }
  return { offsetBytes, lengthBytes }
}

export const BITMAPS_MAX = 65535
export const BITMAP_DIRECTORY_BYTES_MAX = 64 * 2 ** 20

function decodeBitmaps(header: Qcow2Header, data: Uint8Array): BitmapsExtension {
  const clusterBytes = 2 ** header.clusterBits
  const count = readU32(data, 0)
  const directoryBytes = readU64(data, 8)
  const directoryOffsetBytes = readU64(data, 16)
  if (readU32(data, 4) !== 0) throw new BlockError('bitmaps_ext: Reserved field is not zero')
  if (count > BITMAPS_MAX) {
    throw new BlockError(`bitmaps_ext: image has ${count} bitmaps, exceeding the QEMU supported maximum of ${BITMAPS_MAX}`)
  }
  if (count === 0) throw new BlockError('found bitmaps extension with zero bitmaps')
  if (directoryOffsetBytes % clusterBytes !== 0 || directoryOffsetBytes >= OFFSET_END_BYTES) {
    throw new BlockError('bitmaps_ext: invalid bitmap directory offset')
  }
  if (directoryBytes > BITMAP_DIRECTORY_BYTES_MAX) {
    throw new BlockError(
      `bitmaps_ext: bitmap directory size (${directoryBytes}) exceeds the maximum supported size (${BITMAP_DIRECTORY_BYTES_MAX})`,
    )
  }
  return { count, directoryBytes, directoryOffsetBytes }
}

/** Refuses images with features that are not known here, naming them as the image does. */
function checkFeatures(header: Qcow2Header, names: FeatureName[], rules: HeaderRules): void {
  let unknown = header.incompatible & ~INCOMPATIBLE_KNOWN
  if (unknown !== 0n) {
    const found: string[] = []
    for (const { type, bit, name } of names) {
      if (type !== 0 || name === '' || bit > 63 || ((unknown >> BigInt(bit)) & 1n) === 0n) continue
      found.push(name)
      unknown &= ~(1n << BigInt(bit))
    }
    if (unknown !== 0n) found.push(`Unknown incompatible feature: ${unknown.toString(16)}`)
    throw new BlockError(`Unsupported qcow2 feature(s): ${found.join(', ')}`, { errno: ENOTSUP })
  }
  if ((header.incompatible & INCOMPATIBLE_CORRUPT) !== 0n && rules.isWritable && !rules.isForCheck) {
    throw new BlockError('qcow2: Image is corrupt; cannot be opened read/write', { errno: EACCES })
  }
  assert((header.incompatible & ~INCOMPATIBLE_KNOWN) === 0n, 'features-known')
}

/** Everything in the header that can be wrong by itself. */
function checkHeader(header: Qcow2Header, clusterBytes: number, rules: HeaderRules): void {
  const isZstd = header.compressionType !== COMPRESSION_ZLIB
  const saysCompression = (header.incompatible & INCOMPATIBLE_COMPRESSION) !== 0n
  if (header.compressionType > COMPRESSION_ZSTD) {
    throw new BlockError(`qcow2: unknown compression type: ${header.compressionType}`, { errno: ENOTSUP })
  }
  if (isZstd && !saysCompression) {
    throw new BlockError('qcow2: Compression type incompatible feature bit must be set')
  }
  if (!isZstd && saysCompression) {
    throw new BlockError('qcow2: Compression type incompatible feature bit must not be set')
  }
  const hasSubclusters = (header.incompatible & INCOMPATIBLE_EXTENDED_L2) !== 0n
  const subclusterBytes = clusterBytes / SUBCLUSTERS_PER_CLUSTER
  if (hasSubclusters && subclusterBytes < 2 ** CLUSTER_BITS_MIN) {
    throw new BlockError(`Unsupported subcluster size: ${subclusterBytes}`)
  }
  if (header.refcountOrder > 6) throw new BlockError('Reference count entry width too large; may not exceed 64 bits')
  if (header.cryptMethod > CRYPT_LUKS) {
    throw new BlockError(`Unsupported encryption method ${header.cryptMethod}`, { errno: ENOTSUP })
  }
  if (header.cryptMethod === CRYPT_LUKS && header.cryptoHeader === null) {
    throw new BlockError('Missing CRYPTO header for crypt method 2')
  }
  if (header.refcountTableClusters === 0 && !rules.isForCheck) {
    throw new BlockError('Image does not contain a reference count table')
  }
  const tableEntries = header.refcountTableClusters * (clusterBytes / 8)
  checkTable(header.refcountTableOffsetBytes, tableEntries, 8, REFCOUNT_TABLE_BYTES_MAX, clusterBytes, 'Reference count table')
  if (!rules.isForCheck) {
    const snapshotBytesMax = SNAPSHOTS_MAX * SNAPSHOT_HEADER_BYTES
    const { snapshotsOffsetBytes, snapshotCount } = header
    checkTable(snapshotsOffsetBytes, snapshotCount, SNAPSHOT_HEADER_BYTES, snapshotBytesMax, clusterBytes, 'Snapshot table')
  }
  checkTable(header.l1OffsetBytes, header.l1Entries, 8, L1_BYTES_MAX, clusterBytes, 'Active L1 table')
  checkL1Size(header)
}

function checkL1Size(header: Qcow2Header): void {
  if (header.sizeBytes >= OFFSET_END_BYTES) throw new BlockError('Image is too big', { errno: EFBIG })
  const entries = l1EntriesFor(geometryOfHeader(header), header.sizeBytes)
  if (entries > 0x7fffffff) throw new BlockError('Image is too big', { errno: EFBIG })
  if (header.l1Entries < entries) throw new BlockError('L1 table is too small')
  assert(header.l1Entries * 8 <= L1_BYTES_MAX, 'l1-bounded')
}

/**
 * The header with its extensions and the backing file name, as QEMU orders them, zero-filled to a cluster. Throws BlockError
 * (ENOSPC) if a cluster is too small for them. The names of features are for readers that do not know them, and may be absent.
 */
export function encodeHeader(header: Qcow2Header, hasFeatureNames = true): Uint8Array {
  const bytes = new Uint8Array(2 ** header.clusterBits)
  const hasV3 = header.version === 3
  const headerBytes = hasV3 ? HEADER_V3_BYTES + header.unknownFields.length : HEADER_V2_BYTES
  const writer = new ExtensionWriter(bytes, headerBytes)
  if (header.backingFormat !== null) writer.put(EXTENSION_BACKING_FORMAT, bytesOf(header.backingFormat))
  if (header.dataFileName !== null && (header.incompatible & INCOMPATIBLE_DATA_FILE) !== 0n) {
    writer.put(EXTENSION_DATA_FILE, bytesOf(header.dataFileName))
  }
  if (header.cryptoHeader !== null) writer.put(EXTENSION_CRYPTO, encodeCryptoHeader(header.cryptoHeader))
  if (hasV3 && hasFeatureNames && bytes.length > FEATURE_NAMES_CLUSTER_BYTES) writer.put(EXTENSION_FEATURE_NAMES, featureTable())
  if (header.bitmaps !== null) writer.put(EXTENSION_BITMAPS, encodeBitmaps(header.bitmaps))
  for (const { type, data } of header.unknownExtensions) writer.put(type, data)
  writer.put(EXTENSION_END, new Uint8Array(0))
  const name = header.backingName === null ? null : bytesOf(header.backingName)
  const backingAt = name === null ? 0 : writer.putRaw(name)
  assert(name === null || name.length <= BACKING_NAME_BYTES_MAX, 'backing-name-length')
  encodeFields(bytes, header, backingAt, name?.length ?? 0)
  if (hasV3) {
    writeU32(bytes, 100, headerBytes)
    bytes.set(header.unknownFields, HEADER_V3_BYTES)
  }
  return bytes
}

/** Whether header, extensions and backing file name have room in their cluster. */
export function headerFits(header: Qcow2Header): boolean {
  try {
    return encodeHeader(header).length > 0
  } catch (error) {
    if (error instanceof BlockError && error.errno === ENOSPC) return false
    throw error
  }
}

function encodeFields(bytes: Uint8Array, header: Qcow2Header, backingAt: number, nameBytes: number): void {
  writeU32(bytes, 0, MAGIC)
  writeU32(bytes, 4, header.version)
  writeU64(bytes, 8, backingAt)
  writeU32(bytes, 16, nameBytes)
  writeU32(bytes, 20, header.clusterBits)
  writeU64(bytes, HEADER_SIZE_AT, header.sizeBytes)
  writeU32(bytes, 32, header.cryptMethod)
  writeU32(bytes, HEADER_L1_SIZE_AT, header.l1Entries)
  writeU64(bytes, 40, header.l1OffsetBytes)
  writeU64(bytes, HEADER_REFCOUNT_TABLE_AT, header.refcountTableOffsetBytes)
  writeU32(bytes, 56, header.refcountTableClusters)
  writeU32(bytes, HEADER_SNAPSHOTS_AT, header.snapshotCount)
  writeU64(bytes, 64, header.snapshotsOffsetBytes)
  if (header.version === 2) return
  writeBits(bytes, HEADER_INCOMPATIBLE_AT, header.incompatible)
  writeBits(bytes, 80, header.compatible)
  writeBits(bytes, 88, header.autoclear)
  writeU32(bytes, 96, header.refcountOrder)
  bytes[104] = header.compressionType
}

/** Puts extensions one behind the other, each padded to 8 bytes. */
class ExtensionWriter {
  private readonly bytes: Uint8Array
  private at: number

  constructor(bytes: Uint8Array, at: number) {
    assert(at <= bytes.length, 'header-fits')
    this.bytes = bytes
    this.at = at
  }
  put(type: number, data: Uint8Array): void {
    const paddedBytes = (data.length + 7) & ~7
    this.demand(8 + paddedBytes)
    writeU32(this.bytes, this.at, type)
    writeU32(this.bytes, this.at + 4, data.length)
    this.bytes.set(data, this.at + 8)
    this.at += 8 + paddedBytes
  }
  /** Returns where the data has been put. */
  putRaw(data: Uint8Array): number {
    this.demand(data.length)
    const at = this.at
    this.bytes.set(data, at)
    this.at += data.length
    return at
  }
  private demand(bytes: number): void {
    if (bytes > this.bytes.length - this.at) throw new BlockError('Header does not fit into a cluster', { errno: ENOSPC })
  }
}

function featureTable(): Uint8Array {
  const table = new Uint8Array(FEATURES.length * FEATURE_NAME_BYTES)
  for (const [index, { type, bit, name }] of FEATURES.entries()) {
    const at = index * FEATURE_NAME_BYTES
    table[at] = type
    table[at + 1] = bit
    table.set(bytesOf(name), at + 2)
  }
  return table
}

function encodeCryptoHeader({ offsetBytes, lengthBytes }: CryptoHeader): Uint8Array {
  const data = new Uint8Array(CRYPTO_HEADER_BYTES)
  writeU64(data, 0, offsetBytes)
  writeU64(data, 8, lengthBytes)
  return data
}

function encodeBitmaps(bitmaps: BitmapsExtension): Uint8Array {
  const data = new Uint8Array(24)
  writeU32(data, 0, bitmaps.count)
  writeU64(data, 8, bitmaps.directoryBytes)
  writeU64(data, 16, bitmaps.directoryOffsetBytes)
  return data
}

/** Names are bytes of the image; what is no UTF-8 would not survive, so each byte stands for itself then. */
function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  const used = Buffer.from(end === -1 ? bytes : bytes.subarray(0, end))
  const text = used.toString('utf8')
  return Buffer.compare(Buffer.from(text, 'utf8'), used) === 0 ? text : used.toString('latin1')
}
function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'utf8')
}
