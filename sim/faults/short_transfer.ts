import { type OtherFaultPlan, SECTOR_BYTES } from '../plan'
import type { DiskFault } from './fault'

/** The disk moves the first part alone; the loop that files of the machine use asks for the rest (`transferWhole`). */
export const shortTransfer: DiskFault<OtherFaultPlan> = {
  name: 'short-transfer',
  about: 'a read or a write moves only its first part at once, and the rest when it is asked for',
  promise: 'survived',
  excuses: [],
  operations: ['read', 'write'],
  is: (plan): plan is OtherFaultPlan => plan.kind === 'short-transfer',
}

/** How much of `leftBytes` is moved at once: half of it in whole blocks, and all where there are no two. */
export function shortPart(leftBytes: number, alignmentBytes: number): number {
  const unitBytes = Math.max(alignmentBytes, SECTOR_BYTES)
  const halfBytes = Math.floor(leftBytes / 2 / unitBytes) * unitBytes
  return halfBytes > 0 ? halfBytes : leftBytes
}
