/**
 * Guests never wait for block status: on the way of a guest's request no disk is asked what it has allocated. On real
 * storage that question can take longer than the request.
 */
import type { Checker, DiskRequestView, WorldView } from '../../sim/observer'
import type { DiskName } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { guestIds } from './shared'

export function makeReadPathChecker(world: WorldView): Checker {
  const guests = guestIds(world.plan)
  return {
    name: 'read-path',
    diskSubmitted(disk: DiskName, request: DiskRequestView): Finding | null {
      if (request.operation !== 'status' || !guests.has(request.origin)) return null
      const text = `the guest's request ${request.origin} waits for the ${disk} to tell what it has allocated`
      const { offsetBytes, lengthBytes, origin } = request
      return { class: 'protocol', key: 'read-path/status-for-guest', text, disk, offsetBytes, lengthBytes, operationId: origin }
    },
  }
}
