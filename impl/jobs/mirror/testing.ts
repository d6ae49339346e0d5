/** For tests only: two disks in memory, a guest's device on the first one, and a mirror between them. */
import {
  BlockBackend,
  type BlockNode,
  type BlockStatus,
  type NodeOptions,
  Permission,
  StatusFlag,
  type StatusMode,
} from '../../block'
import { MemoryDriver, type TestBench, testBench } from '../../block/testing'
import { type Co, type Coroutine, type Errno, makeLabel, OK } from '../../co'
import { type JobEvent, JobManager } from '../job_manager'
import type { MirrorJob } from './job'
import type { MirrorOptions } from './options'
import { startMirror } from './start'

export const KIB = 1024
export const CHUNK = 4 * KIB
export const LENGTH = 64 * KIB

export interface MirrorBench extends TestBench {
  source: MemoryDriver
  target: MemoryDriver
  sourceNode: BlockNode
  targetNode: BlockNode
  device: BlockBackend
  jobs: JobManager
  events: JobEvent[]
  /** Names and states of the events so far, as in `ready`, `BLOCK_JOB_READY`. */
  story(): string[]
  start(options?: Partial<MirrorOptions>): MirrorJob
  /** Starts a coroutine without waiting for it. */
  spawn(name: string, body: Co<unknown>): Coroutine
  write(offsetBytes: number, lengthBytes: number, fill: number): Errno
  /** `complete` at READY; runs until the job is over. */
  complete(job: MirrorJob): void
}

export interface BenchOptions {
  lengthBytes?: number
  source?: MemoryDriver
  target?: MemoryDriver
  /** The image below the source. */
  base?: MemoryDriver
  onEvent?: (event: JobEvent) => void
  sourceOptions?: Partial<NodeOptions>
  targetOptions?: Partial<NodeOptions>
}

export function mirrorBench(options: BenchOptions = {}): MirrorBench {
  const bench = testBench()
  const { graph, kernel, clock, run } = bench
  const lengthBytes = options.lengthBytes ?? LENGTH
  const source = options.source ?? new MemoryDriver(lengthBytes)
  const target = options.target ?? new MemoryDriver(lengthBytes)
  const below = options.base === undefined ? null : graph.addNode({ name: 'base', driver: options.base })
  const sourceNode = graph.addNode({
    name: 'src',
    driver: source,
    children: below === null ? [] : [{ name: 'backing', role: 'cow', node: below }],
    options: { discard: 'unmap', ...options.sourceOptions },
  })
  const targetNode = graph.addNode({ name: 'tgt', driver: target, options: { discard: 'unmap', ...options.targetOptions } })
  const device = new BlockBackend(graph, 'drive0')
  device.attach(sourceNode, Permission.ConsistentRead | Permission.Write, Permission.All)
  const events: JobEvent[] = []
  const jobs = new JobManager(kernel, (event) => {
    events.push(event)
    options.onEvent?.(event)
  })
  return {
    ...bench,
    source,
    target,
    sourceNode,
    targetNode,
    device,
    jobs,
    events,
    story: () => events.map(({ event, data }) => (event === 'JOB_STATUS_CHANGE' ? String(data['status']) : event)),
    start: (changes = {}) => {
      let job: MirrorJob | null = null
      let error: unknown = null
      function* main(): Co<void> {
        try {
          job = yield* startMirror(graph, jobs, { ...defaults(sourceNode, targetNode), ...changes })
        } catch (thrown) {
          error = thrown
        }
      }
      kernel.spawn(main(), makeLabel('start'))
      // Only what is due now: latency of the disks keeps the job at its beginning.
      clock.run(clock.nowNs())
      if (error !== null) throw error
      return job!
    },
    spawn: (name, body) => kernel.spawn(asVoid(body), makeLabel(name)),
    write: (offsetBytes, length, fill) => run(device.pwrite(offsetBytes, new Uint8Array(length).fill(fill))),
    complete: (job) => {
      clock.run()
      job.complete()
      clock.run()
    },
  }
}

function* asVoid(body: Co<unknown>): Co<void> {
  yield* body
}

function defaults(source: BlockNode, target: BlockNode): MirrorOptions {
  return {
    jobId: 'job0',
    source,
    target,
    sync: 'full',
    copyMode: 'background',
    granularityBytes: CHUNK,
    speedBytesPerSecond: 0,
    unmap: true,
    targetIsZero: false,
    onSourceError: 'report',
    onTargetError: 'report',
    autoFinalize: true,
    autoDismiss: true,
  }
}

/** An image above another one: what it does not hold reads from there, or as zeroes. */
export class OverlayDriver extends MemoryDriver {
  override readonly isProtocol = false
  override readonly supportsBacking = true

  override *pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const errno = yield* super.pread(offsetBytes, buffer, flags)
    const backing = this.node.backing
    if (errno !== OK || backing === null) return errno
    const below = new Uint8Array(buffer.length)
    const belowErrno = yield* backing.pread(offsetBytes, below, flags)
    for (let at = 0; at < buffer.length; at++) {
      if (this.allocated[Math.floor((offsetBytes + at) / this.unitBytes)] === 0) buffer[at] = below[at]!
    }
    return belowErrno
  }
  override *blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const status = yield* super.blockStatus(mode, offsetBytes, lengthBytes)
    if ((status.flags & StatusFlag.Data) === 0) status.flags = StatusFlag.None
    return status
  }
}

/** Puts data where nobody sees it: no request, no dirty bit. */
export function plant(disk: MemoryDriver, offsetBytes: number, lengthBytes: number, fill: number): void {
  disk.data.fill(fill, offsetBytes, offsetBytes + lengthBytes)
  disk.allocated.fill(1, offsetBytes / disk.unitBytes, (offsetBytes + lengthBytes) / disk.unitBytes)
}

/** Bytes allocated. */
export function allocatedBytes(disk: MemoryDriver): number {
  return disk.allocated.reduce((sum, unit) => sum + unit, 0) * disk.unitBytes
}
