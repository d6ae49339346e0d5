/**
 * What formats have in common that divide the disk into clusters and find each one by a table: reading, writing, status,
 * and the filling of new clusters. A format says where a cluster lies, where a new one is to lie, and writes the entry
 * that makes it count.
 *
 * A new cluster is whole in the file before its entry is written; what lies around the data written comes from the image
 * below, or is zero. With an image below the file is flushed before the entry, so that a power cut never shows a cluster
 * whose surroundings are gone.
 *
 * What may fail: the file, the image below, and a table that points outside of the file (EIO). What never may: a write
 * outside the clusters and tables of this image, two clusters for one place of the disk.
 */
import { assert, type Co, EINVAL, EIO, ENOTSUP, type Errno, Mutex, OK } from '../../../co'
import { BlockDriver, type BlockStatus, type DriverInfo, type StatusMode, statusError, statusOf } from '../../driver'
import { type BlockLimits, RequestFlag, StatusFlag } from '../../flags'
import type { BlockChild, BlockNode } from '../../node'
import { tableFilePermissions } from '../../permissions'

export const SECTOR_BYTES = 512
/** A status answer joins no more clusters than this. */
const STATUS_CLUSTERS_MAX = 4096
const COPY_BYTES = 2 ** 20

/** Where a cluster is: in a file, in it but compressed, nowhere (the image below shows), or known to be zero. */
export interface Place {
  errno: Errno
  kind: 'data' | 'packed' | 'none' | 'zero'
  /** Of `data` and `packed`: where it begins in the file. */
  offsetBytes: number
  /** The file, where it is not the child `file`. */
  file?: BlockChild
  /** Of `packed`: no more than this belongs to it. */
  packedBytes?: number
}

export const NOWHERE: Place = { errno: OK, kind: 'none', offsetBytes: 0 }
export const ZEROED: Place = { errno: OK, kind: 'zero', offsetBytes: 0 }
export function placeAt(offsetBytes: number): Place {
  return { errno: OK, kind: 'data', offsetBytes }
}
export function placeError(errno: Errno): Place {
  return { errno, kind: 'none', offsetBytes: 0 }
}

/** A cluster of the disk: its number, where it begins and how long it is. */
export interface Cell {
  cluster: number
  startBytes: number
  bytes: number
}

/** The part of a range that lies in its first cluster. */
interface Piece extends Cell {
  within: number
  /** How much of the cluster is left from there, at most. */
  restBytes: number
}

export abstract class ClusterDriver extends BlockDriver {
  abstract readonly clusterBytes: number
  private ownFile: BlockChild | null = null
  private allocation: Mutex | null = null

  protected get file(): BlockChild {
    assert(this.ownFile !== null, 'clusters-attached', () => this.name)
    return this.ownFile
  }

  /** Where a cluster of the disk is. Called at any time, also while another one is being made. */
  protected abstract find(cluster: number): Co<Place>
  /** A place for a new cluster, behind everything that is in use. The same again if the last one was not published. */
  protected abstract reserve(cluster: number): Co<Place>
  /** Makes the new cluster count. */
  protected abstract publish(cluster: number, offsetBytes: number): Co<Errno>
  /** A cluster that is there is about to be written to. */
  protected readonly prepares: ((cluster: number, offsetBytes: number) => Co<Errno>) | null = null
  /** Unpacks a compressed cluster into `whole`; formats that have such clusters say how. */
  protected *unpack(_place: Place, _cell: Cell, _whole: Uint8Array): Co<Errno> {
    return EIO
  }
  /** Whether a write to a compressed cluster makes a plain one of it; else it fails with EIO. */
  protected readonly replacesPacked: boolean = false
  /** Stores one whole cluster compressed; absent where the format never does. Under the lock. */
  protected readonly pack: ((cell: Cell, former: Place, whole: Uint8Array) => Co<Errno>) | null = null
  /** Marks a whole cluster as zero; absent where there is no such mark. ENOTSUP: not this one. Under the lock. */
  protected readonly markZero: ((cell: Cell, former: Place) => Co<Errno>) | null = null
  /** What was unpacked last: readers come in small steps. */
  private unpacked: { cluster: number; offsetBytes: number; whole: Uint8Array } | null = null

  /** The cluster that a byte of the disk lies in. */
  protected cellAt(offsetBytes: number): Cell {
    const within = offsetBytes % this.clusterBytes
    const startBytes = offsetBytes - within
    return { cluster: startBytes / this.clusterBytes, startBytes, bytes: this.clusterBytes }
  }
  /** The node has its children now; called again when limits change. */
  protected attached(): void {}

  override refreshLimits(limits: BlockLimits): void {
    const file = this.node.children.get('file')
    assert(file !== undefined, 'clusters-have-file', () => this.node.name)
    this.ownFile = file
    this.allocation ??= new Mutex(this.node.kernel, 'allocation of clusters')
    limits.requestAlignmentBytes = SECTOR_BYTES
    limits.maxPwriteZeroesBytes = 0
    limits.maxPdiscardBytes = 0
    limits.pwriteZeroesAlignmentBytes = 0
    limits.pdiscardAlignmentBytes = 0
    this.attached()
  }

  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    if (child.role === 'cow') return super.childPermissions(child, parentPermission, parentShared)
    return tableFilePermissions(this.node, parentPermission, parentShared)
  }

  override info(): DriverInfo {
    return { clusterBytes: this.clusterBytes, subclusterBytes: this.clusterBytes }
  }
  override hasZeroInit(): boolean {
    return true
  }

  override *pread(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    assert(buffer.length > 0 && offsetBytes >= 0, 'read-range')
    for (let at = 0; at < buffer.length; ) {
      const piece = this.piece(offsetBytes + at, buffer.length - at)
      const errno = yield* this.readPiece(piece, buffer.subarray(at, at + piece.bytes))
      if (errno !== OK) return errno
      at += piece.bytes
    }
    return OK
  }

  private *readPiece(piece: Piece, bytes: Uint8Array): Co<Errno> {
    const place = yield* this.find(piece.cluster)
    if (place.errno !== OK) return place.errno
    const { within } = piece
    if (place.kind === 'data') return yield* this.fileOf(place).pread(place.offsetBytes + within, bytes)
    if (place.kind !== 'packed') return yield* this.readBelow(place.kind, piece.startBytes + within, bytes)
    const { errno, whole } = yield* this.unpackWhole(piece, place)
    if (errno === OK) bytes.set(whole.subarray(within, within + bytes.length))
    return errno
  }

  /** All of a compressed cluster; whoever gets it does not change it. */
  private *unpackWhole({ cluster, startBytes, within, restBytes }: Piece, place: Place): Co<{ errno: Errno; whole: Uint8Array }> {
    const known = this.unpacked
    // A compressed cluster never changes where it lies.
    if (known !== null && known.cluster === cluster && known.offsetBytes === place.offsetBytes) {
      return { errno: OK, whole: known.whole }
    }
    const whole = new Uint8Array(within + restBytes)
    assert(place.kind === 'packed' && whole.length > 0, 'unpack-packed')
    const errno = yield* this.unpack(place, { cluster, startBytes, bytes: whole.length }, whole)
    if (errno === OK) this.unpacked = { cluster, offsetBytes: place.offsetBytes, whole }
    return { errno, whole }
  }

  protected forgetUnpacked(): void {
    this.unpacked = null
  }
  private fileOf(place: Place): BlockChild {
    return place.file ?? this.file
  }

  protected *readBelow(kind: 'none' | 'zero', offsetBytes: number, piece: Uint8Array): Co<Errno> {
    const { backing } = this.node
    if (kind === 'none' && backing !== null && piece.length > 0) return yield* backing.pread(offsetBytes, piece)
    piece.fill(0)
    return OK
  }

  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    assert(buffer.length > 0 && offsetBytes >= 0, 'write-range')
    for (let at = 0; at < buffer.length; ) {
      const piece = this.piece(offsetBytes + at, buffer.length - at)
      const bytes = buffer.subarray(at, at + piece.bytes)
      const isPacked = (flags & RequestFlag.Compressed) !== 0 && this.pack !== null
      const errno = isPacked ? yield* this.packPiece(piece, bytes) : yield* this.writePiece(piece, bytes)
      if (errno !== OK) return errno
      at += piece.bytes
    }
    return OK
  }

  /** Stores a cluster compressed: EINVAL unless it is a whole one, or the last one up to its end. */
  private *packPiece(piece: Piece, bytes: Uint8Array): Co<Errno> {
    if (this.pack === null) return ENOTSUP
    const { within, startBytes, restBytes } = piece
    const isWhole = bytes.length === restBytes || startBytes + bytes.length >= this.lengthBytes()
    if (within !== 0 || !isWhole) return EINVAL
    const whole = new Uint8Array(restBytes)
    whole.set(bytes)
    const allocation = this.allocation!
    yield* allocation.lock()
    const place = yield* this.find(piece.cluster)
    const cell = { cluster: piece.cluster, startBytes, bytes: restBytes }
    const errno = place.errno === OK ? yield* this.pack(cell, place, whole) : place.errno
    allocation.unlock()
    return errno
  }

  private *writePiece(piece: Piece, bytes: Uint8Array): Co<Errno> {
    const place = yield* this.find(piece.cluster)
    if (place.errno !== OK) return place.errno
    if (place.kind === 'data') return yield* this.overwrite(piece, place, bytes)
    const allocation = this.allocation!
    yield* allocation.lock()
    // Somebody may have made the cluster meanwhile.
    const now = yield* this.find(piece.cluster)
    const isMade = now.errno === OK && now.kind === 'data'
    const errno = now.errno !== OK || isMade ? now.errno : yield* this.make(piece, now, bytes)
    allocation.unlock()
    return isMade ? yield* this.overwrite(piece, now, bytes) : errno
  }

  private *overwrite({ cluster, within }: Piece, place: Place, bytes: Uint8Array): Co<Errno> {
    assert(place.kind === 'data', 'cluster-is-there')
    const errno = this.prepares === null ? OK : yield* this.prepares(cluster, place.offsetBytes)
    return errno === OK ? yield* this.fileOf(place).pwrite(place.offsetBytes + within, bytes) : errno
  }

  /** Makes a cluster around a piece of data. Under the lock. */
  private *make(piece: Piece, former: Place, bytes: Uint8Array): Co<Errno> {
    assert(former.kind !== 'data', 'cluster-is-new')
    assert(this.allocation?.isLocked === true, 'allocation-locked')
    const { cluster, within } = piece
    if (former.kind === 'packed' && !this.replacesPacked) return EIO
    const place = yield* this.reserve(cluster)
    if (place.errno !== OK) return place.errno
    assert(place.kind === 'data' && place.offsetBytes > 0, 'cluster-reserved')
    const shows = former.kind === 'packed' || (former.kind === 'none' && this.node.backing !== null)
    let errno = shows
      ? yield* this.fillFromFormer(piece, former, place, bytes)
      : yield* this.fillWithZeroes(piece, place, within, bytes)
    if (errno === OK && shows) errno = yield* this.fileOf(place).flush()
    return errno === OK ? yield* this.publish(cluster, place.offsetBytes) : errno
  }

  private *fillFromFormer(piece: Piece, former: Place, place: Place, bytes: Uint8Array): Co<Errno> {
    const { within, restBytes, startBytes } = piece
    const tail = within + bytes.length
    const file = this.fileOf(place)
    if (former.kind === 'packed') {
      const { errno, whole } = yield* this.unpackWhole(piece, former)
      if (errno !== OK) return errno
      const changed = whole.slice()
      changed.set(bytes, within)
      return yield* file.pwrite(place.offsetBytes, changed)
    }
    let errno = yield* this.copyUp(file, place.offsetBytes, startBytes, within)
    if (errno === OK) errno = yield* file.pwrite(place.offsetBytes + within, bytes)
    if (errno !== OK) return errno
    return yield* this.copyUp(file, place.offsetBytes + tail, startBytes + tail, within + restBytes - tail)
  }

  /** Copies what the image below shows, in steps: clusters may be large. */
  private *copyUp(file: BlockChild, toBytes: number, fromBytes: number, lengthBytes: number): Co<Errno> {
    for (let at = 0; at < lengthBytes; at += COPY_BYTES) {
      const bytes = new Uint8Array(Math.min(COPY_BYTES, lengthBytes - at))
      let errno = yield* this.readBelow('none', fromBytes + at, bytes)
      if (errno === OK) errno = yield* file.pwrite(toBytes + at, bytes)
      if (errno !== OK) return errno
    }
    return OK
  }

  private *fillWithZeroes(piece: Piece, place: Place, within: number, bytes: Uint8Array): Co<Errno> {
    const tail = within + bytes.length
    const restBytes = within + piece.restBytes - tail
    const file = this.fileOf(place)
    const { offsetBytes } = place
    let errno: Errno = OK
    if (within > 0) errno = yield* file.pwriteZeroes(offsetBytes, within, RequestFlag.MayUnmap)
    if (errno === OK) errno = yield* file.pwrite(offsetBytes + within, bytes)
    if (errno === OK && restBytes > 0) errno = yield* file.pwriteZeroes(offsetBytes + tail, restBytes, RequestFlag.MayUnmap)
    return errno
  }

  /** Whole clusters are marked; ENOTSUP, before anything is done, for the rest of the request's first cluster otherwise. */
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, _flags: number): Co<Errno> {
    if (this.markZero === null) return ENOTSUP
    for (let at = 0; at < lengthBytes; ) {
      const { cluster, startBytes, within, restBytes, bytes } = this.piece(offsetBytes + at, lengthBytes - at)
      const isWhole = within === 0 && (bytes === restBytes || startBytes + bytes >= this.lengthBytes())
      if (!isWhole) return ENOTSUP
      const allocation = this.allocation!
      yield* allocation.lock()
      const place = yield* this.find(cluster)
      const cell = { cluster, startBytes, bytes: restBytes }
      const errno = place.errno === OK ? yield* this.markZero(cell, place) : place.errno
      allocation.unlock()
      if (errno !== OK) return errno
      at += bytes
    }
    return OK
  }

  override *blockStatus(_mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    assert(lengthBytes > 0, 'status-not-empty')
    const first = this.piece(offsetBytes, lengthBytes)
    const place = yield* this.find(first.cluster)
    if (place.errno !== OK) return statusError(place.errno)
    let { bytes } = first
    const file = this.fileOf(place)
    const dataBytes = place.offsetBytes + first.within
    for (let count = 1; bytes < lengthBytes && count < STATUS_CLUSTERS_MAX; count++) {
      const next = this.piece(offsetBytes + bytes, lengthBytes - bytes)
      const found = yield* this.find(next.cluster)
      const follows = found.kind !== 'data' || (found.offsetBytes === dataBytes + bytes && this.fileOf(found) === file)
      if (found.errno !== OK || found.kind !== place.kind || !follows) break
      bytes += next.bytes
    }
    if (place.kind === 'data') return statusOf(this.dataStatus(first.cluster), bytes, dataBytes, file.node)
    if (place.kind === 'packed') return statusOf(this.packedStatus, bytes)
    if (place.kind === 'zero') return statusOf(StatusFlag.Allocated | StatusFlag.Zero, bytes)
    return statusOf(this.supportsBacking ? StatusFlag.None : StatusFlag.Zero, bytes)
  }
  protected readonly packedStatus: number = StatusFlag.Allocated | StatusFlag.Data

  /** What is told of clusters that are in the file. */
  protected dataStatus(_cluster: number): number {
    return StatusFlag.Allocated | StatusFlag.Data | StatusFlag.OffsetValid
  }

  private piece(offsetBytes: number, lengthBytes: number): Piece {
    const { cluster, startBytes, bytes } = this.cellAt(offsetBytes)
    const within = offsetBytes - startBytes
    assert(Number.isSafeInteger(cluster) && within >= 0 && within < bytes, 'cluster-number')
    const restBytes = bytes - within
    return { cluster, startBytes, within, restBytes, bytes: Math.min(lengthBytes, restBytes) }
  }

  /** Errors where a table points to what the file does not hold. */
  protected checkPlace(offsetBytes: number, file: BlockNode = this.file.node): Place {
    const isInside = Number.isSafeInteger(offsetBytes) && offsetBytes + SECTOR_BYTES <= file.lengthBytes
    return isInside ? placeAt(offsetBytes) : placeError(EIO)
  }
}
