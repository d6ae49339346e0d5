/**
 * What the smaller kinds of worlds with a job share: a clock, a graph, disks that fail as planned, and running until nothing
 * is left to happen.
 *
 * What may fail: what the plan says, and the code under test; the first failure is in the result. Nothing is thrown.
 */
import { BlockError, BlockGraph, type BlockNode } from '../impl/block'
import { type Co, Kernel, type Label, makeLabel } from '../impl/co'
import type { Job } from '../impl/jobs'
import { BriefRun } from './brief_run'
import { VirtualClockwork } from './clockwork'
import type { Decider } from './decider'
import type { DiskWatcher } from './disk'
import type { FlatModel } from './flat_model'
import type { ControlOperation, Plan } from './plan'
import type { BufferPool } from './pool'
import { Troubles } from './troubles'

const TEARDOWN = makeLabel('teardown')
/** A job that nobody brings to its end needs a few words; one that needs more is stuck. */
export const WORDS_MAX = 50

export abstract class BriefWorld extends BriefRun {
  protected readonly decider: Decider
  protected readonly clockwork: VirtualClockwork
  protected readonly kernel: Kernel
  protected readonly graph: BlockGraph
  protected readonly troubles: Troubles

  constructor(plan: Plan, pool: BufferPool, decider: Decider) {
    super(plan, pool)
    this.decider = decider
    this.clockwork = new VirtualClockwork(decider)
    this.kernel = new Kernel(this.clockwork)
    this.graph = new BlockGraph(this.kernel)
    this.graph.filenameOf = (node) => node.name
    this.troubles = new Troubles(plan)
  }

  protected watcher(): DiskWatcher {
    return {
      diskSubmitted: () => {},
      diskCompleted: ({ offsetBytes, lengthBytes }, errno) => {
        this.trace.mix(offsetBytes)
        this.trace.mix(lengthBytes)
        this.trace.mix(errno)
      },
      hit: (probe) => this.count(probe),
    }
  }

  protected atOnce(body: Co<void>, label: Label = TEARDOWN): void {
    this.kernel.spawn(body, label)
    this.toRest()
  }

  /** Runs until nothing is left to happen, or something is wrong. */
  protected toRest(): void {
    const { clockwork, kernel, trace } = this
    const { eventsMax, timeMaxNs } = this.plan.bounds
    for (let nextNs = clockwork.nextNs(); nextNs !== Infinity && this.failure === null; nextNs = clockwork.nextNs()) {
      if (trace.step >= eventsMax || nextNs > timeMaxNs) {
        this.stuck(`no end after ${trace.step} events`)
        break
      }
      trace.begin(nextNs)
      trace.end(clockwork.step(kernel, nextNs).label.hash)
      if (kernel.failure !== null) this.crashed(kernel.failure.error)
    }
  }

  /** An order of the plan, given to the job; `node`: what an order to drain is about. */
  protected *give(order: ControlOperation, job: Job, node: BlockNode): Co<void> {
    yield* this.kernel.sleepNs(order.when.afterNs)
    try {
      if (order.kind === 'drain') {
        yield* this.graph.drainedBegin(node)
        yield* this.kernel.sleepNs(order.durationNs)
        this.graph.drainedEnd(node)
      } else giveOrder(job, order)
      this.count(`order/${order.kind}`)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      this.count(`order/${order.kind}-refused`)
    }
  }

  protected stuck(text: string): void {
    this.found('liveness', 'liveness/job-without-end', new Error(text))
  }

  /** Compares what was read with the model. */
  protected compare(
    model: FlatModel,
    bytes: Uint8Array,
    offsetBytes: number,
    key: string,
    what: string,
    isWanted?: (sector: number) => boolean,
  ): void {
    const sector = model.firstWrong(bytes, offsetBytes, isWanted)
    if (sector === -1) return
    this.found('content', key, new Error(`${what} has other data in sector ${sector} than what was written there last`))
  }

  protected countFaults(probes: Record<string, number>): Record<string, number> {
    return this.troubles.count(probes)
  }
}

/** Gives a job an order, as its user would. Throws BlockError where the job refuses it. */
function giveOrder(job: Job, order: Exclude<ControlOperation, { kind: 'drain' }>): void {
  if (order.kind === 'pause') job.pause()
  else if (order.kind === 'resume') job.resume()
  else if (order.kind === 'complete') job.complete()
  else if (order.kind === 'finalize') job.finalize()
  else if (order.kind === 'set-speed') job.setSpeed(order.speedBytesPerSecond)
  else if (order.kind === 'cancel') job.cancel(order.force)
}

/** Brings a job nearer to its end that nobody else does. Throws BlockError where it refuses that. */
export function helpJob(job: Job): void {
  if (job.status === 'pending') job.finalize()
  else if (job.isUserPaused) job.resume()
  else if (job.isReady && !job.isCompleteRequested && !job.isCancelRequested) job.complete()
  else job.cancel(true)
}
