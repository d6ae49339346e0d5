/**
 * The `vpc` format (VHD, of Virtual PC): a footer at the end of the file, and for dynamic images a copy of it at the
 * beginning, a second header, and a table of sector numbers, one of 4 bytes for each block. A block is a bitmap of its
 * sectors and the sectors. A new block takes the place of the footer, which moves behind it. Everything is big-endian.
 *
 * What may fail: a header that promises what is not so (BlockError with QEMU's texts), the file.
 * What never may: a block that is in use without a footer behind it; the footer is written before the table's entry.
 */
import { assert, type Co, EFBIG, EINVAL, EIO, ENOTSUP, type Errno, OK } from '../../co'
import type { DriverInfo } from '../driver'
import { BlockError } from '../error'
import { StatusFlag } from '../flags'
import type { BlockNode } from '../node'
import { ClusterDriver, NOWHERE, type Place, placeAt, placeError, SECTOR_BYTES } from './clusters/driver'
import { EntryCache } from './clusters/entries'
import { readHead } from './clusters/head'

const FOOTER_BYTES = 512
const SPARSE_BYTES = 1024
const FOOTER_MAGIC = 'conectix'
const SPARSE_MAGIC = 'cxsparse'
const TYPE_FIXED = 2
const TYPE_DYNAMIC = 3
const TYPE_DIFFERENCING = 4
const NO_BLOCK = 0xffffffff
const BLOCK_BYTES = 0x200000
const TABLE_OFFSET_BYTES = 0x600
/** 2040 GiB: what 32-bit sector numbers reach, less what the tables take. */
const SIZE_MAX_BYTES = 2040 * 2 ** 30
/** A geometry that says no more than "large". */
const GEOMETRY_SECTORS_MAX = 65535 * 16 * 255
/** So many blocks are remembered; more are looked at again. */
const FULL_BLOCKS_MAX = 65536
const SECONDS_1970_TO_2000 = 946684800

const FOOTER_AT = {
  features: 0x08,
  version: 0x0c,
  dataOffset: 0x10,
  timestamp: 0x18,
  creatorApp: 0x1c,
  major: 0x20,
  minor: 0x22,
  creatorOs: 0x24,
  originalBytes: 0x28,
  currentBytes: 0x30,
  cylinders: 0x38,
  heads: 0x3a,
  sectors: 0x3b,
  type: 0x3c,
  checksum: 0x40,
  uuid: 0x44,
} as const
const SPARSE_AT = { dataOffset: 0x08, tableOffset: 0x10, version: 0x18, entries: 0x1c, blockBytes: 0x20, checksum: 0x24 } as const

/** Which of its two lengths an image has; auto: by the program that made it. */
export type SizeRule = 'chs' | 'current_size' | 'auto'

export interface VpcHeader {
  isFixed: boolean
  sizeBytes: number
  blockBytes: number
  tableOffsetBytes: number
  tableEntries: number
  footer: Uint8Array
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
function hasMagic(bytes: Uint8Array, magic: string): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, magic.length).toString('latin1') === magic
}
function putText(bytes: Uint8Array, at: number, text: string): void {
  for (let index = 0; index < text.length; index++) bytes[at + index] = text.charCodeAt(index)
}

export function probeVpc(head: Uint8Array): boolean {
  return head.length >= FOOTER_BYTES && hasMagic(head, FOOTER_MAGIC)
}

/** The complement of the sum of all bytes but its own. */
function checksum(bytes: Uint8Array, at: number): number {
  let sum = 0
  for (let index = 0; index < bytes.length; index++) if (index < at || index >= at + 4) sum += bytes[index]!
  return ~sum >>> 0
}

/** Reads footer and table. Throws BlockError with QEMU's text. */
export function* openVpc(file: BlockNode, rule: SizeRule): Co<VpcDriver> {
  const head = yield* readHead(file, FOOTER_BYTES)
  if (hasMagic(head, FOOTER_MAGIC) && viewOf(head).getUint32(FOOTER_AT.type) !== TYPE_FIXED) {
    return new VpcDriver(yield* readDynamic(file, head, rule))
  }
  if (file.lengthBytes < FOOTER_BYTES) throw new BlockError('File too small for a VHD header')
  const footer = yield* readHead(file, FOOTER_BYTES, file.lengthBytes - FOOTER_BYTES)
  if (!hasMagic(footer, FOOTER_MAGIC) || viewOf(footer).getUint32(FOOTER_AT.type) !== TYPE_FIXED) {
    throw new BlockError('invalid VPC image')
  }
  checkFooter(footer)
  const sizeBytes = sizeOf(footer, rule)
  if (sizeBytes > file.lengthBytes - FOOTER_BYTES) throw new BlockError('Invalid file size')
  return new VpcDriver({ isFixed: true, sizeBytes, blockBytes: 0, tableOffsetBytes: 0, tableEntries: 0, footer })
}

function checkFooter(footer: Uint8Array): void {
  const stored = viewOf(footer).getUint32(FOOTER_AT.checksum)
  if (stored !== checksum(footer, FOOTER_AT.checksum)) throw new BlockError('Incorrect header checksum')
}

/** What the footer says of the length. Throws BlockError. */
function sizeOf(footer: Uint8Array, rule: SizeRule): number {
  const view = viewOf(footer)
  const geometrySectors = view.getUint16(FOOTER_AT.cylinders) * footer[FOOTER_AT.heads]! * footer[FOOTER_AT.sectors]!
  const creator = Buffer.from(footer.subarray(FOOTER_AT.creatorApp, FOOTER_AT.creatorApp + 4)).toString('latin1')
  const currentBytes = Number(view.getBigUint64(FOOTER_AT.currentBytes))
  // These write the length that they mean; others mean the geometry, unless it is the largest.
  const trusted = ['win ', 'qem2', 'd2v ', 'tap\0', 'CTXS', 'wa\0\0'].includes(creator)
  const usesCurrent = rule === 'current_size' || (rule === 'auto' && (trusted || geometrySectors === GEOMETRY_SECTORS_MAX))
  const sizeBytes = usesCurrent ? Math.floor(currentBytes / SECTOR_BYTES) * SECTOR_BYTES : geometrySectors * SECTOR_BYTES
  if (sizeBytes > SIZE_MAX_BYTES) throw new BlockError('', { errno: EFBIG })
  assert(Number.isSafeInteger(sizeBytes), 'vpc-size')
  return sizeBytes
}

function* readDynamic(file: BlockNode, footer: Uint8Array, rule: SizeRule): Co<VpcHeader> {
  checkFooter(footer)
  const view = viewOf(footer)
  const sizeBytes = sizeOf(footer, rule)
  const sparseAt = Number(view.getBigUint64(FOOTER_AT.dataOffset))
  if (!Number.isSafeInteger(sparseAt) || sparseAt + SPARSE_BYTES > file.lengthBytes) {
    throw new BlockError('Error reading dynamic VHD header')
  }
  const sparse = yield* readHead(file, SPARSE_BYTES, sparseAt)
  if (!hasMagic(sparse, SPARSE_MAGIC)) throw new BlockError('Invalid header magic')
  const sparseView = viewOf(sparse)
  const blockBytes = sparseView.getUint32(SPARSE_AT.blockBytes)
  if ((blockBytes & (blockBytes - 1)) !== 0 || blockBytes < SECTOR_BYTES) throw new BlockError(`Invalid block size ${blockBytes}`)
  const tableEntries = sparseView.getUint32(SPARSE_AT.entries)
  if (tableEntries > 0x7fffffff / 4) throw new BlockError('Too many blocks')
  if (tableEntries * blockBytes < sizeBytes) throw new BlockError('Page table too small')
  const tableOffsetBytes = Number(sparseView.getBigUint64(SPARSE_AT.tableOffset))
  if (!Number.isSafeInteger(tableOffsetBytes) || tableOffsetBytes + tableEntries * 4 > file.lengthBytes) {
    throw new BlockError('Error reading pagetable')
  }
  const isDifferencing = view.getUint32(FOOTER_AT.type) === TYPE_DIFFERENCING
  if (isDifferencing) throw new BlockError('Differencing VHD images are not supported', { errno: ENOTSUP })
  return { isFixed: false, sizeBytes, blockBytes, tableOffsetBytes, tableEntries, footer }
}

export interface VpcCreateOptions {
  sizeBytes: number
  isFixed: boolean
  /** The length is to be just this; else the next one that a geometry can say. */
  forceSize: boolean
  uuid: Uint8Array
  nowSeconds: number
}

interface Geometry {
  cylinders: number
  heads: number
  sectors: number
}

/** The geometry that the specification computes for a number of sectors, which may be less than asked. */
function geometryFor(totalSectors: number): Geometry {
  const capped = Math.min(totalSectors, GEOMETRY_SECTORS_MAX)
  let [sectors, heads] = [17, 0]
  let rest = 0
  if (capped >= 65535 * 16 * 63) [sectors, heads, rest] = [255, 16, Math.floor(capped / 255)]
  else {
    rest = Math.floor(capped / 17)
    heads = Math.max(4, Math.ceil(rest / 1024))
    if (rest >= heads * 1024 || heads > 16) [sectors, heads, rest] = [31, 16, Math.floor(capped / 31)]
    if (rest >= heads * 1024) [sectors, heads, rest] = [63, 16, Math.floor(capped / 63)]
  }
  assert(heads >= 4 && heads <= 16, 'vpc-heads')
  return { cylinders: Math.floor(rest / heads), heads, sectors }
}
function countOf({ cylinders, heads, sectors }: Geometry): number {
  return cylinders * heads * sectors
}

/** The least geometry that holds the sectors, from what the specification computes for more and more of them. */
function geometryHolding(totalSectors: number): Geometry {
  let geometry = geometryFor(totalSectors)
  for (let more = 1; countOf(geometry) < totalSectors && countOf(geometry) < GEOMETRY_SECTORS_MAX; more++) {
    geometry = geometryFor(totalSectors + more)
  }
  return geometry
}

/** All of a new image but its empty middle. Throws BlockError with QEMU's texts. */
export function newVpc(options: VpcCreateOptions): { pieces: Array<readonly [number, Uint8Array]>; fileBytes: number } {
  const { sizeBytes, isFixed, forceSize } = options
  const wanted = Math.ceil(sizeBytes / SECTOR_BYTES)
  const geometry = geometryHolding(wanted)
  const isLargest = countOf(geometry) === GEOMETRY_SECTORS_MAX
  const usesAsked = forceSize || isLargest
  const shown = forceSize ? { cylinders: 65535, heads: 16, sectors: 255 } : geometry
  const diskBytes = usesAsked ? wanted * SECTOR_BYTES : countOf(geometry) * SECTOR_BYTES
  if (diskBytes > SIZE_MAX_BYTES) throw new BlockError('Disk size is too large, max size is 2040 GiB', { errno: EFBIG })
  const footer = newFooter(options, shown, diskBytes)
  if (isFixed) return { pieces: [[diskBytes, footer]], fileBytes: diskBytes + FOOTER_BYTES }
  const entries = Math.ceil(diskBytes / BLOCK_BYTES)
  const tableBytes = Math.ceil((entries * 4) / SECTOR_BYTES) * SECTOR_BYTES
  const sparse = new Uint8Array(SPARSE_BYTES)
  const view = viewOf(sparse)
  putText(sparse, 0, SPARSE_MAGIC)
  view.setBigUint64(SPARSE_AT.dataOffset, 2n ** 64n - 1n)
  view.setBigUint64(SPARSE_AT.tableOffset, BigInt(TABLE_OFFSET_BYTES))
  view.setUint32(SPARSE_AT.version, 0x00010000)
  view.setUint32(SPARSE_AT.entries, entries)
  view.setUint32(SPARSE_AT.blockBytes, BLOCK_BYTES)
  view.setUint32(SPARSE_AT.checksum, checksum(sparse, SPARSE_AT.checksum))
  const endBytes = TABLE_OFFSET_BYTES + tableBytes
  assert(endBytes % SECTOR_BYTES === 0, 'vpc-table-end')
  return {
    pieces: [
      [0, footer],
      [FOOTER_BYTES, sparse],
      [TABLE_OFFSET_BYTES, new Uint8Array(tableBytes).fill(0xff)],
      [endBytes, footer],
    ],
    fileBytes: endBytes + FOOTER_BYTES,
  }
}

function newFooter(options: VpcCreateOptions, geometry: Geometry, diskBytes: number): Uint8Array {
  const { isFixed, forceSize, uuid, nowSeconds } = options
  const footer = new Uint8Array(FOOTER_BYTES)
  const view = viewOf(footer)
  putText(footer, 0, FOOTER_MAGIC)
  view.setUint32(FOOTER_AT.features, 2)
  view.setUint32(FOOTER_AT.version, 0x00010000)
  view.setBigUint64(FOOTER_AT.dataOffset, isFixed ? 2n ** 64n - 1n : BigInt(FOOTER_BYTES))
  view.setUint32(FOOTER_AT.timestamp, Math.max(0, nowSeconds - SECONDS_1970_TO_2000))
  putText(footer, FOOTER_AT.creatorApp, forceSize ? 'qem2' : 'qemu')
  view.setUint16(FOOTER_AT.major, 5)
  view.setUint16(FOOTER_AT.minor, 3)
  putText(footer, FOOTER_AT.creatorOs, 'Wi2k')
  view.setBigUint64(FOOTER_AT.originalBytes, BigInt(diskBytes))
  view.setBigUint64(FOOTER_AT.currentBytes, BigInt(diskBytes))
  view.setUint16(FOOTER_AT.cylinders, geometry.cylinders)
  footer[FOOTER_AT.heads] = geometry.heads
  footer[FOOTER_AT.sectors] = geometry.sectors
  view.setUint32(FOOTER_AT.type, isFixed ? TYPE_FIXED : TYPE_DYNAMIC)
  footer.set(uuid, FOOTER_AT.uuid)
  view.setUint32(FOOTER_AT.checksum, checksum(footer, FOOTER_AT.checksum))
  assert(uuid.length === 16, 'uuid-length')
  return footer
}

export class VpcDriver extends ClusterDriver {
  readonly name = 'vpc'
  readonly clusterBytes: number
  readonly header: VpcHeader
  private readonly bitmapBytes: number
  protected override readonly prepares: ((block: number, offsetBytes: number) => Co<Errno>) | null = null
  private table: EntryCache | null = null
  /** Where the footer stands, and the next block will; null before the first one. */
  private footerAt: number | null = null
  /** Blocks whose bitmap is known to have all sectors in use. */
  private readonly fullBlocks = new Set<number>()

  constructor(header: VpcHeader) {
    super()
    this.header = header
    // A fixed image is one piece.
    this.clusterBytes = header.isFixed ? Math.max(SECTOR_BYTES, header.sizeBytes) : header.blockBytes
    if (!header.isFixed) this.prepares = (block, offsetBytes) => this.markUsed(block, offsetBytes)
    this.bitmapBytes = Math.ceil(header.blockBytes / SECTOR_BYTES / 8 / SECTOR_BYTES) * SECTOR_BYTES
  }

  lengthBytes(): number {
    return this.header.sizeBytes
  }
  override info(): DriverInfo {
    return this.header.isFixed ? { clusterBytes: 0, subclusterBytes: 0 } : super.info()
  }
  override hasZeroInit(): boolean {
    return this.header.isFixed ? this.file.node.driver.hasZeroInit() : true
  }
  protected override attached(): void {
    this.table ??= new EntryCache(this.file, { entryBytes: 4, isLittleEndian: false })
  }
  protected override dataStatus(cluster: number): number {
    return super.dataStatus(cluster) | (this.header.isFixed ? StatusFlag.Recurse : StatusFlag.None)
  }

  protected *find(block: number): Co<Place> {
    const { header } = this
    if (header.isFixed) return placeAt(0)
    assert(block < header.tableEntries, 'vpc-block', () => `${block} of ${header.tableEntries}`)
    const { errno, value } = yield* this.table!.read(header.tableOffsetBytes + block * 4)
    if (errno !== OK) return placeError(errno)
    if (value === BigInt(NO_BLOCK)) return NOWHERE
    return this.checkPlace(Number(value) * SECTOR_BYTES + this.bitmapBytes)
  }

  protected *reserve(_block: number): Co<Place> {
    assert(!this.header.isFixed, 'vpc-dynamic')
    if (this.footerAt === null) {
      const found = yield* this.findEnd()
      if (found.errno !== OK) return found
      this.footerAt = found.offsetBytes
    }
    return placeAt(this.footerAt + this.bitmapBytes)
  }

  /** Behind the last block and the tables; EIO where a block of the table is not in the file. */
  private *findEnd(): Co<Place> {
    const { header } = this
    let endBytes = Math.ceil((header.tableOffsetBytes + header.tableEntries * 4) / SECTOR_BYTES) * SECTOR_BYTES
    const errno = yield* this.table!.scan(header.tableOffsetBytes, header.tableEntries, (_block, value) => {
      if (value !== NO_BLOCK) endBytes = Math.max(endBytes, value * SECTOR_BYTES + this.bitmapBytes + header.blockBytes)
      return true
    })
    if (errno !== OK) return placeError(errno)
    return endBytes > this.file.node.lengthBytes ? placeError(EIO) : placeAt(endBytes)
  }

  protected *publish(block: number, offsetBytes: number): Co<Errno> {
    const { header, file, bitmapBytes } = this
    assert(this.footerAt !== null && offsetBytes === this.footerAt + bitmapBytes, 'vpc-new-block')
    const number = this.footerAt / SECTOR_BYTES
    if (number >= 0xffffffff) return EFBIG
    // The old footer goes last, with the bitmap over it.
    let errno = yield* file.pwrite(offsetBytes + header.blockBytes, header.footer)
    if (errno === OK) errno = yield* file.pwrite(this.footerAt, new Uint8Array(bitmapBytes).fill(0xff))
    if (errno !== OK) return errno
    this.footerAt = offsetBytes + header.blockBytes
    return yield* this.table!.write(header.tableOffsetBytes + block * 4, BigInt(number))
  }

  /** Other programs leave sectors of a block unused, and would not see what is written there. */
  private *markUsed(block: number, offsetBytes: number): Co<Errno> {
    if (this.fullBlocks.has(block)) return OK
    assert(offsetBytes >= this.bitmapBytes, 'vpc-bitmap')
    const bitmap = new Uint8Array(this.bitmapBytes)
    let errno = yield* this.file.pread(offsetBytes - bitmap.length, bitmap)
    if (errno === OK && bitmap.some((byte) => byte !== 0xff)) {
      errno = yield* this.file.pwrite(offsetBytes - bitmap.length, bitmap.fill(0xff))
    }
    if (errno !== OK) return errno
    if (this.fullBlocks.size >= FULL_BLOCKS_MAX) this.fullBlocks.clear()
    this.fullBlocks.add(block)
    return OK
  }

  override *truncate(): Co<Errno> {
    return ENOTSUP
  }
}
/** See `force_size_calc`. Throws BlockError. */
export function sizeRule(text: string | undefined): SizeRule {
  if (text === undefined) return 'auto'
  if (text !== 'chs' && text !== 'current_size') {
    throw new BlockError(`Invalid size calculation mode: '${text}'`, { errno: EINVAL })
  }
  return text
}
