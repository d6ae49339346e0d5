/** A read that succeeds with old data. Nobody is told. */
import { type Errno, OK } from '../../impl/co'
import type { OtherFaultPlan } from '../plan'
import { type DiskFault, excusesOfContent, type MetDisk, type MetRequest } from './fault'

/** What the disk held when the world began. Bytes that have stayed the same since are not hit. */
function meet(_plan: OtherFaultPlan, request: MetRequest, { store, original, corruption }: MetDisk): Errno {
  const { offsetBytes, buffer } = request
  const present = new Uint8Array(buffer!.length)
  store.read(offsetBytes, present)
  original!.read(offsetBytes, buffer!)
  corruption!.markDifferences(offsetBytes, present, buffer!)
  return OK
}

export const staleRead: DiskFault<OtherFaultPlan> = {
  name: 'stale-read',
  about: 'a read gives what the disk held when the world began',
  promise: 'silent',
  excuses: excusesOfContent('whoever copied this read has copied what was there long ago'),
  operations: ['read'],
  is: (plan): plan is OtherFaultPlan => plan.kind === 'stale-read',
  meet,
}
