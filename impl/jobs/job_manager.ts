/** All jobs by id, and the one way out for their events. */
import { type Kernel, WaitQueue } from '../co'
import { blockJobNotFound, jobIdInUse, jobIdInvalid, jobNotFound } from './errors'
import type { Job } from './job'

/** An event as QMP sends it, without its time. */
export interface JobEvent {
  /** `JOB_STATUS_CHANGE`, `BLOCK_JOB_READY`, … */
  event: string
  data: Record<string, unknown>
}

const WELL_FORMED = /^[A-Za-z][A-Za-z0-9._-]*$/

export class JobManager {
  readonly kernel: Kernel
  readonly jobs = new Map<string, Job>()
  readonly emit: (event: JobEvent) => void
  /** Woken when a job has concluded or is gone. */
  readonly changed: WaitQueue

  constructor(kernel: Kernel, onEvent: (event: JobEvent) => void) {
    this.kernel = kernel
    this.emit = onEvent
    this.changed = new WaitQueue(kernel)
  }

  /** The job of a `job-*` command. Throws BlockError. */
  find(id: string): Job {
    const job = this.jobs.get(id)
    if (job === undefined) throw jobNotFound()
    return job
  }

  /** The job of a `block-job-*` command, whose error is of another class. Throws BlockError. */
  findBlockJob(id: string): Job {
    const job = this.jobs.get(id)
    if (job === undefined) throw blockJobNotFound(id)
    return job
  }

  /** Throws BlockError unless a job may be called `id`. */
  checkId(id: string): void {
    if (!WELL_FORMED.test(id)) throw jobIdInvalid(id)
    if (this.jobs.has(id)) throw jobIdInUse(id)
  }

  add(job: Job): void {
    this.checkId(job.id)
    this.jobs.set(job.id, job)
    this.emit({ event: 'JOB_STATUS_CHANGE', data: { id: job.id, status: job.status } })
  }

  /** The job is in status `null`: its id is free again. */
  remove(job: Job): void {
    this.jobs.delete(job.id)
    this.changed.wakeAll()
  }
}
