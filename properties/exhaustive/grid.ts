/**
 * Small plans, all of them: every sequence of at most so many guest operations out of a short list of ranges that covers
 * each way in which a request can lie on chunks, on a disk of a few sectors, under each configuration that the mirror's code
 * distinguishes. A cell of the grid is one plan; its schedules are the search's.
 *
 * The grid is an enumeration, not a sample: its order and its size depend on nothing but this file.
 */
import {
  type DiskPlan,
  type FaultPlan,
  type GuestOperation,
  type GuestOperationKind,
  type InitialExtent,
  type Plan,
  SECTOR_BYTES,
} from '../../sim/plan'
import type { Setting } from './settings'

const CHUNK_SECTORS = 2
const CHUNK_BYTES = CHUNK_SECTORS * SECTOR_BYTES
const DISK_SECTORS = 6

/** First sector and number of sectors. Chunks are two sectors: the start of one, all of one, across two, the end of the disk. */
type SectorRange = readonly [first: number, count: number]
const RANGES: readonly SectorRange[] = [
  [0, 1],
  [0, 2],
  [1, 2],
  [2, 2],
  [3, 2],
  [4, 2],
]
const KINDS: readonly GuestOperationKind[] = ['write', 'write-zeroes', 'discard']

export interface Configuration {
  copyMode: 'background' | 'write-blocking'
  /** What the destination holds before the mirror, and whether the mirror can know. */
  destination: 'zero' | 'stale'
  /** The last chunk is one sector long. */
  hasTail: boolean
}

/** When the guest's operations come: while the mirror starts and copies, one after the other or at once, or when it is READY. */
export type Timing = 'one-by-one' | 'at-once' | 'after-ready'

/** Null, or the one request that fails. */
export type FaultChoice = Pick<FaultPlan, 'disk' | 'operation' | 'skip'> | null

const CONFIGURATIONS: readonly Configuration[] = (['background', 'write-blocking'] as const).flatMap((copyMode) =>
  (['zero', 'stale'] as const).flatMap((destination) => [false, true].map((hasTail) => ({ copyMode, destination, hasTail }))),
)
/** In the order in which plans with one, two and more operations begin to differ by them. */
const TIMINGS: readonly Timing[] = ['at-once', 'after-ready', 'one-by-one']
/** Nothing fails, or the first of the requests of one kind that change something does. */
export const WRITE_FAULTS: readonly FaultChoice[] = [
  null,
  { disk: 'source', operation: 'write', skip: 0 },
  { disk: 'destination', operation: 'write', skip: 0 },
  { disk: 'destination', operation: 'write-zeroes', skip: 0 },
]
/** Beside a setting. */
export const SETTING_FAULTS: readonly FaultChoice[] = [null, { disk: 'destination', operation: 'write-zeroes', skip: 0 }]
export const OTHER_FAULTS: readonly FaultChoice[] = [
  { disk: 'source', operation: 'read', skip: 0 },
  { disk: 'source', operation: 'write-zeroes', skip: 0 },
  { disk: 'source', operation: 'discard', skip: 0 },
  { disk: 'destination', operation: 'write', skip: 1 },
  { disk: 'destination', operation: 'discard', skip: 0 },
  { disk: 'destination', operation: 'flush', skip: 0 },
]

/** What one operation can be: a kind at a range. */
const OPERATIONS: ReadonlyArray<{ kind: GuestOperationKind; range: SectorRange }> = KINDS.flatMap((kind) =>
  RANGES.map((range) => ({ kind, range })),
)

export interface Cell {
  /** Beside the rest; null: none. */
  setting: Setting | null
  configuration: Configuration
  timing: Timing
  fault: FaultChoice
  /** Indexes into OPERATIONS. */
  operations: readonly number[]
}

/** One dimension of a grid after the other; the last one turns fastest. */
export class Grid {
  readonly operationCount: number
  private readonly timings: readonly Timing[]
  private readonly faults: readonly FaultChoice[]
  private readonly configurations: readonly Configuration[]
  private readonly settings: ReadonlyArray<Setting | null>
  readonly size: number

  constructor(
    operationCount: number,
    faults: readonly FaultChoice[],
    copyModes: ReadonlyArray<Configuration['copyMode']>,
    settings: ReadonlyArray<Setting | null> = [null],
  ) {
    this.settings = settings
    this.operationCount = operationCount
    this.faults = faults
    this.configurations = CONFIGURATIONS.filter(({ copyMode }) => copyModes.includes(copyMode))
    // Nothing comes one by one before there are two of it.
    const last = Math.min(operationCount + 1, TIMINGS.length)
    this.timings = operationCount === 0 ? ['at-once'] : TIMINGS.slice(0, last)
    const perSequence = this.configurations.length * this.timings.length * faults.length * settings.length
    this.size = OPERATIONS.length ** operationCount * perSequence
  }

  /** The cell at an index in [0, size). */
  cell(index: number): Cell {
    let rest = index
    const digit = (count: number): number => {
      const value = rest % count
      rest = (rest - value) / count
      return value
    }
    const fault = this.faults[digit(this.faults.length)]!
    const timing = this.timings[digit(this.timings.length)]!
    const configuration = this.configurations[digit(this.configurations.length)]!
    const setting = this.settings[digit(this.settings.length)]!
    const operations = Array.from({ length: this.operationCount }, () => digit(OPERATIONS.length)).reverse()
    return { setting, configuration, timing, fault, operations }
  }
}

/** Requests that are held back come after everything else that can happen. */
const LATENCY: DiskPlan['latency'] = { minNs: 10_000, stepNs: 3_000_000, steps: 2 }
/** Nothing happens any more by then: READY and idle, or stopped by an error. */
const AFTER_READY_NS = 40_000_000

export function planOf(cell: Cell): Plan {
  const plan = plainPlan(cell)
  return cell.setting === null ? plan : cell.setting.change(plan)
}

function plainPlan(cell: Cell): Plan {
  const { configuration, timing, fault, operations } = cell
  const lengthBytes = (DISK_SECTORS - (configuration.hasTail ? 1 : 0)) * SECTOR_BYTES
  const stale: InitialExtent[] = [{ id: 'd1', offsetBytes: 0, lengthBytes, content: 'data' }]
  return {
    format: 'mirrorsim-plan',
    version: 2,
    // Everything but what the search decides is dull.
    seed: '',
    profile: 'exhaustive',
    device: {
      queueCount: 1,
      queueSize: 8,
      blockBytes: SECTOR_BYTES,
      indirect: false,
      eventIndex: false,
      segmentsMax: 1,
      writeCache: true,
    },
    source: { ...DISK, lengthBytes, initial: [data('s1', 0, SECTOR_BYTES), data('s2', CHUNK_BYTES * 2, SECTOR_BYTES)] },
    destination: { ...DISK, lengthBytes, initial: configuration.destination === 'stale' ? stale : [] },
    mirror: {
      sync: 'full',
      copyMode: configuration.copyMode,
      granularityBytes: CHUNK_BYTES,
      bufferBytes: 4 * CHUNK_BYTES,
      speedBytesPerSecond: 0,
      unmap: true,
      targetIsZero: false,
      onSourceError: 'ignore',
      onTargetError: 'ignore',
      autoFinalize: true,
    },
    guest: operations.map((index, place) => operationOf(index, place, timing, lengthBytes)),
    control: [{ id: 'c1', when: { on: 'start', afterNs: 0 }, kind: 'mirror-start' }],
    faults: fault === null ? [] : [{ id: 'f1', kind: 'error', errno: 'EIO', offsetBytes: 0, lengthBytes, times: 1, ...fault }],
    bounds: { eventsMax: 5_000, timeMaxNs: 60_000_000_000 },
  }
}

const DISK: DiskPlan = {
  lengthBytes: 0,
  requestAlignmentBytes: SECTOR_BYTES,
  maxTransferBytes: 0,
  maxWriteZeroesBytes: 0,
  writeZeroesAlignmentBytes: 0,
  maxDiscardBytes: 0,
  discardAlignmentBytes: 0,
  allocationUnitBytes: SECTOR_BYTES,
  writeZeroes: 'unmapping',
  discard: 'reads-zero',
  reportsHoles: true,
  holesReadZero: true,
  node: { discard: 'unmap', detectZeroes: 'off' },
  latency: LATENCY,
  initial: [],
}

function data(id: string, offsetBytes: number, lengthBytes: number): InitialExtent {
  return { id, offsetBytes, lengthBytes, content: 'data' }
}

function operationOf(index: number, place: number, timing: Timing, lengthBytes: number): GuestOperation {
  const { kind, range } = OPERATIONS[index]!
  const [first, count] = range
  const offsetBytes = first * SECTOR_BYTES
  const isLater = timing === 'after-ready' && place === 0
  return {
    id: `g${place + 1}`,
    kind,
    lane: timing === 'one-by-one' ? 0 : place,
    offsetBytes,
    lengthBytes: Math.min(count * SECTOR_BYTES, lengthBytes - offsetBytes),
    thinkNs: timing === 'after-ready' ? AFTER_READY_NS + (isLater ? 0 : 1_000) : 0,
    ...(kind === 'write-zeroes' ? { unmap: true } : {}),
  }
}
