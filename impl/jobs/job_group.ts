/**
 * Jobs that end together: all of them with success, or none (completion mode `grouped`). Who has done its work waits for the
 * others; the failure or the cancel of one cancels all.
 *
 * What never may: a member that commits while another one may still fail.
 */
import { assert } from '../co'
import type { Job } from './job'

export class JobGroup {
  /** The newest first, the order in which QEMU tells of them. */
  readonly members: Job[] = []
  hasFailed = false
  isFinalizeRequested = false
  private readonly arrived = new Set<Job>()
  private readonly prepared = new Set<Job>()
  private concluded = 0

  add(job: Job): void {
    assert(job.status === 'created' && !this.members.includes(job), 'group-takes-new-jobs')
    this.members.unshift(job)
  }

  /** One whose work is done. True when it is the last one. */
  arrive(job: Job): boolean {
    assert(this.members.includes(job) && !this.arrived.has(job), 'group-arrives-once')
    this.arrived.add(job)
    return this.arrived.size === this.members.length
  }

  get mayFinalize(): boolean {
    return this.isFinalizeRequested || this.members.every((job) => job.autoFinalize)
  }

  /** One that cannot fail any more. */
  prepare(job: Job): void {
    this.prepared.add(job)
    if (this.isPrepared) this.kickAll()
  }
  get isPrepared(): boolean {
    return this.prepared.size === this.members.length
  }

  /** Whether those before `job` have concluded. */
  isTurnOf(job: Job): boolean {
    return this.isPrepared && this.members.indexOf(job) === this.concluded
  }
  conclude(): void {
    this.concluded++
    assert(this.concluded <= this.members.length, 'group-concludes-once')
    this.kickAll()
  }

  kickAll(): void {
    for (const job of this.members) job.kick()
  }

  /** One fails: the others are cancelled. */
  fail(job: Job): void {
    if (this.hasFailed) return
    assert(!this.isPrepared, 'group-fails-before-commit')
    this.hasFailed = true
    for (const other of this.members) if (other !== job) other.cancelWithGroup()
  }
}
