/**
 * What an active commit holds besides what every mirror does: the layers between the source and its target, which lies
 * below it. They leave the chain when the job is completed, so nobody may count on them, and the links stay as they are.
 */
import type { BlockNode } from '../../block'
import { assert } from '../../co'
import { holdLayers } from '../chain_hold'
import { type Holder, JobHold } from '../hold'

export class CommitLayers {
  /** The target has to be read-only again where it does not take the source's place. */
  readonly targetWasReadOnly: boolean
  private readonly hold: JobHold
  private readonly target: BlockNode
  private filter: BlockNode | null = null

  constructor(job: Holder, target: BlockNode, targetWasReadOnly: boolean) {
    this.hold = new JobHold(job)
    this.target = target
    this.targetWasReadOnly = targetWasReadOnly
  }

  /** Throws BlockError; call `release` then too. */
  take(filter: BlockNode, source: BlockNode): void {
    const below = source.below()
    assert(below !== null, 'commit-has-layers', () => source.name)
    if (below !== this.target) holdLayers(this.hold, below, this.target)
    source.graph.freezeChain(filter, this.target)
    this.filter = filter
  }

  release(): void {
    if (this.filter !== null) this.target.graph.thawChain(this.filter, this.target)
    this.filter = null
    this.hold.giveAll()
  }
}
