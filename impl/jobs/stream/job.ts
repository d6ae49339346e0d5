/**
 * A stream: what an image shows of the layers below it, down to a base, is copied into it, and then it stands on the base
 * alone. Guests may use it meanwhile; what they read is copied as well. It ends by itself.
 *
 * What may fail: reading and copying, which the job's policy judges. An error that is ignored is left behind, and the layers
 * stay in the chain, because not everything is copied.
 */
import { type BlockChild, BlockError, type BlockNode, isAllocatedAbove } from '../../block'
import type { CopyOnReadDriver } from '../../block/drivers/copy_on_read'
import { assert, type Co, EPERM, type Errno, OK } from '../../co'
import type { JobHold } from '../hold'
import type { JobOptions } from '../job'
import type { JobManager } from '../job_manager'
import { PIECE_MAX_BYTES, SequentialJob, type Step } from '../sequential_job'
import type { StreamOptions, StreamPlaces } from './options'

/** What a stream holds in the graph. */
export interface StreamHoldings extends StreamPlaces {
  readonly filter: BlockNode
  readonly filterEdge: BlockChild
  readonly driver: CopyOnReadDriver
  readonly hold: JobHold
  /** The device has to become read-only again. */
  readonly wasReadOnly: boolean
}

export class StreamJob extends SequentialJob {
  readonly type = 'stream'
  protected override readonly skipsErrors = true
  private readonly options: StreamOptions
  private holdings!: StreamHoldings

  constructor(manager: JobManager, options: JobOptions, wanted: StreamOptions) {
    super(manager, options, wanted.onError)
    this.options = wanted
  }

  /** Its place in the graph. Called once, before the job is started. */
  settleDown(holdings: StreamHoldings): void {
    assert(this.status === 'created', 'stream-settles-once')
    this.holdings = holdings
  }

  protected *run(): Co<Errno> {
    const { target, lastLayer } = this.holdings
    if (target === lastLayer) return OK
    this.setLength(target.lengthBytes)
    return yield* this.walk()
  }

  protected *step(atBytes: number, endBytes: number): Co<Step> {
    const { target, lastLayer, driver } = this.holdings
    const askedBytes = Math.min(PIECE_MAX_BYTES, endBytes - atBytes)
    const own = yield* isAllocatedAbove(target, target.below(), atBytes, askedBytes)
    if (own.errno !== OK) return { errno: own.errno, isRead: true, bytes: askedBytes, copiedBytes: 0 }
    if (own.isAllocated) return { errno: OK, isRead: true, bytes: own.bytes, copiedBytes: 0 }
    const below = target.backing?.node
    assert(below !== undefined && own.bytes > 0, 'stream-has-layers')
    const base = lastLayer.below()
    const found = yield* isAllocatedAbove(below, base, atBytes, own.bytes)
    if (found.errno !== OK) return { errno: found.errno, isRead: true, bytes: own.bytes, copiedBytes: 0 }
    // The layer below ends before: what it leaves out reads zero, and must go on doing so above a longer base.
    const isBeyond = found.bytes === 0
    const bytes = isBeyond ? own.bytes : found.bytes
    const isCopied = isBeyond ? base !== null && base.lengthBytes > atBytes : found.isAllocated
    const errno = isCopied ? yield* driver.prefetch(atBytes, bytes) : OK
    return { errno, isRead: true, bytes, copiedBytes: isCopied ? bytes : 0 }
  }

  protected stoodStill(): void {
    this.options.device.graph.drainProgress()
  }

  /** Gives everything back. With `isDone` the image stands on the base afterwards. */
  protected *leave(isDone: boolean): Co<Errno> {
    const { filter, filterEdge, device, target, aboveBase, hold, wasReadOnly } = this.holdings
    const { graph } = device
    const base = aboveBase.below()
    const formerlyBelow = target.below()
    if (base !== null) yield* graph.drainedBegin(base)
    yield* graph.drainedBegin(target)
    // The header must not lose the layers before what was copied from them is on the medium.
    let errno = isDone ? yield* filterEdge.flush() : OK
    graph.thawChain(filter, aboveBase)
    hold.giveAll()
    graph.removeFilter(filter)
    // As long as it is there it may write.
    yield* graph.removeNode(filter)
    if (errno === OK && isDone && target.backing !== null) errno = yield* this.standOn(base)
    if (wasReadOnly) yield* graph.trySetReadOnly(device, true)
    graph.drainedEnd(target)
    if (base !== null) graph.drainedEnd(base)
    if (formerlyBelow !== null) yield* graph.release(formerlyBelow)
    return errno
  }

  private *standOn(base: BlockNode | null): Co<Errno> {
    const { target } = this.holdings
    const { graph } = target
    try {
      graph.setBacking(target, base)
    } catch (error) {
      assert(error instanceof BlockError, 'graph-refuses-in-words', () => String(error))
      return EPERM
    }
    if (base === null) return yield* target.driver.changeBackingFile(null, null)
    const layer = base.skipFilters()
    return yield* target.driver.changeBackingFile(this.options.backingFile ?? graph.filenameOf(layer), layer.driver.name)
  }
}
