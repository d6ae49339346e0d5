/**
 * For tests only: a bench in virtual time, and a driver over an array with limits, latency and errors that a test
 * sets. Small and obvious rather than fast; the world has its own.
 */

import { type Co, ENOTSUP, type Errno, Kernel, makeLabel, OK } from '../co'
import { VirtualClock } from '../co/testing'
import { BlockBackend } from './backend'
import { BlockDriver, type BlockStatus, type DriverInfo, type PreallocationMode, type StatusMode, statusOf } from './driver'
import { type BlockLimits, Permission, RequestFlag, StatusFlag } from './flags'
import { BlockGraph } from './graph'
import type { BlockNode, NodeOptions } from './node'

export interface TestBench {
  clock: VirtualClock
  kernel: Kernel
  graph: BlockGraph
  /** Runs `body` as a coroutine to its end and returns what it returned; throws if it got stuck. */
  run<T>(body: Co<T>): T
}

export function testBench(): TestBench {
  const clock = new VirtualClock()
  const kernel = new Kernel(clock)
  clock.kernel = kernel
  const run = <T>(body: Co<T>): T => {
    let result: { value: T } | null = null
    function* main(): Co<void> {
      result = { value: yield* body }
    }
    const coroutine = kernel.spawn(main(), makeLabel('test'))
    clock.run()
    if (result === null) throw new Error(`stuck: ${coroutine.waitsFor?.describe()}`)
    return (result as { value: T }).value
  }
  return { clock, kernel, graph: new BlockGraph(kernel), run }
}

export interface MemoryRequest {
  kind: 'read' | 'write' | 'zero' | 'discard' | 'flush' | 'status'
  offsetBytes: number
  lengthBytes: number
  flags: number
}

/** A protocol driver over an array. Every request is logged; effects happen after `latencyNs`. */
export class MemoryDriver extends BlockDriver {
  readonly name = 'memory'
  override readonly isProtocol: boolean = true
  data: Uint8Array
  /** 1 per `unitBytes`: allocated. */
  allocated: Uint8Array
  readonly unitBytes: number
  limitsWanted: Partial<BlockLimits> = {}
  latencyNs = 0
  canZero = true
  canDiscard = true
  reportsHoles = true
  readonly log: MemoryRequest[] = []
  /** Called at arrival; a non-zero errno fails the request without effect. */
  fail: (request: MemoryRequest) => Errno = () => OK

  constructor(lengthBytes: number, unitBytes = 512) {
    super()
    this.data = new Uint8Array(lengthBytes)
    this.unitBytes = unitBytes
    this.allocated = new Uint8Array(Math.ceil(lengthBytes / unitBytes))
    this.supportedZeroFlags = RequestFlag.MayUnmap | RequestFlag.NoFallback
  }

  lengthBytes(): number {
    return this.data.length
  }
  override refreshLimits(limits: BlockLimits): void {
    Object.assign(limits, this.limitsWanted)
  }
  override info(): DriverInfo {
    return { clusterBytes: 0, subclusterBytes: 0 }
  }
  /** Requests of one kind, in order of arrival. */
  requests(kind: MemoryRequest['kind']): MemoryRequest[] {
    return this.log.filter((request) => request.kind === kind)
  }

  private *arrive(kind: MemoryRequest['kind'], offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const request = { kind, offsetBytes, lengthBytes, flags }
    this.log.push(request)
    const errno = this.fail(request)
    if (this.latencyNs > 0) yield* this.node.kernel.sleepNs(this.latencyNs)
    return errno
  }
  private mark(offsetBytes: number, lengthBytes: number, value: 0 | 1): void {
    const first = value === 1 ? Math.floor(offsetBytes / this.unitBytes) : Math.ceil(offsetBytes / this.unitBytes)
    const end = offsetBytes + lengthBytes
    const last = value === 1 || end === this.data.length ? Math.ceil(end / this.unitBytes) : Math.floor(end / this.unitBytes)
    for (let unit = first; unit < last; unit++) this.allocated[unit] = value
  }

  *pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const errno = yield* this.arrive('read', offsetBytes, buffer.length, flags)
    if (errno !== OK) return errno
    const inside = this.data.subarray(offsetBytes, offsetBytes + buffer.length)
    buffer.set(inside)
    buffer.fill(0, inside.length)
    return OK
  }
  *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const captured = buffer.slice()
    const errno = yield* this.arrive('write', offsetBytes, buffer.length, flags)
    if (errno !== OK) return errno
    this.data.set(captured, offsetBytes)
    this.mark(offsetBytes, captured.length, 1)
    return OK
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    if (!this.canZero) return ENOTSUP
    const errno = yield* this.arrive('zero', offsetBytes, lengthBytes, flags)
    if (errno !== OK) return errno
    this.data.fill(0, offsetBytes, offsetBytes + lengthBytes)
    if ((flags & RequestFlag.MayUnmap) !== 0) this.mark(offsetBytes, lengthBytes, 0)
    else this.mark(offsetBytes, lengthBytes, 1)
    return OK
  }
  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    if (!this.canDiscard) return ENOTSUP
    const errno = yield* this.arrive('discard', offsetBytes, lengthBytes, 0)
    if (errno !== OK) return errno
    this.data.fill(0, offsetBytes, offsetBytes + lengthBytes)
    this.mark(offsetBytes, lengthBytes, 0)
    return OK
  }
  override *flush(): Co<Errno> {
    return yield* this.arrive('flush', 0, 0, 0)
  }
  override *blockStatus(_mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const errno = yield* this.arrive('status', offsetBytes, lengthBytes, 0)
    if (errno !== OK) return { ...statusOf(0, 0), errno }
    if (!this.reportsHoles) return statusOf(StatusFlag.Allocated | StatusFlag.Data, lengthBytes)
    const isData = this.allocated[Math.floor(offsetBytes / this.unitBytes)] === 1
    let unit = Math.floor(offsetBytes / this.unitBytes)
    while (unit * this.unitBytes < offsetBytes + lengthBytes && (this.allocated[unit] === 1) === isData) unit++
    const bytes = Math.min(unit * this.unitBytes, offsetBytes + lengthBytes) - offsetBytes
    return statusOf(isData ? StatusFlag.Allocated | StatusFlag.Data : StatusFlag.Allocated | StatusFlag.Zero, bytes)
  }
  override *truncate(lengthBytes: number, _exact: boolean, _preallocation: PreallocationMode): Co<Errno> {
    const data = new Uint8Array(lengthBytes)
    data.set(this.data.subarray(0, lengthBytes))
    const allocated = new Uint8Array(Math.ceil(lengthBytes / this.unitBytes))
    allocated.set(this.allocated.subarray(0, allocated.length))
    this.data = data
    this.allocated = allocated
    return OK
  }
}

/** An overlay in memory: what is not allocated reads from the child `backing`. Writes must cover whole units. */
export class OverlayDriver extends MemoryDriver {
  override readonly isProtocol: boolean = false
  override readonly supportsBacking = true

  override *pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const errno = yield* super.pread(offsetBytes, buffer, flags)
    if (errno !== OK) return errno
    for (let at = 0; at < buffer.length; ) {
      const unit = Math.floor((offsetBytes + at) / this.unitBytes)
      const end = Math.min((unit + 1) * this.unitBytes - offsetBytes, buffer.length)
      const part = buffer.subarray(at, end)
      if (this.allocated[unit] !== 1) {
        const below = this.node.backing === null ? OK : yield* this.node.backing.pread(offsetBytes + at, part)
        if (this.node.backing === null) part.fill(0)
        if (below !== OK) return below
      }
      at = end
    }
    return OK
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    // Unmapping would show the backing image again.
    return yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags & ~RequestFlag.MayUnmap)
  }
  override *blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const status = yield* super.blockStatus(mode, offsetBytes, lengthBytes)
    return (status.flags & StatusFlag.Data) !== 0 ? status : { ...status, flags: StatusFlag.None }
  }
}

export interface MemoryStack extends TestBench {
  disk: MemoryDriver
  node: BlockNode
  /** May read and write, and lets others do what they like. */
  backend: BlockBackend
}

/** A node `disk` over memory with the given limits and options, and a backend `drive0` on it. */
export function memoryStack(
  lengthBytes: number,
  limits: Partial<BlockLimits> = {},
  options: Partial<NodeOptions> = {},
): MemoryStack {
  const bench = testBench()
  const disk = new MemoryDriver(lengthBytes)
  disk.limitsWanted = limits
  const node = bench.graph.addNode({ name: 'disk', driver: disk, options })
  const backend = new BlockBackend(bench.graph, 'drive0')
  const permission = node.options.readOnly ? Permission.ConsistentRead : Permission.ConsistentRead | Permission.Write
  backend.attach(node, permission, Permission.All)
  return { ...bench, disk, node, backend }
}
