/**
 * The mirror job: copies a disk that is in use to another one, keeps both the same, and puts the copy in the place of the
 * original. This file is its order of events; the work is in its neighbours.
 *
 * READY: there was a moment when nothing was dirty or in flight and the target was flushed. Actively synced: the copy is
 * the same whenever no request is on its way. The end: the source is drained, nothing is dirty, the target is flushed;
 * no guest's request completes between that and the switch-over.
 */
import { type BackendHooks, BlockError } from '../../block'
import { assert, type Co, EINVAL, type Errno, OK, type WaitReason } from '../../co'
import { RETRY_DELAY_NS } from '../error_policy'
import { type BlockJobInfo, Job, type JobOptions } from '../job'
import type { JobManager } from '../job_manager'
import { BackgroundCopier } from './background'
import { leaveGraph, type MirrorPlaces } from './completion'
import { initialise } from './init'
import type { MirrorView } from './inspect'
import { type CopyMode, checkActiveSpeed } from './options'
import type { MirrorControl, MirrorState } from './state'

const IDLE: WaitReason = { describe: () => 'waits for changes of the source or for orders' }
const THROTTLED: WaitReason = { describe: () => 'waits for the speed limit or for the next attempt' }

/** `query-block-jobs` with `convergence`; `seconds-left` is absent when the copy does not come nearer to its end. */
export interface MirrorConvergence {
  'copy-mode': CopyMode
  auto: boolean
  remaining: number
  copied: number
  'skipped-zero': number
  zeroed: number
  discarded: number
  're-dirtied': number
  'copy-rate': number
  'dirty-rate': number
  'active-speed': number
  'seconds-left'?: number
}

export class MirrorJob extends Job implements MirrorControl {
  readonly type: 'mirror' | 'commit'
  private state!: MirrorState
  private places!: MirrorPlaces
  private copier!: BackgroundCopier
  /** Waits for its own drained section, or is in it. */
  private isDraining = false
  private holdsSourceDrained = false
  private hasLeft = false

  /** Makes a job that is not known to anybody yet. */
  constructor(manager: JobManager, options: JobOptions, type: 'mirror' | 'commit' = 'mirror') {
    super(manager, options)
    this.type = type
    assert(this.status === 'created', 'mirror-created')
  }

  /** Its place in the graph. Called once, before the job is started. */
  settleDown(state: MirrorState, places: MirrorPlaces): void {
    assert(this.status === 'created', 'mirror-settles-once')
    this.state = state
    this.places = places
    state.control = this
    this.copier = new BackgroundCopier(state, (reason) => this.sleepUntilKick(reason))
  }

  /** The read-only window for queries and checkers. */
  get view(): MirrorView {
    return this.state
  }

  override query(): BlockJobInfo & { 'actively-synced'?: boolean } {
    const info = super.query()
    return this.type === 'commit' ? info : { ...info, 'actively-synced': this.state.activelySynced }
  }

  get isMoving(): boolean {
    return !(this.isPaused || this.isDone || this.isDraining) || this.hasBackground()
  }

  /**
   * The same mode again is fine. Back to `background` only if the job may choose by itself, or with `allowsReverse`:
   * QEMU refuses it, and managers may count on that. The speed is the limit of active writes, 0 for none. Throws BlockError
   * before anything is changed.
   */
  changeCopyMode(mode: CopyMode | 'auto', options: { allowsReverse?: boolean; activeSpeedBytesPerSecond?: number } = {}): void {
    this.checkVerb('change')
    if (this.type === 'commit') throw new BlockError('Job type does not support change')
    const { state } = this
    const { convergence, pace } = state
    const { allowsReverse = false, activeSpeedBytesPerSecond: speed = pace.limit.speed } = options
    checkActiveSpeed(speed)
    if (mode === 'background' && mode !== state.copyMode && !(convergence.isAutomatic || allowsReverse)) {
      throw new BlockError("Change to copy mode 'background' is not implemented")
    }
    const changesMode = mode !== 'auto' && mode !== state.copyMode
    convergence.isAutomatic = mode === 'auto'
    if (speed !== pace.limit.speed) pace.setSpeed(speed)
    if (!changesMode) return
    state.serveGuests(mode)
    this.kick()
  }

  get isEnding(): boolean {
    return this.isCompleteRequested || this.isCancelRequested
  }

  /** How the copy gets on, in bytes, and bytes per second in the last round of copying. */
  convergence(): MirrorConvergence {
    const { convergence, copyMode, pace, remainingBytes, statistics } = this.state
    const seconds = convergence.secondsLeft(remainingBytes)
    return {
      'copy-mode': copyMode,
      auto: convergence.isAutomatic,
      remaining: remainingBytes,
      copied: statistics.copiedBytes,
      'skipped-zero': statistics.skippedZeroBytes,
      zeroed: statistics.zeroedBytes,
      discarded: statistics.discardedBytes,
      're-dirtied': convergence.redirtiedBytes,
      'copy-rate': convergence.copyBytesPerSecond,
      'dirty-rate': convergence.dirtyBytesPerSecond,
      'active-speed': pace.limit.speed,
      ...(seconds === null ? {} : { 'seconds-left': seconds }),
    }
  }

  protected override checkComplete(): void {
    const { replaces, source } = this.state.options
    if (replaces !== undefined && source.graph.findNode(replaces) === null) {
      throw new BlockError(`Node name '${replaces}' not found`)
    }
  }

  protected override abandonRequests(): void {
    this.state.pace.reconsider()
    this.state.target.driver.cancelInFlight()
  }

  protected waitingBytes(): number {
    return this.state.dirty.countBytes
  }

  protected *run(): Co<Errno> {
    const { state } = this
    const errno = yield* this.work()
    yield* this.settle()
    assert(state.backgroundCount === 0, 'mirror-run-settled')
    return errno
  }

  private *work(): Co<Errno> {
    const { state } = this
    yield* this.pausePoint()
    if (this.isForceCancelled) return OK
    if (state.options.commit !== undefined) {
      const errno = yield* this.growTarget()
      if (errno !== OK) return errno
    } else if (state.lengthBytes !== state.target.lengthBytes) {
      this.errorText = 'Source and target image have different sizes'
      return EINVAL
    }
    const errno = yield* initialise(state, () => this.pausePoint())
    if (errno !== OK || this.isForceCancelled) return errno
    state.isDirtyComplete = true
    state.isPublished = true
    state.phase = 'copying'
    return yield* this.copyUntilDone()
  }

  /** What is committed may be longer than what it is committed to. */
  private *growTarget(): Co<Errno> {
    const { lengthBytes, target, targetBackend } = this.state
    return target.lengthBytes < lengthBytes ? yield* targetBackend.truncate(lengthBytes, false, 'off') : OK
  }

  private *copyUntilDone(): Co<Errno> {
    const { state } = this
    while (true) {
      if (this.mustPause) yield* this.pausePoint()
      if (this.isForceCancelled) return OK
      if (state.fatalErrno !== OK) return state.fatalErrno
      const isClean = state.dirty.count === 0
      if (isClean ? state.backgroundCount > 0 : !this.copier.hasSlot) {
        yield* this.sleepUntilKick(this.copier)
        continue
      }
      const nowNs = this.kernel.nowNs()
      const limitNs = isClean ? 0 : this.limit.delayNs(nowNs)
      const delayNs = Math.max(limitNs, state.retryAtNs - nowNs)
      if (delayNs > 0) yield* this.sleepFor(delayNs, THROTTLED)
      else if (!isClean) yield* this.copier.copyNext()
      else if (yield* this.rest()) return OK
    }
  }

  /** Nothing is dirty and nothing in flight. True when the job is over; otherwise there may be work again. */
  private *rest(): Co<boolean> {
    const { state } = this
    assert(state.dirty.count === 0 && state.backgroundCount === 0, 'mirror-at-rest')
    if (!state.wasReady) {
      const errno = yield* state.targetBackend.flush()
      if (errno !== OK) {
        this.handleError(false, errno)
        return false
      }
      // A pause or a cancel may have come meanwhile; it is served first.
      if (state.mustHold) return false
      state.wasReady = true
      this.noteSynced()
      this.becomeReady()
      return false
    }
    this.noteSynced()
    if (this.isCompleteRequested || this.isCancelRequested) return yield* this.tryToEnd()
    yield* this.sleepUntilKick(IDLE)
    return false
  }

  private noteSynced(): void {
    const { state } = this
    const isSynced = state.copyMode === 'write-blocking' && state.dirty.count === 0 && state.passiveCount === 0
    if (isSynced || state.lengthBytes === 0) state.activelySynced = true
  }

  /** Stops the guests and looks whether everything is copied. True leaves the source drained. */
  private *tryToEnd(): Co<boolean> {
    const { state } = this
    assert(!this.holdsSourceDrained && !this.isDraining, 'mirror-ends-once')
    yield* this.drainSource()
    let isClean = state.dirty.count === 0 && state.fatalErrno === OK
    if (isClean) {
      state.phase = 'completing'
      const errno = yield* state.targetBackend.flush()
      if (errno !== OK) this.handleError(false, errno)
      // A pause by the user does not come between any more; one after an error does.
      isClean = errno === OK && !this.isForceCancelled && state.fatalErrno === OK
    }
    if (isClean) return true
    state.phase = 'copying'
    this.holdsSourceDrained = false
    this.isDraining = false
    state.source.graph.drainedEnd(state.source)
    return false
  }

  private *drainSource(): Co<void> {
    const { source } = this.state
    this.isDraining = true
    // Another drained section may be waiting for this job, which will not start anything now.
    source.graph.drainProgress()
    yield* source.graph.drainedBegin(source)
    this.holdsSourceDrained = true
    assert(this.state.activeCount === 0 && this.state.passiveCount === 0, 'drained-without-guests')
  }

  protected *settle(): Co<void> {
    yield* this.copier.settle()
    assert(this.state.backgroundCount === 0, 'mirror-settled')
  }

  protected stoodStill(): void {
    this.state.source.graph.drainProgress()
  }

  protected prepare(): Co<Errno> {
    return this.leave(true)
  }

  protected *abort(): Co<void> {
    if (!this.hasLeft) yield* this.leave(false)
    assert(this.hasLeft, 'mirror-left')
  }

  /** `isDone`: nothing is dirty, the target is flushed, and the source has been drained since. */
  private *leave(isDone: boolean): Co<Errno> {
    const { state } = this
    assert(!this.hasLeft && this.isDone, 'mirror-leaves-once')
    this.hasLeft = true
    state.isPublished = false
    if (!this.holdsSourceDrained) yield* this.drainSource()
    const isKnown = isDone || (yield* this.isFlushedForBitmap())
    const end = { isDone, switchesOver: isDone && this.isCompleteRequested, left: isKnown ? state.dirty : null }
    return yield* leaveGraph(state, this.places, end)
  }

  /** What a job has copied before it failed counts only if it is on the target's medium. */
  private *isFlushedForBitmap(): Co<boolean> {
    const { kept, isDirtyComplete, targetBackend } = this.state
    assert(this.holdsSourceDrained, 'flush-drained')
    if (kept.bitmap === null || kept.bitmapMode !== 'always' || !isDirtyComplete) return false
    return (yield* targetBackend.flush()) === OK
  }

  handleError(isRead: boolean, errno: Errno): void {
    const { options } = this.state
    assert(errno !== OK, 'error-has-errno')
    this.state.activelySynced = false
    const policy = isRead ? options.onSourceError : options.onTargetError
    const action = this.judgeError(policy, isRead, errno)
    if (action === 'ignore') this.state.retryAtNs = this.kernel.nowNs() + RETRY_DELAY_NS
    else if (action === 'report' && this.state.fatalErrno === OK) this.state.fatalErrno = errno
    this.state.pace.reconsider()
    this.kick()
  }

  /** Hooks of the job's hold on its filter: it pauses while the source is drained. */
  sourceHooks(): BackendHooks {
    return {
      drainBegin: () => {
        this.state.sourceDrains++
        this.state.pace.reconsider()
        this.beginPause()
      },
      drainEnd: () => {
        this.state.sourceDrains--
        this.endPause()
      },
      drainBusy: () => this.isMoving,
    }
  }

  /** Hooks of the job's hold on its target: guests' changes are only noted meanwhile. */
  targetHooks(): BackendHooks {
    return {
      drainBegin: () => {
        this.state.isTargetDrained = true
        this.state.pace.reconsider()
        this.beginPause()
      },
      drainEnd: () => {
        this.state.isTargetDrained = false
        this.endPause()
      },
      drainBusy: () => !(this.isPaused || this.isDone) || this.hasBackground() || this.state.activeCount > 0,
    }
  }

  private hasBackground(): boolean {
    return this.state.backgroundCount > 0
  }
}
