/**
 * The block graph: all nodes by name, and every change of edges. Changes are atomic: permissions of all edges concerned
 * are checked first, and a change that would break one throws BlockError and leaves the graph as it was.
 */
import type { Co, Kernel } from '../co'
import type { BlockDriver } from './driver'
import type { BlockNode, ChildRole, NodeOptions } from './node'

export interface NewNode {
  /** Absent: a name is made up, `#block000`. */
  name?: string
  driver: BlockDriver
  children?: ReadonlyArray<{ name: string; role: ChildRole; node: BlockNode }>
  options?: Partial<NodeOptions>
}

export class BlockGraph {
  readonly kernel: Kernel
  readonly nodes = new Map<string, BlockNode>()

  constructor(kernel: Kernel) {
    this.kernel = kernel
  }

  /** Makes a node, attaches its children and checks permissions. Throws BlockError (duplicate or malformed name, …). */
  addNode(_node: NewNode): BlockNode {
    throw new Error('not built')
  }
  findNode(_name: string): BlockNode | null {
    throw new Error('not built')
  }
  /** Drains, detaches and closes a node without parents. Throws BlockError if it is in use. */
  removeNode(_node: BlockNode): Co<void> {
    throw new Error('not built')
  }

  /** Puts `filter` (whose child is `below` already) between `below` and all its other parents. Call drained. */
  insertFilter(_filter: BlockNode, _below: BlockNode): void {
    throw new Error('not built')
  }
  /** Takes `filter` out: its parents get its child. Call drained. The filter node is left without parents. */
  removeFilter(_filter: BlockNode): void {
    throw new Error('not built')
  }
  /** Moves all parents of `from`, except those below `to`, to `to`. Call drained. */
  replaceNode(_from: BlockNode, _to: BlockNode): void {
    throw new Error('not built')
  }

  /**
   * Begins a drained section of `node`: its parents (recursively) stop sending, and this waits until no request is in
   * flight at the node or its parents. Nested sections count. Every begin has exactly one `drainedEnd`.
   */
  drainedBegin(_node: BlockNode): Co<void> {
    throw new Error('not built')
  }
  drainedEnd(_node: BlockNode): void {
    throw new Error('not built')
  }
}
