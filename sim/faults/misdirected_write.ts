/** A write that succeeds in the wrong place. Nobody is told. */
import { type Errno, OK } from '../../impl/co'
import { type MisdirectedFaultPlan, SECTOR_BYTES } from '../plan'
import { type DiskFault, excusesOfContent, type MetDisk, type MetRequest } from './fault'

/** Both places are hit: where it should have gone, and where it went. */
function meet({ byBytes }: MisdirectedFaultPlan, request: MetRequest, { store, corruption }: MetDisk): Errno | null {
  const { offsetBytes, lengthBytes, buffer } = request
  const roomBytes = store.lengthBytes - lengthBytes
  // A write of the whole disk, or of more, has no other place.
  if (roomBytes < SECTOR_BYTES) return null
  const toBytes = (offsetBytes + byBytes) % (Math.floor(roomBytes / SECTOR_BYTES) * SECTOR_BYTES + SECTOR_BYTES)
  corruption!.mark(offsetBytes, offsetBytes + lengthBytes)
  corruption!.mark(toBytes, toBytes + lengthBytes)
  store.write(toBytes, buffer!)
  request.landsAtBytes = toBytes
  request.landedBytes = lengthBytes
  return OK
}

export const misdirectedWrite: DiskFault<MisdirectedFaultPlan> = {
  name: 'misdirected-write',
  about: 'a write is answered with success and has gone to another place of the disk',
  promise: 'silent',
  excuses: excusesOfContent('its own place holds what was there before, and the other place this write'),
  operations: ['write'],
  dull: { byBytes: SECTOR_BYTES },
  is: (plan): plan is MisdirectedFaultPlan => plan.kind === 'misdirected-write',
  meet,
}
