/**
 * The `vdi` format (VirtualBox): a header, a map of 4 bytes for each block of 1 MiB, and the blocks in the order of their
 * making. An entry is a block's number in the data area; the two highest values say that there is none (never written, or
 * given up). A static image has all blocks from the beginning. Everything is little-endian.
 *
 * What may fail: a header that promises what is not so (BlockError with QEMU's texts), the file.
 */
import { assert, type Co, EIO, ENOSPC, ENOTSUP, type Errno, OK } from '../../co'
import type { CheckFix, CheckResult, PreallocationMode } from '../driver'
import { BlockError } from '../error'
import { StatusFlag } from '../flags'
import type { BlockNode } from '../node'
import { ClusterDriver, NOWHERE, type Place, placeAt, placeError, SECTOR_BYTES } from './clusters/driver'
import { EntryCache } from './clusters/entries'
import { readHead } from './clusters/head'

const TEXT = '<<< QEMU VM Virtual Disk Image >>>\n'
const SIGNATURE = 0xbeda107f
const VERSION_1_1 = 0x00010001
const HEADER_BYTES = 512
const BLOCK_BYTES = 2 ** 20
const ENTRY_BYTES = 4
const TYPE_DYNAMIC = 1
const TYPE_STATIC = 2
const BLOCKS_MAX = 0x3fffff80
const SIZE_MAX_BYTES = BLOCKS_MAX * BLOCK_BYTES
/** Entries from here on mean that there is no block. */
const NO_BLOCK_FROM = 0xfffffffe
const NO_BLOCK = 0xffffffff

/** Where the fields stand in the header. */
const AT = {
  signature: 0x40,
  version: 0x44,
  headerBytes: 0x48,
  type: 0x4c,
  mapOffset: 0x154,
  dataOffset: 0x158,
  sectorBytes: 0x168,
  diskBytes: 0x170,
  blockBytes: 0x178,
  blocks: 0x180,
  blocksAllocated: 0x184,
  uuid: 0x188,
  snapshotUuid: 0x198,
  linkUuid: 0x1a8,
  parentUuid: 0x1b8,
} as const

export interface VdiHeader {
  isStatic: boolean
  mapOffsetBytes: number
  dataOffsetBytes: number
  diskBytes: number
  blocks: number
  blocksAllocated: number
}

export function probeVdi(head: Uint8Array): boolean {
  return head.length >= HEADER_BYTES && viewOf(head).getUint32(AT.signature, true) === SIGNATURE
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function hex(value: number, digits = 0): string {
  return value.toString(16).padStart(digits, '0')
}

/** Throws BlockError with QEMU's text. */
export function decodeVdiHeader(bytes: Uint8Array): VdiHeader {
  assert(bytes.length === HEADER_BYTES, 'vdi-header-length')
  const view = viewOf(bytes)
  const u32 = (at: number): number => view.getUint32(at, true)
  const diskBytes = Number(view.getBigUint64(AT.diskBytes, true))
  if (diskBytes > SIZE_MAX_BYTES) {
    const text = `Unsupported VDI image size (size is 0x${hex(diskBytes)}, max supported is 0x${hex(SIZE_MAX_BYTES)})`
    throw new BlockError(text, { errno: ENOTSUP })
  }
  const refuse = (text: string): never => {
    throw new BlockError(`unsupported VDI image (${text})`, { errno: ENOTSUP })
  }
  // A disk that does not end at a sector has a whole one more.
  const sizeBytes = Math.ceil(diskBytes / SECTOR_BYTES) * SECTOR_BYTES
  if (u32(AT.signature) !== SIGNATURE) {
    throw new BlockError(`Image not in VDI format (bad signature ${hex(u32(AT.signature), 8)})`)
  }
  const version = u32(AT.version)
  if (version !== VERSION_1_1) refuse(`version ${version >>> 16}.${version & 0xffff}`)
  if (u32(AT.mapOffset) % SECTOR_BYTES !== 0) refuse(`unaligned block map offset 0x${hex(u32(AT.mapOffset))}`)
  if (u32(AT.dataOffset) % SECTOR_BYTES !== 0) refuse(`unaligned data offset 0x${hex(u32(AT.dataOffset))}`)
  if (u32(AT.sectorBytes) !== SECTOR_BYTES) refuse(`sector size ${u32(AT.sectorBytes)} is not ${SECTOR_BYTES}`)
  if (u32(AT.blockBytes) !== BLOCK_BYTES) refuse(`block size ${u32(AT.blockBytes)} is not ${BLOCK_BYTES}`)
  const blocks = u32(AT.blocks)
  if (sizeBytes > blocks * BLOCK_BYTES) refuse(`disk size ${sizeBytes}, image bitmap has room for ${blocks * BLOCK_BYTES}`)
  const isNull = (at: number): boolean => bytes.subarray(at, at + 16).every((byte) => byte === 0)
  if (!isNull(AT.linkUuid)) refuse('non-NULL link UUID')
  if (!isNull(AT.parentUuid)) refuse('non-NULL parent UUID')
  if (blocks > BLOCKS_MAX) refuse(`too many blocks ${blocks}, max is ${BLOCKS_MAX}`)
  return {
    isStatic: u32(AT.type) === TYPE_STATIC,
    mapOffsetBytes: u32(AT.mapOffset),
    dataOffsetBytes: u32(AT.dataOffset),
    diskBytes: sizeBytes,
    blocks,
    blocksAllocated: u32(AT.blocksAllocated),
  }
}

export interface VdiCreateOptions {
  sizeBytes: number
  isStatic: boolean
  /** 16 bytes each, different for every image: its own identity, and that of its last change. */
  uuids: readonly [Uint8Array, Uint8Array]
}

/** The header and map of a new image, and how long its file is to be. Throws BlockError. */
export function newVdi({ sizeBytes, isStatic, uuids }: VdiCreateOptions): { head: Uint8Array; fileBytes: number } {
  if (sizeBytes > SIZE_MAX_BYTES) {
    const text = `Unsupported VDI image size (size is 0x${hex(sizeBytes)}, max supported is 0x${hex(SIZE_MAX_BYTES)})`
    throw new BlockError(text, { errno: ENOTSUP })
  }
  const blocks = Math.ceil(sizeBytes / BLOCK_BYTES)
  const mapBytes = Math.ceil((blocks * ENTRY_BYTES) / SECTOR_BYTES) * SECTOR_BYTES
  const dataOffsetBytes = HEADER_BYTES + mapBytes
  assert(
    uuids.every((uuid) => uuid.length === 16),
    'uuid-length',
  )
  const head = new Uint8Array(dataOffsetBytes)
  const view = viewOf(head)
  for (let index = 0; index < TEXT.length; index++) head[index] = TEXT.charCodeAt(index)
  const put = (at: number, value: number): void => view.setUint32(at, value, true)
  put(AT.signature, SIGNATURE)
  put(AT.version, VERSION_1_1)
  put(AT.headerBytes, 0x180)
  put(AT.type, isStatic ? TYPE_STATIC : TYPE_DYNAMIC)
  put(AT.mapOffset, HEADER_BYTES)
  put(AT.dataOffset, dataOffsetBytes)
  put(AT.sectorBytes, SECTOR_BYTES)
  view.setBigUint64(AT.diskBytes, BigInt(sizeBytes), true)
  put(AT.blockBytes, BLOCK_BYTES)
  put(AT.blocks, blocks)
  put(AT.blocksAllocated, isStatic ? blocks : 0)
  head.set(uuids[0], AT.uuid)
  head.set(uuids[1], AT.snapshotUuid)
  for (let block = 0; block < blocks; block++) put(HEADER_BYTES + block * ENTRY_BYTES, isStatic ? block : NO_BLOCK)
  return { head, fileBytes: dataOffsetBytes + (isStatic ? blocks * BLOCK_BYTES : 0) }
}

/** Reads the header. Throws BlockError. */
export function* openVdi(file: BlockNode): Co<VdiDriver> {
  const header = decodeVdiHeader(yield* readHead(file, HEADER_BYTES))
  if (header.mapOffsetBytes + header.blocks * ENTRY_BYTES > file.lengthBytes) {
    throw new BlockError('unsupported VDI image (the block map ends behind the file)', { errno: ENOTSUP })
  }
  return new VdiDriver(header)
}

export class VdiDriver extends ClusterDriver {
  readonly name = 'vdi'
  readonly clusterBytes = BLOCK_BYTES
  readonly header: VdiHeader
  private isCountChecked = false
  private map: EntryCache | null = null

  constructor(header: VdiHeader) {
    super()
    this.header = header
  }

  lengthBytes(): number {
    return this.header.diskBytes
  }
  protected override attached(): void {
    this.map ??= new EntryCache(this.file, { entryBytes: ENTRY_BYTES, isLittleEndian: true })
  }
  override hasZeroInit(): boolean {
    return this.header.isStatic ? this.file.node.driver.hasZeroInit() : true
  }
  protected override dataStatus(cluster: number): number {
    return super.dataStatus(cluster) | (this.header.isStatic ? StatusFlag.Recurse : StatusFlag.None)
  }

  protected *find(block: number): Co<Place> {
    assert(block < this.header.blocks, 'vdi-block', () => `${block} of ${this.header.blocks}`)
    const { errno, value } = yield* this.map!.read(this.header.mapOffsetBytes + block * ENTRY_BYTES)
    if (errno !== OK) return placeError(errno)
    if (value >= NO_BLOCK_FROM) return NOWHERE
    return this.checkPlace(this.header.dataOffsetBytes + Number(value) * BLOCK_BYTES)
  }
  protected *reserve(_block: number): Co<Place> {
    const { header } = this
    if (header.blocksAllocated >= header.blocks) return placeError(ENOSPC)
    const errno = this.isCountChecked ? OK : yield* this.checkCount()
    const offsetBytes = header.dataOffsetBytes + header.blocksAllocated * BLOCK_BYTES
    // The blocks that are counted are there; where they are not, a new one would lie far outside of the image.
    if (errno === OK && offsetBytes > this.file.node.lengthBytes) return placeError(EIO)
    return errno === OK ? placeAt(offsetBytes) : placeError(errno)
  }
  /** A block behind those that the header counts would be overwritten by the next new one: EIO. */
  private *checkCount(): Co<Errno> {
    const { header } = this
    let isUncounted = false
    const errno = yield* this.map!.scan(header.mapOffsetBytes, header.blocks, (_block, value) => {
      isUncounted = value < NO_BLOCK_FROM && value >= header.blocksAllocated
      return !isUncounted
    })
    if (errno !== OK || isUncounted) return errno === OK ? EIO : errno
    this.isCountChecked = true
    assert(header.blocksAllocated <= header.blocks, 'vdi-count')
    return OK
  }
  /** The header counts the blocks; it is written first, so that a block whose entry is there is always counted. */
  protected *publish(block: number, offsetBytes: number): Co<Errno> {
    const { header } = this
    const number = (offsetBytes - header.dataOffsetBytes) / BLOCK_BYTES
    assert(number === header.blocksAllocated, 'vdi-new-block')
    const errno = yield* this.map!.write(AT.blocksAllocated, BigInt(number + 1))
    if (errno !== OK) return errno
    header.blocksAllocated++
    return yield* this.map!.write(header.mapOffsetBytes + block * ENTRY_BYTES, BigInt(number))
  }

  override *truncate(_lengthBytes: number, _exact: boolean, _preallocation: PreallocationMode): Co<Errno> {
    return ENOTSUP
  }

  override *checkImage(fix: CheckFix, tell: (line: string) => void): Co<CheckResult> {
    const { header } = this
    const result = {
      ...{ errno: OK as Errno, corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0 },
      // QEMU does not say how many there are, so the share in use is not printed.
      ...{ imageEndOffsetBytes: 0, totalClusters: 0, allocatedClusters: 0 },
      ...{ fragmentedClusters: 0, compressedClusters: 0 },
    }
    // Nothing is ever repaired.
    if (fix !== 'none') return { ...result, errno: ENOTSUP }
    let allocated = 0
    const owned = new Uint8Array(Math.ceil(header.blocks / 8))
    const errno = yield* this.map!.scan(header.mapOffsetBytes, header.blocks, (block, value) => {
      if (value >= NO_BLOCK_FROM) return true
      if (value >= header.blocks) {
        tell(`ERROR: block index ${block} too large, is ${value}`)
        result.corruptions++
        return true
      }
      allocated++
      if ((owned[value >>> 3]! & (1 << (value & 7))) !== 0) {
        tell(`ERROR: block index ${block} also used by ${value}`)
        result.corruptions++
      }
      owned[value >>> 3]! |= 1 << (value & 7)
      return true
    })
    if (errno !== OK) return { ...result, errno }
    if (allocated !== header.blocksAllocated) {
      tell(`ERROR: allocated blocks mismatch, is ${allocated}, should be ${header.blocksAllocated}`)
      result.corruptions++
    }
    return result
  }
}
