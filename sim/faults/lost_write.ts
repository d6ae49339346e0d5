import { OK } from '../../impl/co'
import type { OtherFaultPlan } from '../plan'
import { type DiskFault, excusesOfContent } from './fault'

export const lostWrite: DiskFault<OtherFaultPlan> = {
  name: 'lost-write',
  about: 'a write, or a write of zeroes, is answered with success and has done nothing',
  promise: 'silent',
  excuses: excusesOfContent('what was there before is there still'),
  operations: ['write', 'write-zeroes'],
  is: (plan): plan is OtherFaultPlan => plan.kind === 'lost-write',
  meet: (_plan, request, { corruption }) => {
    const { offsetBytes, lengthBytes } = request
    corruption!.mark(offsetBytes, offsetBytes + lengthBytes)
    request.landedBytes = 0
    return OK
  },
}
