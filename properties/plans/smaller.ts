/**
 * Smaller versions of a plan, for whoever looks for the smallest one that still fails. Ids never change, so the decisions
 * about the operations that stay are the same; every candidate is a plan that can run and can end.
 *
 * A candidate is smaller than its plan in an order that has no infinite descent: fewer elements, or as many and a setting
 * more at its dull value, or a shorter length. So a search that always takes the first failing candidate ends.
 */
import { faultOf } from '../../sim/faults'
import {
  type ControlOperation,
  type DevicePlan,
  type DiskPlan,
  type FaultPlan,
  type GuestOperation,
  type InitialExtent,
  type JobPlan,
  type MirrorPlan,
  type OccasionPlan,
  type Plan,
  SECTOR_BYTES,
  type StallPlan,
  type ThrottlePlan,
} from '../../sim/plan'
import { withSimplerFormats } from './smaller_formats'
import { duller, fewer } from './smaller_lists'
import { withSimplerMonitors } from './smaller_monitor'
import { withSimplerNbd } from './smaller_nbd'

/** What a setting is when it has nothing to do with a failure. */
const DULL_DEVICE: Partial<DevicePlan> = {
  queueCount: 1,
  queueSize: 64,
  blockBytes: 512,
  indirect: false,
  eventIndex: false,
  segmentsMax: 1,
  writeCache: true,
}
const DULL_DISK: Partial<DiskPlan> = {
  requestAlignmentBytes: 512,
  maxTransferBytes: 0,
  maxWriteZeroesBytes: 0,
  writeZeroesAlignmentBytes: 0,
  maxDiscardBytes: 0,
  discardAlignmentBytes: 0,
  allocationUnitBytes: 512,
  writeZeroes: 'unmapping',
  discard: 'reads-zero',
  reportsHoles: true,
  holesReadZero: true,
}
const DULL_NODE: DiskPlan['node'] = { discard: 'unmap', detectZeroes: 'off' }
const DULL_LATENCY: DiskPlan['latency'] = { minNs: 10_000, stepNs: 0, steps: 1 }
const DULL_THROTTLE: Partial<ThrottlePlan> = {
  at: 'top',
  burstBytesPerSecond: 0,
  burstRequestsPerSecond: 0,
  joinsSource: false,
}
const DULL_MIRROR: Partial<MirrorPlan> = {
  sync: 'full',
  copyMode: 'background',
  bufferBytes: 0,
  speedBytesPerSecond: 0,
  unmap: true,
  targetIsZero: false,
  onSourceError: 'report',
  onTargetError: 'report',
  autoFinalize: true,
}

const DULL_JOB: Partial<JobPlan> = { sync: 'full', onError: 'report', speedBytesPerSecond: 0, autoFinalize: true }
const DULL_OVERLAY: Partial<NonNullable<JobPlan['overlay']>> = { longerBytes: 0, keepsBase: false }

/** Candidates, those that take most away first. */
export function* smallerPlans(plan: Plan): Generator<Plan, void, undefined> {
  const { schedule, ...bare } = plan
  if (schedule !== undefined) yield bare
  yield* withFewerElements(plan)
  yield* withShorterDisks(plan)
  yield* withSimplerFormats(plan)
  yield* withSimplerNbd(plan)
  yield* withSimplerMonitors(plan)
  yield* withDullSettings(plan)
  yield* withDullJob(plan)
  yield* withSimplerOperations(plan)
}

function* withFewerElements(plan: Plan): Generator<Plan> {
  for (const guest of fewer(plan.guest)) yield withGuest(plan, guest)
  for (const kept of fewer(plan.control.filter((operation) => isDroppable(plan.control, operation)))) {
    yield { ...plan, control: controlWith(plan.control, kept) }
  }
  for (const faults of fewer(plan.faults)) yield { ...plan, faults }
  for (const stalls of fewer(plan.stalls ?? [])) yield withStalls(plan, stalls)
  for (const initial of fewer(plan.source.initial)) yield { ...plan, source: { ...plan.source, initial } }
  for (const initial of fewer(plan.destination.initial)) yield { ...plan, destination: { ...plan.destination, initial } }
}

function withStalls({ stalls: _, ...plan }: Plan, stalls: StallPlan[]): Plan {
  return stalls.length === 0 ? plan : { ...plan, stalls }
}

/** Control operations that waited for an operation that is gone happen when the mirror starts; the start itself at once. */
function withGuest(plan: Plan, guest: GuestOperation[]): Plan {
  const ids = new Set(guest.map(({ id }) => id))
  const control = plan.control.map((operation): ControlOperation => {
    const { on, afterNs } = operation.when
    if (typeof on !== 'object' || !('operationDone' in on) || ids.has(on.operationDone)) return operation
    return { ...operation, when: { on: operation.kind === 'mirror-start' ? 'start' : 'mirror-started', afterNs } }
  })
  return { ...plan, guest, control }
}

/** Without its first start the plan is no mirror's; without its resume a paused job never ends. */
function isDroppable(control: readonly ControlOperation[], operation: ControlOperation): boolean {
  const start = control.find(({ kind }) => kind === 'mirror-start')
  return operation !== start && pauseOf(control, operation) === null
}

function pauseOf(control: readonly ControlOperation[], operation: ControlOperation): ControlOperation | null {
  const { on } = operation.when
  if (operation.kind !== 'resume' || typeof on !== 'object' || !('controlDone' in on)) return null
  return control.find(({ id, kind }) => id === on.controlDone && kind === 'pause') ?? null
}

/** The kept operations with what cannot be dropped, without those that wait for one that is gone. */
function controlWith(control: readonly ControlOperation[], kept: readonly ControlOperation[]): ControlOperation[] {
  const ids = new Set<string>()
  return control.filter((operation) => {
    const { on } = operation.when
    if (isDroppable(control, operation) && !kept.includes(operation)) return false
    if (typeof on === 'object' && 'controlDone' in on && !ids.has(on.controlDone)) return false
    ids.add(operation.id)
    return true
  })
}

/** Cuts whole chunks off the end, as far as the guest never goes there: a short last chunk stays as short as it was. */
function* withShorterDisks(plan: Plan): Generator<Plan> {
  const chunkBytes = plan.mirror.granularityBytes === 0 ? 65_536 : plan.mirror.granularityBytes
  const { lengthBytes } = plan.source
  if (lengthBytes !== plan.destination.lengthBytes) {
    if (lengthBytes < plan.destination.lengthBytes) yield withLength(plan, lengthBytes)
    return
  }
  const stepBytes = Math.max(chunkBytes, alignmentOf(plan))
  const guestEndBytes = plan.guest.reduce((end, operation) => Math.max(end, operation.offsetBytes + operation.lengthBytes), 1)
  for (let steps = Math.floor((lengthBytes - guestEndBytes) / stepBytes); steps >= 1; steps = Math.floor(steps / 2)) {
    const shortBytes = lengthBytes - steps * stepBytes
    if (shortBytes > 0) yield withLength(plan, shortBytes)
  }
}

function alignmentOf({ device, source, destination }: Plan): number {
  return Math.max(device.blockBytes, source.requestAlignmentBytes, destination.requestAlignmentBytes)
}

function withLength(plan: Plan, lengthBytes: number): Plan {
  const clip = <T extends InitialExtent | OccasionPlan>(ranges: readonly T[]): T[] =>
    ranges
      .filter(({ offsetBytes }) => offsetBytes < lengthBytes)
      .map((range) => ({ ...range, lengthBytes: Math.min(range.lengthBytes, lengthBytes - range.offsetBytes) }))
  return {
    ...plan,
    source: { ...plan.source, lengthBytes, initial: clip(plan.source.initial) },
    destination: { ...plan.destination, lengthBytes, initial: clip(plan.destination.initial) },
    faults: clip(plan.faults),
    ...(plan.stalls === undefined ? {} : { stalls: clip(plan.stalls) }),
  }
}

function* withDullJob(plan: Plan): Generator<Plan> {
  if (plan.job === undefined) return
  for (const job of duller(plan.job, DULL_JOB)) yield { ...plan, job }
  const { overlay, ...job } = plan.job
  if (overlay === undefined) return
  yield { ...plan, job }
  for (const simple of duller(overlay, DULL_OVERLAY)) yield { ...plan, job: { ...job, overlay: simple } }
  if (overlay.longerBytes > SECTOR_BYTES) {
    yield { ...plan, job: { ...job, overlay: { ...overlay, longerBytes: halfSectors(overlay.longerBytes) } } }
  }
}

function halfSectors(bytes: number): number {
  return Math.ceil(bytes / 2 / SECTOR_BYTES) * SECTOR_BYTES
}

function* withDullSettings(plan: Plan): Generator<Plan> {
  for (const device of duller(plan.device, DULL_DEVICE)) yield { ...plan, device }
  for (const mirror of duller(plan.mirror, DULL_MIRROR)) yield { ...plan, mirror }
  const { replaces, ...mirror } = plan.mirror
  if (replaces !== undefined) yield { ...plan, mirror }
  for (const name of ['source', 'destination'] as const) {
    const disk = plan[name]
    for (const dull of duller(disk, DULL_DISK)) yield { ...plan, [name]: dull }
    for (const node of duller(disk.node, DULL_NODE)) yield { ...plan, [name]: { ...disk, node } }
    const { readOnly, ...node } = disk.node
    if (readOnly === true) yield { ...plan, [name]: { ...disk, node } }
    for (const latency of duller(disk.latency, DULL_LATENCY)) yield { ...plan, [name]: { ...disk, latency } }
    const { raw, ...bare } = disk
    if (raw === true) yield { ...plan, [name]: bare }
    const { throttle, ...free } = disk
    if (throttle === undefined) continue
    yield { ...plan, [name]: free }
    for (const simple of duller(throttle, DULL_THROTTLE)) yield { ...plan, [name]: { ...disk, throttle: simple } }
  }
}

function* withSimplerOperations(plan: Plan): Generator<Plan> {
  if (plan.guest.some(({ thinkNs }) => thinkNs > 0)) {
    yield { ...plan, guest: plan.guest.map((operation) => ({ ...operation, thinkNs: 0 })) }
  }
  for (const [index, operation] of plan.guest.entries()) {
    for (const simple of simplerOperations(operation, plan.device.blockBytes)) {
      yield { ...plan, guest: replaced(plan.guest, index, simple) }
    }
  }
  for (const [index, operation] of plan.control.entries()) {
    if (operation.when.afterNs === 0) continue
    const now: ControlOperation = { ...operation, when: { ...operation.when, afterNs: 0 } }
    yield { ...plan, control: replaced(plan.control, index, now) }
  }
  for (const [index, stall] of (plan.stalls ?? []).entries()) {
    for (const simple of duller(stall, { skip: 0 })) yield { ...plan, stalls: replaced(plan.stalls!, index, simple) }
  }
  for (const [index, fault] of plan.faults.entries()) {
    const dull: Partial<FaultPlan> = { skip: 0, times: 1, ...faultOf(fault).dull }
    for (const simple of duller(fault, dull)) yield { ...plan, faults: replaced(plan.faults, index, simple) }
    if (fault.kind !== 'error') continue
    const { torn, ...whole } = fault
    if (torn === true) yield { ...plan, faults: replaced(plan.faults, index, whole) }
  }
}

function* simplerOperations(operation: GuestOperation, blockBytes: number): Generator<GuestOperation> {
  const { lengthBytes } = operation
  if (lengthBytes > blockBytes) yield { ...operation, lengthBytes: blockBytes }
  const halfBytes = Math.floor(lengthBytes / 2 / blockBytes) * blockBytes
  if (halfBytes > blockBytes) yield { ...operation, lengthBytes: halfBytes }
  if (lengthBytes > 2 * blockBytes) yield { ...operation, lengthBytes: lengthBytes - blockBytes }
  if (operation.lane > 0) yield { ...operation, lane: 0 }
  if (operation.thinkNs > 0) yield { ...operation, thinkNs: 0 }
  if (operation.unmap === true) yield { ...operation, unmap: false }
  const { zeroData, ...stamped } = operation
  if (zeroData === true) yield stamped
}

function replaced<T>(list: readonly T[], index: number, element: T): T[] {
  const copy = [...list]
  copy[index] = element
  return copy
}
