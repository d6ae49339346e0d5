/**
 * One open image: what all parts of the driver share. The parts are functions over it, one concept a file: mapping reads
 * tables, allocate, zero, discard and compress change them, resize changes their size.
 *
 * Who may do what: a table in memory may be looked at by everybody between two yields; everything else that concerns
 * metadata happens under `lock`. Transfers of data run outside of it, between `beginTransfer` and `endTransfer`.
 *
 * What may fail: files, as an errno. Metadata that contradicts itself is reported once, makes the image corrupt (if it may
 * be written to) and gives EIO; an image that is corrupt takes no more writes.
 */
import { assert, type Co, EIO, type Errno, type Kernel, Mutex, OK, WaitQueue } from '../../../co'
import type { Codec, Codecs } from '../../codec'
import type { BlockChild, BlockNode } from '../../node'
import type { Allocation } from './allocation'
import type { StoredBitmap } from './bitmap_directory'
import { Metadata, type Table, TableCache } from './cache'
import type { Encryption } from './encryption'
import { geometryOfHeader, type Qcow2Header } from './header'
import { replaceHeader } from './header_write'
import { inactiveL1Tables } from './inactive'
import {
  AUTOCLEAR_DATA_FILE_RAW,
  COMPRESSION_ZSTD,
  entryOffset,
  type Geometry,
  HEADER_INCOMPATIBLE_AT,
  HEADER_V3_BYTES,
  INCOMPATIBLE_CORRUPT,
  INCOMPATIBLE_DATA_FILE,
  INCOMPATIBLE_DIRTY,
  OFFSET_END_BYTES,
  prefixedHex,
  writeBits,
  writeU32,
} from './layout'
import { Place, PlaceMap, placeName } from './overlap'
import { FreeKind, type RefcountHost, Refcounts } from './refcount'
import type { SnapshotEntry } from './snapshot_table'

/** What a user can choose for an open image; the defaults are QEMU's. */
export interface Qcow2Settings {
  isReadOnly: boolean
  lazyRefcounts: boolean
  passDiscardRequest: boolean
  passDiscardSnapshot: boolean
  passDiscardOther: boolean
  discardNoUnref: boolean
  /** Bits of Place. */
  overlapChecks: number
  l2CacheBytes: number
  l2CacheEntryBytes: number
  refcountCacheBytes: number
}

/** A corruption that was found: QEMU's event BLOCK_IMAGE_CORRUPTED and its line on stderr. */
export interface Corruption {
  text: string
  /** What is wrong, without what is done about it. */
  message: string
  isFatal: boolean
  offsetBytes: number | null
  lengthBytes: number | null
}

const REFCOUNT_BLOCKS_MIN = 4

export class Qcow2Image implements RefcountHost {
  header: Qcow2Header
  geometry: Geometry
  readonly settings: Qcow2Settings
  readonly codecs: Codecs
  /** As long as header.l1Entries, two words an entry, high word first. */
  l1 = new Uint32Array(0)
  /** Bytes of an L2 table that are in memory as one. */
  readonly sliceBytes: number
  readonly sliceEntries: number
  /** Words of an L2 entry. */
  readonly entryWords: number
  metadata!: Metadata
  refcounts!: Refcounts
  readonly places: PlaceMap
  /** Writes that have taken clusters which no table points to yet. */
  readonly allocations: Allocation[] = []
  /** In the order of their table; empty in an image that is opened for a check. */
  snapshots: readonly SnapshotEntry[] = []
  snapshotTableBytes = 0
  onCorruption: (corruption: Corruption) => void = () => {}
  /** With a fatal corruption nothing is written any more. */
  isBroken = false
  /** null: data lies in the file as guests see it. */
  encryption: Encryption | null = null
  /** As the directory has them. */
  storedBitmaps: readonly StoredBitmap[] = []
  /** Whether the image's bitmaps can follow another length of the disk. */
  canResizeBitmaps: () => boolean = () => false
  /** A name that could not be written into the header, and may stand there all the same. */
  failedBackingName: string | null = null
  /** The file knows more about data than the image does: clusters were mapped before anything was written to them. */
  hasPreallocatedMetadata = false
  lock!: Mutex
  kernel!: Kernel
  private hasSignalled = false
  private fileChild: BlockChild | null = null
  private dataChild: BlockChild | null = null
  private openNode: BlockNode | null = null
  private writtenEndBytes = 0
  private epoch: 0 | 1 = 0
  private readonly transfers: [number, number] = [0, 0]
  private transferQueue!: WaitQueue
  private hidesTransfers = false

  constructor(kernel: Kernel, header: Qcow2Header, settings: Qcow2Settings, codecs: Codecs) {
    this.header = header
    this.settings = settings
    this.codecs = codecs
    this.geometry = geometryOfHeader(header)
    const { clusterBytes, l2EntryBytes } = this.geometry
    this.sliceBytes = Math.min(settings.l2CacheEntryBytes, clusterBytes)
    this.sliceEntries = this.sliceBytes / l2EntryBytes
    this.entryWords = l2EntryBytes / 4
    this.places = new PlaceMap(clusterBytes, settings.overlapChecks)
    this.kernel = kernel
    this.lock = new Mutex(kernel, 'the metadata of a qcow2 image')
    this.transferQueue = new WaitQueue(kernel)
    assert(Number.isInteger(this.sliceEntries) && this.sliceEntries > 0, 'slice-entries')
  }

  /** Takes over what was read from the file; caches are sized by what the image can need of them. */
  setTables(l1: Uint32Array<ArrayBuffer>, refcountTable: Float64Array, reserved: ReadonlySet<number>): void {
    const { clusterBytes, l2EntryBytes } = this.geometry
    const { settings, header } = this
    const l2Bytes = Math.ceil(header.sizeBytes / clusterBytes) * l2EntryBytes
    const slices = Math.ceil(Math.min(settings.l2CacheBytes, Math.max(l2Bytes, clusterBytes)) / this.sliceBytes)
    const blocks = Math.max(REFCOUNT_BLOCKS_MIN, Math.floor(settings.refcountCacheBytes / clusterBytes))
    const file = (): BlockChild => this.file
    const l2 = new TableCache(file, (at, length) => this.guard(at, length, Place.ActiveL2), this.sliceBytes, slices + 1, true)
    const refcounts = new TableCache(
      file,
      (at, length) => this.guard(at, length, Place.RefcountBlock),
      clusterBytes,
      blocks,
      false,
    )
    this.metadata = new Metadata(l2, refcounts, () => this.flushFiles())
    this.refcounts = new Refcounts(this, refcountTable, header.refcountTableOffsetBytes)
    this.refcounts.reserved = reserved
    this.setL1(l1, header.l1OffsetBytes)
    this.refcountTableChanged(null)
    if (header.bitmaps !== null) {
      this.places.bitmapDirectory = {
        offsetBytes: header.bitmaps.directoryOffsetBytes,
        lengthBytes: header.bitmaps.directoryBytes,
      }
    }
  }

  /** Another L1 table is the active one: after growth, or after a snapshot was applied. `words` are high, low, high, … */
  setL1(words: Uint32Array<ArrayBuffer>, offsetBytes: number): void {
    this.l1 = words
    this.header.l1Entries = words.length / 2
    this.header.l1OffsetBytes = offsetBytes
    this.places.l1 = { offsetBytes, lengthBytes: words.length * 4 }
    this.refreshPlaces()
  }

  /** Other snapshots: `lengthBytes` is the length of their table, at `header.snapshotsOffsetBytes`. */
  takeSnapshots(snapshots: readonly SnapshotEntry[], lengthBytes: number): void {
    assert(lengthBytes >= 0, 'snapshot-table-bytes')
    this.snapshots = snapshots
    this.snapshotTableBytes = lengthBytes
    this.header.snapshotCount = snapshots.length
    this.places.snapshotTable = { offsetBytes: this.header.snapshotsOffsetBytes, lengthBytes }
    this.places.inactiveL1 = inactiveL1Tables(this)
  }

  /** The set of active L2 tables has lost some. */
  refreshPlaces(): void {
    const { l1 } = this
    assert(l1.length % 2 === 0, 'l1-words')
    const offsets: number[] = []
    for (let at = 0; at < l1.length; at += 2) {
      if ((l1[at]! | l1[at + 1]!) !== 0) offsets.push(entryOffset(l1[at]!, l1[at + 1]!))
    }
    this.places.l2Tables.fill(offsets)
  }

  /** The image reads and writes through these edges from now on; `node` is null while it has no node of its own. */
  attach(node: BlockNode | null, file: BlockChild, dataFile: BlockChild | null): void {
    this.openNode = node
    this.fileChild = file
    this.dataChild = dataFile
  }
  get file(): BlockChild {
    assert(this.fileChild !== null, 'qcow2-has-file')
    return this.fileChild
  }
  /** Where guests' data lies: the image file itself, or an external data file. */
  get data(): BlockChild {
    return this.dataChild ?? this.file
  }
  get backing(): BlockChild | null {
    return this.openNode?.backing ?? null
  }
  /** Whoever opens the file later may find an image below it, whatever lies below it now. */
  get mayNameBacking(): boolean {
    return this.header.backingName !== null || this.failedBackingName !== null
  }
  get hasDataFile(): boolean {
    return (this.header.incompatible & INCOMPATIBLE_DATA_FILE) !== 0n
  }
  /** The data file shows what a guest sees, to somebody who knows nothing of this image. */
  get isDataFileRaw(): boolean {
    return this.hasDataFile && (this.header.autoclear & AUTOCLEAR_DATA_FILE_RAW) !== 0n
  }
  get usesLazyRefcounts(): boolean {
    return this.settings.lazyRefcounts && this.header.version >= 3
  }
  /** Null: the method is not there on this machine. */
  get codec(): Codec | null {
    return this.header.compressionType === COMPRESSION_ZSTD ? this.codecs.zstd : this.codecs.deflate
  }

  writeThrough(offsetBytes: number, bytes: Uint8Array): Co<Errno> {
    return this.file.pwrite(offsetBytes, bytes)
  }
  readThrough(offsetBytes: number, bytes: Uint8Array): Co<Errno> {
    return this.file.pread(offsetBytes, bytes)
  }
  /** Reads data that guests see at `guestBytes`, from where it lies. */
  readData(guestBytes: number, hostBytes: number, buffer: Uint8Array): Co<Errno> {
    const { encryption, data } = this
    return encryption === null ? data.pread(hostBytes, buffer) : encryption.read(data, guestBytes, hostBytes, buffer)
  }
  writeData(guestBytes: number, hostBytes: number, bytes: Uint8Array): Co<Errno> {
    const { encryption, data } = this
    return encryption === null ? data.pwrite(hostBytes, bytes) : encryption.write(data, guestBytes, hostBytes, bytes)
  }
  *flushFiles(): Co<Errno> {
    const errno = this.dataChild === null ? OK : yield* this.dataChild.flush()
    return errno === OK ? yield* this.file.flush() : errno
  }
  *discardInFile(offsetBytes: number, lengthBytes: number): Co<void> {
    yield* this.file.pdiscard(offsetBytes, lengthBytes)
  }
  /**
   * Under the lock: what the tables say to read zero already. They are safe before the data goes, and nobody who has looked
   * at older ones still reads it.
   */
  *discardData(offsetBytes: number, lengthBytes: number): Co<Errno> {
    assert(this.lock.isLocked && this.hasDataFile, 'discard-data-locked')
    const errno = yield* this.publishTables()
    if (errno === OK) yield* this.data.pdiscard(offsetBytes, lengthBytes)
    return errno
  }
  /** The same for clusters that their entries keep. */
  *discardKept(offsets: readonly number[]): Co<Errno> {
    assert(this.lock.isLocked && !this.hasDataFile, 'discard-kept-locked')
    const errno = yield* this.publishTables()
    if (errno === OK) for (const offsetBytes of offsets) yield* this.discardInFile(offsetBytes, this.geometry.clusterBytes)
    return errno
  }
  private *publishTables(): Co<Errno> {
    let errno = yield* this.metadata.writeAll()
    if (errno === OK) errno = yield* this.flushFiles()
    if (errno === OK) yield* this.transfersSettled()
    return errno
  }
  passesDiscard(kind: FreeKind): boolean {
    const { settings } = this
    if (kind === FreeKind.Request) return settings.passDiscardRequest
    if (kind === FreeKind.Snapshot) return settings.passDiscardSnapshot
    return kind === FreeKind.Always || (kind === FreeKind.Other && settings.passDiscardOther)
  }
  refcountTableChanged(blockOffset: number | null): void {
    const { refcounts, places } = this
    if (blockOffset !== null) {
      places.refcountBlocks.add(blockOffset)
      return
    }
    places.refcountBlocks.fill(refcounts.table)
    places.refcountTable = { offsetBytes: refcounts.tableOffsetBytes, lengthBytes: refcounts.table.length * 8 }
    this.header.refcountTableOffsetBytes = refcounts.tableOffsetBytes
    this.header.refcountTableClusters = (refcounts.table.length * 8) / this.geometry.clusterBytes
  }

  /** A transfer to or from data clusters begins; what is given up meanwhile is not used again before it ends. */
  beginTransfer(): 0 | 1 {
    this.transfers[this.epoch]++
    return this.epoch
  }
  endTransfer(epoch: 0 | 1): void {
    this.transfers[epoch]--
    assert(this.transfers[epoch] >= 0, 'transfer-count')
    if (this.transfers[epoch] === 0 && epoch !== this.epoch) this.transferQueue.wakeAll()
  }
  *transfersSettled(): Co<void> {
    const old = this.epoch
    this.epoch = old === 0 ? 1 : 0
    assert(this.lock.isLocked, 'settle-under-lock')
    while (this.transfers[old] > 0) {
      yield* this.transferQueue.wait({ describe: () => 'waits for transfers to clusters that were given up' })
    }
  }

  /**
   * What lies in a place that stays in use is not shown any more. A write that is on its way there must not come through when
   * the place is filled again.
   */
  noteHidden(): void {
    if (this.transfers[0] + this.transfers[1] > 0) this.hidesTransfers = true
  }
  /** Before a place that was not given up is filled again. Under the lock. */
  *hiddenSettled(): Co<void> {
    assert(this.lock.isLocked, 'hidden-under-lock')
    if (!this.hidesTransfers) return
    this.hidesTransfers = false
    yield* this.transfersSettled()
  }

  /** Clusters before this offset of the data file may have been written to. */
  noteWrite(endBytes: number): void {
    if (endBytes > this.writtenEndBytes) this.writtenEndBytes = endBytes
  }
  /** Whether everything from this offset of the data file on reads zero because nothing was ever written there. */
  readsZeroFrom(offsetBytes: number): boolean {
    const { node } = this.data
    return offsetBytes >= this.writtenEndBytes && offsetBytes >= node.lengthBytes && node.driver.hasZeroInit()
  }
  allocateBuffer(bytes: number): Uint8Array {
    return this.file.node.graph.allocateBuffer(bytes)
  }

  /** Whether a cluster can begin there, apart from the first one. */
  isPlace(offsetBytes: number): boolean {
    const { clusterBytes } = this.geometry
    return offsetBytes >= clusterBytes && offsetBytes < OFFSET_END_BYTES && offsetBytes % clusterBytes === 0
  }

  /** Offset of the L2 table that `guestBytes` belongs to, by its L1 entry; 0 for none. */
  l2Offset(guestBytes: number): number {
    const at = Math.floor(guestBytes / this.geometry.l2CoversBytes) * 2
    return at < this.l1.length ? entryOffset(this.l1[at]!, this.l1[at + 1]!) : 0
  }
  /** Offset in the file of the slice of that table. */
  sliceOffset(l2OffsetBytes: number, guestBytes: number): number {
    const entry = Math.floor(guestBytes / this.geometry.clusterBytes) % this.geometry.l2Entries
    return l2OffsetBytes + Math.floor(entry / this.sliceEntries) * this.sliceBytes
  }
  /** Number of the entry of `guestBytes` in its slice. */
  sliceIndex(guestBytes: number): number {
    return Math.floor(guestBytes / this.geometry.clusterBytes) % this.sliceEntries
  }

  /** Null if a table may lie there; otherwise reports the L1 entry of `guestBytes` and gives the errno. */
  refuseTable(l2OffsetBytes: number, guestBytes: number): Co<Errno> | null {
    if (l2OffsetBytes % this.geometry.clusterBytes === 0 && l2OffsetBytes < OFFSET_END_BYTES) return null
    const index = Math.floor(guestBytes / this.geometry.l2CoversBytes)
    return this.corruption(`L2 table offset ${prefixedHex(l2OffsetBytes)} unaligned (L1 index: ${prefixedHex(index)})`)
  }

  /** Brings the slice at this place of a table into memory, under the lock. */
  *loadSlice(l2OffsetBytes: number, guestBytes: number): Co<Errno> {
    const refusal = this.refuseTable(l2OffsetBytes, guestBytes)
    if (refusal !== null) return yield* refusal
    return yield* this.metadata.loadL2(this.sliceOffset(l2OffsetBytes, guestBytes))
  }

  /** The slice for `guestBytes` in memory; null if it is not there, or if there is none. */
  findSlice(l2OffsetBytes: number, guestBytes: number): Table | null {
    return this.metadata.l2.find(this.sliceOffset(l2OffsetBytes, guestBytes))
  }

  /** Null if nothing but what `ignored` says may lie in the range; otherwise reports it and gives the errno. */
  guard(offsetBytes: number, lengthBytes: number, ignored: number): Co<Errno> | null {
    const place = this.places.placeIn(offsetBytes, lengthBytes, ignored)
    if (place === Place.None) return null
    const text = `Preventing invalid write on metadata (overlaps with ${placeName(place)})`
    return this.corruption(text, offsetBytes, lengthBytes)
  }

  /** Reports metadata that cannot be right. An image that may be written to is marked corrupt and takes no more writes. */
  *corruption(text: string, offsetBytes?: number, lengthBytes?: number, isHarmless = false): Co<Errno> {
    const isFatal = !isHarmless && !this.settings.isReadOnly
    if (this.isBroken || (this.hasSignalled && !isFatal)) return EIO
    this.hasSignalled = true
    const message = isFatal
      ? `qcow2: Marking image as corrupt: ${text}; further corruption events will be suppressed`
      : `qcow2: Image is corrupt: ${text}; further non-fatal corruption events will be suppressed`
    this.onCorruption({
      text: message,
      message: text,
      isFatal,
      offsetBytes: offsetBytes ?? null,
      lengthBytes: lengthBytes ?? null,
    })
    if (!isFatal) return EIO
    this.isBroken = true
    if (this.header.version >= 3) yield* this.setIncompatible(this.header.incompatible | INCOMPATIBLE_CORRUPT)
    return EIO
  }

  /** Writes the incompatible features in place and flushes them. */
  *setIncompatible(features: bigint): Co<Errno> {
    assert(this.header.version >= 3, 'features-of-version-3')
    const field = new Uint8Array(8)
    writeBits(field, 0, features)
    let errno = yield* this.file.pwrite(HEADER_INCOMPATIBLE_AT, field)
    if (errno === OK) errno = yield* this.file.flush()
    if (errno === OK) this.header.incompatible = features
    return errno
  }

  /** Before the first change of refcounts that will not be written at once: the dirty bit says so. */
  *markDirty(): Co<Errno> {
    if (!this.usesLazyRefcounts) return OK
    if ((this.header.incompatible & INCOMPATIBLE_DIRTY) === 0n) {
      const errno = yield* this.setIncompatible(this.header.incompatible | INCOMPATIBLE_DIRTY)
      if (errno !== OK) return errno
    }
    this.metadata.hasLazyRefcounts = true
    return OK
  }

  /** Writes everything that is only in memory, refcounts too, and takes the dirty bit away. */
  *markClean(): Co<Errno> {
    this.metadata.hasLazyRefcounts = false
    let errno = yield* this.refcounts.settle()
    if (errno === OK) errno = yield* this.metadata.writeAll()
    if (errno !== OK || (this.header.incompatible & INCOMPATIBLE_DIRTY) === 0n || this.isBroken) return errno
    errno = yield* this.flushFiles()
    return errno === OK ? yield* this.setIncompatible(this.header.incompatible & ~INCOMPATIBLE_DIRTY) : errno
  }

  /**
   * Changes a field of the header, which lies in one sector, and flushes it. Where that fails nobody knows what the file
   * has; what was there before is written again then, and if that fails too the image takes no more writes.
   */
  *writeField(offsetBytes: number, wanted: Uint8Array, before: Uint8Array): Co<Errno> {
    assert(wanted.length === before.length && offsetBytes + wanted.length <= HEADER_V3_BYTES, 'field-in-header')
    let errno = yield* this.file.pwrite(offsetBytes, wanted)
    if (errno === OK) errno = yield* this.flushFiles()
    if (errno === OK) return OK
    let undoErrno = yield* this.file.pwrite(offsetBytes, before)
    if (undoErrno === OK) undoErrno = yield* this.flushFiles()
    if (undoErrno !== OK) this.isBroken = true
    return errno
  }

  /**
   * Writes the header with its extensions again; a power cut leaves this one or the one before. Throws BlockError if they do
   * not fit into a cluster.
   */
  *writeHeader(): Co<Errno> {
    assert(2 ** this.header.clusterBits === this.geometry.clusterBytes, 'header-one-cluster')
    return yield* replaceHeader(this.file, this.header)
  }

  /** Writes one L1 entry through, as the sector that holds it. */
  *writeL1Entry(index: number): Co<Errno> {
    assert(index * 2 < this.l1.length, 'l1-index')
    const entriesPerSector = 64
    const first = index - (index % entriesPerSector)
    const last = Math.min(first + entriesPerSector, this.l1.length / 2)
    const bytes = encodeWords(this.l1.subarray(first * 2, last * 2))
    const at = this.header.l1OffsetBytes + first * 8
    const refusal = this.guard(at, bytes.length, Place.ActiveL1)
    return refusal === null ? yield* this.file.pwrite(at, bytes) : yield* refusal
  }
}

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** Big-endian words as numbers, in the memory of the bytes, which are nobody else's any more: tables may be long. */
export function decodeWords(bytes: Uint8Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  assert(bytes.byteOffset % 4 === 0 && bytes.length % 4 === 0, 'words-aligned')
  if (IS_LITTLE_ENDIAN) Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).swap32()
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
}

/** Words in the order of the file. */
export function encodeWords(words: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(words.length * 4)
  for (let index = 0; index < words.length; index++) writeU32(bytes, index * 4, words[index]!)
  return bytes
}
