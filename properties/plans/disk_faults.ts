/**
 * Draws the faults that are no errors: short transfers, refused memory, and what the stack cannot see. They come on top of
 * the errors of a plan, from a stream of their own, so that everything else about it stays as it was.
 */
import { DISK_FAULTS, type DiskFault } from '../../sim/faults'
import type { DiskName, FaultPlan, Plan } from '../../sim/plan'
import type { Choices } from './choices'
import type { Profile } from './mixture'
import * as mixture from './mixture_events'

/** Everything else about the plan has been drawn. */
export function withDiskFaults(choices: Choices, plan: Plan, profile: Profile): Plan {
  if (!choices.chance(profile.diskFaultPercent)) return plan
  const faults = [...plan.faults]
  const count = choices.pick(mixture.DISK_FAULT_COUNT)
  for (let number = 1; number <= count; number++) faults.push(draw(choices, plan, `x${number}`))
  return { ...plan, version: plan.version === 5 ? 5 : 4, faults }
}

/** For worlds of other things than mirrors of plain disks: what every file has to live with. */
export function withShortTransfers(choices: Choices, plan: Plan): Plan {
  if (!choices.chance(mixture.SHORT_TRANSFER_PERCENT)) return plan
  const faults = [...plan.faults]
  for (const disk of ['source', 'destination'] as const) {
    const operation = choices.chance(50) ? 'read' : 'write'
    const counts = { skip: choices.below(mixture.FAULT_SKIP_MAX + 1), times: choices.between(1, mixture.FAULT_TIMES_MAX) }
    faults.push({ id: `x-${disk}`, kind: 'short-transfer', disk, operation, offsetBytes: 0, lengthBytes: 2 ** 40, ...counts })
  }
  return { ...plan, version: plan.version === 5 ? 5 : 4, faults }
}

function draw(choices: Choices, plan: Plan, id: string): FaultPlan {
  const wanted = choices.pick(mixture.DISK_FAULT_KIND)
  const disks: DiskName[] = choices.chance(50) ? ['source', 'destination'] : ['destination', 'source']
  const able = disks.find((name) => canMeet(wanted, plan, name))
  const disk = able ?? disks[0]!
  const kind = able === undefined ? 'short-transfer' : wanted
  const { operations }: DiskFault = DISK_FAULTS.find(({ name }) => name === kind)!
  const operation = operations[choices.below(operations.length)]!
  // Both disks are of one length, but for a few plans that are refused.
  const lengthBytes = Math.min(plan.source.lengthBytes, plan.destination.lengthBytes)
  // Few requests need a bounce buffer at all.
  const isEverywhere = kind === 'memory-pressure' || choices.chance(50)
  const sectors = lengthBytes / 512
  const firstBytes = isEverywhere ? 0 : 512 * choices.below(sectors)
  const range = {
    id,
    disk,
    operation,
    offsetBytes: operation === 'flush' ? 0 : firstBytes,
    lengthBytes: operation === 'flush' ? lengthBytes : Math.min(lengthBytes - firstBytes, mixture.DISK_FAULT_BYTES_MAX),
    skip: choices.below(mixture.FAULT_SKIP_MAX + 1),
    times: choices.between(1, mixture.FAULT_TIMES_MAX),
  }
  if (isEverywhere) range.lengthBytes = lengthBytes
  if (kind === 'misdirected-write') return { ...range, kind, byBytes: 512 * choices.between(1, Math.max(1, sectors - 1)) }
  return { ...range, kind }
}

/** Whether the disk, as it is, can meet a fault at all. */
function canMeet(kind: FaultPlan['kind'], plan: Plan, disk: DiskName): boolean {
  if (plan[disk].format !== undefined) return false
  // At the source the mirror asks for some in every world.
  if (kind === 'memory-pressure') return disk === 'source' || plan.destination.requestAlignmentBytes > plan.device.blockBytes
  // Only a power cut shows that a flush has lied.
  return kind !== 'lying-flush' || plan.control.some((operation) => operation.kind === 'power-cut')
}
