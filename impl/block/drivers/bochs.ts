/**
 * The `bochs` format, growing images only, for reading: a catalog with an entry of 4 bytes for each extent, and extents
 * that begin with a bitmap of the sectors that are there. Everything is little-endian.
 *
 * What may fail: a header that promises what is not so, as BlockError with QEMU's texts; the file.
 */
import { assert, type Co, EINVAL, OK } from '../../co'
import type { DriverInfo } from '../driver'
import { BlockError } from '../error'
import type { BlockNode } from '../node'
import { hasText, readNumber64, viewOf } from './clusters/bytes'
import { type Place, placeAt, placeError, SECTOR_BYTES, ZEROED } from './clusters/driver'
import { EntryCache } from './clusters/entries'
import { readHead } from './clusters/head'
import { ReadOnlyClusterDriver } from './clusters/read_only'

const HEADER_BYTES = 512
const MAGIC = 'Bochs Virtual HD Image\0'
const TYPE = 'Redolog\0'
const SUBTYPE = 'Growing\0'
const VERSION_1 = 0x00010000
const VERSION_2 = 0x00020000
const CATALOG_ENTRIES_MAX = 0x100000
const EXTENT_BYTES_MAX = 0x800000
const NO_EXTENT = 0xffffffffn
const BITS = 32

const AT = {
  type: 32,
  subtype: 48,
  version: 64,
  headerBytes: 68,
  catalogEntries: 72,
  bitmapBytes: 76,
  extentBytes: 80,
  diskVersion1: 84,
  diskVersion2: 88,
} as const

export interface BochsHeader {
  diskBytes: number
  catalogAt: number
  catalogEntries: number
  bitmapSectors: number
  extentBytes: number
}

export function probeBochs(head: Uint8Array): boolean {
  if (head.length < HEADER_BYTES) return false
  const version = viewOf(head).getUint32(AT.version, true)
  const isNamed = hasText(head, 0, MAGIC) && hasText(head, AT.type, TYPE) && hasText(head, AT.subtype, SUBTYPE)
  return isNamed && (version === VERSION_1 || version === VERSION_2)
}

/** Throws BlockError. */
export function* openBochs(file: BlockNode): Co<BochsDriver> {
  return new BochsDriver(decodeBochsHeader(yield* readHead(file, HEADER_BYTES)))
}

export function decodeBochsHeader(head: Uint8Array): BochsHeader {
  const refuse = (text: string): never => {
    throw new BlockError(text, { errno: EINVAL })
  }
  if (!probeBochs(head)) refuse('Image not in Bochs format')
  const view = viewOf(head)
  const isFirst = view.getUint32(AT.version, true) === VERSION_1
  const diskBytes = readNumber64(view, isFirst ? AT.diskVersion1 : AT.diskVersion2, true)
  const catalogEntries = view.getUint32(AT.catalogEntries, true)
  const extentBytes = view.getUint32(AT.extentBytes, true)
  if (catalogEntries > CATALOG_ENTRIES_MAX) refuse('Catalog size is too large')
  if (extentBytes < SECTOR_BYTES) refuse('Extent size must be at least 512')
  if (!Number.isInteger(Math.log2(extentBytes))) refuse(`Extent size ${extentBytes} is not a power of two`)
  if (extentBytes > EXTENT_BYTES_MAX) refuse(`Extent size ${extentBytes} is too large`)
  const sectors = Math.floor(diskBytes / SECTOR_BYTES)
  if (catalogEntries < Math.ceil((sectors * SECTOR_BYTES) / extentBytes)) refuse('Catalog size is too small for this disk size')
  assert(Number.isSafeInteger(sectors), 'bochs-length')
  return {
    diskBytes: sectors * SECTOR_BYTES,
    catalogAt: view.getUint32(AT.headerBytes, true),
    catalogEntries,
    bitmapSectors: Math.max(1, Math.ceil(view.getUint32(AT.bitmapBytes, true) / SECTOR_BYTES)),
    extentBytes,
  }
}

export class BochsDriver extends ReadOnlyClusterDriver {
  readonly name = 'bochs'
  /** Each sector may be there or not. */
  readonly clusterBytes = SECTOR_BYTES
  readonly header: BochsHeader
  private entries: EntryCache | null = null

  constructor(header: BochsHeader) {
    super()
    this.header = header
  }

  lengthBytes(): number {
    return this.header.diskBytes
  }
  override info(): DriverInfo {
    return { clusterBytes: 0, subclusterBytes: 0 }
  }
  override hasZeroInit(): boolean {
    return false
  }
  protected override attached(): void {
    this.entries ??= new EntryCache(this.file, { entryBytes: 4, isLittleEndian: true })
  }

  protected *find(sector: number): Co<Place> {
    const { catalogAt, catalogEntries, bitmapSectors, extentBytes } = this.header
    const extentSectors = extentBytes / SECTOR_BYTES
    const extent = Math.floor(sector / extentSectors)
    assert(extent < catalogEntries, 'bochs-extent', () => String(sector))
    const { errno, value } = yield* this.entries!.read(catalogAt + extent * 4)
    if (errno !== OK) return placeError(errno)
    if (value === NO_EXTENT) return ZEROED
    const within = sector % extentSectors
    const bitmapAt = catalogAt + catalogEntries * 4 + SECTOR_BYTES * Number(value) * (extentSectors + bitmapSectors)
    const bits = yield* this.entries!.read(bitmapAt + Math.floor(within / BITS) * 4)
    if (bits.errno !== OK) return placeError(bits.errno)
    if (((bits.value >> BigInt(within % BITS)) & 1n) === 0n) return ZEROED
    return placeAt(bitmapAt + SECTOR_BYTES * (bitmapSectors + within))
  }
}
