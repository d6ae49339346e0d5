/**
 * A backup: the state that a disk had when the job started is copied to another one. Guests go on; what they are about to
 * overwrite is copied first, by the filter, so that the job behind never sees it changed. It ends by itself, except with
 * sync=none, where only what guests overwrite is copied, until somebody cancels.
 *
 * What may fail: reading and writing, which the policies of both sides judge; what the guests' requests ran into is the
 * guests' business, unless the state was given up for them: then the job fails.
 */
import type { BlockNode } from '../../block'
import { type BlockCopy, CopyCall } from '../../block/block_copy'
import type { CopyBeforeWriteDriver } from '../../block/drivers/copy_before_write'
import { assert, type Co, type Errno, makeLabel, OK, type WaitReason } from '../../co'
import { RETRY_DELAY_NS } from '../error_policy'
import type { JobHold } from '../hold'
import { Job, type JobOptions } from '../job'
import type { JobManager } from '../job_manager'
import { finishBitmap } from '../sync_bitmap'
import type { BackupOptions, BackupPlan } from './options'

/** What a backup holds in the graph. */
export interface BackupHoldings {
  readonly copy: BlockCopy
  /** Null: nobody writes to the source. */
  readonly filter: BlockNode | null
  readonly driver: CopyBeforeWriteDriver | null
  readonly hold: JobHold
}

const COPYING: WaitReason = { describe: () => 'waits for its copies' }
const SERVING: WaitReason = { describe: () => 'waits to be cancelled' }
const RETRYING: WaitReason = { describe: () => 'waits for the next attempt' }

export class BackupJob extends Job {
  readonly type = 'backup'
  private readonly options: BackupOptions
  private readonly plan: BackupPlan
  private holdings!: BackupHoldings
  private call: CopyCall | null = null
  private hasLeft = false

  constructor(manager: JobManager, options: JobOptions, wanted: BackupOptions, plan: BackupPlan) {
    super(manager, options)
    this.options = wanted
    this.plan = plan
  }

  /** Its place in the graph. Called once, before the job is started. */
  settleDown(holdings: BackupHoldings): void {
    assert(this.status === 'created', 'backup-settles-once')
    this.holdings = holdings
    const { copy, driver } = holdings
    const { sync, bitmap } = this.plan
    copy.progress = this.progress
    if (sync === 'bitmap' && bitmap !== null) {
      if (driver === null) copy.limitTo(bitmap.bits)
      else driver.limitTo(bitmap.bits)
    }
    // Until the job has looked at all of it, clusters without data of the source's own are left out as they come.
    copy.skipsUnallocated = sync === 'top'
    if (driver !== null) driver.onSnapshotError = () => this.stopCopying()
  }

  get isMoving(): boolean {
    return !(this.isPaused || this.isDone)
  }

  protected override abandonRequests(): void {
    this.holdings.copy.target.node.driver.cancelInFlight()
  }

  protected waitingBytes(): number {
    return this.holdings.copy.bitmap.countBytes
  }

  protected *run(): Co<Errno> {
    const { sync } = this.plan
    if (sync === 'none') return yield* this.serve()
    if (sync === 'top') {
      const errno = yield* this.leaveOut()
      if (errno !== OK) return errno
    }
    return yield* this.copyAll()
  }

  /** Lets the filter do the work. */
  private *serve(): Co<Errno> {
    const { driver } = this.holdings
    while (!this.isForceCancelled) {
      if (driver !== null && driver.snapshotErrno !== OK) return driver.snapshotErrno
      yield* this.pausePoint()
      if (!this.isForceCancelled && !this.mustPause) yield* this.sleepUntilKick(SERVING)
    }
    return OK
  }

  private *leaveOut(): Co<Errno> {
    const { copy } = this.holdings
    for (let at = 0; at < copy.lengthBytes; ) {
      yield* this.pausePoint()
      if (this.isForceCancelled) return OK
      const found = yield* copy.leaveOutUnallocated(at)
      if (found.errno !== OK) return found.errno
      at += found.bytes
      yield* this.kernel.sleepNs(0)
    }
    copy.skipsUnallocated = false
    return OK
  }

  private *copyAll(): Co<Errno> {
    const { copy, driver } = this.holdings
    while (true) {
      yield* this.pausePoint()
      if (this.isForceCancelled || copy.lengthBytes === 0) return OK
      const call = yield* this.copyOnce()
      if (driver !== null && driver.snapshotErrno !== OK) return driver.snapshotErrno
      if (this.isForceCancelled) return OK
      let { errno, isRead } = call
      if (errno === OK && call.isCancelled) continue
      if (errno === OK) {
        // Whoever is told of the end may count on the copy.
        errno = yield* copy.target.flush()
        isRead = false
        if (errno === OK) return OK
      }
      const { onSourceError, onTargetError } = this.options
      const action = this.judgeError(isRead ? onSourceError : onTargetError, isRead, errno)
      if (action === 'report') return errno
      if (action === 'ignore') yield* this.sleepFor(RETRY_DELAY_NS, RETRYING)
    }
  }

  /** One walk over what is left, until an error, a pause or the end. */
  private *copyOnce(): Co<CopyCall> {
    const { copy } = this.holdings
    const { maxWorkers, maxChunkBytes = 0 } = this.options
    const call = new CopyCall(0, copy.lengthBytes, {
      ...(maxWorkers === undefined ? {} : { workersMax: maxWorkers }),
      chunkMaxBytes: maxChunkBytes,
      pace: this.limit,
    })
    this.call = call
    this.kernel.spawn(this.attend(call), makeLabel(`job-${this.id}-copies`))
    while (!call.isFinished && !this.isForceCancelled && !this.mustPause) yield* this.sleepUntilKick(COPYING)
    yield* this.settle()
    return call
  }

  private *attend(call: CopyCall): Co<void> {
    yield* this.holdings.copy.run(call)
    this.kick()
  }

  /** Starts nothing new. */
  private stopCopying(): void {
    if (this.call !== null) this.call.isCancelled = true
    this.holdings.copy.wake()
    this.kick()
  }

  protected *settle(): Co<void> {
    const { call } = this
    if (call === null) return
    if (!call.isFinished) this.stopCopying()
    while (!call.isFinished) yield* this.sleepUntilKick(COPYING)
    this.call = null
  }

  protected stoodStill(): void {
    this.options.source.graph.drainProgress()
  }

  protected *prepare(): Co<Errno> {
    return OK
  }
  protected override commit(): Co<void> {
    return this.leave(true)
  }
  protected *abort(): Co<void> {
    if (!this.hasLeft) yield* this.leave(false)
    assert(this.hasLeft, 'backup-left')
  }

  private *leave(isDone: boolean): Co<void> {
    const { copy, filter, hold } = this.holdings
    const { source } = this.options
    const { bitmap, bitmapMode } = this.plan
    const { graph } = source
    assert(!this.hasLeft && this.isDone, 'backup-leaves-once')
    this.hasLeft = true
    yield* graph.drainedBegin(source)
    assert(copy.isIdle, 'backup-leaves-at-rest')
    if (bitmap !== null) finishBitmap(bitmap, bitmapMode, isDone, copy.bitmap)
    hold.giveAll()
    if (filter !== null) {
      graph.removeFilter(filter)
      yield* graph.removeNode(filter)
    }
    graph.drainedEnd(source)
    yield* graph.release(this.options.target)
  }
}
