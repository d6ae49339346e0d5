import type { OtherFaultPlan } from '../plan'
import { AFTER_ERRORS } from './errors'
import type { DiskFault } from './fault'

/** The graph asks the world before it gives memory for data (`sim/troubles.ts`), which says no. */
export const memoryPressure: DiskFault<OtherFaultPlan> = {
  name: 'memory-pressure',
  about: 'there is no memory for what the mirror moves, or for a request that is not made of whole blocks: ENOMEM',
  promise: 'reported',
  excuses: AFTER_ERRORS,
  operations: ['read', 'write'],
  is: (plan): plan is OtherFaultPlan => plan.kind === 'memory-pressure',
}
