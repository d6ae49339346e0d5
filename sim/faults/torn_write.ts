/** A write that fails, and has been done in part. */
import { EIO, ENOSPC, type Errno } from '../../impl/co'
import { type ErrorFaultPlan, SECTOR_BYTES } from '../plan'
import { AFTER_ERRORS } from './errors'
import type { DiskFault, MetDisk, MetRequest } from './fault'

/** Sectors are whole also when the write is not. */
function meet({ errno }: ErrorFaultPlan, request: MetRequest, disk: MetDisk): Errno {
  const { operation, offsetBytes, lengthBytes, buffer } = request
  const halfBytes = operation === 'write' ? Math.floor(lengthBytes / 2 / SECTOR_BYTES) * SECTOR_BYTES : 0
  if (halfBytes > 0) {
    disk.store.write(offsetBytes, buffer!.subarray(0, halfBytes))
    request.landedBytes = halfBytes
    disk.hit('disk/torn')
  }
  return errno === 'EIO' ? EIO : ENOSPC
}

export const tornWrite: DiskFault<ErrorFaultPlan> = {
  name: 'torn-write',
  about: 'a write ends with an error, and its first half is there all the same',
  promise: 'reported',
  excuses: AFTER_ERRORS,
  operations: ['write'],
  is: (plan): plan is ErrorFaultPlan => plan.kind === 'error' && plan.torn === true,
  meet,
}
