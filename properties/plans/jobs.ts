/**
 * Plans of other jobs than the mirror: a chain from the mixture of images, a job, a guest, orders at any time of the job, and
 * errors of disks.
 */
import { type ControlOperation, type ErrorPolicy, type FaultPlan, type JobPlan, type Plan, SECTOR_BYTES } from '../../sim/plan'
import { Choices, type Table } from './choices'
import { withShortTransfers } from './disk_faults'
import { planOfSeed } from './index'

const SPEED_BYTES = 64 * 1024 * 1024
const ORDER_NS_MAX = 400_000
const ERRORS_PERCENT = 35
const OVERLAY_PERCENT = 50
const LONGER_SECTORS_MAX = 500
const IMAGE_TARGET_PERCENT = 50

const KIND: Table<JobPlan['kind']> = [
  ['commit', 25, 1],
  ['active-commit', 25, 1],
  ['stream', 25, 1],
  ['backup', 25, 1],
]
const SYNC: Table<JobPlan['sync']> = [
  ['full', 60, 1],
  ['top', 25, 1],
  ['none', 15, 1],
]
const POLICY: Table<ErrorPolicy> = [
  ['report', 30, 1],
  ['ignore', 25, 1],
  ['stop', 25, 1],
  ['enospc', 20, 1],
]
const EVERYWHERE_BYTES = 2 ** 40
const OPERATION: Table<FaultPlan['operation']> = [
  ['read', 35, 1],
  ['write', 35, 1],
  ['write-zeroes', 15, 1],
  ['flush', 15, 1],
]
const ORDERS: Table<number> = [
  [0, 40, 1],
  [1, 25, 1],
  [2, 20, 1],
  [4, 15, 1],
]
type OrderKind = 'pause' | 'resume' | 'set-speed' | 'complete' | 'cancel' | 'finalize' | 'drain'
const ORDER: Table<OrderKind> = [
  ['pause', 22, 1],
  ['resume', 22, 1],
  ['set-speed', 12, 1],
  ['complete', 10, 1],
  ['cancel', 10, 1],
  ['finalize', 8, 1],
  ['drain', 16, 1],
]

export function jobPlanOfSeed(seed: string): Plan {
  const { stalls: _stalls, ...plan } = planWithChain(seed)
  const choices = new Choices(seed, 'job', 'uniform')
  const { throttle: _throttle, raw: _raw, ...source } = plan.source
  const format = { ...source.format!, dataFile: 'none' as const, backing: { ...source.format!.backing!, isDetached: false } }
  const kind = choices.pick(KIND)
  const hasErrors = choices.chance(ERRORS_PERCENT)
  const overlay = drawOverlay(new Choices(seed, 'overlay', 'uniform'), kind)
  return withShortTransfers(new Choices(seed, 'short', 'uniform'), {
    ...plan,
    version: overlay.overlay === undefined ? plan.version : 5,
    profile: 'jobs',
    source: { ...source, format, node: { discard: 'unmap', detectZeroes: 'off' } },
    destination: drawTarget(choices, plan),
    // There is none.
    mirror: { ...plan.mirror, sync: 'full' },
    control: drawOrders(choices),
    faults: hasErrors ? drawErrors(choices) : [],
    job: {
      kind,
      sync: choices.pick(SYNC),
      onError: choices.pick(POLICY),
      speedBytesPerSecond: choices.chance(25) ? SPEED_BYTES : 0,
      autoFinalize: choices.chance(70),
      ...overlay,
    },
  })
}

/** Many overlays are longer than what is below them, by less than a cluster or by several. */
function drawOverlay(choices: Choices, kind: JobPlan['kind']): Pick<JobPlan, 'overlay'> {
  if (kind === 'backup' || !choices.chance(OVERLAY_PERCENT)) return {}
  const longerBytes = choices.chance(30) ? 0 : choices.between(1, LONGER_SECTORS_MAX) * SECTOR_BYTES
  return { overlay: { longerBytes, keepsBase: kind === 'stream' && choices.chance(60) } }
}

/** Most plans of the profile have an image below the source; of those that have none another seed is taken. */
function planWithChain(seed: string): Plan {
  for (let attempt = 0; ; attempt++) {
    const plan = planOfSeed(attempt === 0 ? seed : `${seed}/${attempt}`, 'chains')
    if (plan.source.format?.backing !== undefined) return { ...plan, seed }
  }
}

/** As long as the source, without anything below it. */
function drawTarget(choices: Choices, plan: Plan): Plan['destination'] {
  const { throttle: _throttle, raw: _raw, format, ...disk } = plan.destination
  const { lengthBytes } = plan.source
  const initial = disk.initial.filter((extent) => extent.offsetBytes + extent.lengthBytes <= lengthBytes)
  const node = { discard: 'unmap', detectZeroes: 'off' } as const
  if (format === undefined || !choices.chance(IMAGE_TARGET_PERCENT)) {
    const plain = initial.filter(({ content }) => content === 'data' || content === 'zero')
    return { ...disk, lengthBytes, node, initial: plain }
  }
  const { backing: _backing, ...bare } = format
  return { ...disk, lengthBytes, node, initial, format: { ...bare, dataFile: 'none' } }
}

/** Of any request: where an image has its tables is nobody's plan. */
function drawErrors(choices: Choices): FaultPlan[] {
  const faults: FaultPlan[] = []
  for (let number = choices.between(1, 3); number > 0; number--) {
    faults.push({
      id: `f${number}`,
      kind: 'error',
      disk: choices.chance(60) ? 'source' : 'destination',
      operation: choices.pick(OPERATION),
      errno: choices.chance(70) ? 'EIO' : 'ENOSPC',
      offsetBytes: 0,
      lengthBytes: EVERYWHERE_BYTES,
      skip: choices.below(40),
      times: choices.between(1, 3),
    })
  }
  return faults
}

/** What an operator does at any time of a job. */
export function drawOrders(choices: Choices): ControlOperation[] {
  const orders: ControlOperation[] = []
  for (let number = choices.pick(ORDERS); number > 0; number--) {
    const when = { on: 'mirror-started' as const, afterNs: choices.below(ORDER_NS_MAX) }
    orders.push(drawOrder(choices, `c${number}`, when))
  }
  return orders
}

function drawOrder(choices: Choices, id: string, when: ControlOperation['when']): ControlOperation {
  const kind = choices.pick(ORDER)
  if (kind === 'set-speed') return { id, when, kind, speedBytesPerSecond: choices.chance(50) ? 0 : SPEED_BYTES }
  if (kind === 'cancel') return { id, when, kind, force: choices.chance(50) }
  if (kind === 'drain') return { id, when, kind, durationNs: choices.below(ORDER_NS_MAX) }
  return { id, when, kind }
}
