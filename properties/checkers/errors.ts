/**
 * The job is honest about errors: each failure of its own work is told once, with what the user's policy makes of it; a job
 * fails for a reason that a disk gave, and does not succeed after one that it was to report.
 */
import type { Checker, CheckerHook, DiskRequestView, JobEventView, WorldView } from '../../sim/observer'
import type { DiskName } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { completesClusters, ENOSPC, guestIds, OK } from './shared'

export function makeErrorChecker(world: WorldView): Checker {
  return new ErrorChecker(world)
}

const TEXTS: Readonly<Record<number, string>> = {
  5: 'Input/output error',
  12: 'Cannot allocate memory',
  28: 'No space left on device',
}
const SIZES_DIFFER = 'Source and target image have different sizes'
const SWITCH_REFUSED = 'Operation not permitted'

/** One side of the copy: reads of the source, or writes to the destination. */
interface Side {
  /** Failures that have to be told, and those that were. */
  failed: number
  told: number
  /** Failures that may be told, or are the guest's own. */
  optional: number
  lastErrno: number
  /** Of failures that were not told yet, in order; one that takes longer to come up is told after a later one. */
  readonly untold: number[]
}

function newSide(): Side {
  return { failed: 0, told: 0, optional: 0, lastErrno: OK, untold: [] }
}

class ErrorChecker implements Checker {
  readonly name = 'errors'
  readonly idle: readonly CheckerHook[]
  private readonly world: WorldView
  private readonly guests: ReadonlySet<string>
  private read = newSide()
  private write = newSide()
  /** Texts with which the job may fail. */
  private readonly reasons = new Set<string>()
  private wasReported = false

  constructor(world: WorldView) {
    const { source, destination } = world.plan
    this.world = world
    this.idle = world.plan.faults.length > 0 ? [] : ['diskCompleted']
    this.guests = guestIds(world.plan)
    if (source.lengthBytes !== destination.lengthBytes) this.reasons.add(SIZES_DIFFER)
  }

  diskCompleted(disk: DiskName, request: DiskRequestView, errno: number): Finding | null {
    if (errno === OK || this.world.mirror === null || this.world.guestDisk === 'destination') return null
    const { operation, origin } = request
    const isGuest = this.guests.has(origin)
    const isJob = origin.startsWith('job-')
    if (disk === 'source' && isGuest) {
      if (operation !== 'read' || !completesClusters(this.world.plan)) return null
      this.read.optional++
      this.read.lastErrno = errno
      this.read.untold.push(errno)
      return null
    }
    if (isJob && (operation !== 'flush' || disk === 'source')) {
      // The first looks at both disks end the job by themselves; a failed zeroing only leaves more to copy, and nobody has
      // asked for the flush of the source when the job leaves it.
      if (operation !== 'flush') this.reasons.add(TEXTS[errno]!)
      return null
    }
    const side = disk === 'source' ? this.read : this.write
    side.failed++
    side.lastErrno = errno
    side.untold.push(errno)
    return null
  }

  jobEvent({ event, data }: JobEventView): Finding | null {
    switch (event) {
      case 'JOB_STATUS_CHANGE':
        if (data['status'] === 'created') this.forget()
        return null
      case 'BLOCK_JOB_ERROR':
        return this.errorTold(String(data['operation']), String(data['action']))
      case 'BLOCK_JOB_COMPLETED':
        return data['error'] === undefined ? this.checkSuccess() : this.checkFailure(String(data['error']))
      default:
        return null
    }
  }

  /**
   * What the mirror before this one met and told is not this one's concern: one that is cancelled by force tells nothing of
   * what fails while it ends.
   */
  private forget(): void {
    this.read = newSide()
    this.write = newSide()
    this.wasReported = false
  }

  private errorTold(operation: string, action: string): Finding | null {
    const { onSourceError, onTargetError } = this.world.plan.mirror
    const side = operation === 'read' ? this.read : this.write
    const policy = operation === 'read' ? onSourceError : onTargetError
    side.told++
    if (side.told > side.failed + side.optional)
      return finding('made-up', `the job tells of a failed ${operation}, and no disk has failed it`)
    const actionOn = (errno: number): string => (policy !== 'enospc' ? policy : errno === ENOSPC ? 'stop' : 'report')
    const place = side.untold.findIndex((errno) => actionOn(errno) === action)
    const [told = side.lastErrno] = place === -1 ? [] : side.untold.splice(place, 1)
    if (action === 'report') {
      this.wasReported = true
      // Of several the job ends with the one that it met first.
      for (const errno of [told, side.lastErrno]) this.reasons.add(TEXTS[errno]!)
    }
    const wanted = actionOn(told)
    if (action === wanted) return null
    return finding('wrong-action', `after a failed ${operation} the job is to ${wanted}, and it does "${action}"`)
  }

  private checkSuccess(): Finding | null {
    if (this.wasReported) return finding('report-ignored', 'an error was to end the job, and the job succeeded')
    if (this.read.told >= this.read.failed && this.write.told >= this.write.failed) return null
    const untold = this.read.failed - this.read.told + this.write.failed - this.write.told
    return finding('hidden', `the job succeeded, and ${untold} failures of its disks were never told`)
  }

  private checkFailure(text: string): Finding | null {
    if (this.reasons.has(text) || text === SWITCH_REFUSED) return null
    return finding('failure-without-reason', `the job failed with "${text}", for which no disk gave a reason`)
  }
}

function finding(what: string, text: string): Finding {
  return { class: 'protocol', key: `errors/${what}`, text }
}
