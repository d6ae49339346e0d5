/**
 * A commit of layers that nobody writes to: what they hold is written to the base below them, and then whoever stood on
 * them stands on the base. It ends by itself.
 *
 * At every moment a reader above finds what he found before: the layers are there until the base has all of it. What the
 * layers hide of the base is hidden afterwards too, also where one of them is shorter than the base.
 *
 * What may fail: reading, writing and growing the base, which the job's policy judges (growing ends it); naming the base in
 * the image above, which fails the job after the graph has changed.
 */
import { type BlockChild, BlockError, type BlockNode, RequestFlag, StatusFlag } from '../../block'
import { assert, type Co, EPERM, type Errno, OK } from '../../co'
import type { JobHold } from '../hold'
import type { JobOptions } from '../job'
import type { JobManager } from '../job_manager'
import { PIECE_MAX_BYTES, SequentialJob, type Step } from '../sequential_job'
import type { CommitOptions } from './options'

/** What a commit holds in the graph. */
export interface CommitHoldings {
  readonly filter: BlockNode
  readonly top: BlockNode
  readonly base: BlockNode
  readonly topEdge: BlockChild
  /** Given back when the writing is over. */
  readonly baseEdge: BlockChild
  readonly hold: JobHold
  /** The base has to become read-only again. */
  readonly baseWasReadOnly: boolean
}

export class CommitJob extends SequentialJob {
  readonly type = 'commit'
  private readonly options: CommitOptions
  private holdings!: CommitHoldings
  private readonly buffer: Uint8Array

  constructor(manager: JobManager, options: JobOptions, wanted: CommitOptions) {
    super(manager, options, wanted.onError)
    this.options = wanted
    this.buffer = wanted.device.graph.allocateBuffer(PIECE_MAX_BYTES)
  }

  /** Its place in the graph. Called once, before the job is started. */
  settleDown(holdings: CommitHoldings): void {
    assert(this.status === 'created', 'commit-settles-once')
    this.holdings = holdings
  }

  protected *run(): Co<Errno> {
    const { top, base, baseEdge } = this.holdings
    const topBytes = top.lengthBytes
    // What lies behind a shorter layer reads zero above it, whatever the base holds there.
    this.setLength(Math.max(topBytes, this.hiddenEndBytes()))
    yield* this.pausePoint()
    if (this.isForceCancelled) return OK
    if (base.lengthBytes < topBytes) {
      const errno = yield* baseEdge.truncate(topBytes, false, 'off')
      if (errno !== OK) return errno
    }
    return yield* this.walk()
  }

  /** Up to where somebody above could see what the top layer ends before. */
  private hiddenEndBytes(): number {
    const { filter, base } = this.holdings
    let endBytes = 0
    for (const { role, parent } of filter.parents) {
      if (role === 'cow' && parent.node !== null) endBytes = Math.max(endBytes, parent.node.lengthBytes)
    }
    return Math.min(endBytes, base.lengthBytes)
  }

  protected *step(atBytes: number, endBytes: number): Co<Step> {
    const { top, base, baseEdge } = this.holdings
    assert(atBytes >= 0 && atBytes < endBytes, 'commit-step-inside')
    const topBytes = top.lengthBytes
    if (atBytes >= topBytes) {
      const errno = yield* baseEdge.pwriteZeroes(atBytes, endBytes - atBytes, RequestFlag.MayUnmap)
      return { errno, isRead: false, bytes: endBytes - atBytes, copiedBytes: 0 }
    }
    const askedBytes = Math.min(PIECE_MAX_BYTES, topBytes - atBytes)
    const status = yield* top.blockStatusAbove(base, 'want-zero', atBytes, askedBytes)
    if (status.errno !== OK) return { errno: status.errno, isRead: true, bytes: askedBytes, copiedBytes: 0 }
    const { bytes } = status
    assert(bytes > 0 && bytes <= askedBytes, 'commit-progress')
    if ((status.flags & StatusFlag.Allocated) === 0) return { errno: OK, isRead: true, bytes, copiedBytes: 0 }
    if ((status.flags & StatusFlag.Zero) !== 0) {
      const errno = yield* baseEdge.pwriteZeroes(atBytes, bytes, RequestFlag.MayUnmap)
      return { errno, isRead: false, bytes, copiedBytes: 0 }
    }
    return yield* this.copy(atBytes, bytes)
  }

  private *copy(atBytes: number, bytes: number): Co<Step> {
    const { topEdge, baseEdge } = this.holdings
    const data = this.buffer.subarray(0, bytes)
    const readErrno = yield* topEdge.pread(atBytes, data)
    if (readErrno !== OK) return { errno: readErrno, isRead: true, bytes, copiedBytes: 0 }
    const errno = yield* baseEdge.pwrite(atBytes, data)
    return { errno, isRead: false, bytes, copiedBytes: bytes }
  }

  protected stoodStill(): void {
    this.options.device.graph.drainProgress()
  }

  /** Gives everything back. With `isDone` the layers leave the chain, otherwise the filter alone. */
  protected *leave(isDone: boolean): Co<Errno> {
    const { filter, top, base, baseEdge, hold, baseWasReadOnly } = this.holdings
    const { graph } = base
    yield* graph.drainedBegin(base)
    yield* graph.drainedBegin(top)
    // A written base must be flushed before it is read-only, and before anybody counts on it.
    let errno = isDone ? yield* baseEdge.flush() : OK
    hold.give(baseEdge)
    graph.thawChain(filter, base)
    const overlays = [...filter.parents].filter((edge) => edge.role === 'cow')
    hold.giveAll()
    if (errno === OK && isDone) errno = this.skipLayers()
    if (filter.parents.size > 0) graph.removeFilter(filter)
    if (errno === OK && isDone) errno = yield* this.nameBase(overlays)
    // It has been flushed if that counts: what fails now is no reason to say that it has not worked.
    if (baseWasReadOnly) yield* graph.trySetReadOnly(base, true)
    graph.drainedEnd(top)
    graph.drainedEnd(base)
    yield* graph.removeNode(filter)
    yield* graph.release(top)
    return errno
  }

  /** Whoever stands on the layers stands on the base from now on. */
  private skipLayers(): Errno {
    const { filter, base } = this.holdings
    try {
      base.graph.replaceNode(filter, base)
      return OK
    } catch (error) {
      assert(error instanceof BlockError, 'graph-refuses-in-words', () => String(error))
      return EPERM
    }
  }

  /** Images that stood on the layers say in their headers where they stand now. */
  private *nameBase(overlays: readonly BlockChild[]): Co<Errno> {
    const { base } = this.holdings
    const { graph } = base
    const name = this.options.backingFile ?? graph.filenameOf(base)
    for (const { parent } of overlays) {
      const overlay = parent.node
      if (overlay === null) continue
      const isReadOnly = overlay.options.readOnly
      yield* graph.drainedBegin(overlay)
      let errno = isReadOnly ? yield* graph.trySetReadOnly(overlay, false) : OK
      if (errno === OK) errno = yield* overlay.driver.changeBackingFile(name, base.skipFilters().driver.name)
      if (isReadOnly) yield* graph.trySetReadOnly(overlay, true)
      graph.drainedEnd(overlay)
      if (errno !== OK) return errno
    }
    return OK
  }
}
