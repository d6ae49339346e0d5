/**
 * The `parallels` format: a header, a table of 4 bytes for each cluster that says where it lies (0: nowhere), and the
 * clusters. Everything is little-endian. From the first write until it is closed the header says that the
 * image is in use.
 *
 * What may fail: a header that promises what is not so, as BlockError with QEMU's texts; the file.
 */
import { assert, type Co, EACCES, EFBIG, EINVAL, type Errno, OK, strerror } from '../../co'
import type { CheckFix, CheckResult, DriverInfo } from '../driver'
import { BlockError } from '../error'
import type { BlockNode } from '../node'
import { hasText, putText, readNumber64, viewOf } from './clusters/bytes'
import { ClusterDriver, NOWHERE, type Place, placeAt, placeError, SECTOR_BYTES } from './clusters/driver'
import { EntryCache } from './clusters/entries'
import { readHead } from './clusters/head'

const HEADER_BYTES = 64
const ENTRY_BYTES = 4
/** Entries count sectors in images of the first kind, and clusters in those of the second. */
const MAGIC_SECTORS = 'WithoutFreeSpace'
const MAGIC_CLUSTERS = 'WithouFreSpacExt'
const VERSION = 2
const IN_USE = 0x746f6e59
const CLUSTER_SECTORS_MAX = Math.floor((2 ** 31 - 1) / 513)
const ENTRIES_MAX = Math.floor((2 ** 31 - 1) / ENTRY_BYTES)
const ENTRY_MAX = 2 ** 32 - 1
/** Entries that one repair empties; what is left is told. */
const FIXES_MAX = 2 ** 20
const GEOMETRY_SECTORS = 32
const GEOMETRY_HEADS = 16

const AT = {
  version: 16,
  heads: 20,
  cylinders: 24,
  clusterSectors: 28,
  entries: 32,
  diskSectors: 36,
  inUse: 44,
  dataOffset: 48,
} as const

export interface ParallelsHeader {
  diskBytes: number
  clusterBytes: number
  entries: number
  /** What an entry counts in. */
  unitBytes: number
  isInUse: boolean
  /** Where clusters begin, as the header says; 0: right behind the table. */
  dataOffsetBytes: number
}

export function probeParallels(head: Uint8Array): boolean {
  if (head.length < HEADER_BYTES) return false
  return (
    (hasText(head, 0, MAGIC_SECTORS) || hasText(head, 0, MAGIC_CLUSTERS)) && viewOf(head).getUint32(AT.version, true) === VERSION
  )
}

/** Throws BlockError. */
export function* openParallels(file: BlockNode): Co<ParallelsDriver> {
  const header = decodeParallelsHeader(yield* readHead(file, HEADER_BYTES))
  if (HEADER_BYTES + header.entries * ENTRY_BYTES > file.lengthBytes) {
    throw new BlockError('The catalog ends behind the file', { errno: EINVAL })
  }
  return new ParallelsDriver(header)
}

export function decodeParallelsHeader(head: Uint8Array): ParallelsHeader {
  const view = viewOf(head)
  const refuse = (text: string, errno: Errno = EINVAL): never => {
    throw new BlockError(text, { errno })
  }
  if (!probeParallels(head)) refuse('Image not in Parallels format')
  const isClusters = hasText(head, 0, MAGIC_CLUSTERS)
  const sectors = isClusters ? readNumber64(view, AT.diskSectors, true) : view.getUint32(AT.diskSectors, true)
  const clusterSectors = view.getUint32(AT.clusterSectors, true)
  const entries = view.getUint32(AT.entries, true)
  if (clusterSectors === 0) refuse('Invalid image: Zero sectors per track', EFBIG)
  if (clusterSectors > CLUSTER_SECTORS_MAX) refuse('Invalid image: Too big cluster', EFBIG)
  if (entries > ENTRIES_MAX) refuse('Catalog too large', EFBIG)
  const clusterBytes = clusterSectors * SECTOR_BYTES
  const diskBytes = sectors * SECTOR_BYTES
  if (!Number.isSafeInteger(diskBytes)) refuse('Image too large', EFBIG)
  assert(clusterBytes > 0, 'parallels-cluster')
  const isInUse = view.getUint32(AT.inUse, true) === IN_USE
  const dataOffsetBytes = view.getUint32(AT.dataOffset, true) * SECTOR_BYTES
  const unitBytes = isClusters ? clusterBytes : SECTOR_BYTES
  return { diskBytes, clusterBytes, entries, unitBytes, isInUse, dataOffsetBytes }
}

/** What a new image begins with, and how long its file is. Throws BlockError. */
export function newParallels(given: { sizeBytes: number; clusterBytes: number }): { head: Uint8Array; fileBytes: number } {
  const { sizeBytes, clusterBytes } = given
  if (sizeBytes >= 2 ** 32 * clusterBytes) throw new BlockError('Image size is too large for this cluster size', { errno: EFBIG })

  const entries = Math.ceil(sizeBytes / clusterBytes)
  const headBytes = Math.ceil((HEADER_BYTES + entries * ENTRY_BYTES) / clusterBytes) * clusterBytes
  const head = new Uint8Array(HEADER_BYTES)
  const view = viewOf(head)
  putText(head, 0, MAGIC_CLUSTERS)
  view.setUint32(AT.version, VERSION, true)
  view.setUint32(AT.heads, GEOMETRY_HEADS, true)
  view.setUint32(AT.cylinders, Math.floor(sizeBytes / SECTOR_BYTES / (GEOMETRY_HEADS * GEOMETRY_SECTORS)), true)
  view.setUint32(AT.clusterSectors, clusterBytes / SECTOR_BYTES, true)
  view.setUint32(AT.entries, entries, true)
  view.setBigUint64(AT.diskSectors, BigInt(sizeBytes / SECTOR_BYTES), true)
  view.setUint32(AT.dataOffset, headBytes / SECTOR_BYTES, true)
  assert(headBytes >= HEADER_BYTES, 'parallels-head')
  return { head, fileBytes: headBytes }
}

export class ParallelsDriver extends ClusterDriver {
  readonly name = 'parallels'
  /** What lies nowhere is told as an overlay tells it. */
  override readonly supportsBacking = true
  readonly clusterBytes: number
  readonly header: ParallelsHeader
  private table: EntryCache | null = null

  constructor(header: ParallelsHeader) {
    super()
    this.header = header
    this.clusterBytes = header.clusterBytes
  }

  lengthBytes(): number {
    return this.header.diskBytes
  }
  override info(): DriverInfo {
    return { clusterBytes: 0, subclusterBytes: 0 }
  }
  protected override attached(): void {
    this.table ??= new EntryCache(this.file, { entryBytes: ENTRY_BYTES, isLittleEndian: true })
  }
  protected *find(cluster: number): Co<Place> {
    // What the table does not reach is nowhere.
    if (cluster >= this.header.entries) return NOWHERE
    const { errno, value } = yield* this.table!.read(HEADER_BYTES + cluster * ENTRY_BYTES)
    if (errno !== OK) return placeError(errno)
    return value === 0n ? NOWHERE : this.checkPlace(Number(value) * this.header.unitBytes)
  }
  protected *reserve(cluster: number): Co<Place> {
    if (cluster >= this.header.entries) return placeError(EINVAL)
    const endBytes = Math.max(this.file.node.lengthBytes, this.dataBytes)
    const offsetBytes = Math.ceil(endBytes / this.header.unitBytes) * this.header.unitBytes
    return offsetBytes / this.header.unitBytes > ENTRY_MAX ? placeError(EFBIG) : placeAt(offsetBytes)
  }
  protected *publish(cluster: number, offsetBytes: number): Co<Errno> {
    const value = offsetBytes / this.header.unitBytes
    assert(Number.isInteger(value) && value > 0, 'parallels-entry')
    return yield* this.table!.write(HEADER_BYTES + cluster * ENTRY_BYTES, BigInt(value))
  }

  /** The second half of opening for writing. Throws BlockError. */
  *start(): Co<void> {
    if (this.header.isInUse) {
      throw new BlockError('parallels: Image was not closed correctly; cannot be opened read/write', { errno: EACCES })
    }
  }
  /** Before the first write: who only looks leaves no mark. */
  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const errno = yield* this.setInUse(true)
    return errno === OK ? yield* super.pwrite(offsetBytes, buffer, flags) : errno
  }
  private *setInUse(isInUse: boolean): Co<Errno> {
    if (this.header.isInUse === isInUse) return OK
    let errno = isInUse ? OK : yield* this.file.flush()
    const mark = new Uint8Array(4)
    viewOf(mark).setUint32(0, isInUse ? IN_USE : 0, true)
    if (errno === OK) errno = yield* this.file.pwrite(AT.inUse, mark)
    if (errno === OK) errno = yield* this.file.flush()
    if (errno === OK) this.header.isInUse = isInUse
    return errno
  }
  override *setReadOnly(isReadOnly: boolean): Co<void> {
    const errno = isReadOnly && !this.node.options.readOnly ? yield* this.setInUse(false) : OK
    if (errno !== OK) throw new BlockError(`Could not update the header: ${strerror(errno)}`, { errno })
  }
  override *close(): Co<Errno> {
    return this.node.options.readOnly || this.isForCheck ? OK : yield* this.setInUse(false)
  }
  /** The image was opened to be looked at: its mark stays. */
  isForCheck = false

  override *checkImage(fix: CheckFix, tell: (line: string) => void): Co<CheckResult> {
    const result = yield* super.checkImage('none', tell)
    const { header, clusterBytes } = this
    Object.assign(result, { errno: OK, totalClusters: header.entries })
    const fixes = fix === 'all'
    const find = (text: string): void => {
      tell(`${fixes ? 'Repairing' : 'ERROR'} ${text}`)
      if (fixes) result.corruptionsFixed++
      else result.corruptions++
    }
    if (header.isInUse) find('image was not closed correctly')
    if (header.isInUse && fixes) result.errno = yield* this.setInUse(false)
    const fileBytes = this.file.node.lengthBytes
    const outside: number[] = []
    let [highBytes, lastBytes] = [0, 0]
    const errno = yield* this.table!.scan(HEADER_BYTES, header.entries, (cluster, value) => {
      const offsetBytes = value * header.unitBytes
      const isOutside = offsetBytes > fileBytes - clusterBytes
      if (isOutside && value !== 0) find(`cluster ${cluster} is outside image`)
      if (isOutside && value !== 0 && fixes) outside.push(cluster)
      if (value === 0 || (isOutside && fixes)) {
        lastBytes = 0
        return outside.length < FIXES_MAX
      }
      highBytes = Math.max(highBytes, offsetBytes)
      result.allocatedClusters++
      if (lastBytes !== 0 && lastBytes + clusterBytes !== offsetBytes) result.fragmentedClusters++
      lastBytes = offsetBytes
      return true
    })
    if (result.errno === OK) result.errno = errno
    for (const cluster of outside) {
      if (result.errno === OK) result.errno = yield* this.table!.write(HEADER_BYTES + cluster * ENTRY_BYTES, 0n)
    }
    result.imageEndOffsetBytes = highBytes === 0 ? this.dataBytes : highBytes + clusterBytes
    if (result.errno === OK) result.errno = yield* this.checkEnd(result, fix !== 'none', tell)
    return result
  }
  /** What lies behind the last cluster belongs to none. */
  private *checkEnd(result: CheckResult, fixes: boolean, tell: (line: string) => void): Co<Errno> {
    const tailBytes = this.file.node.lengthBytes - result.imageEndOffsetBytes
    if (tailBytes <= 0) return OK
    tell(`${fixes ? 'Repairing' : 'ERROR'} space leaked at the end of the image ${tailBytes}`)
    const leaks = Math.ceil(tailBytes / this.clusterBytes)
    if (!fixes) {
      result.leaks += leaks
      return OK
    }
    const errno = yield* this.file.truncate(result.imageEndOffsetBytes, true, 'off')
    if (errno === OK) result.leaksFixed += leaks
    return errno
  }
  /** Where the first cluster can lie. */
  private get dataBytes(): number {
    const { dataOffsetBytes } = this.header
    // One behind the file is none.
    if (dataOffsetBytes > 0 && dataOffsetBytes <= this.file.node.lengthBytes) return dataOffsetBytes
    const tableEnd = HEADER_BYTES + this.header.entries * ENTRY_BYTES
    return Math.ceil(tableEnd / this.clusterBytes) * this.clusterBytes
  }
}
