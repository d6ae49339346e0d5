/**
 * The job tells its life in the right order, its progress never goes back nor beyond its end, and where it leaves the guest
 * is where it was asked to.
 */
import { JobLife } from '../../model/job'
import type { Checker, JobEventView, WorldView } from '../../sim/observer'
import type { Finding } from '../../sim/verdict'

export function makeJobChecker(world: WorldView): Checker {
  return new JobChecker(world)
}

class JobChecker implements Checker {
  readonly name = 'job'
  private readonly world: WorldView
  private readonly life: JobLife
  private offsetBytes = 0
  private isPivoted = false

  constructor(world: WorldView) {
    this.world = world
    this.life = new JobLife({ autoFinalize: world.plan.mirror.autoFinalize })
  }

  jobEvent({ event, data }: JobEventView): Finding | null {
    const before = this.life.status
    const broken = this.life.next(event, data)
    if (broken !== null) {
      const text = `${event} ${String(data['status'] ?? '')} after ${before}: ${broken}`
      return { class: 'protocol', key: 'job/event-order', text, disk: 'destination' }
    }
    if (event === 'JOB_STATUS_CHANGE' && data['status'] === 'created') this.offsetBytes = 0
    if (event === 'BLOCK_JOB_COMPLETED' || event === 'BLOCK_JOB_CANCELLED')
      this.isPivoted = this.world.guestDisk === 'destination'
    if (event === 'BLOCK_JOB_CANCELLED' && !this.world.isForcedToEnd) {
      return finding(
        'cancelled-unasked',
        'the job says that it was cancelled, and nobody has cancelled it by force, or before READY',
      )
    }
    if (this.isPivoted && this.life.outcome !== 'completed') return finding('pivot-without-success', this.describeOutcome())
    return null
  }

  private describeOutcome(): string {
    return `the job has ${String(this.life.outcome)}, and the guest is on the destination all the same`
  }

  afterEvent(): Finding | null {
    const { life, world } = this
    if (life.status === 'none') return null
    if (world.jobStatus !== life.status) {
      return finding('status-untold', `the job is ${world.jobStatus}, and the last status it told is ${life.status}`)
    }
    const { jobOffsetBytes } = world
    if (jobOffsetBytes === this.offsetBytes) return null
    if (jobOffsetBytes < this.offsetBytes) {
      return finding('progress-goes-back', `the job's offset went from ${this.offsetBytes} back to ${jobOffsetBytes}`)
    }
    this.offsetBytes = jobOffsetBytes
    const { jobLengthBytes } = world
    if (jobOffsetBytes <= jobLengthBytes) return null
    return finding('progress-beyond-end', `the job's offset ${jobOffsetBytes} is beyond its length ${jobLengthBytes}`)
  }

  atEnd(end: Parameters<NonNullable<Checker['atEnd']>>[0]): Finding | null {
    if (end.jobCompleted && !this.isPivoted) {
      return finding('no-pivot', 'the job was completed, and the guest is still on the source')
    }
    if (end.jobCancelledAfterReady && this.isPivoted) {
      return finding('pivot-after-cancel', 'the job was cancelled after READY, and the guest was moved to the destination')
    }
    return null
  }
}

function finding(what: string, text: string): Finding {
  return { class: 'protocol', key: `job/${what}`, text }
}
