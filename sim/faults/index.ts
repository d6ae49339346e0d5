/**
 * All faults, by name. Generators, the check of plans, shrinkers and reports read this list; a new fault is a file here and
 * a line below.
 */
import type { FaultPlan } from '../plan'
import { bitRot } from './bit_rot'
import { connectionLoss } from './connection_loss'
import { deviceReset } from './device_reset'
import { eio } from './eio'
import { enospc } from './enospc'
import type { DiskFault, Fault } from './fault'
import { latency } from './latency'
import { lostWrite } from './lost_write'
import { lyingFlush } from './lying_flush'
import { memoryPressure } from './memory_pressure'
import { misdirectedWrite } from './misdirected_write'
import { describedFault } from './own'
import { powerCut } from './power_cut'
import { shortTransfer } from './short_transfer'
import { slowRequest } from './slow_request'
import { staleRead } from './stale_read'
import { tornWrite } from './torn_write'

export type { DiskFault, Excuse, Fault, MetDisk, MetRequest } from './fault'
export { Faults, Occasions } from './occasions'
export { FaultBroke, type OwnFault } from './own'

/** Those that `plan.faults` plans. */
export const DISK_FAULTS: readonly DiskFault[] = [
  eio,
  enospc,
  tornWrite,
  shortTransfer,
  memoryPressure,
  lostWrite,
  misdirectedWrite,
  staleRead,
  bitRot,
  lyingFlush,
] as readonly DiskFault[]

export const FAULTS: readonly Fault[] = [...DISK_FAULTS, latency, slowRequest, connectionLoss, powerCut, deviceReset]

/** The fault that an entry of a plan is for; of somebody's own only what the entry says of it. */
export function faultOf(plan: FaultPlan): DiskFault {
  if (plan.kind === 'own') return describedFault(plan) as DiskFault
  const fault = DISK_FAULTS.find((one) => one.is(plan))
  if (fault === undefined) throw new Error(`no fault is ${JSON.stringify(plan)}`)
  return fault
}

/** Whether it hits bytes that nobody in the stack can know of. */
export function isSilent(plan: FaultPlan): boolean {
  return faultOf(plan).promise === 'silent'
}

/** Whether somebody may have to tell of an error because of it. */
export function isFailing(plan: FaultPlan): boolean {
  return faultOf(plan).promise === 'reported'
}

const PREFIX = 'fault/'

/** Under which probe a fault counts how often it has fired. */
export function faultProbe(name: string): string {
  return `${PREFIX}${name}`
}

/** The firings among counts of probes, by name of the fault. */
export function* firingsOf(probes: Readonly<Record<string, number>>): Generator<readonly [name: string, count: number]> {
  for (const probe in probes) if (probe.startsWith(PREFIX)) yield [probe.slice(PREFIX.length), probes[probe]!]
}

/** Turns firings by id into counts of probes. */
export function countFirings(
  plans: readonly FaultPlan[],
  fired: Readonly<Record<string, number>>,
  probes: Record<string, number>,
): void {
  for (const plan of plans) {
    const count = fired[plan.id] ?? 0
    if (count === 0) continue
    const probe = faultProbe(faultOf(plan).name)
    probes[probe] = (probes[probe] ?? 0) + count
  }
}
