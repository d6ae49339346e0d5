/**
 * Sparse extents of VMDK images: a header, a directory of grain tables and the tables, each of them twice, and the grains.
 * Entries are sector numbers of 4 bytes, little-endian; 0 is nothing, 1 may be a grain that is zero. Where grains are
 * compressed, each begins with its sector on the disk and its length.
 *
 * What may fail: a header that promises what is not so, as BlockError with QEMU's text.
 */
import { assert, type Co, EFBIG } from '../../../co'
import { BlockError } from '../../error'
import type { BlockNode } from '../../node'
import { hasText, putText, readNumber64, viewOf } from '../clusters/bytes'
import { SECTOR_BYTES } from '../clusters/driver'
import { readHead } from '../clusters/head'

export const VMDK_MAGIC = 'KDMV'
export const HEADER_BYTES = 512
export const ENTRY_BYTES = 4
export const GRAIN_BYTES = 65536
const TABLE_ENTRIES = 512
const TABLE_ENTRIES_MAX = 512
const GRAIN_SECTORS_MAX = 0x200000
/** Compressed grains are held in memory whole. */
const PACKED_GRAIN_BYTES_MAX = 16 * 2 ** 20
const TABLES_MAX = 32 * 2 ** 20
const VERSION_MAX = 3
const COMPRESSION_DEFLATE = 1
const FOOTER_BYTES = 3 * SECTOR_BYTES
const MARKER_FOOTER = 3
const DESCRIPTOR_SECTORS = 20

const FLAG_REDUNDANT = 2
const FLAG_ZEROED_GRAINS = 4
const FLAG_COMPRESSED = 0x10000
const FLAG_MARKERS = 0x20000
const FLAG_NEWLINES = 1

const AT = {
  version: 4,
  flags: 8,
  capacity: 12,
  grainSectors: 20,
  descriptorOffset: 28,
  descriptorSectors: 36,
  tableEntries: 44,
  redundantOffset: 48,
  directoryOffset: 56,
  overheadSectors: 64,
  endOfLine: 73,
  compression: 77,
} as const
const END_OF_LINE = '\n \r\n'

export interface SparseHeader {
  capacityBytes: number
  grainBytes: number
  /** Entries of each grain table. */
  tableEntries: number
  tables: number
  directoryAt: number
  /** The second directory; null where there is none. */
  redundantAt: number | null
  descriptorAt: number
  isCompressed: boolean
  hasMarkers: boolean
  hasZeroedGrains: boolean
  /** The directory stands at the end, with a footer behind it: nothing is added. */
  isSealed: boolean
}

/** Reads and checks the header of a sparse extent. Throws BlockError. */
export function* readSparseHeader(file: BlockNode, isWritable: boolean): Co<SparseHeader> {
  let head = yield* readHead(file, HEADER_BYTES)
  if (!hasText(head, 0, VMDK_MAGIC)) throw new BlockError('Image not in VMDK format')
  // All bits set: the directory was written last, and a second header behind it says where it lies.
  const isSealed = viewOf(head).getBigUint64(AT.directoryOffset, true) === 2n ** 64n - 1n
  if (isSealed) head = yield* readFooter(file)
  const header = { ...decodeSparseHeader(head, isWritable), isSealed }
  const overheadBytes = readNumber64(viewOf(head), AT.overheadSectors, true) * SECTOR_BYTES
  if (overheadBytes > file.lengthBytes) {
    throw new BlockError(`File truncated, expecting at least ${overheadBytes} bytes`)
  }
  return header
}

function* readFooter(file: BlockNode): Co<Uint8Array> {
  if (file.lengthBytes < FOOTER_BYTES) throw new BlockError('Invalid footer')
  const end = yield* readHead(file, FOOTER_BYTES, file.lengthBytes - FOOTER_BYTES)
  const view = viewOf(end)
  const isMarker = view.getUint32(8, true) === 0 && view.getUint32(12, true) === MARKER_FOOTER
  const lastAt = 2 * SECTOR_BYTES
  const isEnd =
    view.getBigUint64(lastAt, true) === 0n && view.getUint32(lastAt + 8, true) === 0 && view.getUint32(lastAt + 12, true) === 0
  const footer = end.subarray(SECTOR_BYTES, lastAt)
  if (!isMarker || !isEnd || !hasText(footer, 0, VMDK_MAGIC)) throw new BlockError('Invalid footer')
  return footer
}

export function decodeSparseHeader(head: Uint8Array, isWritable: boolean): Omit<SparseHeader, 'isSealed'> {
  assert(head.length >= HEADER_BYTES, 'vmdk-header-length')
  const view = viewOf(head)
  const version = view.getUint32(AT.version, true)
  const isCompressed = view.getUint16(AT.compression, true) === COMPRESSION_DEFLATE
  if (version > VERSION_MAX) throw new BlockError(`Unsupported VMDK version ${version}`)
  if (version === 3 && isWritable && !isCompressed) throw new BlockError('VMDK version 3 must be read only')
  const flags = view.getUint32(AT.flags, true)
  const grainSectors = readNumber64(view, AT.grainSectors, true)
  const tableEntries = view.getUint32(AT.tableEntries, true)
  if (tableEntries > TABLE_ENTRIES_MAX) throw new BlockError('L2 table size too big')
  if (tableEntries === 0 || grainSectors === 0) throw new BlockError('L1 entry size is invalid')
  const isPower = Number.isInteger(Math.log2(grainSectors))
  const grainBytes = grainSectors * SECTOR_BYTES
  if (!isPower || grainSectors > GRAIN_SECTORS_MAX || (isCompressed && grainBytes > PACKED_GRAIN_BYTES_MAX)) {
    throw new BlockError('Invalid granularity, image may be corrupt')
  }
  const capacityBytes = readNumber64(view, AT.capacity, true) * SECTOR_BYTES
  const tables = Math.ceil(capacityBytes / (tableEntries * grainBytes))
  if (tables > TABLES_MAX) throw new BlockError('L1 size too big', { errno: EFBIG })
  const directoryAt = readNumber64(view, AT.directoryOffset, true) * SECTOR_BYTES
  const redundantAt = readNumber64(view, AT.redundantOffset, true) * SECTOR_BYTES
  const hasRedundant = (flags & FLAG_REDUNDANT) !== 0
  const isReachable = Number.isSafeInteger(directoryAt) && (!hasRedundant || Number.isSafeInteger(redundantAt))
  if (!isReachable) throw new BlockError('L1 table is out of reach, image may be corrupt')
  return {
    capacityBytes,
    grainBytes,
    tableEntries,
    tables,
    directoryAt,
    redundantAt: hasRedundant ? redundantAt : null,
    descriptorAt: readNumber64(view, AT.descriptorOffset, true) * SECTOR_BYTES,
    isCompressed,
    hasMarkers: (flags & FLAG_MARKERS) !== 0,
    hasZeroedGrains: (flags & FLAG_ZEROED_GRAINS) !== 0,
  }
}

export interface NewSparse {
  lengthBytes: number
  isCompressed: boolean
  hasZeroedGrains: boolean
}

/** What a new sparse extent begins with, where its description goes, and how long its file is. Throws BlockError. */
export function newSparse(given: NewSparse): {
  pieces: Array<readonly [number, Uint8Array]>
  descriptorAt: number
  fileBytes: number
} {
  const { lengthBytes, isCompressed, hasZeroedGrains } = given
  const tables = Math.ceil(lengthBytes / GRAIN_BYTES / TABLE_ENTRIES)
  if (tables > TABLES_MAX) throw new BlockError('', { errno: EFBIG })
  const tableSectors = (TABLE_ENTRIES * ENTRY_BYTES) / SECTOR_BYTES
  const directorySectors = Math.ceil((tables * ENTRY_BYTES) / SECTOR_BYTES)
  const redundantAt = 1 + DESCRIPTOR_SECTORS
  const directoryAt = redundantAt + directorySectors + tableSectors * tables
  const grainSectors = GRAIN_BYTES / SECTOR_BYTES
  const overheadSectors = Math.ceil((directoryAt + directorySectors + tableSectors * tables) / grainSectors) * grainSectors
  const head = new Uint8Array(HEADER_BYTES)
  const view = viewOf(head)
  putText(head, 0, VMDK_MAGIC)
  const put64 = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true)
  view.setUint32(AT.version, isCompressed ? 3 : hasZeroedGrains ? 2 : 1, true)
  const packedFlags = isCompressed ? FLAG_COMPRESSED | FLAG_MARKERS : 0
  view.setUint32(AT.flags, FLAG_NEWLINES | FLAG_REDUNDANT | packedFlags | (hasZeroedGrains ? FLAG_ZEROED_GRAINS : 0), true)
  put64(AT.capacity, lengthBytes / SECTOR_BYTES)
  put64(AT.grainSectors, grainSectors)
  put64(AT.descriptorOffset, 1)
  put64(AT.descriptorSectors, DESCRIPTOR_SECTORS)
  view.setUint32(AT.tableEntries, TABLE_ENTRIES, true)
  put64(AT.redundantOffset, redundantAt)
  put64(AT.directoryOffset, directoryAt)
  put64(AT.overheadSectors, overheadSectors)
  putText(head, AT.endOfLine, END_OF_LINE)
  view.setUint16(AT.compression, isCompressed ? COMPRESSION_DEFLATE : 0, true)
  const directory = (startSector: number): Uint8Array => {
    const bytes = new Uint8Array(directorySectors * SECTOR_BYTES)
    const first = startSector + directorySectors
    for (let table = 0; table < tables; table++) viewOf(bytes).setUint32(table * ENTRY_BYTES, first + table * tableSectors, true)
    return bytes
  }
  const pieces: Array<readonly [number, Uint8Array]> = [[0, head]]
  if (tables > 0) {
    pieces.push([redundantAt * SECTOR_BYTES, directory(redundantAt)])
    pieces.push([directoryAt * SECTOR_BYTES, directory(directoryAt)])
  }
  assert(overheadSectors >= grainSectors, 'vmdk-overhead')
  return { pieces, descriptorAt: SECTOR_BYTES, fileBytes: overheadSectors * SECTOR_BYTES }
}
