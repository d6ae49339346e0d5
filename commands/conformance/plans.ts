/**
 * A shape as a plan: its two disks, its mirror, the filter's errors, and what the guest does before the job and beside it.
 * Nothing is drawn: a shape has one plan.
 */
import type { DiskPlan, FaultPlan, FormatPlan, GuestOperation, InitialExtent, Plan } from '../../sim/plan'
import { coveringShapes, type Shape } from './dimensions'

export interface ConformancePlan {
  /** `c017`: by its place in the set. */
  readonly name: string
  readonly shape: Shape
  readonly plan: Plan
  /** What the guest does before the job starts; the rest is done beside it. */
  readonly guestBefore: readonly GuestOperation[]
}

const KIB = 1024
const LENGTH_BYTES = 1024 * KIB
/** A last chunk that is shorter in every granularity. */
const TAIL_SHORT_BYTES = 2560
const SIZES = { default: 0, '4K': 4 * KIB, '64K': 64 * KIB } as const
const ERROR_TIMES = 1

export function conformancePlans(): ConformancePlan[] {
  return coveringShapes().map((shape, index) => {
    const name = `c${String(index).padStart(3, '0')}`
    return { name, shape, plan: planOf(name, shape), guestBefore: guestOf('before', shape, lengthOf(shape)) }
  })
}

function lengthOf({ length }: Shape): number {
  return length === 'tail' ? LENGTH_BYTES - TAIL_SHORT_BYTES : LENGTH_BYTES
}

function planOf(name: string, shape: Shape): Plan {
  const lengthBytes = lengthOf(shape)
  const targetLengthBytes = shape.orders === 'sizes-differ' ? lengthBytes - 64 * KIB : lengthBytes
  return {
    format: 'mirrorsim-plan',
    version: 5,
    seed: name,
    profile: 'conformance',
    device: {
      queueCount: 1,
      queueSize: 16,
      blockBytes: 512,
      indirect: false,
      eventIndex: false,
      segmentsMax: 1,
      writeCache: true,
    },
    source: sourceOf(shape, lengthBytes),
    destination: targetOf(shape, targetLengthBytes),
    mirror: {
      sync: shape.sync,
      copyMode: shape.copyMode,
      granularityBytes: SIZES[shape.granularity],
      bufferBytes: SIZES[shape.buffer],
      // One byte a second: the job stands still after its first operation.
      speedBytesPerSecond: shape.orders.startsWith('early-') ? 1 : 0,
      unmap: shape.unmap === 'yes',
      targetIsZero: shape.targetIsZero === 'yes',
      onSourceError: shape.onSourceError,
      onTargetError: shape.onTargetError,
      autoFinalize: shape.autoFinalize === 'yes',
      ...(shape.replaces === 'none' ? {} : { replaces: REPLACES[shape.replaces] }),
    },
    guest: guestOf('beside', shape, lengthBytes),
    control: shape.autoDismiss === 'yes' ? [] : [{ id: 'c', kind: 'dismiss', when: { on: 'concluded', afterNs: 0 } }],
    faults: faultsOf(shape, lengthBytes),
    bounds: { eventsMax: 0, timeMaxNs: 0 },
  }
}

/** `source-0` is what the source's format stands on. */
const REPLACES = { source: 'source', unsafe: 'source-0', absent: 'nobody' } as const

// ------------------------------------------------------------------------------------------------------------------ disks

const DISK: Omit<DiskPlan, 'lengthBytes' | 'initial' | 'node'> = {
  requestAlignmentBytes: 1,
  maxTransferBytes: 0,
  maxWriteZeroesBytes: 0,
  writeZeroesAlignmentBytes: 1,
  maxDiscardBytes: 0,
  discardAlignmentBytes: 1,
  allocationUnitBytes: 4 * KIB,
  writeZeroes: 'unmapping',
  discard: 'reads-zero',
  reportsHoles: true,
  holesReadZero: true,
  latency: { minNs: 0, stepNs: 0, steps: 1 },
}

function sourceOf({ source, cluster, content }: Shape, lengthBytes: number): DiskPlan {
  const disk = {
    ...DISK,
    lengthBytes,
    initial: CONTENTS[content](lengthBytes),
    node: { discard: 'unmap', detectZeroes: 'off' },
  } as const
  if (source === 'raw') return { ...disk, raw: true }
  const below = source === 'qcow2-backed' ? { backing: backingOf('s', lengthBytes, false) } : {}
  return { ...disk, format: { ...FORMAT, clusterBytes: SIZES[cluster], ...below } }
}

function targetOf(shape: Shape, lengthBytes: number): DiskPlan {
  const { target, cluster, before, discard, detectZeroes } = shape
  const disk = { ...DISK, lengthBytes, initial: BEFORE[before], node: { discard, detectZeroes } }
  if (target === 'raw') return { ...disk, raw: true }
  const isDetached = target === 'qcow2-detached'
  const below = target === 'qcow2' ? {} : { backing: backingOf('t', lengthBytes, isDetached) }
  return { ...disk, format: { ...FORMAT, clusterBytes: SIZES[cluster], ...below } }
}

const FORMAT: Omit<FormatPlan, 'clusterBytes'> = {
  kind: 'qcow2',
  version: 3,
  extendedL2: false,
  refcountBits: 16,
  lazyRefcounts: false,
  discardNoUnref: false,
  preallocation: 'off',
  dataFile: 'none',
}

function backingOf(id: string, lengthBytes: number, isDetached: boolean): NonNullable<FormatPlan['backing']> {
  const initial = [extent(`${id}-b0`, 64, 192), extent(`${id}-b1`, 768, 64)]
  return { format: 'qcow2', lengthBytes, initial, isDetached }
}

function extent(id: string, offsetKib: number, lengthKib: number, content: InitialExtent['content'] = 'data'): InitialExtent {
  return { id, offsetBytes: offsetKib * KIB, lengthBytes: lengthKib * KIB, content }
}

const CONTENTS: Record<Shape['content'], (lengthBytes: number) => InitialExtent[]> = {
  empty: () => [],
  chunks: (lengthBytes) => [
    extent('s0', 0, 64),
    extent('s1', 128, 128),
    extent('s2', 512, 64),
    { id: 's3', offsetBytes: 960 * KIB, lengthBytes: lengthBytes - 960 * KIB, content: 'data' },
  ],
  /** Data and holes that are shorter than a chunk. */
  short: () => [extent('s0', 4, 8), extent('s1', 66, 4), extent('s2', 72, 1), extent('s3', 300, 24), extent('s4', 328, 200)],
  zeroes: () => [extent('s0', 0, 128, 'zero'), extent('s1', 256, 64), extent('s2', 640, 64, 'zero')],
}

const BEFORE: Record<Shape['before'], InitialExtent[]> = {
  empty: [],
  data: [extent('t0', 32, 96), extent('t1', 640, 64)],
  zeroes: [extent('t0', 0, 256, 'zero')],
}

// ----------------------------------------------------------------------------------------------------------------- errors

/** Where there is data that no guest's zeroes reach. */
const DATA_KIB: Record<Shape['content'], number> = { chunks: 560, short: 500, zeroes: 256, empty: 0 }

function faultsOf({ error, content }: Shape, lengthBytes: number): FaultPlan[] {
  if (error === 'none') return []
  const whole = { offsetBytes: 0, lengthBytes, skip: 0, times: ERROR_TIMES }
  const found = ERRORS[error]
  // One place, which both must come by; the source's own opening does not.
  const where =
    error === 'target-flush' ? {} : { offsetBytes: (error === 'target-zero' ? 80 : DATA_KIB[content]) * KIB, lengthBytes: 512 }
  return [{ id: 'f', kind: 'error', ...whole, ...where, ...found }]
}

const ERRORS: Record<Exclude<Shape['error'], 'none'>, Pick<FaultPlan & { kind: 'error' }, 'disk' | 'operation' | 'errno'>> = {
  'source-read': { disk: 'source', operation: 'read', errno: 'EIO' },
  'target-write-eio': { disk: 'destination', operation: 'write', errno: 'EIO' },
  'target-write-enospc': { disk: 'destination', operation: 'write', errno: 'ENOSPC' },
  'target-flush': { disk: 'destination', operation: 'flush', errno: 'EIO' },
  'target-zero': { disk: 'destination', operation: 'write-zeroes', errno: 'EIO' },
}

// ------------------------------------------------------------------------------------------------------------------ guest

type Wish = Pick<GuestOperation, 'kind' | 'offsetBytes' | 'lengthBytes' | 'unmap' | 'zeroData'>

function guestOf(phase: 'before' | 'beside', { guest }: Shape, lengthBytes: number): GuestOperation[] {
  const wishes = guest === 'none' ? [] : GUESTS[guest](lengthBytes)
  // A fifth is done before the job.
  const before = Math.ceil(wishes.length / 5)
  const part = phase === 'before' ? wishes.slice(0, before) : wishes.slice(before)
  return part.map((wish, index) => ({ id: `${phase}${index}`, lane: 0, thinkNs: 0, ...wish }))
}

function at(kind: GuestOperation['kind'], offsetKib: number, lengthKib: number, more: Partial<Wish> = {}): Wish {
  return { kind, offsetBytes: offsetKib * KIB, lengthBytes: lengthKib * KIB, ...more }
}

const GUESTS: Record<Exclude<Shape['guest'], 'none'>, (lengthBytes: number) => Wish[]> = {
  writes: (lengthBytes) => [
    at('write', 320, 64),
    at('read', 0, 256),
    at('write', 448, 64),
    at('write', 130, 3),
    at('write', 62.5, 4),
    { kind: 'write', offsetBytes: lengthBytes - 512, lengthBytes: 512 },
    at('flush', 0, 0),
    at('write', 256, 64, { zeroData: true }),
    at('read', 0, 448),
    at('write', 0, 192),
  ],
  zeroes: (lengthBytes) => [
    at('write-zeroes', 512, 32, { unmap: true }),
    at('write-zeroes', 128, 64),
    at('write-zeroes', 192, 64, { unmap: true }),
    at('read', 128, 128),
    at('write-zeroes', 0, 4, { unmap: true }),
    at('write-zeroes', 5, 2),
    { kind: 'write-zeroes', offsetBytes: lengthBytes - 512, lengthBytes: 512, unmap: true },
    at('write', 192, 64),
    at('read', 0, 448),
  ],
  discards: () => [
    at('discard', 512, 64),
    at('discard', 128, 64),
    at('read', 0, 64),
    at('discard', 0, 4),
    at('discard', 5, 2),
    at('flush', 0, 0),
    at('discard', 256, 512),
    at('write', 256, 4),
  ],
}
