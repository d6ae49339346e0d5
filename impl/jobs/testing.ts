/** For tests only: a chain of images in memory with a guest's device on top, and what users do with jobs. */
import {
  BlockBackend,
  type BlockNode,
  type BlockStatus,
  type NodeOptions,
  Permission,
  RequestFlag,
  StatusFlag,
  type StatusMode,
} from '../block'
import { type MemoryDriver, OverlayDriver, type TestBench, testBench } from '../block/testing'
import { type Co, type Errno, makeLabel, OK } from '../co'
import type { Job } from './job'
import { type JobEvent, JobManager } from './job_manager'

export const SECTOR = 512
export const KIB = 1024
const LAYER_MAX_BYTES = 16 * KIB * KIB

/** An image with a header that names its backing file. */
export class Layer extends OverlayDriver {
  backing: [name: string | null, format: string | null] | null = null
  readonly file: string
  changeErrno: Errno = OK

  constructor(lengthBytes: number, file: string) {
    super(lengthBytes)
    this.file = file
    // As long as it could ever become.
    this.zeroed = new Uint8Array(LAYER_MAX_BYTES / SECTOR)
    this.supportedWriteFlags = RequestFlag.WriteUnchanged
    this.supportedZeroFlags |= RequestFlag.WriteUnchanged
  }
  override filename(): string {
    return this.file
  }
  override *changeBackingFile(name: string | null, format: string | null): Co<Errno> {
    if (this.node.options.readOnly) throw new Error('header of a read-only image changed')
    if (this.changeErrno === OK) this.backing = [name, format]
    return this.changeErrno
  }
  /** 1 per sector: a zero cluster. */
  private readonly zeroed: Uint8Array
  private markZeroes(offsetBytes: number, lengthBytes: number, value: 0 | 1): void {
    this.zeroed.fill(value, offsetBytes / SECTOR, Math.ceil((offsetBytes + lengthBytes) / SECTOR))
  }
  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const errno = yield* super.pwrite(offsetBytes, buffer, flags)
    this.markZeroes(offsetBytes, buffer.length, 0)
    return errno
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const errno = yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
    if (errno === OK) this.markZeroes(offsetBytes, lengthBytes, 1)
    return errno
  }
  override *blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const status = yield* super.blockStatus(mode, offsetBytes, lengthBytes)
    if (status.errno !== OK || (status.flags & StatusFlag.Data) === 0) return status
    const first = Math.floor(offsetBytes / SECTOR)
    let unit = first
    while (unit * SECTOR < offsetBytes + status.bytes && this.zeroed[unit] === this.zeroed[first]) unit++
    const flags = this.zeroed[first] === 1 ? StatusFlag.Zero | StatusFlag.Allocated : status.flags
    return { ...status, flags, bytes: Math.min(unit * SECTOR - offsetBytes, status.bytes) }
  }
  /** Data that nobody sees coming. */
  plant(offsetBytes: number, lengthBytes: number, fill: number): this {
    this.markZeroes(offsetBytes, lengthBytes, 0)
    this.data.fill(fill, offsetBytes, offsetBytes + lengthBytes)
    this.allocated.fill(1, offsetBytes / SECTOR, (offsetBytes + lengthBytes) / SECTOR)
    return this
  }
  /** A zero cluster: it hides what lies below. */
  plantZeroes(offsetBytes: number, lengthBytes: number): this {
    this.plant(offsetBytes, lengthBytes, 0)
    this.markZeroes(offsetBytes, lengthBytes, 1)
    return this
  }
}

export interface ChainBench extends TestBench {
  /** From the active layer to the base. */
  layers: Layer[]
  nodes: BlockNode[]
  device: BlockBackend
  jobs: JobManager
  events: JobEvent[]
  story(): string[]
  /** Runs `start` to its end and no further; throws what it throws. */
  begin<T>(start: Co<T>): T
  spawn(name: string, body: Co<unknown>): void
  /** What the guest reads. */
  read(): Uint8Array
  /** Resumes and completes until the job is over. */
  finish(job: Job): void
}

export interface ChainOptions {
  /** Lengths from the active layer to the base. */
  lengths: readonly number[]
  /** Of each node; the ones below the active layer are read-only otherwise. */
  nodes?: Partial<NodeOptions>
  onEvent?: (event: JobEvent) => void
}

/** Nodes `top`, `mid0`, `mid1`, …, `base`, and the device `drive0` on the first. */
export function chainBench({ lengths, nodes: options, onEvent }: ChainOptions): ChainBench {
  const bench = testBench()
  const { graph, kernel, clock } = bench
  const names = lengths.map((_, index) => nameOf(index, lengths.length))
  const layers = lengths.map((length, index) => new Layer(length, `${names[index]}.img`))
  const nodes: BlockNode[] = []
  for (let index = lengths.length - 1; index >= 0; index--) {
    const below = nodes[0]
    const node = graph.addNode({
      name: names[index]!,
      driver: layers[index]!,
      children: below === undefined ? [] : [{ name: 'backing', role: 'cow', node: below }],
      options: { discard: 'unmap', readOnly: index > 0, ...options },
    })
    nodes.unshift(node)
  }
  const device = new BlockBackend(graph, 'drive0')
  device.attach(nodes[0]!, Permission.ConsistentRead | Permission.Write, Permission.All)
  const events: JobEvent[] = []
  const jobs = new JobManager(kernel, (event) => {
    events.push(event)
    onEvent?.(event)
  })
  return {
    ...bench,
    layers,
    nodes,
    device,
    jobs,
    events,
    story: () => events.map(({ event, data }) => (event === 'JOB_STATUS_CHANGE' ? String(data['status']) : event)),
    begin: (start) => beginNow(bench, start),
    spawn: (name, body) => {
      kernel.spawn(asVoid(body), makeLabel(name))
    },
    read: () => {
      const buffer = new Uint8Array(device.lengthBytes)
      const errno = bench.run(device.pread(0, buffer))
      if (errno !== OK) throw new Error(`read: ${errno}`)
      return buffer
    },
    finish: (job) => {
      clock.run()
      for (let round = 0; job.status !== 'null' && round < 100; round++) {
        if (job.isUserPaused) job.resume()
        else if (job.isReady) job.complete()
        else throw new Error(`the job does not end: ${job.status}`)
        clock.run()
      }
    },
  }
}

function nameOf(index: number, count: number): string {
  if (index === 0) return 'top'
  return index === count - 1 ? 'base' : `mid${index - 1}`
}

function beginNow<T>({ kernel, clock }: TestBench, start: Co<T>): T {
  let result: { value: T } | null = null
  let failure: { error: unknown } | null = null
  function* main(): Co<void> {
    try {
      result = { value: yield* start }
    } catch (error) {
      failure = { error }
    }
  }
  kernel.spawn(main(), makeLabel('start'))
  // Only what is due now: latency of the disks keeps the job at its beginning.
  clock.run(clock.nowNs())
  if (failure !== null) throw (failure as { error: unknown }).error
  if (result === null) throw new Error('the job has not been started')
  return (result as { value: T }).value
}

function* asVoid(body: Co<unknown>): Co<void> {
  yield* body
}

/** A plain disk beside the chain. */
export function addDisk({ graph }: TestBench, name: string, disk: MemoryDriver, options: Partial<NodeOptions> = {}): BlockNode {
  return graph.addNode({ name, driver: disk, options: { discard: 'unmap', ...options } })
}
