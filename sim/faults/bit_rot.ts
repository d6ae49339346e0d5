/** Bit rot: what was written is not what is read, for ever after. Nobody is told. */
import type { OtherFaultPlan } from '../plan'
import { type DiskFault, excusesOfContent, type MetDisk, type MetRequest } from './fault'

/** One bit of the first byte that is both asked for and on the medium: what has no space cannot rot. */
function meet({ offsetBytes: fromBytes }: OtherFaultPlan, request: MetRequest, { store, corruption }: MetDisk): null {
  const endBytes = Math.min(request.offsetBytes + request.lengthBytes, store.lengthBytes)
  for (let at = Math.max(request.offsetBytes, fromBytes); at < endBytes; at = store.sameUntil(at, endBytes)) {
    if (!store.isAllocatedAt(at)) continue
    store.rot(at)
    corruption!.mark(at, at + 1)
    break
  }
  return null
}

export const bitRot: DiskFault<OtherFaultPlan> = {
  name: 'bit-rot',
  about: 'a bit on the medium has turned when it is read, and stays so',
  promise: 'silent',
  excuses: excusesOfContent('one byte is another one'),
  operations: ['read'],
  is: (plan): plan is OtherFaultPlan => plan.kind === 'bit-rot',
  meet,
}
