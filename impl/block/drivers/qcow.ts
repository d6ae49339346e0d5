/**
 * The `qcow` format, the first of its family: two levels of tables with entries of 8 bytes, big-endian, and clusters that
 * may be compressed. What is new goes to the end of the file; nothing is ever given up but all at once. Encrypted images
 * are refused.
 *
 * What may fail: a header that promises what is not so, as BlockError with QEMU's texts; the file; a table that points
 * outside of it (EIO).
 */
import { assert, type Co, EFBIG, EINVAL, EIO, ENOTSUP, type Errno, OK } from '../../co'
import type { Codec } from '../codec'
import { BlockError } from '../error'
import { RequestFlag } from '../flags'
import type { BlockNode } from '../node'
import { hasText, nameOf, putText, readNumber64, viewOf } from './clusters/bytes'
import { type Cell, ClusterDriver, NOWHERE, type Place, placeAt, placeError, SECTOR_BYTES } from './clusters/driver'
import { EntryCache } from './clusters/entries'
import { readHead } from './clusters/head'

const MAGIC = 'QFI\xfb'
const VERSION = 1
const HEADER_BYTES = 48
const ENTRY_BYTES = 8
const CLUSTER_BITS_MIN = 9
const CLUSTER_BITS_MAX = 16
const TABLE_BITS_MIN = 6
const TABLE_BITS_MAX = 13
const ENTRIES_MAX = Math.floor((2 ** 31 - 1) / ENTRY_BYTES)
const NAME_BYTES_MAX = 1023
const COMPRESSED = 1n << 63n
/** With and without an image below: that one is read in units of sectors. */
const NEW_BITS = { alone: [12, 9], above: [9, 12] } as const

const AT = {
  version: 4,
  backingOffset: 8,
  backingBytes: 16,
  diskBytes: 24,
  clusterBits: 32,
  tableBits: 33,
  encryption: 36,
  tableOffset: 40,
} as const

export interface QcowHeader {
  diskBytes: number
  clusterBits: number
  tableBits: number
  tableOffsetBytes: number
  tableEntries: number
  backingName: string | null
}

export function probeQcow(head: Uint8Array): boolean {
  return head.length >= HEADER_BYTES && hasText(head, 0, MAGIC) && viewOf(head).getUint32(AT.version) === VERSION
}

/** Throws BlockError. */
export function* openQcow(file: BlockNode, codec: Codec | null): Co<QcowDriver> {
  const head = yield* readHead(file, HEADER_BYTES)
  const header = decodeQcowHeader(head)
  if (header.tableOffsetBytes + header.tableEntries * ENTRY_BYTES > file.lengthBytes) {
    throw new BlockError('The L1 table ends behind the file', { errno: EINVAL })
  }
  const view = viewOf(head)
  const nameAt = readNumber64(view, AT.backingOffset)
  const nameBytes = view.getUint32(AT.backingBytes)
  if (nameAt !== 0 && nameBytes > 0) {
    if (nameBytes > NAME_BYTES_MAX) throw new BlockError('Backing file name too long', { errno: EINVAL })
    if (nameAt + nameBytes > file.lengthBytes) throw new BlockError('The name of the backing file lies behind the file')
    header.backingName = nameOf(yield* readHead(file, nameBytes, nameAt))
  }
  return new QcowDriver(header, codec)
}

export function decodeQcowHeader(head: Uint8Array): QcowHeader {
  assert(head.length === HEADER_BYTES, 'qcow-header-length')
  const view = viewOf(head)
  const refuse = (text: string): never => {
    throw new BlockError(text, { errno: EINVAL })
  }
  if (!hasText(head, 0, MAGIC)) refuse('Image not in qcow format')
  const version = view.getUint32(AT.version)
  if (version !== VERSION) {
    throw new BlockError(`qcow (v1) does not support qcow version ${version}\nTry use the 'qcow2' driver instead`, {
      errno: ENOTSUP,
    })
  }
  const diskBytes = readNumber64(view, AT.diskBytes)
  const clusterBits = head[AT.clusterBits]!
  const tableBits = head[AT.tableBits]!
  if (diskBytes <= 1) refuse('Image size is too small (must be at least 2 bytes)')
  if (clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX) refuse('Cluster size must be between 512 and 64k')
  if (tableBits < TABLE_BITS_MIN || tableBits > TABLE_BITS_MAX) refuse('L2 table size must be between 512 and 64k')
  const encryption = view.getUint32(AT.encryption)
  if (encryption > 1) refuse('invalid encryption method in qcow header')
  if (encryption === 1) throw new BlockError('Encrypted qcow images are not supported', { errno: ENOTSUP })
  const tableEntries = Math.ceil(diskBytes / 2 ** (clusterBits + tableBits))
  if (tableEntries > ENTRIES_MAX) refuse('Image too large')
  const tableOffsetBytes = readNumber64(view, AT.tableOffset)
  return { diskBytes, clusterBits, tableBits, tableOffsetBytes, tableEntries, backingName: null }
}

/** What a new image begins with, and how long its file is. Throws BlockError. */
export function newQcow(given: { sizeBytes: number; backingName: string | null }): { head: Uint8Array; fileBytes: number } {
  const { sizeBytes, backingName } = given
  const name = backingName === null ? new Uint8Array(0) : Buffer.from(backingName)
  if (sizeBytes === 0) throw new BlockError('Image size is too small, cannot be zero length', { errno: EINVAL })
  if (name.length > NAME_BYTES_MAX) throw new BlockError('Backing file name too long', { errno: EINVAL })
  const [clusterBits, tableBits] = backingName === null ? NEW_BITS.alone : NEW_BITS.above
  const entries = Math.ceil(sizeBytes / 2 ** (clusterBits + tableBits))
  if (entries > ENTRIES_MAX) throw new BlockError('', { errno: EFBIG })
  const tableAt = Math.ceil((HEADER_BYTES + name.length) / ENTRY_BYTES) * ENTRY_BYTES
  const head = new Uint8Array(tableAt)
  const view = viewOf(head)
  putText(head, 0, MAGIC)
  view.setUint32(AT.version, VERSION)
  if (backingName !== null) {
    view.setBigUint64(AT.backingOffset, BigInt(HEADER_BYTES))
    view.setUint32(AT.backingBytes, name.length)
    head.set(name, HEADER_BYTES)
  }
  view.setBigUint64(AT.diskBytes, BigInt(sizeBytes))
  head[AT.clusterBits] = clusterBits
  head[AT.tableBits] = tableBits
  view.setBigUint64(AT.tableOffset, BigInt(tableAt))
  assert(tableAt % ENTRY_BYTES === 0, 'qcow-table-aligned')
  return { head, fileBytes: tableAt + Math.ceil((entries * ENTRY_BYTES) / SECTOR_BYTES) * SECTOR_BYTES }
}

export class QcowDriver extends ClusterDriver {
  readonly name = 'qcow'
  override readonly supportsBacking = true
  readonly clusterBytes: number
  readonly header: QcowHeader
  protected override readonly replacesPacked = true
  protected override readonly pack = (cell: Cell, former: Place, whole: Uint8Array): Co<Errno> =>
    this.packCluster(cell, former, whole)
  private readonly codec: Codec | null
  private tables: EntryCache | null = null

  constructor(header: QcowHeader, codec: Codec | null) {
    super()
    this.header = header
    this.codec = codec
    this.clusterBytes = 2 ** header.clusterBits
    this.supportedWriteFlags = RequestFlag.Compressed
  }

  lengthBytes(): number {
    return Math.ceil(this.header.diskBytes / SECTOR_BYTES) * SECTOR_BYTES
  }
  protected override attached(): void {
    this.tables ??= new EntryCache(this.file, { entryBytes: ENTRY_BYTES, isLittleEndian: false })
  }

  /** Where the entry of the first level is that a cluster belongs to. */
  private firstAt(cluster: number): number {
    const { tableOffsetBytes, tableBits, tableEntries } = this.header
    const index = Math.floor(cluster / 2 ** tableBits)
    assert(index < tableEntries, 'qcow-cluster', () => String(cluster))
    return tableOffsetBytes + index * ENTRY_BYTES
  }
  /** Where the entry of a cluster is; at 0 if there is no table for it. EIO: outside of the file. */
  private *entryAt(cluster: number): Co<Place> {
    const entries = 2 ** this.header.tableBits
    const { errno, value } = yield* this.tables!.read(this.firstAt(cluster))
    if (errno !== OK) return placeError(errno)
    const tableAt = Number(value)
    if (tableAt === 0) return placeAt(0)
    const isInside = Number.isSafeInteger(tableAt) && tableAt + entries * ENTRY_BYTES <= this.file.node.lengthBytes
    return isInside ? placeAt(tableAt + (cluster % entries) * ENTRY_BYTES) : placeError(EIO)
  }

  protected *find(cluster: number): Co<Place> {
    const at = yield* this.entryAt(cluster)
    if (at.errno !== OK) return at
    if (at.offsetBytes === 0) return NOWHERE
    const { errno, value } = yield* this.tables!.read(at.offsetBytes)
    if (errno !== OK) return placeError(errno)
    if (value === 0n) return NOWHERE
    if ((value & COMPRESSED) === 0n) return this.checkPlace(Number(value))
    const sizeShift = BigInt(63 - this.header.clusterBits)
    const packedBytes = Number((value >> sizeShift) & BigInt(this.clusterBytes - 1))
    const offsetBytes = Number(value & ((1n << sizeShift) - 1n))
    const isInside = Number.isSafeInteger(offsetBytes) && offsetBytes + packedBytes <= this.file.node.lengthBytes
    return isInside ? { errno: OK, kind: 'packed', offsetBytes, packedBytes } : placeError(EIO)
  }

  private get endBytes(): number {
    return Math.ceil(this.file.node.lengthBytes / this.clusterBytes) * this.clusterBytes
  }
  protected *reserve(cluster: number): Co<Place> {
    const errno = yield* this.makeTable(cluster)
    return errno === OK ? placeAt(this.endBytes) : placeError(errno)
  }
  /** The table of the second level, which is whole in the file before anything leads to it. */
  private *makeTable(cluster: number): Co<Errno> {
    const at = yield* this.entryAt(cluster)
    if (at.errno !== OK || at.offsetBytes !== 0) return at.errno
    const tableAt = this.endBytes
    const errno = yield* this.tables!.writeBytes(tableAt, new Uint8Array(2 ** this.header.tableBits * ENTRY_BYTES))
    return errno === OK ? yield* this.tables!.write(this.firstAt(cluster), BigInt(tableAt)) : errno
  }
  protected *publish(cluster: number, offsetBytes: number): Co<Errno> {
    return yield* this.writeEntry(cluster, BigInt(offsetBytes))
  }
  private *writeEntry(cluster: number, value: bigint): Co<Errno> {
    const at = yield* this.entryAt(cluster)
    assert(at.errno !== OK || at.offsetBytes > 0, 'qcow-table-made')
    return at.errno === OK ? yield* this.tables!.write(at.offsetBytes, value) : at.errno
  }

  protected override *unpack(place: Place, _cell: Cell, whole: Uint8Array): Co<Errno> {
    if (this.codec === null) return ENOTSUP
    const packed = new Uint8Array(place.packedBytes ?? 0)
    if (packed.length === 0) return EIO
    const errno = yield* this.file.pread(place.offsetBytes, packed)
    if (errno !== OK) return errno
    return this.codec.decompress(packed, whole) ? OK : EIO
  }
  /** A cluster that has a place of its own stays there; one that does not shrink gets one. */
  private *packCluster({ cluster }: Cell, former: Place, whole: Uint8Array): Co<Errno> {
    assert(whole.length === this.clusterBytes, 'qcow-pack-whole')
    if (this.codec === null) return ENOTSUP
    if (former.kind === 'data') return yield* this.file.pwrite(former.offsetBytes, whole)
    const output = new Uint8Array(this.clusterBytes - 1)
    const bytes = this.codec.compress(whole, output)
    let errno = yield* this.makeTable(cluster)
    if (errno !== OK) return errno
    const offsetBytes = bytes === -1 ? this.endBytes : this.file.node.lengthBytes
    errno = yield* this.file.pwrite(offsetBytes, bytes === -1 ? whole : output.subarray(0, bytes))
    if (errno !== OK) return errno
    const marks = bytes === -1 ? 0n : COMPRESSED | (BigInt(bytes) << BigInt(63 - this.header.clusterBits))
    return yield* this.writeEntry(cluster, BigInt(offsetBytes) | marks)
  }

  /** All entries go, and then all that was behind them. */
  override *makeEmpty(): Co<Errno> {
    const { tableOffsetBytes, tableEntries } = this.header
    const tableBytes = tableEntries * ENTRY_BYTES
    const errno = yield* this.file.pwriteZeroes(tableOffsetBytes, tableBytes)
    this.tables!.forget()
    this.forgetUnpacked()
    return errno === OK ? yield* this.file.truncate(tableOffsetBytes + tableBytes, false, 'off') : errno
  }
  override *truncate(): Co<Errno> {
    return ENOTSUP
  }
}
