/**
 * The `qcow2` format as a driver. Opening takes two steps, because a node has its children from the beginning:
 *
 *     const driver = yield* openQcow2(fileNode, options)
 *     const node = graph.addNode({ driver, children: [file, backing?, data-file?] })
 *     yield* driver.start(repair)
 *
 * Children: `file` (role image), `data-file` (role image) exactly if `driver.needsDataFile`, `backing` (role cow).
 */
import { assert, type Co, EINVAL, EIO, ENOENT, ENOSPC, ENOTSUP, EPERM, type Errno, OK } from '../../../co'
import { CIPHER_SECTOR_BYTES } from '../../crypto/sector_cipher'
import {
  BlockDriver,
  type BlockStatus,
  type CheckFix,
  type CheckResult,
  type DriverInfo,
  type NewSnapshot,
  type PreallocationMode,
  type SnapshotInfo,
  type StatusMode,
  statusError,
  statusOf,
} from '../../driver'
import { BlockError } from '../../error'
import { type BlockLimits, RequestFlag, StatusFlag } from '../../flags'
import type { BlockChild, BlockNode } from '../../node'
import { tableFilePermissions } from '../../permissions'
import { writeImage } from './allocate'
import { amendImage, type Qcow2AmendOptions } from './amend'
import { BITMAP_AUTO, BITMAP_IN_USE, type StoredBitmap } from './bitmap_directory'
import { checkNewBitmap, loadBitmaps, readStoredBitmaps, removeStored, storeBitmaps } from './bitmap_store'
import { lockedCheck } from './check'
import { writeCompressed } from './compress'
import { discardImage } from './discard'
import { emptyImage } from './empty'
import { decodeHeader, headerFits, type Qcow2Header } from './header'
import { decodeWords, type Qcow2Image } from './image'
import { findInactiveTables } from './inactive'
import {
  AUTOCLEAR_KNOWN,
  BACKING_NAME_BYTES_MAX,
  ClusterType,
  COMPATIBLE_LAZY_REFCOUNTS,
  COMPRESSION_ZSTD,
  INCOMPATIBLE_CORRUPT,
  INCOMPATIBLE_DIRTY,
  standardType,
} from './layout'
import { findRun, findRunLocked, Run } from './mapping'
import { demand, openImage, type Qcow2OpenOptions } from './open'
import { readImage } from './read'
import { growL1, resizeImage } from './resize'
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  findSnapshotBy,
  showSnapshot,
  vmStateOffset,
  type WantedSnapshot,
  wantedSnapshot,
} from './snapshots'
import { zeroImage } from './zero'

/** Puts the refcounts of a dirty image right; gives an errno if that is not possible. */
export type Repair = (driver: Qcow2Driver) => Co<Errno>

/** The way that QEMU opens such an image. */
function* repairDirty(driver: Qcow2Driver): Co<Errno> {
  const { errno, checkErrors } = yield* driver.checkImage('all', driver.tellCheck)
  return errno === OK && checkErrors > 0 ? EIO : errno
}

/** ImageInfoSpecificQCow2, by its names in QMP. */
export interface Qcow2Info {
  compat: '0.10' | '1.1'
  'compression-type': 'zlib' | 'zstd'
  'refcount-bits': number
  'lazy-refcounts'?: boolean
  'data-file'?: string
  'data-file-raw'?: boolean
  corrupt?: boolean
  'extended-l2'?: boolean
  encrypt?: Record<string, unknown>
  bitmaps?: Array<{ name: string; granularity: number; flags: Array<'in-use' | 'auto'> }>
}

function bitmapInfo({ name, granularityBits, flags }: StoredBitmap): NonNullable<Qcow2Info['bitmaps']>[number] {
  const isInUse = (flags & BITMAP_IN_USE) !== 0
  const isAuto = (flags & BITMAP_AUTO) !== 0
  assert(granularityBits > 0, 'bitmap-granularity')
  return {
    name,
    granularity: 2 ** granularityBits,
    flags: [...(isInUse ? ['in-use' as const] : []), ...(isAuto ? ['auto' as const] : [])],
  }
}

/** Where encrypted data lies helps nobody to read it. */
const ENCRYPTED_STATUS: Readonly<Partial<Record<ClusterType, number>>> = {
  [ClusterType.ZeroPlain]: StatusFlag.Zero,
  [ClusterType.ZeroAllocated]: StatusFlag.Zero,
  [ClusterType.Normal]: StatusFlag.Data,
  [ClusterType.Compressed]: StatusFlag.Data,
}

/** The sectors that a range touches. */
function wholeSectors(atBytes: number, lengthBytes: number): { fromBytes: number; lengthBytes: number } {
  const fromBytes = atBytes - (atBytes % CIPHER_SECTOR_BYTES)
  const toBytes = Math.ceil((atBytes + lengthBytes) / CIPHER_SECTOR_BYTES) * CIPHER_SECTOR_BYTES
  return { fromBytes, lengthBytes: toBytes - fromBytes }
}

function* refused(): Co<Errno> {
  return EPERM
}

/** Reads an image. Throws BlockError with QEMU's texts. Nothing has been written afterwards. */
export function* openQcow2(file: BlockNode, options: Qcow2OpenOptions): Co<Qcow2Driver> {
  return new Qcow2Driver(yield* openImage(file, options), options.forCheck ?? false)
}

export class Qcow2Driver extends BlockDriver {
  readonly name = 'qcow2'
  override readonly supportsBacking = true
  readonly image: Qcow2Image
  /** Gets the lines of a repair that opening the image asks for. */
  tellCheck: (line: string) => void = () => {}
  private readonly isForCheck: boolean
  private isPreallocationKnown = false
  private repair: Repair | null = null

  constructor(image: Qcow2Image, isForCheck: boolean) {
    super()
    this.image = image
    this.isForCheck = isForCheck
    this.supportedWriteFlags = RequestFlag.Compressed
    if (image.header.version >= 3) this.supportedZeroFlags = RequestFlag.MayUnmap | RequestFlag.NoFallback
  }

  get header(): Qcow2Header {
    return this.image.header
  }
  get needsDataFile(): boolean {
    return this.image.hasDataFile
  }

  lengthBytes(): number {
    return this.image.header.sizeBytes
  }

  override refreshLimits(limits: BlockLimits): void {
    const file = this.node.children.get('file')
    const dataFile = this.node.children.get('data-file') ?? null
    assert(file !== undefined, 'qcow2-has-file', () => this.node.name)
    if (dataFile === null && this.needsDataFile) throw new BlockError("'data-file' is required for this image")
    if (dataFile !== null && !this.needsDataFile) {
      throw new BlockError("'data-file' can only be set for images with an external data file")
    }
    this.image.attach(this.node, file, dataFile)
    limits.requestAlignmentBytes = this.image.encryption === null ? 1 : CIPHER_SECTOR_BYTES
    limits.maxPwriteZeroesBytes = 0
    limits.maxPdiscardBytes = 0
    limits.pwriteZeroesAlignmentBytes = this.image.geometry.subclusterBytes
    limits.pdiscardAlignmentBytes = this.image.geometry.clusterBytes
  }

  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    if (child.role === 'cow') return super.childPermissions(child, parentPermission, parentShared)
    return tableFilePermissions(this.node, parentPermission, parentShared)
  }

  /** The second half of opening: what has to be written before the image is used. Throws BlockError. */
  *start(repair: Repair | null): Co<void> {
    const { image } = this
    this.repair = repair
    const { header, settings } = image
    assert(image.file.node.graph === this.node.graph, 'start-attached')
    image.canResizeBitmaps = () => this.areBitmapsUsable()
    // Its owner is another program for now.
    if (this.node.isInactive) return
    if (this.isForCheck) {
      yield* this.locked(() => readStoredBitmaps(image))
      return
    }
    if (settings.isReadOnly) {
      yield* this.locked(() => loadBitmaps(image, this.node))
      return
    }
    if ((header.autoclear & ~AUTOCLEAR_KNOWN) !== 0n) {
      header.autoclear &= AUTOCLEAR_KNOWN
      demand(yield* image.writeHeader(), 'Could not update qcow2 header')
      demand(yield* image.flushFiles(), 'Could not update qcow2 header')
    }
    if ((header.incompatible & INCOMPATIBLE_DIRTY) !== 0n) {
      demand(yield* (repair ?? repairDirty)(this), 'Could not repair dirty image')
      yield* this.reload()
      demand(yield* image.markClean(), 'Could not repair dirty image')
    }
    yield* this.locked(() => loadBitmaps(image, this.node))
  }

  private *locked<T>(body: () => Co<T>): Co<T> {
    yield* this.image.lock.lock()
    try {
      return yield* body()
    } finally {
      this.image.lock.unlock()
    }
  }

  /** Each bitmap in the image is in memory, and nothing speaks against changing it. */
  private areBitmapsUsable(): boolean {
    return this.image.storedBitmaps.every(({ name }) => {
      const bitmap = this.node.namedBitmaps.get(name)
      return bitmap !== undefined && !bitmap.isBusy && !bitmap.isInconsistent
    })
  }
  override *checkStorableBitmap(name: string, granularityBytes: number): Co<void> {
    checkNewBitmap(this.image, this.node, name, granularityBytes)
  }
  override removeStoredBitmap(name: string): Co<Errno> {
    return this.locked(() => removeStored(this.image, name))
  }

  /** Reads header and tables again, after somebody else has changed them in the file. Throws BlockError. */
  *reload(): Co<void> {
    const { image } = this
    yield* image.lock.lock()
    try {
      yield* this.reloadLocked()
      yield* findInactiveTables(image, image.file)
    } finally {
      image.lock.unlock()
    }
  }

  /** Snapshots stay what they are in memory. */
  private *reloadLocked(): Co<void> {
    const { image } = this
    const first = new Uint8Array(image.geometry.clusterBytes)
    demand(yield* image.readThrough(0, first), 'Could not read qcow2 header')
    const header = decodeHeader(first, { isWritable: !image.settings.isReadOnly, isForCheck: true })
    const l1 = new Uint8Array(header.l1Entries * 8)
    demand(yield* image.readThrough(header.l1OffsetBytes, l1), 'Could not read L1 table')
    image.metadata.l2.clear()
    image.metadata.refcounts.clear()
    image.header = header
    image.setL1(decodeWords(l1), header.l1OffsetBytes)
    const refcountErrno = yield* image.refcounts.reload(header.refcountTableOffsetBytes, header.refcountTableClusters)
    demand(refcountErrno, 'Could not initialize refcount handling')
    assert(image.l1.length === header.l1Entries * 2, 'l1-read')
  }

  override *checkImage(fix: CheckFix, tell: (line: string) => void): Co<CheckResult> {
    assert(fix === 'none' || !this.image.settings.isReadOnly, 'repair-writable')
    return yield* lockedCheck(this.image, fix, tell, () => this.reloadLocked())
  }

  override snapshots(): readonly SnapshotInfo[] {
    return this.image.snapshots
  }
  override snapshotCreate(wanted: NewSnapshot): Co<Errno> {
    return this.drained(() => createSnapshot(this.image, wanted))
  }
  override snapshotApply(idOrName: string): Co<Errno> {
    return this.drained(() => applySnapshot(this.image, idOrName))
  }
  override snapshotDelete(id: string | null, name: string | null): Co<Errno> {
    const entry = findSnapshotBy(this.image, id, name)
    if (entry === null) throw new BlockError("Can't find the snapshot", { errno: ENOENT })
    return this.drained(() => deleteSnapshot(this.image, entry))
  }

  /** Shows this snapshot from now on; the image is open for reading. Throws BlockError with QEMU's texts. */
  *showSnapshot(wanted: WantedSnapshot): Co<void> {
    const { image } = this
    yield* image.lock.lock()
    try {
      yield* showSnapshot(image, wantedSnapshot(image, wanted), (at, bytes) => image.readThrough(at, bytes))
    } finally {
      image.lock.unlock()
    }
  }

  /** Changes options of the image: `qemu-img amend`. Throws BlockError with QEMU's texts; drains the node. */
  *amend(options: Qcow2AmendOptions): Co<void> {
    const { image, node } = this
    assert(!image.settings.isReadOnly, 'amend-writable')
    yield* node.graph.drainedBegin(node)
    try {
      yield* amendImage(image, options)
    } finally {
      node.graph.drainedEnd(node)
    }
    const isVersion3 = image.header.version >= 3
    this.supportedZeroFlags = isVersion3 ? RequestFlag.MayUnmap | RequestFlag.NoFallback : 0
  }

  /** Writes the state of a machine, which lies behind the disk; `offsetBytes` counts from its start. */
  *saveVmState(offsetBytes: number, bytes: Uint8Array): Co<Errno> {
    const { image } = this
    const at = vmStateOffset(image) + offsetBytes
    yield* image.lock.lock()
    const errno = yield* growL1(image, Math.ceil((at + bytes.length) / image.geometry.l2CoversBytes))
    image.lock.unlock()
    if (errno !== OK || image.encryption === null) return errno === OK ? yield* writeImage(image, at, bytes) : errno
    const whole = wholeSectors(at, bytes.length)
    const padded = new Uint8Array(whole.lengthBytes)
    const readErrno = yield* readImage(image, whole.fromBytes, padded)
    padded.set(bytes, at - whole.fromBytes)
    return readErrno === OK ? yield* writeImage(image, whole.fromBytes, padded) : readErrno
  }
  *loadVmState(offsetBytes: number, bytes: Uint8Array): Co<Errno> {
    assert(offsetBytes >= 0, 'vm-state-offset')
    const { image } = this
    const at = vmStateOffset(image) + offsetBytes
    if (image.encryption === null) return yield* readImage(image, at, bytes)
    const whole = wholeSectors(at, bytes.length)
    const padded = new Uint8Array(whole.lengthBytes)
    const errno = yield* readImage(image, whole.fromBytes, padded)
    bytes.set(padded.subarray(at - whole.fromBytes, at - whole.fromBytes + bytes.length))
    return errno
  }

  /** Runs a change under the lock, with no request in flight. Throws what it throws. */
  private *drained(body: () => Co<Errno>): Co<Errno> {
    const { image, node } = this
    assert(!image.settings.isReadOnly, 'change-writable')
    yield* node.graph.drainedBegin(node)
    yield* image.lock.lock()
    try {
      if (node.isInactive) return EPERM
      return image.isBroken ? EIO : yield* body()
    } finally {
      image.lock.unlock()
      node.graph.drainedEnd(node)
    }
  }

  override get handsOver(): boolean {
    return true
  }
  /** Persistent bitmaps are in the image now, and are loaded again from it. */
  override *inactivate(): Co<void> {
    demand(yield* this.close(), 'Could not write what is in memory')
    for (const bitmap of [...this.node.namedBitmaps.values()]) if (bitmap.isPersistent) bitmap.release()
  }
  override *activate(): Co<void> {
    yield* this.reload()
    yield* this.start(this.repair)
  }

  /** Another answer to whether the image may be written to, for a node that is reopened. Throws BlockError. */
  override *setReadOnly(isReadOnly: boolean, repair: Repair | null = this.repair): Co<void> {
    const { settings } = this.image
    if (settings.isReadOnly === isReadOnly) return
    if (isReadOnly) demand(yield* this.close(), 'Could not write what is in memory')
    settings.isReadOnly = isReadOnly
    const bitmaps = [...this.node.namedBitmaps.values()].filter(({ isPersistent }) => isPersistent)
    for (const bitmap of bitmaps) {
      // They are in the image now, and are loaded again from it if it is to be written to.
      if (isReadOnly) bitmap.isReadOnly = true
      else bitmap.release()
    }
    if (!isReadOnly) yield* this.start(repair)
  }

  /**
   * Writes another backing file into the header; the child is not touched. EINVAL for names that are too long and for raw
   * data files, ENOSPC where the header has no room. After an error the old name counts, although the file may have the new
   * one: whatever is later left out of a table because nothing lies below must be right for both.
   */
  override *changeBackingFile(name: string | null, format: string | null): Co<Errno> {
    const { image } = this
    const { header } = image
    if (this.node.isInactive) return EPERM
    if (name !== null && (Buffer.byteLength(name) > BACKING_NAME_BYTES_MAX || image.isDataFileRaw)) return EINVAL
    const wanted = { ...header, backingName: name, backingFormat: format }
    if (!headerFits(wanted)) return ENOSPC
    yield* image.lock.lock()
    const { backingName, backingFormat } = header
    header.backingName = name
    header.backingFormat = format
    let errno = yield* image.writeHeader()
    if (errno === OK) errno = yield* image.flushFiles()
    if (errno === OK) image.failedBackingName = null
    else {
      header.backingName = backingName
      header.backingFormat = backingFormat
      image.failedBackingName = name
    }
    image.lock.unlock()
    return errno
  }

  override makeEmpty(): Co<Errno> {
    return this.drained(() => emptyImage(this.image))
  }

  /** What `query-named-block-nodes` and `qemu-img info` tell beyond what every format has. */
  specificInfo(): Qcow2Info {
    const { header, image } = this
    const width = { 'refcount-bits': image.geometry.refcountBits }
    const compression = { 'compression-type': header.compressionType === COMPRESSION_ZSTD ? 'zstd' : 'zlib' } as const
    const encrypt = image.encryption === null ? {} : { encrypt: image.encryption.info() }
    if (header.version < 3) return { compat: '0.10', ...compression, ...width, ...encrypt }
    const dataFile = header.dataFileName === null ? {} : { 'data-file': header.dataFileName }
    return {
      compat: '1.1',
      ...compression,
      'lazy-refcounts': (header.compatible & COMPATIBLE_LAZY_REFCOUNTS) !== 0n,
      ...width,
      ...dataFile,
      ...(image.hasDataFile ? { 'data-file-raw': image.isDataFileRaw } : {}),
      corrupt: (header.incompatible & INCOMPATIBLE_CORRUPT) !== 0n,
      'extended-l2': image.geometry.hasSubclusters,
      ...encrypt,
      ...(image.storedBitmaps.length === 0 ? {} : { bitmaps: image.storedBitmaps.map(bitmapInfo) }),
    }
  }

  override info(): DriverInfo {
    const { clusterBytes, subclusterBytes } = this.image.geometry
    assert(clusterBytes % subclusterBytes === 0, 'subclusters-fill-cluster')
    return { clusterBytes, subclusterBytes }
  }

  /** An image whose clusters are mapped from the beginning shows what its file holds. */
  override hasZeroInit(): boolean {
    const { image } = this
    if (image.l1.length === 0) return true
    const table = image.l2Offset(0)
    if (table === 0) return true
    const slice = image.findSlice(table, 0)
    const isMapped = slice === null || standardType(slice.words[0]!, slice.words[1]!, image.hasDataFile) === ClusterType.Normal
    return isMapped ? image.encryption === null && image.data.node.driver.hasZeroInit() : true
  }

  /** Without a single table and without a backing image. */
  override readsAllZero(): boolean {
    const { l1, backing } = this.image
    assert(l1.length % 2 === 0, 'l1-words')
    return backing === null && l1.every((word) => word === 0)
  }

  pread(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    if (this.image.encryption?.isUnlocked === false) return refused()
    return readImage(this.image, offsetBytes, buffer)
  }
  pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    if (this.image.encryption?.isUnlocked === false) return refused()
    const isCompressed = (flags & RequestFlag.Compressed) !== 0
    return isCompressed ? writeCompressed(this.image, offsetBytes, buffer) : writeImage(this.image, offsetBytes, buffer)
  }
  override pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const { clusterBytes, subclusterBytes } = this.image.geometry
    const isInOne = (offsetBytes % clusterBytes) + lengthBytes <= clusterBytes
    return clusterBytes === subclusterBytes || isInOne
      ? zeroImage(this.image, offsetBytes, lengthBytes, flags)
      : this.zeroByClusters(offsetBytes, lengthBytes, flags)
  }
  /**
   * Parts of compressed clusters can only be zeroed by data. They are at the ends; the whole clusters between them must not
   * become data for that.
   */
  private *zeroByClusters(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const { clusterBytes } = this.image.geometry
    const endBytes = offsetBytes + lengthBytes
    const bodyEndBytes = endBytes >= this.lengthBytes() ? endBytes : endBytes - (endBytes % clusterBytes)
    for (let at = offsetBytes; at < endBytes; ) {
      const inCluster = at % clusterBytes
      const stopBytes = inCluster !== 0 ? at - inCluster + clusterBytes : at < bodyEndBytes ? bodyEndBytes : endBytes
      let errno = yield* zeroImage(this.image, at, stopBytes - at, flags)
      if (errno === ENOTSUP && (flags & RequestFlag.NoFallback) === 0 && stopBytes - at <= clusterBytes)
        errno = yield* this.pwrite(at, new Uint8Array(stopBytes - at), 0)
      if (errno !== OK) return errno
      at = stopBytes
    }
    return OK
  }
  override pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    return discardImage(this.image, offsetBytes, lengthBytes)
  }
  override truncate(lengthBytes: number, _exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    return resizeImage(this.image, lengthBytes, preallocation)
  }

  /** Writes all tables; the block layer flushes the files after that. */
  override *flush(): Co<Errno> {
    const { image } = this
    if (image.settings.isReadOnly) return OK
    if (image.isBroken) return EIO
    yield* image.lock.lock()
    let errno = yield* image.refcounts.settle()
    if (errno === OK) errno = yield* image.metadata.writeAll()
    image.lock.unlock()
    return errno
  }

  override *blockStatus(_mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const { image } = this
    if (!this.isPreallocationKnown) {
      const errno = yield* this.detectPreallocation()
      if (errno !== OK) return statusError(errno)
    }
    const run = new Run()
    const { clusterBytes, subclusterBytes } = image.geometry
    const errno = yield* findRun(image, offsetBytes, lengthBytes, run)
    if (errno !== OK) return statusError(errno)
    assert(run.type !== ClusterType.Invalid && run.bytes <= lengthBytes, 'status-run')
    if (image.encryption !== null) return statusOf(ENCRYPTED_STATUS[run.type] ?? StatusFlag.None, run.bytes)
    switch (run.type) {
      case ClusterType.ZeroPlain:
        return statusOf(StatusFlag.Zero, run.bytes)
      case ClusterType.ZeroAllocated:
        // An offset of 0 says "not allocated", also where a data file has its first cluster there.
        if (run.hostBytes < clusterBytes && subclusterBytes === clusterBytes)
          return statusOf(StatusFlag.Zero, Math.min(run.bytes, clusterBytes - run.hostBytes))
        return statusOf(StatusFlag.Zero | StatusFlag.OffsetValid, run.bytes, run.hostBytes, image.data.node)
      case ClusterType.Normal: {
        const flags = StatusFlag.Data | StatusFlag.OffsetValid | (image.hasPreallocatedMetadata ? StatusFlag.Recurse : 0)
        return statusOf(flags, run.bytes, run.hostBytes, image.data.node)
      }
      case ClusterType.UnallocatedAllocated:
        return statusOf(StatusFlag.OffsetValid, run.bytes, run.hostBytes, image.data.node)
      case ClusterType.Compressed:
        return statusOf(StatusFlag.Data, run.bytes)
      default:
        return statusOf(StatusFlag.None, run.bytes)
    }
  }

  /**
   * An image whose file holds clearly less than its refcounts say was mapped before it was written: then the holes of the
   * file tell more than the tables do.
   */
  private *detectPreallocation(): Co<Errno> {
    const { image } = this
    this.isPreallocationKnown = true
    const allocatedBytes = image.file.node.driver.allocatedBytes()
    if (allocatedBytes === null || image.hasPreallocatedMetadata) return OK
    const { clusterBytes } = image.geometry
    const realClusters = Math.floor(allocatedBytes / clusterBytes)
    const threshold = Math.max(Math.floor((realClusters * 10) / 9), realClusters + 2)
    const endCluster = Math.ceil(image.file.node.lengthBytes / clusterBytes)
    if (endCluster < threshold) return OK
    yield* image.lock.lock()
    let count = 0
    let errno = OK
    for (let cluster = 0; cluster < endCluster && count < threshold && errno === OK; cluster++) {
      errno = yield* image.refcounts.read(cluster)
      if (errno === OK && image.refcounts.value > 0) count++
    }
    image.lock.unlock()
    image.hasPreallocatedMetadata = errno === OK && count >= threshold
    return errno
  }

  /** Whether a whole cluster is compressed, for listings of the allocation map. */
  *isCompressed(offsetBytes: number): Co<boolean> {
    const run = new Run()
    yield* this.image.lock.lock()
    const errno = yield* findRunLocked(this.image, offsetBytes, 1, run)
    this.image.lock.unlock()
    return errno === OK && run.type === ClusterType.Compressed
  }

  override *close(): Co<Errno> {
    const { image } = this
    if (image.settings.isReadOnly || image.isBroken || this.isForCheck) return OK
    yield* image.lock.lock()
    const storeErrno = yield* storeBitmaps(image, this.node)
    let errno = yield* image.markClean()
    if (errno === OK) errno = yield* image.flushFiles()
    image.lock.unlock()
    return storeErrno === OK ? errno : storeErrno
  }
}
