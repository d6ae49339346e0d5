import type { OtherFaultPlan } from '../plan'
import type { DiskFault } from './fault'

/** The cache of the disk (`sim/power.ts`) does the rest: only a power cut can show the lie. */
export const lyingFlush: DiskFault<OtherFaultPlan> = {
  name: 'lying-flush',
  about: 'a flush is answered with success, and what it was to make safe is not safe',
  promise: 'silent',
  excuses: [{ checker: 'power', why: 'what the flush covered may be lost in the cut: these bytes, and no others' }],
  operations: ['flush'],
  is: (plan): plan is OtherFaultPlan => plan.kind === 'lying-flush',
}
