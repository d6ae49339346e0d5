/**
 * Planned trouble of disks: when it comes. Each fault or stall counts the requests that match it: some pass, then some are
 * met. One that fires says so by its id, because a fault that never fires has tested nothing.
 */
import type { Errno } from '../../impl/co'
import type { DiskName, DiskOperation, FaultPlan, OccasionPlan, OwnFaultPlan } from '../plan'
import type { MetDisk, MetRequest } from './fault'
import { meetOwn, type OwnFault } from './own'

class Occasion<P extends OccasionPlan> {
  readonly plan: P
  passed = 0
  fired = 0

  constructor(plan: P) {
    this.plan = plan
  }

  matches(operation: DiskOperation, offsetBytes: number, lengthBytes: number): boolean {
    const { plan } = this
    if (plan.operation !== operation) return false
    if (operation === 'flush') return true
    return offsetBytes < plan.offsetBytes + plan.lengthBytes && plan.offsetBytes < offsetBytes + lengthBytes
  }
}

/** Those of one disk. */
export class Occasions<P extends OccasionPlan> {
  private readonly occasions: Array<Occasion<P>> = []
  private isHealed = false

  constructor(plans: readonly P[], disk: DiskName) {
    for (const plan of plans) if (plan.disk === disk) this.occasions.push(new Occasion(plan))
  }

  /**
   * What a request meets, or null. To be asked once a request, when it arrives. All count it; where several would fire, the
   * first one of the plan does and the others keep theirs for later.
   */
  meet(operation: DiskOperation, offsetBytes: number, lengthBytes: number): P | null {
    if (this.isHealed) return null
    let met: Occasion<P> | null = null
    for (const occasion of this.occasions) {
      if (!occasion.matches(operation, offsetBytes, lengthBytes)) continue
      if (occasion.passed < occasion.plan.skip) occasion.passed++
      else if (met === null && occasion.fired < occasion.plan.times) met = occasion
    }
    if (met === null) return null
    met.fired++
    return met.plan
  }

  /** No request meets anything any more. */
  heal(): void {
    this.isHealed = true
  }

  /** How often each has fired, by id, into `counts`. */
  count(counts: Record<string, number>): void {
    for (const { plan, fired } of this.occasions) counts[plan.id] = fired
  }
}

/** What requests of one disk meet; memory is refused elsewhere. */
export class Faults extends Occasions<FaultPlan> {
  private readonly own: readonly OwnFault[]

  /** `own`: what entries of the kind `own` find their code in. */
  constructor(plans: readonly FaultPlan[], disk: DiskName, own: readonly OwnFault[] = []) {
    super(
      plans.filter(({ kind }) => kind !== 'memory-pressure'),
      disk,
    )
    this.own = own
  }

  meetOwn(entry: OwnFaultPlan, request: MetRequest, disk: MetDisk): Errno | null {
    return meetOwn(this.own, entry, request, disk)
  }
}
