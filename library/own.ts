/** Words for entries of plans that faults of the caller's own are for. */
import { EIO, ENOMEM, ENOSPC } from '../impl/co'
import type { OwnFault } from '../sim/faults'
import type { OccasionPlan, OwnFaultPlan, Plan } from '../sim/plan'

/** Errors that a request can end with, as numbers of Linux. */
export const ERRNO = { EIO, ENOSPC, ENOMEM } as const

/** When requests of a disk meet a fault. Bytes that are left out are all of the disk, counts the first request and once. */
export interface FaultOccasion extends Pick<OccasionPlan, 'id' | 'disk' | 'operation'> {
  offsetBytes?: number
  lengthBytes?: number
  /** Matching requests that pass first. */
  skip?: number
  /** How many are met after that. */
  times?: number
  /** For the fault's code; integers. */
  settings?: Record<string, number>
}

/** The plan with an entry more, for a fault of the caller's own. The fault goes to whatever runs the plan, as `faults`. */
export function withFault(plan: Plan, { name, promise }: OwnFault, occasion: FaultOccasion): Plan {
  const { id, disk, operation, settings } = occasion
  const { offsetBytes = 0, lengthBytes = plan[disk].lengthBytes, skip = 0, times = 1 } = occasion
  const entry: OwnFaultPlan = { id, kind: 'own', name, promise, disk, operation, offsetBytes, lengthBytes, skip, times }
  if (settings !== undefined) entry.settings = settings
  return { ...plan, version: 6, faults: [...plan.faults, entry] }
}
