/** Draws what makes disks slow beyond their latency: throttle filters, and a request that takes longer than all the others. */
import type { DiskPlan, Plan, StallPlan, ThrottlePlan } from '../../sim/plan'
import type { Choices } from './choices'
import * as mixture from './mixture_events'

/** A plan whose disks may be throttled and stall. Everything else about it has been drawn. */
export function withSlowness(choices: Choices, plan: Plan): Plan {
  const source = choices.chance(mixture.THROTTLED_PERCENT) ? throttled(choices, plan.source, false) : plan.source
  const mayJoin = source.throttle !== undefined
  const destination = choices.chance(mayJoin ? mixture.BOTH_THROTTLED_PERCENT : mixture.THROTTLED_PERCENT)
    ? throttled(choices, plan.destination, mayJoin)
    : plan.destination
  const slow = { ...plan, source, destination }
  return choices.chance(mixture.STALLED_PERCENT) ? { ...slow, stalls: [drawStall(choices, plan)] } : slow
}

function throttled(choices: Choices, disk: DiskPlan, mayJoin: boolean): DiskPlan {
  const at = disk.format !== undefined && choices.chance(50) ? 'file' : 'top'
  const [bytesPerSecond, requestsPerSecond] = choices.pick(mixture.LIMITS)
  const burst = choices.pick(mixture.BURST_FACTOR)
  const throttle: ThrottlePlan = {
    at,
    bytesPerSecond,
    requestsPerSecond,
    burstBytesPerSecond: bytesPerSecond * burst,
    burstRequestsPerSecond: requestsPerSecond * burst,
    joinsSource: mayJoin && choices.chance(50),
  }
  return { ...disk, throttle }
}

function drawStall(choices: Choices, { source, destination }: Plan): StallPlan {
  const [disk, operation] = choices.pick(mixture.FAULT_AT)
  const { lengthBytes } = disk === 'source' ? source : destination
  return {
    id: 'y1',
    disk,
    operation,
    offsetBytes: 0,
    lengthBytes,
    skip: choices.below(mixture.STALL_SKIP_MAX + 1),
    times: 1,
    delayNs: choices.pick(mixture.STALL_NS),
  }
}
