/**
 * What the parts of a running mirror share: the two nodes, the maps of chunks, and the counters. The rules that belong to
 * all of them are here: how a chunk becomes dirty, when the target may be written to, what an error does.
 */
import { type BlockBackend, type BlockChild, type BlockNode, DirtyBitmap, RequestFlag } from '../../block'
import { copiesRanges } from '../../block/io_copy'
import { assert, type Errno, type Kernel, OK } from '../../co'
import type { Progress } from '../progress'
import type { RateLimit } from '../rate_limit'
import { checkSyncBitmap, type SyncBitmap } from '../sync_bitmap'
import { BufferStock } from './buffer_stock'
import { Convergence } from './convergence'
import type { FilterRequestView, MirrorPhase, MirrorView } from './inspect'
import { MirrorOperations } from './operations'
import type { CopyMode, MirrorOptions } from './options'
import { chooseBuffer, chooseGranularity } from './options'
import { Pace } from './pace'
import type { ZeroBitmap } from './zero_bitmap'

/** Background operations in flight, at most. */
export const OPERATIONS_MAX = 16
/** A copy at once is a share of the buffer, within these bounds; the lower one only if the buffer allows. */
const COPY_MIN_BYTES = 1024 * 1024
const COPY_MAX_BYTES = 64 * 1024 * 1024

/** What the parts need of the job around them. */
export interface MirrorControl {
  readonly progress: Progress
  readonly limit: RateLimit
  readonly isForceCancelled: boolean
  readonly mustPause: boolean
  /** Somebody has asked for the end of the job. */
  readonly isEnding: boolean
  kick(): void
  /** A read of the source or a write to the target has failed: do what the user wants then. */
  handleError(isRead: boolean, errno: Errno): void
}

/** A guest's request between its entry into the filter and its end. */
export interface FilterRequest extends FilterRequestView {
  kind: FilterRequestView['kind']
  offsetBytes: number
  lengthBytes: number
}

export class MirrorState implements MirrorView {
  readonly options: MirrorOptions
  readonly kernel: Kernel
  readonly source: BlockNode
  readonly target: BlockNode
  /** The filter's edge to the source: guests' requests and our reads go through it. */
  readonly sourceChild: BlockChild
  readonly targetBackend: BlockBackend
  control!: MirrorControl

  readonly lengthBytes: number
  readonly granularityBytes: number
  readonly chunkCount: number
  readonly bufferBytes: number
  /** Longest copy, in whole units. */
  readonly copyMaxBytes: number
  /** What is copied whole: a chunk, or the target's cluster where the rest of it would be lost. */
  readonly unitBytes: number
  /** The target's cluster where the target would fill the rest of one with zeroes that hide a detached image; 1 elsewhere. */
  readonly filledBytes: number
  /** Smallest aligned piece of the target that can be zeroed as such. */
  readonly holeUnitBytes: number
  /** Flags of zero writes to the target, and of those that stand for data which turned out to be zero. */
  readonly zeroFlags: number
  readonly detectedZeroFlags: number
  /** The target's node looks for zeroes in data; the mirror does so itself then, to leave known zeroes alone. */
  readonly detectsZeroes: boolean
  /** The system may copy from the source to the target by itself. */
  readonly copiesRanges: boolean

  readonly dirty: DirtyBitmap
  /** Every chunk that may differ is dirty or in flight: the first look at the source is over. */
  isDirtyComplete = false
  /** What the user keeps of all this. */
  readonly kept: SyncBitmap
  readonly operationsInFlight: MirrorOperations
  zeroes: ZeroBitmap | null = null
  /** Chunks of the target that hold whole clusters of ours; only with a detached backing image and large clusters. */
  cow: DirtyBitmap | null = null

  phase: MirrorPhase = 'starting'
  copyMode: CopyMode
  activelySynced = false
  wasReady = false
  /** Guests' writes may be copied by themselves: from the end of the first scan to the end of the work. */
  isPublished = false
  /** Sections in which the source is drained: no guest's request may wait there for a limit. */
  sourceDrains = 0
  /** Somebody else has drained the target: guests' writes are only noted. */
  isTargetDrained = false
  isReleased = false
  fatalErrno: Errno = OK
  /** Where to look for the next dirty chunk. */
  cursorBytes = 0
  backgroundCount = 0
  activeCount = 0
  freeBufferBytes: number
  /** Of copies that guests wait for. */
  readonly activeBuffers: BufferStock
  readonly pace: Pace
  readonly convergence: Convergence
  /** After an ignored error: no new attempt before that. */
  retryAtNs = 0
  /** Requests of guests that will mark their chunks dirty. */
  passiveCount = 0
  readonly requests: FilterRequest[] = []
  readonly statistics = { copiedBytes: 0, skippedZeroBytes: 0, zeroedBytes: 0, discardedBytes: 0 }

  constructor(options: MirrorOptions, sourceChild: BlockChild, targetBackend: BlockBackend) {
    const { source, target } = options
    const detectZeroes = target.options.detectZeroes
    const info = target.driver.info()
    const limits = target.limits
    this.options = options
    this.kernel = source.kernel
    this.source = source
    this.target = target
    this.sourceChild = sourceChild
    this.targetBackend = targetBackend
    this.activeBuffers = new BufferStock((offsetBytes, bytes) => source.graph.transferBuffer(source, offsetBytes, bytes, true))
    this.copyMode = options.copyMode === 'auto' ? 'background' : options.copyMode
    this.convergence = new Convergence(options.copyMode === 'auto')
    this.pace = new Pace(source.kernel, options.activeSpeedBytesPerSecond ?? 0)
    this.lengthBytes = source.lengthBytes
    this.granularityBytes = chooseGranularity(options)
    this.dirty = new DirtyBitmap(this.lengthBytes, this.granularityBytes)
    this.kept = checkSyncBitmap(options)
    this.chunkCount = this.dirty.bitCount
    this.operationsInFlight = new MirrorOperations(this.kernel, this.lengthBytes, this.granularityBytes)
    const isDetached = options.targetHasDetachedBacking === true
    const copiesClusters = isDetached && info.clusterBytes > this.granularityBytes
    this.filledBytes = isDetached && !copiesClusters ? Math.max(info.clusterBytes, 1) : 1
    this.unitBytes = copiesClusters ? info.clusterBytes : this.granularityBytes
    if (copiesClusters) this.cow = new DirtyBitmap(this.lengthBytes, this.granularityBytes)
    this.bufferBytes = chooseBuffer(options, this.granularityBytes, this.unitBytes)
    this.freeBufferBytes = this.bufferBytes
    const shareBytes = Math.max(COPY_MIN_BYTES, Math.floor(this.bufferBytes / OPERATIONS_MAX))
    const copyBytes = Math.min(this.bufferBytes, shareBytes, COPY_MAX_BYTES)
    this.copyMaxBytes = Math.max(this.unitBytes, copyBytes - (copyBytes % this.unitBytes))
    this.holeUnitBytes = Math.max(limits.requestAlignmentBytes, limits.pwriteZeroesAlignmentBytes, info.subclusterBytes)
    // Deallocating in a target with a detached backing image would let that image show through later.
    const mayUnmap = options.targetHasDetachedBacking === true ? 0 : RequestFlag.MayUnmap
    this.zeroFlags = options.unmap ? mayUnmap : 0
    this.detectedZeroFlags = detectZeroes === 'unmap' ? mayUnmap : 0
    this.detectsZeroes = detectZeroes !== 'off'
    this.copiesRanges = copiesRanges(source, target)
    assert(this.copyMaxBytes <= this.bufferBytes && this.copyMaxBytes % this.unitBytes === 0, 'copy-fits-buffer')
  }

  /** True if only what the bitmap of the user has dirty is to be copied. */
  get copiesBitmap(): boolean {
    return this.options.sync === 'bitmap' || this.options.sync === 'incremental'
  }

  /** The bitmap is ours from now on, until `finishMirrored`. Call with the source drained. */
  takeBitmap(): void {
    const { bitmap } = this.kept
    if (bitmap === null) return
    bitmap.createSuccessor()
    if (!this.copiesBitmap) return
    this.dirty.merge(bitmap.bits)
    this.isDirtyComplete = true
    assert(this.dirty.count > 0 === bitmap.bits.count > 0, 'mirror-takes-bitmap')
  }

  get dirtyWords(): Uint32Array {
    return this.dirty.words
  }
  get zeroWords(): Uint32Array | null {
    return this.isReleased || this.zeroes === null ? null : this.zeroes.words
  }
  get inFlightWords(): Uint32Array | null {
    return this.isReleased ? null : this.operationsInFlight.inFlight.words
  }
  get cowWords(): Uint32Array | null {
    return this.isReleased || this.cow === null ? null : this.cow.words
  }
  get operations(): MirrorView['operations'] {
    return this.operationsInFlight.list
  }
  get filterRequests(): Iterable<FilterRequestView> {
    return this.requests
  }

  /** True where a write to the target with MayUnmap really frees space there. */
  get canUnmapTarget(): boolean {
    const { options, driver } = this.target
    return options.discard === 'unmap' && (driver.supportedZeroFlags & RequestFlag.MayUnmap) !== 0
  }

  /** Zero writes to the target cost what data does; others are free of every limit. */
  get zeroesTakeSpace(): boolean {
    return !this.canUnmapTarget || this.zeroFlags === 0
  }

  /** A range of the source may differ from the target from now on. Not empty. */
  markDirty(offsetBytes: number, lengthBytes: number): void {
    const before = this.dirty.countBytes
    this.dirty.set(offsetBytes, lengthBytes)
    this.convergence.dirtied(this.dirty.countBytes - before)
    this.activelySynced = false
    this.control.kick()
  }

  /** How guests are served from now on; requests under way end as they have begun. */
  serveGuests(mode: CopyMode): void {
    if (mode === this.copyMode) return
    this.copyMode = mode
    if (mode === 'background' && this.lengthBytes > 0) this.activelySynced = false
    this.convergence.modeChanged(this.kernel.nowNs())
    this.pace.reconsider()
  }

  /** What is dirty or being copied. */
  get remainingBytes(): number {
    const { lengthBytes, offsetBytes } = this.control.progress
    return lengthBytes - offsetBytes
  }

  /** The background has copied `lengthBytes`, or found that nothing had to be done for them. */
  noteCopied(lengthBytes: number): void {
    this.control.progress.succeed(lengthBytes)
    this.serveGuests(this.convergence.copied(this.kernel.nowNs(), lengthBytes, this.remainingBytes, this.copyMode))
  }

  /** A guest's change has been copied before its end. Nobody goes back to the background when the job is to end. */
  noteFollowed(lengthBytes: number): void {
    const mode = this.convergence.followed(this.kernel.nowNs(), lengthBytes, this.copyMode)
    if (!this.control.isEnding) this.serveGuests(mode)
  }

  /** Background work stops here: the job is to end or to stand still. */
  get mustHold(): boolean {
    return this.control.isForceCancelled || this.control.mustPause || this.fatalErrno !== OK
  }

  /** Whether a guest's request that enters now is copied by itself. Asked once for each request. */
  get copiesActively(): boolean {
    return (
      this.copyMode === 'write-blocking' &&
      this.isPublished &&
      !this.isTargetDrained &&
      this.fatalErrno === OK &&
      !this.control.isForceCancelled
    )
  }

  /** Start of the chunk, and end of the chunk clipped to the disk. */
  chunkFloor(offsetBytes: number): number {
    return offsetBytes - (offsetBytes % this.granularityBytes)
  }
  chunkCeiling(offsetBytes: number): number {
    const over = offsetBytes % this.granularityBytes
    return over === 0 ? offsetBytes : Math.min(offsetBytes + this.granularityBytes - over, this.lengthBytes)
  }

  /** Whether [offset, end), at chunk boundaries, lies in clusters of the target that have not been written whole yet. */
  needsWholeClusters(offsetBytes: number, endBytes: number): boolean {
    assert(offsetBytes < endBytes, 'cluster-range')
    return this.cow !== null && !this.cow.isAllSet(offsetBytes, endBytes - offsetBytes)
  }
  unitFloor(offsetBytes: number): number {
    return offsetBytes - (offsetBytes % this.unitBytes)
  }
  unitCeiling(offsetBytes: number): number {
    const over = offsetBytes % this.unitBytes
    return over === 0 ? offsetBytes : Math.min(offsetBytes + this.unitBytes - over, this.lengthBytes)
  }
}
