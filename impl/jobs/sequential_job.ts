/**
 * A job that goes through an image from its start to its end, one request after another, and then leaves. What it does with
 * a piece is in its subclass; when it pauses, waits for its speed limit or tries again is here.
 *
 * What may fail: a step, as an errno that the job's policy judges: `stop` pauses before the same piece, `ignore` tries it
 * again or goes on behind it, `report` ends the job.
 */
import { assert, type Co, type Errno, OK, type WaitReason } from '../co'
import { type ErrorAction, type ErrorPolicy, RETRY_DELAY_NS } from './error_policy'
import { Job, type JobOptions } from './job'
import type { JobManager } from './job_manager'

/** The longest piece of one step, in bytes. */
export const PIECE_MAX_BYTES = 512 * 1024
/** Pieces without I/O before others get their turn. */
const STEPS_MAX = 32

const THROTTLED: WaitReason = { describe: () => 'waits for the speed limit or for the next attempt' }

/** What became of one piece. */
export interface Step {
  errno: Errno
  /** Where the error came from. */
  isRead: boolean
  /** How far the job has come by it; with an error, how much is left alone if that is ignored. */
  bytes: number
  /** What counts for the speed limit. */
  copiedBytes: number
}

export abstract class SequentialJob extends Job {
  protected readonly policy: ErrorPolicy
  /** Where an ignored error is left behind; otherwise the piece is tried again. */
  protected readonly skipsErrors: boolean = false
  private atBytes = 0
  private endBytes = 0
  private retryAtNs = 0
  private firstErrno: Errno = OK
  private steps = 0
  private hasLeft = false

  constructor(manager: JobManager, options: JobOptions, policy: ErrorPolicy) {
    super(manager, options)
    this.policy = policy
  }

  /** The next piece, which starts at `atBytes` and ends before `endBytes`. */
  protected abstract step(atBytes: number, endBytes: number): Co<Step>

  /** Gives everything back, with or without success; called once. */
  protected abstract leave(isDone: boolean): Co<Errno>

  protected prepare(): Co<Errno> {
    return this.leaveOnce(true)
  }
  protected *abort(): Co<void> {
    if (!this.hasLeft) yield* this.leaveOnce(false)
  }

  private leaveOnce(isDone: boolean): Co<Errno> {
    assert(!this.hasLeft, 'job-leaves-once', () => this.id)
    this.hasLeft = true
    return this.leave(isDone)
  }

  get isMoving(): boolean {
    return !(this.isPaused || this.isDone)
  }

  protected waitingBytes(): number {
    return this.endBytes - this.atBytes
  }

  /** Known from now on to whoever asks for the progress. */
  protected setLength(lengthBytes: number): void {
    assert(this.atBytes === 0 && lengthBytes >= 0, 'length-at-start')
    this.endBytes = lengthBytes
  }

  /** All pieces of the length that has been set. Gives the first error that was not tried again. */
  protected *walk(): Co<Errno> {
    while (this.atBytes < this.endBytes) {
      yield* this.pausePoint()
      if (this.isForceCancelled) return OK
      const nowNs = this.kernel.nowNs()
      const delayNs = Math.max(this.limit.delayNs(nowNs), this.retryAtNs - nowNs)
      if (delayNs > 0) {
        yield* this.sleepFor(delayNs, THROTTLED)
        continue
      }
      const step = yield* this.step(this.atBytes, this.endBytes)
      const action = step.errno === OK ? null : this.judge(step)
      if (action === 'report') break
      if (action === null || (action === 'ignore' && this.skipsErrors)) this.advance(step)
      if (++this.steps % STEPS_MAX === 0) yield* this.kernel.sleepNs(0)
    }
    return this.firstErrno
  }

  private advance(step: Step): void {
    assert(step.bytes > 0 && step.bytes <= this.endBytes - this.atBytes, 'step-inside', () => `${step.bytes}`)
    this.progress.begin(step.bytes)
    this.atBytes += step.bytes
    this.progress.succeed(step.bytes)
    if (step.copiedBytes > 0) this.limit.account(this.kernel.nowNs(), step.copiedBytes)
  }

  private judge({ isRead, errno }: Step): ErrorAction {
    // Whoever cancels by force does not want to hear what went wrong.
    const action = this.isForceCancelled ? 'report' : this.judgeError(this.policy, isRead, errno)
    if (action === 'ignore' && !this.skipsErrors) this.retryAtNs = this.kernel.nowNs() + RETRY_DELAY_NS
    else if (action !== 'stop' && this.firstErrno === OK) this.firstErrno = errno
    return action
  }

  protected *settle(): Co<void> {}
}
