/** For tests: a small world that is quick to read, to be varied; and a node over a simulated disk. */
import { BlockBackend, BlockGraph, Permission } from '../impl/block'
import { type Co, type Errno, Kernel, makeLabel } from '../impl/co'
import { VirtualClockwork } from './clockwork'
import { type Decider, dullDecider } from './decider'
import { type DiskWatcher, SimDisk, type WatchedRequest } from './disk'
import { Faults } from './faults'
import type { DiskPlan, FaultPlan, GuestOperation, Plan } from './plan'
import { BufferPool } from './pool'
import { DiskStore } from './store'

export const KIB = 1024
export const CHUNK = 4 * KIB

export const PLAIN_DISK: DiskPlan = {
  lengthBytes: 16 * KIB,
  requestAlignmentBytes: 512,
  maxTransferBytes: 0,
  maxWriteZeroesBytes: 0,
  writeZeroesAlignmentBytes: 0,
  maxDiscardBytes: 0,
  discardAlignmentBytes: 0,
  allocationUnitBytes: 4 * KIB,
  writeZeroes: 'unmapping',
  discard: 'reads-zero',
  reportsHoles: true,
  holesReadZero: true,
  node: { discard: 'unmap', detectZeroes: 'off' },
  latency: { minNs: 10_000, stepNs: 5_000, steps: 4 },
  initial: [],
}

/** Sixteen KiB with data in the first half, four chunks, two lanes of two operations each. */
export function smallPlan(changes: Partial<Plan> = {}): Plan {
  return {
    format: 'mirrorsim-plan',
    version: 1,
    seed: 'small',
    profile: 'test',
    device: {
      queueCount: 1,
      queueSize: 16,
      blockBytes: 512,
      indirect: true,
      eventIndex: true,
      segmentsMax: 2,
      writeCache: true,
    },
    source: { ...PLAIN_DISK, initial: [{ id: 's1', offsetBytes: 0, lengthBytes: 8 * KIB, content: 'data' }] },
    destination: PLAIN_DISK,
    mirror: {
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
    },
    guest: [
      operation('g1', 'write', 0, CHUNK),
      operation('g2', 'write-zeroes', CHUNK, 512, { lane: 1 }),
      operation('g3', 'read', 0, 8 * KIB),
      operation('g4', 'write', 3 * CHUNK + 512, 1024, { lane: 1 }),
    ],
    control: [{ id: 'c1', when: { on: 'start', afterNs: 0 }, kind: 'mirror-start' }],
    faults: [],
    bounds: { eventsMax: 20_000, timeMaxNs: 60_000_000_000 },
    ...changes,
  }
}

export function operation(
  id: string,
  kind: GuestOperation['kind'],
  offsetBytes = 0,
  lengthBytes = 0,
  more: Partial<GuestOperation> = {},
): GuestOperation {
  return { id, kind, lane: 0, offsetBytes, lengthBytes, thinkNs: 0, ...more }
}

export interface DiskBench {
  disk: SimDisk
  store: DiskStore
  backend: BlockBackend
  kernel: Kernel
  clockwork: VirtualClockwork
  /** One line an event: `write 0+512`, `write 0+512 = 5`. */
  log: string[]
  /** Runs bodies side by side to their ends and returns what they returned, in their order. */
  run<T>(...bodies: Array<Co<T>>): T[]
}

/** A node `source` over a simulated disk, and a backend on it. */
export function diskBench(changes: Partial<DiskPlan> = {}, faults: FaultPlan[] = [], decider: Decider = dullDecider): DiskBench {
  const plan = { ...PLAIN_DISK, ...changes }
  const log: string[] = []
  const name = ({ operation: kind, offsetBytes, lengthBytes }: WatchedRequest): string => `${kind} ${offsetBytes}+${lengthBytes}`
  const watcher: DiskWatcher = {
    diskSubmitted: (request) => log.push(name(request)),
    diskCompleted: (request, errno: Errno) => log.push(`${name(request)} = ${errno}`),
    hit: (probe) => log.push(`[${probe}]`),
  }
  const clockwork = new VirtualClockwork(decider)
  const kernel = new Kernel(clockwork)
  const graph = new BlockGraph(kernel)
  const store = new DiskStore('source', plan, new BufferPool())
  const disk = new SimDisk(store, plan, decider, new Faults(faults, 'source'), watcher)
  const node = graph.addNode({ name: 'source', driver: disk, options: plan.node })
  const backend = new BlockBackend(graph, 'drive0')
  backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
  const run = <T>(...bodies: Array<Co<T>>): T[] => {
    const results: T[] = []
    function* keep(index: number, body: Co<T>): Co<void> {
      results[index] = yield* body
    }
    for (const [index, body] of bodies.entries()) kernel.spawn(keep(index, body), makeLabel(`test${index}`))
    for (let nextNs = clockwork.nextNs(); nextNs !== Infinity; nextNs = clockwork.nextNs()) {
      clockwork.step(kernel, nextNs)
      if (kernel.failure !== null) throw kernel.failure.error
    }
    return results
  }
  return { disk, store, backend, kernel, clockwork, log, run }
}
