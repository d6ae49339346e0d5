/**
 * What a job holds on nodes: edges with permissions, through which it sends its requests, and a block on operations with
 * the nodes as a whole. The job pauses as long as one of them is drained.
 *
 * What may fail: taking hold of a node that somebody excludes (BlockError); what is held already stays held.
 */
import type { BlockChild, BlockNode, BlockOperation, BlockParent, OperationBlocker } from '../block'
import { assert } from '../co'

/** What a hold needs of its job. */
export interface Holder {
  readonly id: string
  readonly type: string
  beginPause(): void
  endPause(): void
  /** The job may still send requests although it has been told to pause. */
  readonly isMoving: boolean
}

export class JobHold implements BlockParent {
  readonly node = null
  private readonly job: Holder
  private readonly blocker: OperationBlocker
  private readonly edges: BlockChild[] = []
  private readonly blocked = new Set<BlockNode>()

  /** `allows`: what may be done with the nodes all the same. */
  constructor(job: Holder, allows: ReadonlySet<BlockOperation> = new Set()) {
    this.job = job
    this.blocker = { reason: `block device is in use by block job: ${job.type}`, allows }
  }

  describe(): string {
    return `${this.job.type} job '${this.job.id}'`
  }
  drainBegin(): void {
    this.job.beginPause()
  }
  drainEnd(): void {
    this.job.endPause()
  }
  drainBusy(): boolean {
    return this.job.isMoving
  }

  /** Takes hold of `node` and blocks operations with it. `name` is what it is to the job: `base`, `intermediate node`. */
  take(name: string, node: BlockNode, permission: number, shared: number): BlockChild {
    const edge = node.graph.attach({ name, parent: this, node, permission, shared })
    this.edges.push(edge)
    this.block(node)
    return edge
  }

  /** Blocks operations with a node and holds nothing on it. */
  block(node: BlockNode): void {
    node.blockers.add(this.blocker)
    this.blocked.add(node)
  }

  /** Gives one edge back; the node stays blocked. */
  give(edge: BlockChild): void {
    const index = this.edges.indexOf(edge)
    assert(index >= 0, 'hold-known', () => edge.name)
    this.edges.splice(index, 1)
    edge.node.graph.detach(edge)
  }

  giveAll(): void {
    while (this.edges.length > 0) this.give(this.edges[this.edges.length - 1]!)
    for (const node of this.blocked) node.blockers.delete(this.blocker)
    this.blocked.clear()
    assert(this.edges.length === 0, 'hold-empty')
  }
}
