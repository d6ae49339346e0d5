/**
 * The `vmdk` format (VMware): extents one after another, each a flat file or a sparse one (sparse.ts). An image has an
 * identity (CID) that changes with the first write after opening; an overlay keeps that of the image below, and what the
 * image below shows is refused (EINVAL) when it no longer fits.
 *
 * What may fail: files; tables that point outside of them (EIO); a write to a compressed grain that is there (EIO), or to
 * a part of one (EINVAL). What never may: an entry for a grain that is not whole in its file.
 */
import { assert, type Co, EINVAL, EIO, ENOTSUP, type Errno, mix32, OK } from '../../../co'
import type { StreamCodec } from '../../codec'
import type { CheckFix, CheckResult, DriverInfo, FormatDetails } from '../../driver'
import { type BlockLimits, RequestFlag, StatusFlag } from '../../flags'
import type { BlockChild } from '../../node'
import { textOf, viewOf } from '../clusters/bytes'
import { type Cell, ClusterDriver, NOWHERE, type Place, placeAt, placeError, SECTOR_BYTES, ZEROED } from '../clusters/driver'
import { EntryCache } from '../clusters/entries'
import { DESCRIPTOR_BYTES, type Descriptor, NO_PARENT, withIdentity } from './descriptor'
import { ENTRY_BYTES, type SparseHeader } from './sparse'

const ENTRY_ZEROED = 1
const SECTOR_NUMBER_MAX = 0xffffffff
/** The sector on the disk and the length of a compressed grain. */
const MARKER_BYTES = 12

export interface VmdkExtent {
  /** The name of the child that it lies in. */
  childName: string
  /** As its description says; '' for the one file of an image that is described in itself. */
  type: string
  startBytes: number
  lengthBytes: number
  /** null: a flat one, which begins at `flatOffsetBytes` of its file. */
  sparse: SparseHeader | null
  flatOffsetBytes: number
}

interface Extent extends VmdkExtent {
  firstCluster: number
  clusters: number
  tables: EntryCache | null
  /** Where the next grain goes; null before the first one. */
  nextBytes: number | null
}

export interface VmdkImage {
  descriptor: Descriptor
  /** Where the description lies in `file`; null where there is none. */
  descriptorAt: number | null
  extents: readonly VmdkExtent[]
  codec: StreamCodec | null
}

export class VmdkDriver extends ClusterDriver {
  readonly name = 'vmdk'
  override readonly supportsBacking = true
  override readonly needsCompressedWrites: boolean
  readonly clusterBytes: number
  readonly descriptor: Descriptor
  protected override readonly pack: ((cell: Cell, former: Place, whole: Uint8Array) => Co<Errno>) | null
  protected override readonly markZero: ((cell: Cell, former: Place) => Co<Errno>) | null
  private readonly descriptorAt: number | null
  private readonly codec: StreamCodec | null
  private readonly extents: Extent[] = []
  private isParentKnown = false
  private isIdentityNew = false

  constructor(image: VmdkImage) {
    super()
    this.descriptor = image.descriptor
    this.descriptorAt = image.descriptorAt
    this.codec = image.codec
    let firstCluster = 0
    for (const extent of image.extents) {
      const clusters = extent.sparse === null ? 1 : Math.ceil(extent.lengthBytes / extent.sparse.grainBytes)
      this.extents.push({ ...extent, firstCluster, clusters, tables: null, nextBytes: null })
      firstCluster += clusters
    }
    assert(Number.isSafeInteger(firstCluster), 'vmdk-clusters')
    this.clusterBytes = this.extents[0]?.sparse?.grainBytes ?? 0
    const sparse = this.extents.filter((extent) => extent.sparse !== null)
    this.needsCompressedWrites = sparse.length > 0 && this.extents.every((extent) => extent.sparse?.isCompressed === true)
    // Elsewhere such data is stored as it is.
    this.supportedWriteFlags = RequestFlag.Compressed
    this.pack = this.needsCompressedWrites ? (cell, former, whole) => this.packGrain(cell, former, whole) : null
    const canZero = sparse.some((extent) => extent.sparse!.hasZeroedGrains)
    this.markZero = canZero ? (cell, former) => this.zeroGrain(cell, former) : null
    if (canZero) this.supportedZeroFlags = RequestFlag.MayUnmap | RequestFlag.NoFallback
  }

  lengthBytes(): number {
    const last = this.extents.at(-1)
    return last === undefined ? 0 : last.startBytes + last.lengthBytes
  }
  override refreshLimits(limits: BlockLimits): void {
    super.refreshLimits(limits)
    const grains = this.extents.map((extent) => extent.sparse?.grainBytes ?? 0).filter((bytes) => bytes > 0)
    limits.pwriteZeroesAlignmentBytes = grains.length === 0 ? 0 : Math.min(...grains)
    if (this.needsCompressedWrites) limits.requestAlignmentBytes = SECTOR_BYTES
  }
  protected override attached(): void {
    for (const extent of this.extents) {
      if (extent.sparse !== null) extent.tables ??= new EntryCache(this.child(extent), { entryBytes: 4, isLittleEndian: true })
    }
  }
  private child(extent: Extent): BlockChild {
    const child = this.node.children.get(extent.childName)
    assert(child !== undefined, 'vmdk-extent-is-there', () => extent.childName)
    return child
  }
  override info(): DriverInfo {
    return { clusterBytes: this.clusterBytes, subclusterBytes: this.clusterBytes }
  }
  override hasZeroInit(): boolean {
    return this.extents.every((extent) => extent.sparse !== null || this.child(extent).node.driver.hasZeroInit())
  }
  override formatDetails(): FormatDetails {
    const { cid, parentCid, createType } = this.descriptor
    const extents = this.extents.map((extent) => ({
      filename: this.node.graph.filenameOf(this.child(extent).node),
      format: extent.type,
      'virtual-size': extent.lengthBytes,
      ...(extent.sparse === null ? {} : { 'cluster-size': extent.sparse.grainBytes }),
      ...(extent.sparse?.isCompressed === true ? { compressed: true } : {}),
    }))
    return { type: 'vmdk', data: { 'create-type': createType, cid, 'parent-cid': parentCid, extents } }
  }

  protected override cellAt(offsetBytes: number): Cell {
    const { startBytes, lengthBytes, sparse, firstCluster } = this.search((extent) => extent.startBytes <= offsetBytes)
    if (sparse === null) return { cluster: firstCluster, startBytes, bytes: lengthBytes }
    const index = Math.floor((offsetBytes - startBytes) / sparse.grainBytes)
    const within = index * sparse.grainBytes
    const bytes = Math.min(sparse.grainBytes, lengthBytes - within)
    return { cluster: firstCluster + index, startBytes: startBytes + within, bytes }
  }
  /** The last extent that `begins`, which all do up to it. */
  private search(begins: (extent: Extent) => boolean): Extent {
    let [low, high] = [0, this.extents.length - 1]
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (begins(this.extents[middle]!)) low = middle
      else high = middle - 1
    }
    const extent = this.extents[low]
    assert(extent !== undefined && begins(extent), 'vmdk-extent-found')
    return extent
  }
  private extentOf(cluster: number): Extent {
    return this.search((extent) => extent.firstCluster <= cluster)
  }

  protected *find(cluster: number): Co<Place> {
    const extent = this.extentOf(cluster)
    const { sparse } = extent
    if (sparse === null) return { ...placeAt(extent.flatOffsetBytes), file: this.child(extent) }
    const entryAt = yield* this.entryAt(extent, sparse.directoryAt, cluster)
    if (entryAt.errno !== OK) return entryAt
    if (entryAt.offsetBytes === 0) return NOWHERE
    const { errno, value } = yield* extent.tables!.read(entryAt.offsetBytes)
    if (errno !== OK) return placeError(errno)
    if (value === 0n) return NOWHERE
    if (value === BigInt(ENTRY_ZEROED) && sparse.hasZeroedGrains) return ZEROED
    const file = this.child(extent)
    const place = this.checkPlace(Number(value) * SECTOR_BYTES, file.node)
    return place.errno !== OK ? place : { ...place, kind: sparse.isCompressed ? 'packed' : 'data', file }
  }
  /** Where the entry of a grain is, by one of the directories; at 0 if there is no table for it. */
  private *entryAt(extent: Extent, directoryAt: number, cluster: number): Co<Place> {
    const { sparse, firstCluster, clusters } = extent
    const index = cluster - firstCluster
    assert(sparse !== null && index >= 0 && index < clusters, 'vmdk-grain')
    const table = Math.floor(index / sparse.tableEntries)
    const { errno, value } = yield* extent.tables!.read(directoryAt + table * ENTRY_BYTES)
    if (errno !== OK || value === 0n) return errno === OK ? placeAt(0) : placeError(errno)
    return placeAt(Number(value) * SECTOR_BYTES + (index % sparse.tableEntries) * ENTRY_BYTES)
  }

  protected *reserve(cluster: number): Co<Place> {
    const extent = this.extentOf(cluster)
    assert(extent.sparse !== null, 'vmdk-sparse')
    const errno = this.node.backing === null ? OK : this.checkParent()
    if (errno !== OK) return placeError(errno)
    const file = this.child(extent)
    extent.nextBytes ??= Math.ceil(file.node.lengthBytes / extent.sparse.grainBytes) * extent.sparse.grainBytes
    if (extent.nextBytes / SECTOR_BYTES > SECTOR_NUMBER_MAX) return placeError(EIO)
    return { ...placeAt(extent.nextBytes), file }
  }
  protected *publish(cluster: number, offsetBytes: number): Co<Errno> {
    const extent = this.extentOf(cluster)
    const errno = yield* this.writeEntries(extent, cluster, offsetBytes / SECTOR_BYTES)
    if (errno === OK) extent.nextBytes = offsetBytes + extent.sparse!.grainBytes
    return errno
  }
  private *writeEntries(extent: Extent, cluster: number, value: number): Co<Errno> {
    const { sparse } = extent
    assert(sparse !== null && Number.isInteger(value) && value <= SECTOR_NUMBER_MAX, 'vmdk-entry')
    const { lengthBytes } = this.child(extent).node
    for (const directoryAt of [sparse.directoryAt, sparse.redundantAt]) {
      if (directoryAt === null) continue
      const entryAt = yield* this.entryAt(extent, directoryAt, cluster)
      if (entryAt.errno !== OK) return entryAt.errno
      // A table that is nowhere, or behind the file.
      const isThere = entryAt.offsetBytes > 0 && entryAt.offsetBytes + ENTRY_BYTES <= lengthBytes
      if (!isThere && directoryAt === sparse.directoryAt) return EIO
      const errno = isThere ? yield* extent.tables!.write(entryAt.offsetBytes, BigInt(value)) : OK
      if (errno !== OK) return errno
    }
    return OK
  }

  private *zeroGrain({ cluster }: Cell, former: Place): Co<Errno> {
    const extent = this.extentOf(cluster)
    if (extent.sparse?.hasZeroedGrains !== true) return ENOTSUP
    if (former.kind === 'zero') return OK
    const errno = yield* this.renew()
    return errno === OK ? yield* this.writeEntries(extent, cluster, ENTRY_ZEROED) : errno
  }

  protected override *unpack(place: Place, { cluster }: Cell, whole: Uint8Array): Co<Errno> {
    const { sparse } = this.extentOf(cluster)
    assert(sparse !== null && place.file !== undefined, 'vmdk-unpack')
    if (this.codec === null) return ENOTSUP
    const room = sparse.grainBytes * 2
    const stored = new Uint8Array(room)
    const errno = yield* place.file.pread(place.offsetBytes, stored)
    if (errno !== OK) return errno
    let packed = stored
    if (sparse.hasMarkers) {
      const bytes = viewOf(stored).getUint32(8, true)
      if (bytes === 0 || bytes > room - MARKER_BYTES) return EINVAL
      packed = stored.subarray(MARKER_BYTES, MARKER_BYTES + bytes)
    }
    const plain = new Uint8Array(sparse.grainBytes)
    const plainBytes = this.codec.expand(packed, plain)
    if (plainBytes < whole.length) return EINVAL
    whole.set(plain.subarray(0, whole.length))
    return OK
  }
  private *packGrain({ cluster, startBytes }: Cell, former: Place, whole: Uint8Array): Co<Errno> {
    const extent = this.extentOf(cluster)
    const { sparse } = extent
    assert(sparse?.isCompressed === true, 'vmdk-pack')
    if (this.codec === null || sparse.isSealed) return ENOTSUP
    // Compressed grains lie one behind the other: none has room to grow.
    if (former.kind === 'packed') return EIO
    const room = new Uint8Array(whole.length * 2 + SECTOR_BYTES)
    const headBytes = sparse.hasMarkers ? MARKER_BYTES : 0
    const bytes = this.codec.compress(whole, room.subarray(headBytes))
    assert(bytes > 0, 'vmdk-packed')
    const view = viewOf(room)
    if (sparse.hasMarkers) {
      view.setBigUint64(0, BigInt((startBytes - extent.startBytes) / SECTOR_BYTES), true)
      view.setUint32(8, bytes, true)
    }
    const place = yield* this.reserve(cluster)
    if (place.errno !== OK) return place.errno
    const storedBytes = Math.ceil((headBytes + bytes) / SECTOR_BYTES) * SECTOR_BYTES
    let errno = yield* this.renew()
    if (errno === OK) errno = yield* place.file!.pwrite(place.offsetBytes, room.subarray(0, storedBytes))
    if (errno === OK) errno = yield* this.writeEntries(extent, cluster, place.offsetBytes / SECTOR_BYTES)
    if (errno === OK) extent.nextBytes = place.offsetBytes + storedBytes
    return errno
  }

  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const errno = yield* this.renew()
    if (errno !== OK) return errno
    return yield* super.pwrite(offsetBytes, buffer, this.needsCompressedWrites ? flags | RequestFlag.Compressed : flags)
  }
  protected override *readBelow(kind: 'none' | 'zero', offsetBytes: number, piece: Uint8Array): Co<Errno> {
    const errno = kind === 'none' && this.node.backing !== null ? this.checkParent() : OK
    return errno === OK ? yield* super.readBelow(kind, offsetBytes, piece) : errno
  }
  /** EINVAL: the image below is not the one that this one was made over, or has changed since. */
  private checkParent(): Errno {
    if (this.isParentKnown) return OK
    const below = this.node.backing?.node.skipFilters().driver
    if (!(below instanceof VmdkDriver) || below.descriptor.cid !== this.descriptor.parentCid) return EINVAL
    this.isParentKnown = true
    return OK
  }
  /** Another identity, once after each opening. */
  private *renew(): Co<Errno> {
    if (this.isIdentityNew || this.descriptorAt === null) return OK
    this.isIdentityNew = true
    const now = this.node.kernel.nowNs()
    const mixed = mix32((this.descriptor.cid ^ mix32(now >>> 0) ^ Math.floor(now / 2 ** 32)) >>> 0)
    const cid = mixed === NO_PARENT || mixed === this.descriptor.cid ? (mixed ^ 1) >>> 0 : mixed
    const bytes = new Uint8Array(Math.min(DESCRIPTOR_BYTES, this.file.node.lengthBytes - this.descriptorAt))
    let errno = yield* this.file.pread(this.descriptorAt, bytes)
    if (errno !== OK) return errno
    const text = withIdentity(textOf(bytes, 0, bytes.length), cid)
    if (text.length <= DESCRIPTOR_BYTES) errno = yield* this.file.pwrite(this.descriptorAt, Buffer.from(text, 'latin1'))
    if (errno === OK) this.descriptor.cid = cid
    return errno
  }

  protected override dataStatus(cluster: number): number {
    const isFlat = this.extentOf(cluster).sparse === null
    return super.dataStatus(cluster) | (isFlat ? StatusFlag.Recurse : StatusFlag.None)
  }

  override *checkImage(fix: CheckFix, tell: (line: string) => void): Co<CheckResult> {
    const clean = yield* super.checkImage(fix, tell)
    if (fix !== 'none') return clean
    const broken = { ...clean, errno: EINVAL, corruptions: 1 }
    for (const extent of this.extents) {
      if (extent.sparse === null) continue
      for (let cluster = extent.firstCluster; cluster < extent.firstCluster + extent.clusters; cluster++) {
        const place = yield* this.find(cluster)
        if (place.errno === OK) continue
        const sector = (extent.startBytes + (cluster - extent.firstCluster) * extent.sparse.grainBytes) / SECTOR_BYTES
        tell(`ERROR: cluster offset for sector ${sector} points after EOF`)
        return broken
      }
    }
    return { ...clean, errno: OK }
  }
}
