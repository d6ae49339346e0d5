import type { OtherFaultPlan } from '../plan'
import { AFTER_ERRORS } from './errors'
import type { DiskFault } from './fault'

/** The block layer asks the world for its bounce buffers (`sim/memory_pressure.ts`), which says no. */
export const memoryPressure: DiskFault<OtherFaultPlan> = {
  name: 'memory-pressure',
  about: 'there is no memory for the bounce buffer of a request that is not made of whole blocks: ENOMEM',
  promise: 'reported',
  excuses: AFTER_ERRORS,
  operations: ['read', 'write'],
  is: (plan): plan is OtherFaultPlan => plan.kind === 'memory-pressure',
}
