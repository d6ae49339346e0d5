/**
 * A fault that whoever runs a plan brings along. The entry of the plan says what checkers, shrinkers and reports have to
 * know of it; what it does to a request is code, which comes with the options of the world, by its name.
 *
 * What may fail: that code, by an exception, which is a failure of the harness (`FaultBroke`) and not of the stack under it.
 */
import type { Errno } from '../../impl/co'
import type { DiskOperation, OwnFaultPlan } from '../plan'
import { AFTER_ERRORS } from './errors'
import { type DiskFault, excusesOfContent, type MetDisk, type MetRequest } from './fault'

/** A way in which requests of disks go wrong, brought along by whoever runs the plan. */
export interface OwnFault {
  /** Letters, digits, `.`, `_` and `-`; not that of a fault of ours. */
  readonly name: string
  /** One line for people. */
  readonly about: string
  /** See `Fault`. A silent fault marks in `disk.corruption` each byte that it makes another one, and no others. */
  readonly promise: 'survived' | 'reported' | 'silent'
  /** Requests that it may be planned for. */
  readonly operations: readonly DiskOperation[]
  /**
   * Called when a request that an entry of the plan matches is due, before it has its effect. Gives null: the request goes
   * on as usual; a number of `ERRNO`: it ends with that error; 0: it ends well, and nothing of it happens but what is done
   * here. It runs inside a world: no clock, no randomness, no promises, and no memory of other requests that is not in `disk`.
   */
  meet(entry: OwnFaultPlan, request: MetRequest, disk: MetDisk): Errno | null
}

/** The code of a fault threw. */
export class FaultBroke extends Error {
  readonly faultName: string

  constructor(faultName: string, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.faultName = faultName
  }
}

/** What an entry says of its fault, without the code. */
export function describedFault({ name, promise, operation }: OwnFaultPlan): DiskFault<OwnFaultPlan> {
  const excuses = promise === 'reported' ? AFTER_ERRORS : promise === 'silent' ? excusesOfContent('what the fault has hit') : []
  return {
    name,
    about: 'a fault from outside of this program',
    promise,
    excuses,
    operations: [operation],
    is: (plan): plan is OwnFaultPlan => plan.kind === 'own' && plan.name === name,
  }
}

/** Does to a request what the entry's fault does. Throws `FaultBroke` where its code throws. */
export function meetOwn(faults: readonly OwnFault[], entry: OwnFaultPlan, request: MetRequest, disk: MetDisk): Errno | null {
  try {
    return ownFaultNamed(faults, entry.name).meet(entry, request, disk)
  } catch (error) {
    throw new FaultBroke(entry.name, error)
  }
}

function ownFaultNamed(faults: readonly OwnFault[], name: string): OwnFault {
  const fault = faults.find((one) => one.name === name)
  if (fault === undefined) throw new Error(`nobody has brought the fault ${name} along`)
  return fault
}
