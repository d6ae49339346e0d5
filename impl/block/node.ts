/**
 * A node of the block graph and its edges. The node owns the generic state (limits, tracked requests, drain counter,
 * dirty bitmaps, write generation); what a format does is in its driver. All I/O of parents goes through `BlockChild`,
 * an edge that holds the permissions; its methods are the whole request interface of the block layer.
 *
 * What never may happen: a request through an edge that lacks the permission; a request outside [0, length) except by
 * `truncate`; a new request entering a quiesced node from a parent that has not been told to stop.
 */
import { assert, type Co, type Errno, type Kernel, WaitQueue } from '../co'
import type { DirtyBitmap } from './dirty_bitmap'
import { isBusy, quiesce, unquiesce } from './drain'
import type { BlockDriver, BlockStatus, PreallocationMode, StatusMode } from './driver'
import { type BlockLimits, defaultLimits } from './flags'
import type { BlockGraph } from './graph'
import { discardThrough, readThrough, writeThrough, writeZeroesThrough } from './io'
import { flushThrough } from './io_flush'
import { truncateThrough } from './io_truncate'
import type { NamedBitmap } from './named_bitmap'
import type { OperationBlocker } from './op_blockers'
import { nodeStatus, nodeStatusAbove } from './status'
import { TrackedRequests } from './tracked_requests'
import type { WriteThreshold } from './write_threshold'

/** What a child is for: its parent's data and metadata, a filter's one child, or the image below an overlay. */
export type ChildRole = 'image' | 'filtered' | 'cow' | 'root'

/** Who holds an edge: a node (for its children) or a backend (a device, an export, a job). */
export interface BlockParent {
  /** In words, for error texts: `block device 'drive0'`, `node 'fmt'`. */
  describe(): string
  /** The node that is the parent, or null for backends and jobs. */
  readonly node: BlockNode | null
  /** Stop starting requests on the child; may be called several times, each paired with `drainEnd`. */
  drainBegin(): void
  drainEnd(): void
  /** True while the parent still has requests that will reach the child although it was told to stop. */
  drainBusy(): boolean
  /** It sends nothing while the node is inactive, whatever it may do otherwise; see activation.ts. */
  readonly restsWithNode?: boolean
}

/** What counts and holds back the requests of a root edge: its backend. */
export interface RequestGate {
  inFlight: number
  /** True while requests have to wait at the gate. */
  isShut(): boolean
  waitOpen(): Co<void>
  /** Ends what `inFlight++` began. */
  leave(): void
}

export interface NodeOptions {
  readOnly: boolean
  /** `ignore` drops discards and MayUnmap at this node. */
  discard: 'ignore' | 'unmap'
  detectZeroes: 'off' | 'on' | 'unmap'
  /** Others may do anything with it meanwhile: none of its parents excludes them. Absent: false. */
  forceShare?: boolean
}

/** An edge of the graph. Offsets and lengths are bytes of the child node; flags are RequestFlag bits. */
export class BlockChild {
  readonly name: string
  readonly role: ChildRole
  readonly parent: BlockParent
  /** The backend of a root edge, whose requests it holds back in a drained section; null on edges between nodes. */
  readonly gate: RequestGate | null
  node: BlockNode
  permission: number
  shared: number
  /** Whether the parent has been told to stop; equals `node.quiesceCount > 0` between two changes of the graph. */
  hasQuiescedParent = false
  /** False before the graph has taken the edge in, and after it was cut. */
  isAttached = false
  /** A job counts on this link: it leads where it leads until the job gives it free. */
  isFrozen = false

  constructor(
    name: string,
    role: ChildRole,
    parent: BlockParent,
    node: BlockNode,
    permission: number,
    shared: number,
    gate: RequestGate | null = null,
  ) {
    this.name = name
    this.role = role
    this.parent = parent
    this.gate = gate
    this.node = node
    this.permission = permission
    this.shared = shared
  }

  /** Fills `buffer`; what lies beyond the end of the node reads as zeroes, except for a backend: EIO. */
  pread(offsetBytes: number, buffer: Uint8Array, flags = 0): Co<Errno> {
    return readThrough(this, offsetBytes, buffer, flags)
  }
  /** Writes `buffer`, which must not change before the request has completed. */
  pwrite(offsetBytes: number, buffer: Uint8Array, flags = 0): Co<Errno> {
    return writeThrough(this, offsetBytes, buffer, flags)
  }
  /** Makes the range read as zeroes; writes zeroes as data where there is no better way, unless NoFallback (ENOTSUP). */
  pwriteZeroes(offsetBytes: number, lengthBytes: number, flags = 0): Co<Errno> {
    return writeZeroesThrough(this, offsetBytes, lengthBytes, flags)
  }
  /** Advisory: success says nothing about what the range reads afterwards. */
  pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    return discardThrough(this, offsetBytes, lengthBytes)
  }
  /** Everything that completed before is durable afterwards. */
  flush(): Co<Errno> {
    return flushThrough(this)
  }
  /** Changes the length; new area reads as zeroes. Needs the permission Resize. */
  truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    return truncateThrough(this, lengthBytes, exact, preallocation)
  }
}

/** Lengths are whole sectors: an image of 1000 bytes is 1024 bytes long, as QEMU shows it. */
const SECTOR_BYTES = 512

export class BlockNode implements BlockParent {
  readonly graph: BlockGraph
  readonly kernel: Kernel
  readonly name: string
  readonly driver: BlockDriver
  readonly options: NodeOptions
  /** Always this object; `refreshLimits` changes what it holds. */
  readonly limits: BlockLimits = defaultLimits()
  /** In order of attachment; `file` is the data child of a format, `backing` the image below an overlay. */
  readonly children = new Map<string, BlockChild>()
  readonly parents = new Set<BlockChild>()
  /** Set, where written to, after the driver has answered and before the writer hears of it. */
  readonly dirtyBitmaps = new Set<DirtyBitmap>()
  /** By name, in the order in which they were made. Those that record are in `dirtyBitmaps` as well. */
  readonly namedBitmaps = new Map<string, NamedBitmap>()
  /** Of jobs that work on the node, for whoever asks; they do not record by themselves. */
  readonly jobBitmaps = new Set<DirtyBitmap>()
  readonly blockers = new Set<OperationBlocker>()
  readonly requests: TrackedRequests
  /** A node that the user did not name and that user-visible queries skip (the mirror's own filter, unless named). */
  isImplicit = false
  /** Handed over to another program; see activation.ts. */
  isInactive = false
  /** Links to it are not frozen: it is a job's own filter, which must be able to leave. */
  neverFrozen = false
  /** The node that this one was opened for, whose `readOnly` it follows; null: it was opened for itself. */
  inheritsFrom: BlockNode | null = null
  quiesceCount = 0
  /** Requests of every kind, flushes and status queries between entry and completion. */
  inFlight = 0
  /** Raised by every completed write; `flushedGeneration` is its value at the start of the last successful flush. */
  writeGeneration = 0
  flushedGeneration = 0
  isFlushing = false
  readonly flushQueue: WaitQueue
  /** The child that a filter filters, or null if this is no filter. */
  filtered: BlockChild | null = null
  /** True if `debugEvent` reaches somebody: this node's driver, or one below filters. Kept by the graph. */
  hearsEvents = false
  /** The end of the furthest write so far. */
  highestWrittenBytes = 0
  /** What a write beyond `endBytes` is told to, once; null: nobody waits for it. */
  writeThreshold: WriteThreshold | null = null
  /** A write that ends beyond this is news: see `noteWrite`. */
  watermarkBytes = 0
  readonly node: BlockNode

  /** Users see nodes in this order. */
  readonly serial: number

  constructor(graph: BlockGraph, name: string, driver: BlockDriver, options: NodeOptions, serial: number) {
    this.graph = graph
    this.serial = serial
    this.kernel = graph.kernel
    this.name = name
    this.driver = driver
    this.options = options
    this.requests = new TrackedRequests(graph.kernel)
    this.flushQueue = new WaitQueue(graph.kernel)
    this.node = this
  }

  describe(): string {
    return `node '${this.name}'`
  }
  /** A multiple of 512. */
  get lengthBytes(): number {
    const lengthBytes = this.driver.lengthBytes()
    const rest = lengthBytes % SECTOR_BYTES
    return rest === 0 ? lengthBytes : lengthBytes + SECTOR_BYTES - rest
  }
  get backing(): BlockChild | null {
    return this.children.get('backing') ?? null
  }
  /** This node, or the first node below it that is not a filter. */
  skipFilters(): BlockNode {
    let node: BlockNode = this
    while (node.filtered !== null) node = node.filtered.node
    return node
  }
  /** The next node down the chain of filters and backing images, or null at its end. */
  below(): BlockNode | null {
    return (this.filtered ?? this.backing)?.node ?? null
  }
  /** True if `other` is this node or can be reached from it. */
  reaches(other: BlockNode): boolean {
    if (other === this) return true
    for (const child of this.children.values()) if (child.node.reaches(other)) return true
    return false
  }

  /** Status of this node's own layer. 0 < bytes <= lengthBytes on success, 0 bytes at or past the end. */
  blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    return nodeStatus(this, mode, offsetBytes, lengthBytes)
  }
  /**
   * Status through the backing chain down to, but not including, `base` (null: the whole chain). Where an overlay is
   * longer than its backing image, the part beyond reads zero.
   */
  blockStatusAbove(base: BlockNode | null, mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    return nodeStatusAbove(this, base, mode, offsetBytes, lengthBytes)
  }

  /**
   * Tells whoever listens below that this node's parent has come to a named point, and waits if it is to stop there. Ask
   * `hearsEvents` first: nobody listens in almost every graph.
   */
  debugEvent(event: string): Co<void> {
    assert(this.hearsEvents, 'event-heard', () => `${this.name}: ${event}`)
    return this.driver.hearsEvents ? this.driver.debugEvent(event) : this.filtered!.node.debugEvent(event)
  }

  /** A write, of data or zeroes, that ends beyond `watermarkBytes` has begun. */
  noteWrite(endBytes: number): void {
    assert(endBytes > this.watermarkBytes, 'watermark')
    this.highestWrittenBytes = Math.max(this.highestWrittenBytes, endBytes)
    const threshold = this.writeThreshold
    if (threshold !== null && endBytes > threshold.endBytes) {
      this.writeThreshold = null
      threshold.exceeded(endBytes - threshold.endBytes)
    }
    this.watermarkBytes = Math.min(this.highestWrittenBytes, this.writeThreshold?.endBytes ?? Number.MAX_SAFE_INTEGER)
  }

  /** A request enters; every one ends by `leave`. */
  enter(): void {
    assert(this.inFlight >= 0, 'in-flight-count')
    this.inFlight++
  }
  leave(): void {
    this.inFlight--
    assert(this.inFlight >= 0, 'in-flight-count', () => this.name)
    if (this.inFlight === 0) this.graph.drainProgress()
  }

  drainBegin(): void {
    quiesce(this)
  }
  drainEnd(): void {
    unquiesce(this)
  }
  drainBusy(): boolean {
    return isBusy(this)
  }
}
