/**
 * Copying a disk to another one cluster by cluster, each cluster once: a bitmap says what is still to be copied. Any number of
 * calls may want ranges copied at once (guests that are about to write, a job behind them); a cluster belongs to one task at
 * a time, and whoever needs it waits for that one.
 *
 * What may fail: reading and writing; the clusters are to be copied again then, and the call that started the task ends with
 * the error. Who has only waited tries for itself.
 * What never may: a call that ends well while a cluster of its range is neither copied nor left out on purpose.
 */
import { assert, type Co, type Coroutine, type Errno, numberedLabel, OK, WaitQueue } from '../co'
import { DirtyBitmap } from './dirty_bitmap'
import { REQUEST_MAX_BYTES, RequestFlag, StatusFlag } from './flags'
import { copiesRanges, copyThrough } from './io_copy'
import type { BlockChild, BlockNode } from './node'
import { isAllocatedAbove } from './status'

/** Clusters are at least that long, whatever the target has. */
const CLUSTER_MIN_BYTES = 64 * 1024
/** The longest piece of data of one task; a longer cluster is one piece nevertheless. */
const PIECE_BYTES = 1 << 20
/** As much at once by the system itself. */
const RANGE_BYTES = 16 << 20
/** Tasks of one call at once, where nobody says otherwise. */
export const COPY_WORKERS_MAX = 64
/** Pieces without I/O before others get their turn. */
const STEPS_MAX = 32

/** Told of what is begun and done, in whole clusters. */
export interface CopyProgress {
  begin(bytes: number): void
  succeed(bytes: number): void
  giveBack(bytes: number): void
}
/** A speed limit. */
export interface CopyPace {
  delayNs(nowNs: number): number
  account(nowNs: number, bytes: number): void
}

export interface BlockCopyOptions {
  /** An edge that may read. With `discardsSource` it may write, too. */
  source: BlockChild
  /** An edge that may write. */
  target: BlockChild
  /** At least that; the target's cluster if it is longer. */
  minClusterBytes?: number
  /** Whole clusters are written compressed. */
  isCompressed?: boolean
  /** The system copies ranges by itself where it can. */
  usesCopyRange?: boolean
  /** What has been copied is discarded in the source. */
  discardsSource?: boolean
}

interface Task {
  offsetBytes: number
  endBytes: number
  owner: Coroutine | null
}

/** The wish of somebody to have a range copied. */
export class CopyCall {
  readonly offsetBytes: number
  readonly endBytes: number
  readonly workersMax: number
  readonly chunkMaxBytes: number
  /** Null: as fast as it goes. */
  readonly pace: CopyPace | null
  /** No new task is started. Set it and wake whoever runs the call by `BlockCopy.wake`. */
  isCancelled = false
  errno: Errno = OK
  /** Where the error came from. */
  isRead = false
  isFinished = false
  running = 0

  /** `endBytes` is a cluster's end or that of the disk. */
  constructor(
    offsetBytes: number,
    endBytes: number,
    options: { workersMax?: number; chunkMaxBytes?: number; pace?: CopyPace | null } = {},
  ) {
    this.offsetBytes = offsetBytes
    this.endBytes = endBytes
    this.workersMax = options.workersMax ?? COPY_WORKERS_MAX
    this.chunkMaxBytes = options.chunkMaxBytes || REQUEST_MAX_BYTES
    this.pace = options.pace ?? null
    assert(offsetBytes < endBytes && this.workersMax > 0, 'copy-call')
  }
}

/** Length of a cluster of copies to `target`. */
export function copyClusterBytes(target: BlockNode, minClusterBytes = 0): number {
  const { clusterBytes } = target.driver.info()
  return Math.max(CLUSTER_MIN_BYTES, clusterBytes, minClusterBytes, target.limits.requestAlignmentBytes)
}

export class BlockCopy {
  readonly source: BlockChild
  readonly target: BlockChild
  readonly clusterBytes: number
  readonly lengthBytes: number
  /** What is still to be copied and nobody is copying. All of it at first. */
  readonly bitmap: DirtyBitmap
  /** Only what the source's own layer holds is copied; the rest is left out when it is come to. */
  skipsUnallocated = false
  progress: CopyProgress | null = null
  /** Told of clusters that are left out. */
  onLeftOut: ((offsetBytes: number, lengthBytes: number) => void) | null = null
  private readonly options: BlockCopyOptions
  private readonly tasks: Task[] = []
  private readonly waiting: WaitQueue
  private readonly writeFlags: number
  private readonly copiesRanges: boolean
  private steps = 0

  constructor(options: BlockCopyOptions) {
    const { source, target } = options
    this.options = options
    this.source = source
    this.target = target
    this.clusterBytes = copyClusterBytes(target.node, options.minClusterBytes)
    this.lengthBytes = source.node.lengthBytes
    this.bitmap = new DirtyBitmap(this.lengthBytes, this.clusterBytes)
    this.bitmap.setAll()
    this.waiting = new WaitQueue(source.node.kernel)
    // Who reads the target, and through it the source, must not see half of a change: writes exclude those reads.
    this.writeFlags = target.node.reaches(source.node.skipFilters()) ? RequestFlag.Serialising : 0
    const isPlain = options.isCompressed !== true && this.writeFlags === 0
    this.copiesRanges = options.usesCopyRange === true && isPlain && copiesRanges(source.node, target.node)
    assert(Number.isInteger(Math.log2(this.clusterBytes)), 'copy-cluster', () => String(this.clusterBytes))
  }

  get isIdle(): boolean {
    return this.tasks.length === 0
  }

  /** Whole clusters around a range. */
  clusterFloor(offsetBytes: number): number {
    return offsetBytes - (offsetBytes % this.clusterBytes)
  }
  clusterCeiling(offsetBytes: number): number {
    return Math.ceil(offsetBytes / this.clusterBytes) * this.clusterBytes
  }

  /** Only what is dirty in `bits`, a bitmap of the same disk, is copied. */
  limitTo(bits: DirtyBitmap): void {
    assert(this.isIdle && bits.lengthBytes === this.lengthBytes, 'copy-limited-at-rest')
    this.bitmap.resetAll()
    this.bitmap.merge(bits)
  }

  /** Whole clusters inside the range are not to be copied any more. */
  reset(offsetBytes: number, lengthBytes: number): void {
    assert(offsetBytes % this.clusterBytes === 0, 'copy-reset-aligned')
    const endBytes = Math.min(offsetBytes + lengthBytes, this.lengthBytes)
    if (offsetBytes < endBytes) this.bitmap.reset(offsetBytes, endBytes - offsetBytes)
  }

  /** Lets calls look at their conditions again. */
  wake(): void {
    this.waiting.wakeAll()
  }

  /** Copies what is to be copied of the call's range; `errno` and `isFinished` of the call say how that ended. */
  *run(call: CopyCall): Co<void> {
    while (true) {
      yield* this.startTasks(call)
      while (call.running > 0) yield* this.wait(call, null)
      if (call.errno !== OK || call.isCancelled) break
      const other = this.taskIn(call.offsetBytes, call.endBytes)
      if (other !== null) yield* this.wait(call, other)
      else if (this.nextDirty(call.offsetBytes, call.endBytes) < 0) break
    }
    call.isFinished = true
    assert(call.running === 0, 'copy-call-settled')
  }

  private wait(call: CopyCall, task: Task | null): Co<void> {
    return this.waiting.wait({
      describe: () => `waits for a copy in ${call.offsetBytes}..${call.endBytes}`,
      heldBy: () => this.tasks.flatMap(({ owner }) => (owner === null || (task !== null && owner !== task.owner) ? [] : [owner])),
    })
  }

  private taskIn(offsetBytes: number, endBytes: number): Task | null {
    return this.tasks.find((task) => task.offsetBytes < endBytes && offsetBytes < task.endBytes) ?? null
  }

  private nextDirty(offsetBytes: number, endBytes: number): number {
    const dirty = this.bitmap.nextDirty(offsetBytes)
    return dirty >= endBytes ? -1 : dirty
  }

  private *startTasks(call: CopyCall): Co<void> {
    const { kernel } = this.source.node
    for (let at = call.offsetBytes; call.errno === OK && !call.isCancelled; ) {
      while (call.running >= call.workersMax) yield* this.wait(call, null)
      if (call.errno !== OK || call.isCancelled) return
      const startBytes = this.nextDirty(at, call.endBytes)
      if (startBytes < 0) return
      const delayNs = call.pace?.delayNs(kernel.nowNs()) ?? 0
      if (delayNs > 0) {
        yield* this.sleep(delayNs)
        continue
      }
      at = yield* this.startTask(call, startBytes)
      if (++this.steps % STEPS_MAX === 0) yield* kernel.sleepNs(0)
    }
  }

  /** Sleeps, or until somebody wakes the calls. */
  private *sleep(durationNs: number): Co<void> {
    const { kernel } = this.source.node
    assert(kernel.current !== null, 'copy-inside-coroutine')
    kernel.wakeAt(kernel.willPark({ describe: () => 'waits for the speed limit' }), kernel.nowNs() + durationNs)
    yield
  }

  /** Takes the clusters from `startBytes` on that are of one kind. Gives where they end. */
  private *startTask(call: CopyCall, startBytes: number): Co<number> {
    const task = this.claim(call, startBytes)
    const { isAllocated, isZero, endBytes } = yield* this.lookAt(task)
    if (endBytes < task.endBytes) this.shrink(task, endBytes)
    if (this.skipsUnallocated && !isAllocated) {
      this.onLeftOut?.(startBytes, Math.min(endBytes, this.lengthBytes) - startBytes)
      this.end(task, OK)
      return endBytes
    }
    if (call.pace !== null) call.pace.account(this.source.node.kernel.nowNs(), endBytes - startBytes)
    call.running++
    const body = this.work(call, task, isZero)
    task.owner = this.source.node.kernel.spawn(body, numberedLabel('copy', startBytes / this.clusterBytes))
    return endBytes
  }

  private claim(call: CopyCall, startBytes: number): Task {
    const cleanBytes = this.bitmap.nextClean(startBytes)
    const chunkBytes = Math.min(this.pieceBytes(), Math.max(this.clusterFloor(call.chunkMaxBytes), this.clusterBytes))
    const dirtyEndBytes = cleanBytes < 0 ? this.lengthBytes : Math.min(cleanBytes, this.lengthBytes)
    const stopBytes = Math.min(dirtyEndBytes, call.endBytes, startBytes + chunkBytes)
    assert(stopBytes > startBytes && startBytes % this.clusterBytes === 0, 'copy-claim')
    this.bitmap.reset(startBytes, stopBytes - startBytes)
    const task: Task = { offsetBytes: startBytes, endBytes: this.clusterCeiling(stopBytes), owner: null }
    this.tasks.push(task)
    this.progress?.begin(task.endBytes - startBytes)
    return task
  }

  private pieceBytes(): number {
    if (this.options.isCompressed === true) return this.clusterBytes
    return Math.max(this.clusterBytes, this.clusterFloor(this.copiesRanges ? RANGE_BYTES : PIECE_BYTES))
  }

  /** What the source holds at the start of a task, in whole clusters. Where it does not say, there is a cluster of data. */
  private *lookAt(task: Task): Co<{ isAllocated: boolean; isZero: boolean; endBytes: number }> {
    const { offsetBytes } = task
    const { node } = this.source
    const layer = node.skipFilters()
    const lengthBytes = Math.min(task.endBytes, this.lengthBytes) - offsetBytes
    const base = this.skipsUnallocated ? (layer.backing?.node ?? null) : null
    const status = yield* node.blockStatusAbove(base, 'want-zero', offsetBytes, lengthBytes)
    const isLast = offsetBytes + status.bytes === this.lengthBytes
    if (status.errno !== OK || (status.bytes < this.clusterBytes && !isLast)) {
      return { isAllocated: true, isZero: false, endBytes: offsetBytes + this.clusterBytes }
    }
    const stopBytes = offsetBytes + status.bytes
    const endBytes = isLast ? this.clusterCeiling(stopBytes) : this.clusterFloor(stopBytes)
    const isZero = (status.flags & StatusFlag.Zero) !== 0
    return { isAllocated: (status.flags & StatusFlag.Allocated) !== 0, isZero, endBytes }
  }

  /** The rest of a task is left to others. */
  private shrink(task: Task, endBytes: number): void {
    assert(endBytes > task.offsetBytes && endBytes < task.endBytes, 'copy-shrink')
    this.progress?.giveBack(task.endBytes - endBytes)
    this.bitmap.set(endBytes, Math.min(task.endBytes, this.lengthBytes) - endBytes)
    task.endBytes = endBytes
    this.waiting.wakeAll()
  }

  private *work(call: CopyCall, task: Task, isZero: boolean): Co<void> {
    const { offsetBytes } = task
    const bytes = Math.min(task.endBytes, this.lengthBytes) - offsetBytes
    let isRead = false
    let errno = OK
    // What is a hole in the source is to be one in the copy.
    if (isZero) errno = yield* this.target.pwriteZeroes(offsetBytes, bytes, this.writeFlags | RequestFlag.MayUnmap)
    else if (!this.copiesRanges || (yield* copyThrough(this.source, this.target, offsetBytes, bytes)) !== OK) {
      const data = this.source.node.graph.allocateBuffer(bytes)
      errno = yield* this.source.pread(offsetBytes, data)
      isRead = errno !== OK
      const compressed = this.options.isCompressed === true ? RequestFlag.Compressed : 0
      if (errno === OK) errno = yield* this.target.pwrite(offsetBytes, data, this.writeFlags | compressed)
    }
    // Advice: the copy is good whatever becomes of it.
    if (errno === OK && this.options.discardsSource === true) yield* this.source.pdiscard(offsetBytes, bytes)
    if (errno !== OK && call.errno === OK) {
      call.errno = errno
      call.isRead = isRead
    }
    call.running--
    this.end(task, errno)
  }

  private end(task: Task, errno: Errno): void {
    const { offsetBytes, endBytes } = task
    const index = this.tasks.indexOf(task)
    assert(index >= 0, 'copy-task-known')
    this.tasks.splice(index, 1)
    if (errno === OK) this.progress?.succeed(endBytes - offsetBytes)
    else {
      this.progress?.giveBack(endBytes - offsetBytes)
      this.bitmap.set(offsetBytes, Math.min(endBytes, this.lengthBytes) - offsetBytes)
    }
    this.waiting.wakeAll()
  }

  /**
   * Leaves out what the source's own layer does not hold at `offsetBytes`, as far as that can be said at once. Gives the
   * length that was looked at, in whole clusters.
   */
  *leaveOutUnallocated(offsetBytes: number): Co<{ errno: Errno; bytes: number }> {
    const { node } = this.source
    const below = node.skipFilters().backing?.node ?? null
    let bytes = 0
    let isAllocated = false
    // A cluster that is allocated in part is allocated.
    for (let at = offsetBytes; bytes < this.clusterBytes && at < this.lengthBytes; at = offsetBytes + bytes) {
      const found = yield* isAllocatedAbove(node, below, at, this.lengthBytes - at)
      if (found.errno !== OK) return { errno: found.errno, bytes: 0 }
      const isMixed = bytes > 0 && (isAllocated || found.isAllocated)
      isAllocated ||= found.isAllocated
      bytes = isMixed ? Math.min(bytes + found.bytes, this.clusterBytes) : bytes + found.bytes
    }
    const stopBytes = offsetBytes + bytes
    const wholeBytes = stopBytes >= this.lengthBytes ? this.lengthBytes - offsetBytes : bytes - (bytes % this.clusterBytes)
    assert(wholeBytes > 0, 'leave-out-progress')
    if (!isAllocated) {
      this.reset(offsetBytes, wholeBytes)
      this.onLeftOut?.(offsetBytes, wholeBytes)
    }
    return { errno: OK, bytes: wholeBytes }
  }
}
