/**
 * What the smaller kinds of worlds with a job share: a clock, a graph, disks that fail as planned, and running until nothing
 * is left to happen.
 *
 * What may fail: what the plan says, and the code under test; the first failure is in the result. Nothing is thrown.
 */
import { BlockError, BlockGraph, type BlockNode } from '../impl/block'
import { type Co, Kernel, type Label, makeLabel, OK } from '../impl/co'
import { type Job, MirrorJob } from '../impl/jobs'
import { BriefRun } from './brief_run'
import type { BriefScene, BriefWatcher } from './brief_watch'
import { VirtualClockwork } from './clockwork'
import type { Decider } from './decider'
import type { DiskWatcher } from './disk'
import type { FlatModel } from './flat_model'
import { type ControlOperation, type GuestOperation, type Plan, SECTOR_BYTES } from './plan'
import type { BufferPool } from './pool'
import { Troubles } from './troubles'
import { diskArrives, diskEnds, guestSubmits, jobTells, orderDone, orderRefused } from './watch'

const TEARDOWN = makeLabel('teardown')
/** A job that nobody brings to its end needs a few words; one that needs more is stuck. */
export const WORDS_MAX = 50

export abstract class BriefWorld extends BriefRun {
  protected readonly decider: Decider
  protected readonly clockwork: VirtualClockwork
  protected readonly kernel: Kernel
  protected readonly graph: BlockGraph
  protected readonly troubles: Troubles

  constructor(plan: Plan, pool: BufferPool, decider: Decider, eye: BriefWatcher | null) {
    super(plan, pool, eye)
    this.decider = decider
    this.clockwork = new VirtualClockwork(decider)
    this.kernel = new Kernel(this.clockwork)
    this.graph = new BlockGraph(this.kernel)
    this.graph.filenameOf = (node) => node.name
    this.troubles = new Troubles(plan)
  }

  protected watcher(): DiskWatcher {
    const { trace, eye } = this
    return {
      diskSubmitted: (request) => {
        const { disk, label, operation, offsetBytes, lengthBytes, mayUnmap } = request
        trace.line(disk, diskArrives, label.id, operation, offsetBytes, lengthBytes, mayUnmap ? 1 : 0)
        if (operation !== 'status') eye?.began(disk, request, label.id, operation, offsetBytes, lengthBytes)
      },
      diskCompleted: (request, errno) => {
        const { disk, label, operation, offsetBytes, lengthBytes } = request
        trace.mix(offsetBytes)
        trace.mix(lengthBytes)
        trace.mix(errno)
        trace.line(disk, diskEnds, label.id, operation, offsetBytes, lengthBytes, errno)
        eye?.ended(request, errno !== OK)
      },
      hit: (probe) => this.count(probe),
    }
  }

  /** What somebody who films would see now. */
  protected abstract scene(): BriefScene

  /** A guest's operation begins. */
  protected began(operation: GuestOperation): void {
    const { id, kind, offsetBytes, lengthBytes } = operation
    this.trace.line('guest', guestSubmits, id, kind, offsetBytes, lengthBytes, 0)
    this.eye?.began('guest', operation, id, kind, offsetBytes, lengthBytes)
  }

  protected ended(operation: GuestOperation, errno: number): void {
    const { id, kind, offsetBytes, lengthBytes } = operation
    this.trace.line('guest', diskEnds, id, kind, offsetBytes, lengthBytes, errno)
    this.eye?.ended(operation, errno !== OK)
  }

  /** The job says something. */
  protected told(event: string, word: unknown): void {
    this.trace.line('job', jobTells, event, typeof word === 'string' ? word : '', 0, 0, 0)
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
      this.eye?.step(trace.step, trace.timeNs, this.scene())
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
      this.trace.line('control', orderDone, order.id, order.kind, 0, 0, 0)
      this.count(`order/${order.kind}`)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      this.trace.line('control', orderRefused, order.id, error.message, 0, 0, 0)
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
    const error = new Error(`${what} has other data in sector ${sector} than what was written there last`)
    this.found('content', key, error, { offsetBytes: sector * SECTOR_BYTES, lengthBytes: SECTOR_BYTES })
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

/** What is to be seen of a job. */
export function sceneOfJob(job: Job | null): Pick<BriefScene, 'jobStatus' | 'jobOffsetBytes' | 'jobLengthBytes' | 'mirror'> {
  if (job === null) return { jobStatus: 'none', jobOffsetBytes: 0, jobLengthBytes: 0, mirror: null }
  const { offsetBytes, lengthBytes } = job.progress
  const mirror = job instanceof MirrorJob ? job.view : null
  return { jobStatus: job.status, jobOffsetBytes: offsetBytes, jobLengthBytes: lengthBytes, mirror }
}
