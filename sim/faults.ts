/**
 * Planned disk errors. Each fault counts the requests that match it: some pass, then some fail. A fault that fires says so
 * by its id, because a fault that never fires has tested nothing.
 */
import { EIO, ENOSPC, type Errno } from '../impl/co'
import type { DiskName, DiskOperation, FaultPlan } from './plan'

export function errnoOf(fault: FaultPlan): Errno {
  return fault.errno === 'EIO' ? EIO : ENOSPC
}

class Fault {
  readonly plan: FaultPlan
  passed = 0
  fired = 0

  constructor(plan: FaultPlan) {
    this.plan = plan
  }

  matches(operation: DiskOperation, offsetBytes: number, lengthBytes: number): boolean {
    const { plan } = this
    if (plan.operation !== operation) return false
    if (operation === 'flush') return true
    return offsetBytes < plan.offsetBytes + plan.lengthBytes && plan.offsetBytes < offsetBytes + lengthBytes
  }
}

/** The faults of one disk. */
export class Faults {
  private readonly faults: Fault[] = []
  private isHealed = false

  constructor(plans: readonly FaultPlan[], disk: DiskName) {
    for (const plan of plans) if (plan.disk === disk) this.faults.push(new Fault(plan))
  }

  /**
   * The fault that a request meets, or null. To be asked once a request, when it arrives. All faults count it; where
   * several would fire, the first one of the plan does and the others keep theirs for later.
   */
  meet(operation: DiskOperation, offsetBytes: number, lengthBytes: number): FaultPlan | null {
    if (this.isHealed) return null
    let met: Fault | null = null
    for (const fault of this.faults) {
      if (!fault.matches(operation, offsetBytes, lengthBytes)) continue
      if (fault.passed < fault.plan.skip) fault.passed++
      else if (met === null && fault.fired < fault.plan.times) met = fault
    }
    if (met === null) return null
    met.fired++
    return met.plan
  }

  /** No request meets a fault any more. */
  heal(): void {
    this.isHealed = true
  }

  /** How often each fault has fired, by id, into `counts`. */
  count(counts: Record<string, number>): void {
    for (const { plan, fired } of this.faults) counts[plan.id] = fired
  }
}
