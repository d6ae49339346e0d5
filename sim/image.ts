/**
 * Images in files of the world: how they come into being before it, how they are opened in it and afterwards, and what a
 * guest would see of them at any moment.
 *
 * The view asks the driver where things lie, which it knows at once, and takes the bytes from where they are; it does no
 * I/O and believes nothing that was written. What a request has touched is looked at when it ends: until then a guest may
 * see either.
 */
import {
  BlockBackend,
  type BlockGraph,
  type BlockNode,
  type BlockStatus,
  isZero,
  type NodeOptions,
  Permission,
  RequestFlag,
  type StatusMode,
} from '../impl/block'
import { createQcow2, Qcow2Driver } from '../impl/block/drivers/qcow2'
import { ClusterType } from '../impl/block/drivers/qcow2/layout'
import { findRun, peekRun, Run } from '../impl/block/drivers/qcow2/mapping'
import { openImage } from '../impl/block/drivers/qcow2/open'
import { assert, type Co, EIO, ENOTSUP, type Errno, type Kernel, type Label, OK } from '../impl/co'
import { stampSectors, writerOf, ZERO_WRITER } from '../model/stamp'
import type { DiskWatcher, WatchedRequest } from './disk'
import { type MakeDisk, openImageNodes, plainDriver } from './image_nodes'
import type { DiskView } from './observer'
import {
  type BackingPlan,
  type DiskName,
  type DiskOperation,
  type DiskPlan,
  type FormatPlan,
  type InitialExtent,
  SECTOR_BYTES,
} from './plan'
import type { BufferPool } from './pool'
import type { ProbeName } from './probes'
import { DiskStore } from './store'

/** Bytes of clusters that an image takes beside its data: header, tables and their blocks, with room for leaks. */
const OVERHEAD_CLUSTERS = 64
const BACKING_CLUSTER_BYTES = 65536
const SLACK_BYTES = 4 * 1024 * 1024

/** Where an image lies. */
export interface ImageStores {
  readonly file: DiskStore
  readonly dataFile: DiskStore | null
  /** Disk or file of the image below. */
  readonly backing: DiskStore | null
}

export function emptyStores(name: DiskName, plan: DiskPlan, format: FormatPlan, pool: BufferPool): ImageStores {
  const emptyPlan = { ...plan, lengthBytes: 0, initial: [] }
  const endBytes = 3 * plan.lengthBytes + OVERHEAD_CLUSTERS * format.clusterBytes + SLACK_BYTES
  const { backing } = format
  return {
    file: new DiskStore(name, emptyPlan, pool, endBytes),
    dataFile: format.dataFile === 'none' ? null : new DiskStore(name, emptyPlan, pool, endBytes),
    backing: backing === undefined ? null : backingStore(name, plan, backing, pool, endBytes + 3 * backing.lengthBytes),
  }
}

function backingStore(name: DiskName, plan: DiskPlan, backing: BackingPlan, pool: BufferPool, endBytes: number): DiskStore {
  const { lengthBytes, initial, format } = backing
  if (format === 'qcow2') return new DiskStore(name, { ...plan, lengthBytes: 0, initial: [] }, pool, endBytes)
  return new DiskStore(name, { ...plan, lengthBytes, initial }, pool)
}

// --------------------------------------------------------------------------------------------------- making and opening

/** Creates the image with its backing image, and puts what is there at first into both. The graph is left empty. */
export function* createImage(
  graph: BlockGraph,
  plan: DiskPlan,
  format: FormatPlan,
  stores: ImageStores,
  make: MakeDisk,
): Co<void> {
  const { backing } = format
  if (backing?.format === 'qcow2') yield* createBacking(graph, backing, stores.backing!, make)
  const file = graph.addNode({ name: 'new-file', driver: make(stores.file) })
  const dataFile = stores.dataFile === null ? null : graph.addNode({ name: 'new-data', driver: make(stores.dataFile) })
  const { version, clusterBytes, refcountBits, lazyRefcounts, extendedL2, preallocation } = format
  yield* createQcow2(file, {
    sizeBytes: plan.lengthBytes,
    version,
    clusterBytes,
    refcountBits,
    lazyRefcounts,
    extendedL2,
    preallocation,
    ...(backing === undefined ? {} : { backingName: 'backing', backingFormat: backing.format }),
    ...(dataFile === null ? {} : { dataFile, dataFileName: 'data', dataFileRaw: format.dataFile === 'raw' }),
  })
  yield* graph.removeNode(file)
  if (dataFile !== null) yield* graph.removeNode(dataFile)
  yield* fillImage(graph, stores, format, plan.initial, make)
}

function* createBacking(graph: BlockGraph, backing: BackingPlan, store: DiskStore, make: MakeDisk): Co<void> {
  const file = graph.addNode({ name: 'new-backing', driver: make(store) })
  yield* createQcow2(file, { sizeBytes: backing.lengthBytes, clusterBytes: BACKING_CLUSTER_BYTES })
  yield* graph.removeNode(file)
  yield* fillImage(graph, { file: store, dataFile: null, backing: null }, null, backing.initial, make)
}

function* fillImage(
  graph: BlockGraph,
  stores: ImageStores,
  format: FormatPlan | null,
  initial: readonly InitialExtent[],
  make: MakeDisk,
): Co<void> {
  if (initial.length === 0) return
  const options: Partial<NodeOptions> = { readOnly: false, discard: 'unmap' }
  const parts = { name: 'new', stores, format, options, makeDisk: make, makeDriver: plainDriver }
  const opened = yield* openImageNodes(graph, parts)
  const backend = new BlockBackend(graph, 'filler')
  backend.attach(opened.node, Permission.ConsistentRead | Permission.Write, Permission.All)
  for (const extent of initial) must(yield* fill(backend, opened.driver, extent), 'filled')
  must(yield* backend.flush(), 'flushed')
  backend.dispose()
  yield* opened.close()
}

function* fill(backend: BlockBackend, driver: Qcow2Driver, { id, offsetBytes, lengthBytes, content }: InitialExtent): Co<Errno> {
  if (content === 'hole') return yield* backend.pwriteZeroes(offsetBytes, lengthBytes, RequestFlag.MayUnmap)
  const data = new Uint8Array(lengthBytes)
  const writer = content === 'zero' ? ZERO_WRITER : writerOf(id)
  stampSectors(data, 0, writer, offsetBytes / SECTOR_BYTES, lengthBytes / SECTOR_BYTES)
  const errno = yield* backend.pwrite(offsetBytes, data)
  if (errno !== OK || content !== 'compressed') return errno
  const { clusterBytes } = driver.info()
  const endBytes = offsetBytes + lengthBytes
  const { lengthBytes: diskBytes } = driver.node
  for (let at = Math.ceil(offsetBytes / clusterBytes) * clusterBytes; at < endBytes; at += clusterBytes) {
    const stopBytes = Math.min(at + clusterBytes, diskBytes)
    if (stopBytes > endBytes) break
    yield* backend.pdiscard(at, stopBytes - at)
    const piece = data.subarray(at - offsetBytes, stopBytes - offsetBytes)
    const pieceErrno = yield* backend.pwrite(at, piece, RequestFlag.Compressed)
    // What could not be given up stays as it is: only free clusters are filled by compressed data.
    if (pieceErrno !== OK && (pieceErrno !== EIO || driver.image.isBroken)) return pieceErrno
    const plainErrno = pieceErrno === OK ? OK : yield* backend.pwrite(at, piece)
    if (plainErrno !== OK) return plainErrno
  }
  return OK
}

function must(errno: Errno, what: string): void {
  if (errno !== OK) throw new Error(`an image of the world cannot be ${what}: errno ${errno}`)
}

// ------------------------------------------------------------------------------------------------------------ the view

/** What a guest sees, live: a disk to all who watch. Units are clusters. */
export class ImageView implements DiskView {
  readonly name: DiskName
  readonly lengthBytes: number
  readonly allocationUnitBytes: number
  readonly bytes: Uint8Array
  readonly allocated: Uint8Array
  changeCount = 0
  readonly mayHoldCompressed: boolean
  private readonly stores: ImageStores
  /** What the image below shows, as long as this one; null for none. */
  private readonly below: Uint8Array | null
  /** Of a source, whose whole chain is copied: units that hold something there. A destination takes space in its own file. */
  private readonly belowAllocated: Uint8Array | null
  private readonly run = new Run()
  private driver!: Qcow2Driver

  constructor(name: DiskName, plan: DiskPlan, format: FormatPlan, stores: ImageStores, pool: BufferPool) {
    this.name = name
    this.lengthBytes = plan.lengthBytes
    this.allocationUnitBytes = format.clusterBytes
    this.bytes = pool.take(plan.lengthBytes)
    this.allocated = pool.take(Math.ceil(plan.lengthBytes / format.clusterBytes))
    this.stores = stores
    this.mayHoldCompressed = plan.initial.some(({ content }) => content === 'compressed')
    const { backing } = format
    this.below = backing === undefined ? null : pool.take(plan.lengthBytes)
    this.belowAllocated = backing === undefined || name === 'destination' ? null : pool.take(this.allocated.length)
    for (const extent of backing?.initial ?? []) this.placeBelow(extent)
    if (backing !== undefined && this.belowAllocated !== null) this.noteBelow(plan, backing, this.belowAllocated)
  }

  private placeBelow({ id, offsetBytes, lengthBytes, content }: InitialExtent): void {
    const shownBytes = Math.min(lengthBytes, this.lengthBytes - offsetBytes)
    if (shownBytes <= 0) return
    const isData = content === 'data' || content === 'compressed'
    const firstSector = offsetBytes / SECTOR_BYTES
    stampSectors(this.below!, offsetBytes, isData ? writerOf(id) : ZERO_WRITER, firstSector, shownBytes / SECTOR_BYTES)
  }

  /** What the image below can tell of its holes: whole units, and blocks, that nobody has written to. */
  private noteBelow(plan: DiskPlan, { format, initial }: BackingPlan, noted: Uint8Array): void {
    const unitBytes = this.allocationUnitBytes
    const isBlind = format === 'raw' && !(plan.reportsHoles && plan.holesReadZero)
    if (isBlind) noted.fill(1)
    const blockBytes = format === 'raw' ? Math.max(plan.allocationUnitBytes, plan.requestAlignmentBytes) : BACKING_CLUSTER_BYTES
    for (const { offsetBytes, lengthBytes, content } of initial) {
      if (content === 'hole') continue
      const startBytes = offsetBytes - (offsetBytes % blockBytes)
      const endBytes = Math.ceil((offsetBytes + lengthBytes) / blockBytes) * blockBytes
      noted.fill(1, Math.floor(startBytes / unitBytes), Math.ceil(endBytes / unitBytes))
    }
  }

  get allocatedBytes(): number {
    let units = 0
    for (let unit = 0; unit < this.allocated.length; unit++) units += this.allocated[unit]!
    return units * this.allocationUnitBytes
  }

  /** The image has been opened: brings all of its tables into memory, which has room for them. */
  *show(driver: Qcow2Driver): Co<void> {
    this.driver = driver
    for (let at = 0; at < this.lengthBytes; at += this.run.bytes) {
      must(yield* findRun(driver.image, at, this.lengthBytes - at, this.run), 'looked at')
    }
    this.refresh(0, this.lengthBytes)
  }

  /** Looks again at whole clusters around a range. */
  refresh(offsetBytes: number, lengthBytes: number): void {
    const unitBytes = this.allocationUnitBytes
    this.changeCount++
    const startBytes = offsetBytes - (offsetBytes % unitBytes)
    const endBytes = Math.min(Math.ceil((offsetBytes + lengthBytes) / unitBytes) * unitBytes, this.lengthBytes)
    this.allocated.fill(0, startBytes / unitBytes, Math.ceil(endBytes / unitBytes))
    const { run } = this
    for (let at = startBytes; at < endBytes; at += run.bytes) {
      const isKnown = peekRun(this.driver.image, at, endBytes - at, run)
      assert(isKnown && run.bytes > 0, 'image-tables-in-memory')
      this.showRun(at, run)
    }
  }

  /** Whether the image below has data in a range. */
  hasDataBelow(offsetBytes: number, lengthBytes: number): boolean {
    return this.below !== null && !isZero(this.below.subarray(offsetBytes, offsetBytes + lengthBytes))
  }

  hasCompressed(offsetBytes: number, lengthBytes: number): boolean {
    const { run } = this
    const endBytes = offsetBytes + lengthBytes
    for (let at = offsetBytes; at < endBytes; at += run.bytes) {
      const isKnown = peekRun(this.driver.image, at, endBytes - at, run)
      assert(isKnown && run.bytes > 0, 'image-tables-in-memory')
      if (run.type === ClusterType.Compressed) return true
    }
    return false
  }

  private showRun(at: number, run: Run): void {
    const { bytes, below, allocationUnitBytes: unitBytes } = this
    const endBytes = at + run.bytes
    const first = Math.floor(at / unitBytes)
    const end = Math.ceil(endBytes / unitBytes)
    switch (run.type) {
      case ClusterType.Normal: {
        const from = this.stores.dataFile ?? this.stores.file
        from.read(run.hostBytes, bytes.subarray(at, endBytes))
        this.allocated.fill(1, first, end)
        return
      }
      case ClusterType.Compressed:
        this.showCompressed(at, endBytes, run)
        this.allocated.fill(1, first, end)
        return
      case ClusterType.ZeroAllocated:
        bytes.fill(0, at, endBytes)
        this.allocated.fill(1, first, end)
        return
      case ClusterType.UnallocatedPlain:
      case ClusterType.UnallocatedAllocated:
        if (below === null) bytes.fill(0, at, endBytes)
        else {
          bytes.set(below.subarray(at, endBytes), at)
          for (let unit = first; unit < end; unit++) if (this.belowAllocated?.[unit] === 1) this.allocated[unit] = 1
        }
        if (run.type === ClusterType.UnallocatedAllocated) this.allocated.fill(1, first, end)
        return
      default:
        bytes.fill(0, at, endBytes)
    }
  }

  private showCompressed(at: number, endBytes: number, run: Run): void {
    const unitBytes = this.allocationUnitBytes
    const packed = new Uint8Array(run.compressedBytes)
    this.stores.file.read(run.hostBytes, packed)
    const cluster = new Uint8Array(unitBytes)
    const { codec } = this.driver.image
    const isWhole = codec?.decompress(packed, cluster) === true
    assert(isWhole, 'image-cluster-decompresses')
    const inCluster = at % unitBytes
    this.bytes.set(cluster.subarray(inCluster, inCluster + endBytes - at), at)
  }
}

class ImageRequest implements WatchedRequest {
  readonly disk: DiskName
  readonly serial: number
  readonly operation: DiskOperation
  readonly offsetBytes: number
  readonly lengthBytes: number
  data: Uint8Array | null
  readonly mayUnmap: boolean
  readonly label: Label
  readonly fault = null
  dataHash = 0

  constructor(
    image: WatchedQcow2,
    operation: DiskOperation,
    offsetBytes: number,
    lengthBytes: number,
    data: Uint8Array | null,
    mayUnmap = false,
  ) {
    const { current } = image.kernel
    assert(current !== null, 'image-request-inside-coroutine')
    this.disk = image.view.name
    this.serial = image.nextSerial++
    this.operation = operation
    this.offsetBytes = offsetBytes
    this.lengthBytes = lengthBytes
    this.data = data
    this.mayUnmap = mayUnmap
    this.label = current.label
  }

  get origin(): string {
    return this.label.id
  }
}

/** The driver under test, with somebody who watches what enters and leaves it. */
export class WatchedQcow2 extends Qcow2Driver {
  nextSerial = 0
  readonly view: ImageView
  readonly kernel: Kernel
  private readonly watcher: DiskWatcher
  private readonly inFlight: ImageRequest[] = []
  /** Who has just been told of a failed flush; the block layer tries the files all the same. */
  private toldFlush: Label | null = null

  constructor(image: Qcow2Driver['image'], kernel: Kernel, view: ImageView, watcher: DiskWatcher) {
    super(image, false)
    this.kernel = kernel
    this.view = view
    this.watcher = watcher
  }

  /** Whether a request in flight will tell of the errors that somebody meets in the files. */
  isServing(label: Label): boolean {
    return label === this.toldFlush || this.inFlight.some((request) => request.label === label)
  }

  private begin(request: ImageRequest): ImageRequest {
    this.inFlight.push(request)
    if (request.label === this.toldFlush) this.toldFlush = null
    this.watcher.diskSubmitted(request)
    return request
  }
  private end(request: ImageRequest, errno: Errno): Errno {
    const { operation, offsetBytes, lengthBytes } = request
    this.inFlight.splice(this.inFlight.indexOf(request), 1)
    if (operation === 'write') this.view.refresh(offsetBytes, lengthBytes)
    else if (operation === 'write-zeroes' || operation === 'discard') this.zeroed(offsetBytes, lengthBytes)
    this.watcher.diskCompleted(request, errno)
    return errno
  }

  private zeroed(offsetBytes: number, lengthBytes: number): void {
    this.view.refresh(offsetBytes, lengthBytes)
    if (this.view.hasDataBelow(offsetBytes, lengthBytes)) this.watcher.hit('image/zeroes-over-below')
  }

  override *pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const request = this.begin(new ImageRequest(this, 'read', offsetBytes, buffer.length, null))
    const errno = yield* super.pread(offsetBytes, buffer, flags)
    if (errno === OK) request.data = buffer
    return this.end(request, errno)
  }

  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    if (this.view.mayHoldCompressed && this.view.hasCompressed(offsetBytes, buffer.length))
      this.watcher.hit('image/compressed-overwritten')
    const request = this.begin(new ImageRequest(this, 'write', offsetBytes, buffer.length, buffer))
    return this.end(request, yield* super.pwrite(offsetBytes, buffer, flags))
  }

  /** What may be refused nobody is told of: where it is not, it changes nothing that a guest could see. */
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const mayUnmap = (flags & RequestFlag.MayUnmap) !== 0
    if (this.mayRefuse(offsetBytes, lengthBytes)) {
      // To others it is a look at the range, which is what it is nearly always.
      const look = this.begin(new ImageRequest(this, 'read', offsetBytes, lengthBytes, null))
      const errno = yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
      this.end(look, OK)
      if (errno === OK) this.zeroed(offsetBytes, lengthBytes)
      else if (errno === ENOTSUP) this.watcher.hit('disk/zeroes-refused')
      else this.end(this.begin(new ImageRequest(this, 'write-zeroes', offsetBytes, lengthBytes, null, mayUnmap)), errno)
      return errno
    }
    const request = this.begin(new ImageRequest(this, 'write-zeroes', offsetBytes, lengthBytes, null, mayUnmap))
    return this.end(request, yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags))
  }

  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const { clusterBytes } = this.info()
    const canDiscard = this.header.version >= 3 || this.image.backing === null
    if (!canDiscard || !this.isWhole(offsetBytes, lengthBytes, clusterBytes))
      return yield* super.pdiscard(offsetBytes, lengthBytes)
    const request = this.begin(new ImageRequest(this, 'discard', offsetBytes, lengthBytes, null, true))
    return this.end(request, yield* super.pdiscard(offsetBytes, lengthBytes))
  }

  /**
   * Whether the driver may say that it cannot zero a range: in version 2 it never can above another image; elsewhere not
   * parts of subclusters (unless they read zero already) or of what is compressed.
   */
  private mayRefuse(offsetBytes: number, lengthBytes: number): boolean {
    const { clusterBytes, subclusterBytes } = this.info()
    if (this.header.version < 3 && this.header.backingName !== null) return true
    if (!this.isWhole(offsetBytes, lengthBytes, subclusterBytes)) return true
    return !this.isWhole(offsetBytes, lengthBytes, clusterBytes) && this.view.hasCompressed(offsetBytes, lengthBytes)
  }
  private isWhole(offsetBytes: number, lengthBytes: number, unitBytes: number): boolean {
    const endBytes = offsetBytes + lengthBytes
    return offsetBytes % unitBytes === 0 && (endBytes % unitBytes === 0 || endBytes === this.lengthBytes())
  }

  /** With the files, which the block layer would flush after this: the image is flushed when they are. */
  override *flush(): Co<Errno> {
    const request = this.begin(new ImageRequest(this, 'flush', 0, 0, null))
    const errno = yield* super.flush()
    const fileErrno = errno === OK ? yield* this.image.flushFiles() : errno
    if (fileErrno !== OK) this.toldFlush = request.label
    return this.end(request, fileErrno)
  }

  override *blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const request = this.begin(new ImageRequest(this, 'status', offsetBytes, lengthBytes, null))
    const status = yield* super.blockStatus(mode, offsetBytes, lengthBytes)
    this.end(request, status.errno)
    return status
  }
}

/** Watches the files of an image: what its driver does there is its own affair, but for flushes that fail beside it. */
export class FileWatcher implements DiskWatcher {
  private readonly image: WatchedQcow2
  private readonly watcher: DiskWatcher

  constructor(image: WatchedQcow2, watcher: DiskWatcher) {
    this.image = image
    this.watcher = watcher
  }

  diskSubmitted(): void {}
  /** The block layer flushes the files after their image, once more if something has been written meanwhile. */
  diskCompleted(request: WatchedRequest, errno: Errno): void {
    if (request.operation !== 'flush' || errno === OK || this.image.isServing(request.label)) return
    this.watcher.diskSubmitted(request)
    this.watcher.diskCompleted(request, errno)
  }
  hit(probe: ProbeName): void {
    this.watcher.hit(probe)
  }
}

/** Opens the driver that is watched. */
export function* openWatched(
  file: BlockNode,
  options: Parameters<typeof openImage>[1],
  view: ImageView,
  watcher: DiskWatcher,
): Co<WatchedQcow2> {
  return new WatchedQcow2(yield* openImage(file, options), file.kernel, view, watcher)
}
