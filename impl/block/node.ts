/**
 * A node of the block graph and its edges. The node owns the generic state (limits, tracked requests, drain counter,
 * dirty bitmaps, write generation); what a format does is in its driver. All I/O of parents goes through `BlockChild`,
 * an edge that holds the permissions; its methods are the whole request interface of the block layer.
 *
 * What never may happen: a request through an edge that lacks the permission; a request outside [0, length) except by
 * `truncate`; a new request entering a quiesced node from a parent that has not been told to stop.
 */
import type { Co, Errno, Kernel } from '../co'
import type { BlockDriver, BlockStatus, PreallocationMode, StatusMode } from './driver'
import type { BlockLimits } from './flags'
import type { BlockGraph } from './graph'

/** What a child is for: its parent's data and metadata, a filter's one child, or the image below an overlay. */
export type ChildRole = 'image' | 'filtered' | 'cow' | 'root'

/** Who holds an edge: a node (for its children) or a backend (a device, an export, a job). */
export interface BlockParent {
  /** In words, for error texts: `block device drive0`, `node 'fmt'`. */
  describe(): string
  /** The node that is the parent, or null for backends and jobs. */
  readonly node: BlockNode | null
  /** Stop starting requests on the child; may be called several times, each paired with `drainEnd`. */
  drainBegin(): void
  drainEnd(): void
  /** True while the parent still has requests that will reach the child although it was told to stop. */
  drainBusy(): boolean
}

export interface NodeOptions {
  readOnly: boolean
  /** `ignore` drops discards and MayUnmap at this node. */
  discard: 'ignore' | 'unmap'
  detectZeroes: 'off' | 'on' | 'unmap'
}

/** An edge of the graph. Offsets and lengths are bytes of the child node; flags are RequestFlag bits. */
export class BlockChild {
  readonly name: string
  readonly role: ChildRole
  readonly parent: BlockParent
  node: BlockNode
  permission: number
  shared: number

  constructor(name: string, role: ChildRole, parent: BlockParent, node: BlockNode, permission: number, shared: number) {
    this.name = name
    this.role = role
    this.parent = parent
    this.node = node
    this.permission = permission
    this.shared = shared
  }

  pread(_offsetBytes: number, _buffer: Uint8Array, _flags = 0): Co<Errno> {
    throw new Error('not built')
  }
  pwrite(_offsetBytes: number, _buffer: Uint8Array, _flags = 0): Co<Errno> {
    throw new Error('not built')
  }
  pwriteZeroes(_offsetBytes: number, _lengthBytes: number, _flags = 0): Co<Errno> {
    throw new Error('not built')
  }
  pdiscard(_offsetBytes: number, _lengthBytes: number): Co<Errno> {
    throw new Error('not built')
  }
  flush(): Co<Errno> {
    throw new Error('not built')
  }
  truncate(_lengthBytes: number, _exact: boolean, _preallocation: PreallocationMode): Co<Errno> {
    throw new Error('not built')
  }
}

export class BlockNode implements BlockParent {
  readonly graph: BlockGraph
  readonly kernel: Kernel
  readonly name: string
  readonly driver: BlockDriver
  readonly options: NodeOptions
  readonly limits!: BlockLimits
  /** In order of attachment; `file` is the data child of a format, `backing` the image below an overlay. */
  readonly children = new Map<string, BlockChild>()
  readonly parents = new Set<BlockChild>()
  readonly dirtyBitmaps = new Set<unknown>()
  /** A node that the user did not name and that user-visible queries skip (the mirror's own filter, unless named). */
  isImplicit = false
  quiesceCount = 0
  inFlight = 0
  readonly node: BlockNode

  constructor(graph: BlockGraph, name: string, driver: BlockDriver, options: NodeOptions) {
    this.graph = graph
    this.kernel = graph.kernel
    this.name = name
    this.driver = driver
    this.options = options
    this.node = this
  }

  describe(): string {
    return `node '${this.name}'`
  }
  get lengthBytes(): number {
    return this.driver.lengthBytes()
  }
  /** The child that a filter filters, or null if this is no filter. */
  get filtered(): BlockChild | null {
    throw new Error('not built')
  }
  get backing(): BlockChild | null {
    return this.children.get('backing') ?? null
  }
  /** This node, or the first node below it that is not a filter. */
  skipFilters(): BlockNode {
    throw new Error('not built')
  }

  /** Status of this node's own layer. 0 < bytes <= lengthBytes on success, 0 bytes at or past the end. */
  blockStatus(_mode: StatusMode, _offsetBytes: number, _lengthBytes: number): Co<BlockStatus> {
    throw new Error('not built')
  }
  /**
   * Status through the backing chain down to, but not including, `base` (null: the whole chain). Where an overlay is
   * longer than its backing image, the part beyond reads zero.
   */
  blockStatusAbove(_base: BlockNode | null, _mode: StatusMode, _offsetBytes: number, _lengthBytes: number): Co<BlockStatus> {
    throw new Error('not built')
  }

  drainBegin(): void {}
  drainEnd(): void {}
  drainBusy(): boolean {
    return false
  }
}
