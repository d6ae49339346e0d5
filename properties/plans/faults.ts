/** Draws disk errors. They are bounded in number, so that retrying gets past them. */
import type { FaultPlan } from '../../sim/plan'
import type { Choices } from './choices'
import type { Geometry } from './geometry'
import type { Profile } from './mixture'
import * as mixture from './mixture_events'

export function drawFaults(choices: Choices, geometry: Geometry, profile: Profile): FaultPlan[] {
  if (!choices.chance(profile.faultyPercent)) return []
  const faults: FaultPlan[] = []
  const count = choices.pick(mixture.FAULT_COUNT)
  for (let number = 1; number <= count; number++) faults.push(drawFault(choices, geometry, `f${number}`))
  return faults
}

function drawFault(choices: Choices, { lengthBytes, granularityBytes, chunkCount }: Geometry, id: string): FaultPlan {
  const [disk, operation] = choices.pick(mixture.FAULT_AT)
  const canRunOut = operation === 'write' || operation === 'write-zeroes'
  const firstBytes = choices.below(chunkCount) * granularityBytes
  const isEverywhere = operation === 'flush' || choices.chance(50)
  const fault: FaultPlan = {
    id,
    kind: 'error',
    disk,
    operation,
    errno: canRunOut && choices.chance(mixture.NO_SPACE_PERCENT) ? 'ENOSPC' : 'EIO',
    offsetBytes: isEverywhere ? 0 : firstBytes,
    lengthBytes: isEverywhere ? lengthBytes : Math.min(granularityBytes, lengthBytes - firstBytes),
    skip: choices.between(0, mixture.FAULT_SKIP_MAX),
    times: choices.between(1, mixture.FAULT_TIMES_MAX),
  }
  if (operation === 'write' && choices.chance(mixture.TORN_PERCENT)) fault.torn = true
  return fault
}
