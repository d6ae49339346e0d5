/**
 * The life cycle of a job as its events tell it: which status may follow which, and which event belongs to which moment.
 * Facts are those of QEMU's interface; the model is told one event at a time and answers with the rule that it breaks.
 */

/** Statuses in which a job may still be steered. */
export const NEXT_STATUSES: Readonly<Record<string, readonly string[]>> = {
  none: ['created'],
  created: ['running', 'aborting', 'null'],
  running: ['paused', 'ready', 'waiting', 'aborting'],
  paused: ['running'],
  ready: ['standby', 'waiting', 'aborting'],
  standby: ['ready'],
  waiting: ['pending', 'aborting'],
  pending: ['aborting', 'concluded'],
  aborting: ['aborting', 'concluded'],
  concluded: ['null'],
  null: ['created'],
}

export interface JobFacts {
  readonly autoFinalize: boolean
}

type Data = Readonly<Record<string, unknown>>

export class JobLife {
  /** `none` before the first event. */
  status = 'none'
  wasReady = false
  private readonly facts: JobFacts
  private readyIsDue = false
  /** `completed`, `failed` or `cancelled` once the job has said how it ended. */
  outcome: 'completed' | 'failed' | 'cancelled' | null = null
  private lastStatus = 'none'

  constructor(facts: JobFacts) {
    this.facts = facts
  }

  /** Takes the next event. Null, or the rule that it breaks, as a sentence. */
  next(event: string, data: Data): string | null {
    if (this.readyIsDue && event !== 'BLOCK_JOB_READY') return 'BLOCK_JOB_READY follows the status ready at once'
    switch (event) {
      case 'JOB_STATUS_CHANGE':
        return this.enter(String(data['status']))
      case 'BLOCK_JOB_READY':
        return this.becomeReady(data)
      case 'BLOCK_JOB_PENDING':
        if (this.facts.autoFinalize) return 'BLOCK_JOB_PENDING belongs to jobs that are finalized by hand'
        return this.status === 'pending' ? null : `BLOCK_JOB_PENDING does not belong to the status ${this.status}`
      case 'BLOCK_JOB_ERROR':
        return this.acceptError()
      case 'BLOCK_JOB_COMPLETED':
      case 'BLOCK_JOB_CANCELLED':
        return this.end(event, data)
      default:
        return `there is no event ${event}`
    }
  }

  private enter(status: string): string | null {
    const before = this.status
    if (!(NEXT_STATUSES[before] ?? []).includes(status)) return `no job goes from ${before} to ${status}`
    if (status === 'created') this.begin()
    if (status === 'concluded' && this.outcome === null) return 'a job says how it ended before it is concluded'
    const isFirstReady = status === 'ready' && before === 'running'
    if (isFirstReady && this.wasReady) return 'a job that was ready goes back to standby only'
    this.readyIsDue = isFirstReady
    this.lastStatus = before
    this.status = status
    return null
  }

  private begin(): void {
    this.wasReady = false
    this.outcome = null
    this.readyIsDue = false
  }

  private becomeReady(data: Data): string | null {
    if (!this.readyIsDue) return 'BLOCK_JOB_READY comes once, with the first status ready'
    this.readyIsDue = false
    this.wasReady = true
    return checkProgress(data)
  }

  private acceptError(): string | null {
    const isLate = this.outcome !== null || this.status === 'created' || this.status === 'none'
    return isLate ? `BLOCK_JOB_ERROR does not belong to the status ${this.status}` : null
  }

  private end(event: string, data: Data): string | null {
    if (this.outcome !== null) return 'a job says only once how it ended'
    const isAborting = this.status === 'aborting'
    const hasError = data['error'] !== undefined
    if (!isAborting && this.status !== 'pending') return `${event} does not belong to the status ${this.status}`
    if (event === 'BLOCK_JOB_CANCELLED') {
      if (!isAborting) return 'a cancelled job passes through aborting'
      this.outcome = 'cancelled'
      return checkProgress(data)
    }
    if (isAborting !== hasError) return 'a job that aborts completes with an error, and no other does'
    this.outcome = hasError ? 'failed' : 'completed'
    if (!hasError && data['offset'] !== data['len']) {
      return `a job that completes has offset ${String(data['offset'])} and len ${String(data['len'])}, which differ`
    }
    return checkProgress(data)
  }

  /** For messages: the last step in the job's life. */
  describe(): string {
    return `${this.lastStatus}, ${this.status}`
  }
}

function checkProgress(data: Data): string | null {
  const offset = Number(data['offset'])
  const length = Number(data['len'])
  if (data['type'] !== 'mirror' || typeof data['device'] !== 'string') return 'an event names the type and the job'
  return offset >= 0 && offset <= length ? null : `offset ${offset} is beyond len ${length}`
}
