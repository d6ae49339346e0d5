/** A request ends with an error, and has done nothing. */
import type { Errno } from '../../impl/co'
import type { ErrorFaultPlan, FaultPlan } from '../plan'
import type { DiskFault, Excuse } from './fault'

/** Errors leave less to be promised, and checkers say so. */
export const AFTER_ERRORS: readonly Excuse[] = [
  { checker: 'sparseness', why: 'what could not be zeroed keeps its space' },
  { checker: 'qcow2', why: 'clusters whose release failed are leaked, which is no corruption' },
]

export function errorFault(name: string, about: string, errno: ErrorFaultPlan['errno'], value: Errno): DiskFault<ErrorFaultPlan> {
  return {
    name,
    about,
    promise: 'reported',
    excuses: AFTER_ERRORS,
    operations:
      errno === 'EIO' ? ['read', 'write', 'write-zeroes', 'discard', 'flush', 'status'] : ['write', 'write-zeroes', 'discard'],
    is: (plan: FaultPlan): plan is ErrorFaultPlan => plan.kind === 'error' && plan.errno === errno && plan.torn !== true,
    meet: () => value,
  }
}
