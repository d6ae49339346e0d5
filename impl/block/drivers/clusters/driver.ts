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
import { assert, type Co, EIO, type Errno, Mutex, OK } from '../../../co'
import { BlockDriver, type BlockStatus, type DriverInfo, type StatusMode, statusError, statusOf } from '../../driver'
import { type BlockLimits, Permission, RequestFlag, StatusFlag } from '../../flags'
import type { BlockChild, BlockNode } from '../../node'

export const SECTOR_BYTES = 512
/** A status answer joins no more clusters than this. */
const STATUS_CLUSTERS_MAX = 4096

/** Where a cluster is: in the file, nowhere (the image below shows), or known to be zero. */
export interface Place {
  errno: Errno
  kind: 'data' | 'none' | 'zero'
  /** Of `data`: where it begins in the file. */
  offsetBytes: number
}

export const NOWHERE: Place = { errno: OK, kind: 'none', offsetBytes: 0 }
export const ZEROED: Place = { errno: OK, kind: 'zero', offsetBytes: 0 }
export function placeAt(offsetBytes: number): Place {
  return { errno: OK, kind: 'data', offsetBytes }
}
export function placeError(errno: Errno): Place {
  return { errno, kind: 'none', offsetBytes: 0 }
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

  /** The file holds tables: nobody else may write there, and a writable image always may. */
  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    if (child.role === 'cow') return super.childPermissions(child, parentPermission, parentShared)
    const own = this.node.options.readOnly ? Permission.None : Permission.Write | Permission.Resize
    const shared = parentShared & ~(Permission.Write | Permission.Resize)
    return { permission: parentPermission | Permission.ConsistentRead | own, shared }
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
      const { cluster, within, bytes } = this.piece(offsetBytes + at, buffer.length - at)
      const errno = yield* this.readPiece(cluster, within, buffer.subarray(at, at + bytes))
      if (errno !== OK) return errno
      at += bytes
    }
    return OK
  }

  private *readPiece(cluster: number, within: number, piece: Uint8Array): Co<Errno> {
    const place = yield* this.find(cluster)
    if (place.errno !== OK) return place.errno
    if (place.kind === 'data') return yield* this.file.pread(place.offsetBytes + within, piece)
    return yield* this.readBelow(place.kind, cluster * this.clusterBytes + within, piece)
  }

  private *readBelow(kind: 'none' | 'zero', offsetBytes: number, piece: Uint8Array): Co<Errno> {
    const { backing } = this.node
    if (kind === 'none' && backing !== null && piece.length > 0) return yield* backing.pread(offsetBytes, piece)
    piece.fill(0)
    return OK
  }

  override *pwrite(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    assert(buffer.length > 0 && offsetBytes >= 0, 'write-range')
    for (let at = 0; at < buffer.length; ) {
      const { cluster, within, bytes } = this.piece(offsetBytes + at, buffer.length - at)
      const errno = yield* this.writePiece(cluster, within, buffer.subarray(at, at + bytes))
      if (errno !== OK) return errno
      at += bytes
    }
    return OK
  }

  private *writePiece(cluster: number, within: number, piece: Uint8Array): Co<Errno> {
    const place = yield* this.find(cluster)
    if (place.errno !== OK) return place.errno
    if (place.kind === 'data') return yield* this.overwrite(cluster, place, within, piece)
    const allocation = this.allocation!
    yield* allocation.lock()
    // Somebody may have made the cluster meanwhile.
    const now = yield* this.find(cluster)
    const isMade = now.errno === OK && now.kind === 'data'
    const errno = now.errno !== OK || isMade ? now.errno : yield* this.make(cluster, now, within, piece)
    allocation.unlock()
    return isMade ? yield* this.overwrite(cluster, now, within, piece) : errno
  }

  private *overwrite(cluster: number, place: Place, within: number, piece: Uint8Array): Co<Errno> {
    assert(place.kind === 'data', 'cluster-is-there')
    const errno = this.prepares === null ? OK : yield* this.prepares(cluster, place.offsetBytes)
    return errno === OK ? yield* this.file.pwrite(place.offsetBytes + within, piece) : errno
  }

  /** Makes a cluster around a piece of data. Under the lock. */
  private *make(cluster: number, former: Place, within: number, piece: Uint8Array): Co<Errno> {
    assert(former.kind !== 'data', 'cluster-is-new')
    assert(this.allocation?.isLocked === true, 'allocation-locked')
    const place = yield* this.reserve(cluster)
    if (place.errno !== OK) return place.errno
    assert(place.kind === 'data' && place.offsetBytes > 0, 'cluster-reserved')
    const shows = former.kind === 'none' && this.node.backing !== null
    let errno = shows
      ? yield* this.fillFromBelow(cluster, place.offsetBytes, within, piece)
      : yield* this.fillWithZeroes(place.offsetBytes, within, piece)
    if (errno === OK && shows) errno = yield* this.file.flush()
    return errno === OK ? yield* this.publish(cluster, place.offsetBytes) : errno
  }

  private *fillFromBelow(cluster: number, offsetBytes: number, within: number, piece: Uint8Array): Co<Errno> {
    const whole = new Uint8Array(this.clusterBytes)
    const diskBytes = cluster * this.clusterBytes
    const tail = within + piece.length
    let errno = yield* this.readBelow('none', diskBytes, whole.subarray(0, within))
    if (errno === OK) errno = yield* this.readBelow('none', diskBytes + tail, whole.subarray(tail))
    if (errno !== OK) return errno
    whole.set(piece, within)
    return yield* this.file.pwrite(offsetBytes, whole)
  }

  private *fillWithZeroes(offsetBytes: number, within: number, piece: Uint8Array): Co<Errno> {
    const tail = within + piece.length
    const restBytes = this.clusterBytes - tail
    let errno: Errno = OK
    if (within > 0) errno = yield* this.file.pwriteZeroes(offsetBytes, within, RequestFlag.MayUnmap)
    if (errno === OK) errno = yield* this.file.pwrite(offsetBytes + within, piece)
    if (errno === OK && restBytes > 0) errno = yield* this.file.pwriteZeroes(offsetBytes + tail, restBytes, RequestFlag.MayUnmap)
    return errno
  }

  override *blockStatus(_mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    assert(lengthBytes > 0, 'status-not-empty')
    const first = this.piece(offsetBytes, lengthBytes)
    const place = yield* this.find(first.cluster)
    if (place.errno !== OK) return statusError(place.errno)
    let { bytes } = first
    for (let count = 1; bytes < lengthBytes && count < STATUS_CLUSTERS_MAX; count++) {
      const next = yield* this.find(first.cluster + count)
      const follows = next.kind !== 'data' || next.offsetBytes === place.offsetBytes + count * this.clusterBytes
      if (next.errno !== OK || next.kind !== place.kind || !follows) break
      bytes += Math.min(this.clusterBytes, lengthBytes - bytes)
    }
    if (place.kind === 'data') return statusOf(this.dataStatus(), bytes, place.offsetBytes + first.within, this.file.node)
    if (place.kind === 'zero') return statusOf(StatusFlag.Allocated | StatusFlag.Zero, bytes)
    return statusOf(this.supportsBacking ? StatusFlag.None : StatusFlag.Zero, bytes)
  }

  /** What is told of clusters that are in the file. */
  protected dataStatus(): number {
    return StatusFlag.Allocated | StatusFlag.Data | StatusFlag.OffsetValid
  }

  /** The part of a range that lies in its first cluster. */
  private piece(offsetBytes: number, lengthBytes: number): { cluster: number; within: number; bytes: number } {
    const within = offsetBytes % this.clusterBytes
    const cluster = (offsetBytes - within) / this.clusterBytes
    assert(Number.isSafeInteger(cluster), 'cluster-number')
    return { cluster, within, bytes: Math.min(lengthBytes, this.clusterBytes - within) }
  }

  /** Errors where a table points to what the file does not hold. */
  protected checkPlace(offsetBytes: number, file: BlockNode = this.file.node): Place {
    const isInside = Number.isSafeInteger(offsetBytes) && offsetBytes + SECTOR_BYTES <= file.lengthBytes
    return isInside ? placeAt(offsetBytes) : placeError(EIO)
  }
}
