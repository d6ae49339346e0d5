/**
 * Words to write scenarios in. A scenario says only what matters to it; everything else is the plain case: a small disk
 * with a fast, capable, empty destination, write-blocking, one queue, requests of 10 µs.
 */
import type {
  ControlOperation,
  DevicePlan,
  DiskPlan,
  ErrorFaultPlan,
  FaultPlan,
  GuestOperation,
  InitialExtent,
  MirrorPlan,
  NbdPlan,
  OtherFaultPlan,
  Plan,
  Trigger,
} from '../sim/plan'
import type { Expectation } from '../sim/verdict'

export type { Expectation } from '../sim/verdict'

/** 1024 bytes. */
export const KiB = 1024
/** 1024 KiB. */
export const MiB = 1024 * KiB
export const MICRO = 1_000
export const MILLI = 1_000_000
/** Granularity where a scenario does not choose one. */
export const CHUNK = 16 * KiB
/** By then a small world is READY and idle. */
export const AFTER_READY_NS = 20 * MILLI

/** A named plan, and what must come of it. */
export interface Scenario {
  /** Stable; part of reports. */
  readonly name: string
  /** What goes wrong where the care is missing. A number in brackets is that of a fix in QEMU. */
  readonly bug: string
  readonly plan: Plan
  readonly expected: Expectation
}

/** What a scenario says; what is left out is the plain case. */
export interface ScenarioParts {
  name: string
  bug: string
  /** Of the decisions, where it takes some of them to show the bug; absent: the name. */
  seed?: string
  lengthBytes?: number
  device?: Partial<DevicePlan>
  source?: Partial<DiskPlan>
  destination?: Partial<DiskPlan>
  mirror?: Partial<MirrorPlan>
  guest?: GuestOperation[]
  /** When the mirror starts: at once. Control operation `c1`. */
  start?: Trigger
  /** From `c2` on. */
  control?: ControlOperation[]
  faults?: FaultPlan[]
  /** No device: guests reach the source over NBD. */
  nbd?: NbdPlan
  expected?: Expectation
}

/** A named plan of which only what matters is said; the rest is the plain case. Nothing is checked before it runs. */
export function scenario(parts: ScenarioParts): Scenario {
  const lengthBytes = parts.lengthBytes ?? 8 * CHUNK
  const plan: Plan = {
    format: 'mirrorsim-plan',
    version: parts.faults?.some(({ kind }) => kind === 'own') === true ? 6 : 4,
    seed: parts.seed ?? parts.name,
    profile: 'scenario',
    device: { ...PLAIN_DEVICE, ...parts.device },
    source: { ...PLAIN_DISK, lengthBytes, initial: [data('s1', 0, lengthBytes)], ...parts.source },
    destination: { ...PLAIN_DISK, lengthBytes, ...parts.destination },
    mirror: { ...PLAIN_MIRROR, ...parts.mirror },
    guest: parts.guest ?? [],
    control: [{ id: 'c1', when: parts.start ?? { on: 'start', afterNs: 0 }, kind: 'mirror-start' }, ...(parts.control ?? [])],
    faults: parts.faults ?? [],
    bounds: { eventsMax: 100_000, timeMaxNs: 60_000 * MILLI },
    ...(parts.nbd === undefined ? {} : { nbd: parts.nbd }),
  }
  return { name: parts.name, bug: parts.bug, plan, expected: { jobError: null, ...parts.expected } }
}

const PLAIN_DEVICE: DevicePlan = {
  queueCount: 1,
  queueSize: 64,
  blockBytes: 512,
  indirect: true,
  eventIndex: true,
  segmentsMax: 4,
  writeCache: true,
}

const PLAIN_DISK: DiskPlan = {
  lengthBytes: 0,
  requestAlignmentBytes: 512,
  maxTransferBytes: 0,
  maxWriteZeroesBytes: 0,
  writeZeroesAlignmentBytes: 0,
  maxDiscardBytes: 0,
  discardAlignmentBytes: 0,
  allocationUnitBytes: 4 * KiB,
  writeZeroes: 'unmapping',
  discard: 'reads-zero',
  reportsHoles: true,
  holesReadZero: true,
  node: { discard: 'unmap', detectZeroes: 'off' },
  latency: { minNs: 10 * MICRO, stepNs: 0, steps: 1 },
  initial: [],
}

const PLAIN_MIRROR: MirrorPlan = {
  sync: 'full',
  copyMode: 'write-blocking',
  granularityBytes: CHUNK,
  bufferBytes: 4 * CHUNK,
  speedBytesPerSecond: 0,
  unmap: true,
  targetIsZero: false,
  onSourceError: 'report',
  onTargetError: 'report',
  autoFinalize: true,
}

/** Latencies that spread widely, so that requests overtake one another. */
export const SPREAD: DiskPlan['latency'] = { minNs: 5 * MICRO, stepNs: 40 * MICRO, steps: 16 }
/** Requests so slow that everything else happens while one is in flight. */
export const SLOW: DiskPlan['latency'] = { minNs: 2 * MILLI, stepNs: 0, steps: 1 }

/** Content of a disk at the beginning: stamped sectors, that differ from all others. Bytes; multiples of 512. */
export function data(id: string, offsetBytes: number, lengthBytes: number): InitialExtent {
  return { id, offsetBytes, lengthBytes, content: 'data' }
}

/** Allocated, reads zero. */
export function zeroes(id: string, offsetBytes: number, lengthBytes: number): InitialExtent {
  return { id, offsetBytes, lengthBytes, content: 'zero' }
}

type More = Partial<Pick<GuestOperation, 'lane' | 'thinkNs' | 'zeroData' | 'unmap'>>

function operation(
  id: string,
  kind: GuestOperation['kind'],
  offsetBytes: number,
  lengthBytes: number,
  more: More,
): GuestOperation {
  return { id, kind, lane: 0, offsetBytes, lengthBytes, thinkNs: 0, ...more }
}

/**
 * A write of the guest, of stamped data. Bytes; multiples of the device's blocks. `more`: its lane, how long the driver waits
 * before it, and the like.
 */
export function write(id: string, offsetBytes: number, lengthBytes: number, more: More = {}): GuestOperation {
  return operation(id, 'write', offsetBytes, lengthBytes, more)
}
/** A zero write of the guest that may deallocate; see `write`. */
export function zero(id: string, offsetBytes: number, lengthBytes: number, more: More = {}): GuestOperation {
  return operation(id, 'write-zeroes', offsetBytes, lengthBytes, { unmap: true, ...more })
}
/** A discard of the guest; see `write`. */
export function discard(id: string, offsetBytes: number, lengthBytes: number, more: More = {}): GuestOperation {
  return operation(id, 'discard', offsetBytes, lengthBytes, more)
}
/** A read of the guest; see `write`. */
export function read(id: string, offsetBytes: number, lengthBytes: number, more: More = {}): GuestOperation {
  return operation(id, 'read', offsetBytes, lengthBytes, more)
}
/** A flush of the guest; see `write`. */
export function flush(id: string, more: More = {}): GuestOperation {
  return operation(id, 'flush', 0, 0, more)
}

/** Data of `lengthBytes` every `strideBytes`, from the start of the disk on. */
export function stripes(count: number, strideBytes: number, lengthBytes: number): InitialExtent[] {
  return Array.from({ length: count }, (_, index) => data(`s${index + 1}`, index * strideBytes, lengthBytes))
}

/** `count` operations made by `make` from their number, counted from `first`. */
export function many(first: number, count: number, make: (id: string, index: number) => GuestOperation): GuestOperation[] {
  return Array.from({ length: count }, (_, index) => make(`g${first + index}`, index))
}

/** When something happens: so much virtual time after a moment, or after the end of an operation. */
export function on(on: Trigger['on'], afterNs = 0): Trigger {
  return { on, afterNs }
}

/** An error for every matching request from the first on, `times` of them. */
export function fault(
  id: string,
  disk: FaultPlan['disk'],
  at: FaultPlan['operation'],
  more: Partial<ErrorFaultPlan> = {},
): ErrorFaultPlan {
  const whole = { offsetBytes: 0, lengthBytes: 8 * CHUNK }
  return { id, kind: 'error', disk, operation: at, errno: 'EIO', ...whole, skip: 0, times: 1, ...more }
}

/** Something else than an error. */
export function trouble(
  id: string,
  kind: OtherFaultPlan['kind'],
  disk: FaultPlan['disk'],
  at: FaultPlan['operation'],
  more: Partial<OtherFaultPlan> = {},
): OtherFaultPlan {
  return { id, kind, disk, operation: at, offsetBytes: 0, lengthBytes: 8 * CHUNK, skip: 0, times: 1, ...more }
}
