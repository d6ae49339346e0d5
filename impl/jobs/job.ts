/**
 * A job: a coroutine with a life cycle that users watch and steer. The verbs are those of QMP, the texts and the order
 * of events are QEMU's; what a job does between is in its subclass.
 *
 * What may fail: verbs, by BlockError with nothing changed; the work, as an errno that ends in `aborting`.
 * What never may: a transition outside the table; a paused job that runs while any pause is left; a wake-up that is lost
 * because the job was busy when it came (whoever sleeps has checked its conditions in the same step).
 */

import { BlockError } from '../block/error'
import {
  assert,
  type Co,
  type Coroutine,
  ECANCELED,
  ENOSPC,
  type Errno,
  type Kernel,
  makeLabel,
  OK,
  strerror,
  type WaitReason,
} from '../co'
import { actionFor, type ErrorAction, type ErrorPolicy } from './error_policy'
import { cannotComplete, checkSpeed, pausedByUser, verbRefused } from './errors'
import type { JobGroup } from './job_group'
import type { JobManager } from './job_manager'
import { Progress } from './progress'
import { RateLimit } from './rate_limit'

export type JobStatus =
  | 'created'
  | 'running'
  | 'paused'
  | 'ready'
  | 'standby'
  | 'waiting'
  | 'pending'
  | 'aborting'
  | 'concluded'
  | 'null'

export type JobVerb = 'cancel' | 'pause' | 'resume' | 'set-speed' | 'change' | 'complete' | 'finalize' | 'dismiss'

export type IoStatus = 'ok' | 'failed' | 'nospace'

const TRANSITIONS: Readonly<Record<JobStatus, ReadonlyArray<JobStatus>>> = {
  created: ['running', 'aborting', 'null'],
  running: ['paused', 'ready', 'waiting', 'aborting'],
  paused: ['running'],
  ready: ['standby', 'waiting', 'aborting'],
  standby: ['ready'],
  waiting: ['pending', 'aborting'],
  pending: ['aborting', 'concluded'],
  aborting: ['aborting', 'concluded'],
  concluded: ['null'],
  null: [],
}

const RUNNABLE: ReadonlyArray<JobStatus> = ['created', 'running', 'paused', 'ready', 'standby']

const ACCEPTED: Readonly<Record<JobVerb, ReadonlyArray<JobStatus>>> = {
  cancel: [...RUNNABLE, 'waiting', 'pending'],
  pause: RUNNABLE,
  resume: RUNNABLE,
  'set-speed': RUNNABLE,
  change: RUNNABLE,
  complete: ['ready', 'standby'],
  finalize: ['pending'],
  dismiss: ['concluded'],
}

export interface JobOptions {
  id: string
  /** Bytes per second, 0 for no limit. */
  speedBytesPerSecond: number
  /** False: the job waits in `pending` for `finalize`. */
  autoFinalize: boolean
  /** False: the job stays in `concluded` until `dismiss`. */
  autoDismiss: boolean
}

/** One entry of `query-block-jobs`. */
export interface BlockJobInfo {
  device: string
  type: string
  len: number
  offset: number
  busy: boolean
  paused: boolean
  speed: number
  'io-status': IoStatus
  ready: boolean
  status: JobStatus
  'auto-finalize': boolean
  'auto-dismiss': boolean
  error?: string
}

/** One entry of `query-jobs`. */
export interface JobInfo {
  id: string
  type: string
  status: JobStatus
  'current-progress': number
  'total-progress': number
  error?: string
}

const PAUSED: WaitReason = { describe: () => 'waits to be resumed' }
const WAITING: WaitReason = { describe: () => 'waits for the other jobs of its group' }
const PENDING: WaitReason = { describe: () => 'waits to be finalized' }

export abstract class Job {
  abstract readonly type: string
  readonly id: string
  readonly kernel: Kernel
  readonly manager: JobManager
  readonly progress: Progress
  readonly limit = new RateLimit()
  readonly autoFinalize: boolean
  readonly autoDismiss: boolean
  status: JobStatus = 'created'
  ioStatus: IoStatus = 'ok'
  /** Text of the failure, once there is one. */
  errorText: string | null = null
  coroutine: Coroutine | null = null
  /** The user's pause, drained sections and stops after errors, each counted. */
  pauseCount = 0
  /** Paused by the user or by an error: `resume` ends it. */
  isUserPaused = false
  /** Stands at a pause point. */
  isPaused = false
  /** A cancel of any kind was accepted. */
  isCancelRequested = false
  /** The job must end soon and badly. */
  isForceCancelled = false
  isCompleteRequested = false
  /** The work is over; what is left is to leave the graph and to conclude. */
  isDone = false
  private isFinalizeRequested = false
  private group: JobGroup | null = null
  private isConcluding = false
  private sleeper: Coroutine | null = null

  /** Throws BlockError if the speed is none. */
  constructor(manager: JobManager, options: JobOptions) {
    checkSpeed(options.speedBytesPerSecond)
    this.manager = manager
    this.kernel = manager.kernel
    this.id = options.id
    this.autoFinalize = options.autoFinalize
    this.autoDismiss = options.autoDismiss
    this.limit.setSpeed(options.speedBytesPerSecond)
    this.progress = new Progress(() => this.waitingBytes())
  }

  /** Work that is known and not started, in bytes. */
  protected abstract waitingBytes(): number
  /** The work. Ends with OK also after a forced cancel. */
  protected abstract run(): Co<Errno>
  /** The last step of a success, which may still fail. Whatever it returns, the job has left the graph afterwards. */
  protected abstract prepare(): Co<Errno>
  /** What may only be done when nothing can fail any more. */
  protected *commit(): Co<void> {}
  /** Leaves the graph without having had success; does nothing if `prepare` has run. */
  protected abstract abort(): Co<void>
  /** Ends what the job has started by itself: it will stand still after that. */
  protected abstract settle(): Co<void>
  /** The job has come to stand still; somebody may be waiting for that. */
  protected abstract stoodStill(): void

  get isReady(): boolean {
    return this.status === 'ready' || this.status === 'standby'
  }
  get mustPause(): boolean {
    return this.pauseCount > 0
  }

  start(): void {
    assert(this.status === 'created' && this.coroutine === null, 'job-starts-once')
    assert(this.manager.jobs.get(this.id) === this, 'job-known')
    this.transition('running')
    this.coroutine = this.kernel.spawn(this.live(), makeLabel(`job-${this.id}`))
  }

  private *live(): Co<void> {
    let errno = yield* this.run()
    this.isDone = true
    this.stoodStill()
    if (errno === OK && !this.isForceCancelled) {
      this.transition('waiting')
      if (this.group === null) this.becomePending()
      else yield* this.arrive(this.group)
      while (!(this.mayFinalize || this.isForceCancelled)) yield* this.sleepUntilKick(PENDING)
      this.isConcluding = true
      if (!this.isForceCancelled) errno = yield* this.prepare()
      if (this.group !== null && errno === OK && !this.isForceCancelled) yield* this.prepareWith(this.group)
    }
    if (errno === OK && this.isForceCancelled) errno = ECANCELED
    if (errno !== OK) {
      this.group?.fail(this)
      this.errorText ??= strerror(errno)
      this.transition('aborting')
      yield* this.abort()
    } else yield* this.commit()
    this.emitEnd(errno)
    this.transition('concluded')
    if (this.autoDismiss) this.vanish()
    this.group?.conclude()
  }

  private becomePending(): void {
    this.transition('pending')
    if (!this.autoFinalize) this.emit('BLOCK_JOB_PENDING', { type: this.type, id: this.id })
  }

  private get mayFinalize(): boolean {
    return this.group === null ? this.autoFinalize || this.isFinalizeRequested : this.group.mayFinalize
  }

  /** The last one of a group takes all of them to `pending`. */
  private *arrive(group: JobGroup): Co<void> {
    if (group.arrive(this)) {
      for (const job of group.members) job.becomePending()
      group.kickAll()
    }
    while (this.status === 'waiting' && !this.isForceCancelled) yield* this.sleepUntilKick(WAITING)
    assert(this.isForceCancelled || this.status === 'pending', 'group-pending')
  }

  private *prepareWith(group: JobGroup): Co<void> {
    group.prepare(this)
    while (!group.isTurnOf(this) && !this.isForceCancelled) yield* this.sleepUntilKick(WAITING)
  }

  /** Puts the job among others that end with it. Before it is started. */
  join(group: JobGroup): void {
    assert(this.group === null, 'job-joins-once')
    group.add(this)
    this.group = group
  }

  /** Another one of the group has failed. */
  cancelWithGroup(): void {
    assert(this.group?.hasFailed === true, 'group-failed')
    this.isCancelRequested = true
    this.isForceCancelled = true
    if (this.isUserPaused) this.endUserPause()
    this.kick()
  }

  /** Gives up a job that has not been started. */
  *discard(): Co<void> {
    assert(this.coroutine === null, 'discard-before-start')
    this.isDone = true
    this.errorText = strerror(ECANCELED)
    this.transition('aborting')
    yield* this.abort()
    this.transition('concluded')
    this.vanish()
  }

  private emitEnd(errno: Errno): void {
    assert((errno === OK) === (this.errorText === null), 'job-error-text')
    if (this.isForceCancelled) this.emit('BLOCK_JOB_CANCELLED', this.facts())
    else this.emit('BLOCK_JOB_COMPLETED', errno === OK ? this.facts() : { ...this.facts(), error: this.errorText })
  }

  private vanish(): void {
    assert(this.status === 'concluded', 'job-concluded')
    this.transition('null')
    this.manager.remove(this)
  }

  protected emit(event: string, data: Record<string, unknown>): void {
    this.manager.emit({ event, data })
  }

  private facts(): Record<string, unknown> {
    const { offsetBytes, lengthBytes } = this.progress
    return { type: this.type, device: this.id, len: lengthBytes, offset: offsetBytes, speed: this.limit.speed }
  }

  private transition(status: JobStatus): void {
    assert(TRANSITIONS[this.status].includes(status), 'job-transition', () => `${this.status} to ${status}`)
    this.status = status
    this.emit('JOB_STATUS_CHANGE', { id: this.id, status })
    if (status === 'concluded') this.manager.changed.wakeAll()
  }

  protected becomeReady(): void {
    assert(this.status === 'running', 'ready-once', () => this.status)
    this.transition('ready')
    this.emit('BLOCK_JOB_READY', this.facts())
  }

  /** Lets a sleeping job look at its conditions again. */
  kick(): void {
    if (this.sleeper !== null) this.kernel.wake(this.sleeper)
  }

  /** Parks the job's coroutine until somebody kicks it. Call right after having found nothing to do. */
  protected *sleepUntilKick(reason: WaitReason): Co<void> {
    assert(this.kernel.current === this.coroutine, 'job-sleeps-itself')
    this.sleeper = this.kernel.willPark(reason)
    yield
    this.sleeper = null
  }

  /** As `sleepUntilKick`, for at most `durationNs`. */
  protected *sleepFor(durationNs: number, reason: WaitReason): Co<void> {
    assert(this.kernel.current === this.coroutine, 'job-sleeps-itself')
    this.sleeper = this.kernel.willPark(reason)
    this.kernel.wakeAt(this.sleeper, this.kernel.nowNs() + durationNs)
    yield
    this.sleeper = null
  }

  /** Stands still here as long as anybody wants it, unless the job is to die. Pauses that follow each other count as one. */
  protected *pausePoint(): Co<void> {
    assert(!this.isPaused, 'pause-once')
    if (!this.mustPause || this.isForceCancelled) return
    yield* this.settle()
    if (!this.mustPause || this.isForceCancelled) return
    const before = this.status
    this.transition(before === 'ready' ? 'standby' : 'paused')
    this.isPaused = true
    this.stoodStill()
    while (this.mustPause && !this.isForceCancelled) yield* this.sleepUntilKick(PAUSED)
    this.isPaused = false
    this.transition(before)
  }

  beginPause(): void {
    this.pauseCount++
    this.kick()
  }
  endPause(): void {
    assert(this.pauseCount > 0, 'pause-count', () => this.id)
    this.pauseCount--
    if (this.pauseCount === 0) this.kick()
  }

  /** Stops the job as a user would, after an error that is to be looked at. The first error says what it was. */
  protected stopForError(ioStatus: IoStatus): void {
    assert(ioStatus !== 'ok', 'stop-has-reason')
    if (this.ioStatus === 'ok') this.ioStatus = ioStatus
    if (this.isUserPaused) return
    this.isUserPaused = true
    this.beginPause()
  }

  /** A request of the job has failed: tells everybody, and stops the job if its policy says so. */
  protected judgeError(policy: ErrorPolicy, isRead: boolean, errno: Errno): ErrorAction {
    const action = actionFor(policy, errno)
    this.emit('BLOCK_JOB_ERROR', { device: this.id, operation: isRead ? 'read' : 'write', action })
    if (action === 'stop') this.stopForError(errno === ENOSPC ? 'nospace' : 'failed')
    return action
  }

  protected checkVerb(verb: JobVerb): void {
    if (!ACCEPTED[verb].includes(this.status)) throw verbRefused(this.id, this.status, verb)
  }

  pause(): void {
    this.checkVerb('pause')
    if (this.isUserPaused) throw new BlockError('Job is already paused')
    this.isUserPaused = true
    this.beginPause()
  }

  resume(): void {
    if (!this.isUserPaused || this.pauseCount === 0) throw new BlockError("Can't resume a job that was not paused")
    this.checkVerb('resume')
    this.endUserPause()
  }

  private endUserPause(): void {
    assert(this.isUserPaused && this.pauseCount > 0, 'user-pause-counted')
    this.isUserPaused = false
    this.ioStatus = 'ok'
    this.endPause()
  }

  /** Bytes per second, 0 for no limit. */
  setSpeed(bytesPerSecond: number): void {
    this.checkVerb('set-speed')
    checkSpeed(bytesPerSecond)
    this.limit.setSpeed(bytesPerSecond)
    this.kick()
  }

  /** Before READY every cancel is forced; after it, a cancel without force means "end without switching over". */
  cancel(force: boolean): void {
    this.checkVerb('cancel')
    if (!force && this.isUserPaused) throw pausedByUser(this.id)
    // The switch-over has begun and cannot be undone: the job ends as it would have.
    if (this.isConcluding) return
    const isForced = force || !this.isReady
    this.isCancelRequested = true
    this.isForceCancelled ||= isForced
    if (this.isUserPaused) this.endUserPause()
    if (isForced) this.abandonRequests()
    this.kick()
    assert(!this.isUserPaused, 'cancel-ends-pause')
  }

  /** The job is to end by force: its requests need not wait for what may never come. */
  protected abandonRequests(): void {}

  /** Idempotent. Takes effect at the resume if the job is in standby. */
  complete(): void {
    this.checkVerb('complete')
    if (this.isCancelRequested) throw cannotComplete(this.id)
    this.checkComplete()
    this.isCompleteRequested = true
    this.kick()
  }

  /** Throws BlockError if the job cannot be completed as things are. */
  protected checkComplete(): void {}

  finalize(): void {
    this.checkVerb('finalize')
    this.isFinalizeRequested = true
    if (this.group !== null) this.group.isFinalizeRequested = true
    this.group?.kickAll()
    this.kick()
  }

  dismiss(): void {
    this.checkVerb('dismiss')
    this.vanish()
  }

  /** As `query-block-jobs` shows the job. */
  query(): BlockJobInfo {
    return {
      device: this.id,
      type: this.type,
      len: this.progress.lengthBytes,
      offset: this.progress.offsetBytes,
      busy: this.status !== 'created' && !this.isPaused && !this.isDone && this.sleeper === null,
      paused: this.pauseCount > 0,
      speed: this.limit.speed,
      'io-status': this.ioStatus,
      ready: this.isReady,
      status: this.status,
      'auto-finalize': this.autoFinalize,
      'auto-dismiss': this.autoDismiss,
      ...(this.errorText === null ? {} : { error: this.errorText }),
    }
  }

  /** As `query-jobs` shows the job. */
  queryJob(): JobInfo {
    return {
      id: this.id,
      type: this.type,
      status: this.status,
      'current-progress': this.progress.offsetBytes,
      'total-progress': this.progress.lengthBytes,
      ...(this.errorText === null ? {} : { error: this.errorText }),
    }
  }
}
