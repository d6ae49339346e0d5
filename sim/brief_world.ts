/**
 * What the smaller kinds of worlds with a job share: a clock, a graph, disks that fail as planned, and running until nothing
 * is left to happen.
 *
 * What may fail: what the plan says, and the code under test; the first failure is in the result. Nothing is thrown.
 */
import { BlockGraph } from '../impl/block'
import { type Co, Kernel, type Label, makeLabel } from '../impl/co'
import { BriefRun } from './brief_run'
import { VirtualClockwork } from './clockwork'
import type { Decider } from './decider'
import type { DiskWatcher } from './disk'
import { Faults } from './faults'
import type { FlatModel } from './flat_model'
import type { Plan } from './plan'
import type { BufferPool } from './pool'

const TEARDOWN = makeLabel('teardown')

export abstract class BriefWorld extends BriefRun {
  protected readonly decider: Decider
  protected readonly clockwork: VirtualClockwork
  protected readonly kernel: Kernel
  protected readonly graph: BlockGraph
  protected readonly faults: { source: Faults; destination: Faults }

  constructor(plan: Plan, pool: BufferPool, decider: Decider) {
    super(plan, pool)
    this.decider = decider
    this.clockwork = new VirtualClockwork(decider)
    this.kernel = new Kernel(this.clockwork)
    this.graph = new BlockGraph(this.kernel)
    this.graph.filenameOf = (node) => node.name
    this.faults = { source: new Faults(plan.faults, 'source'), destination: new Faults(plan.faults, 'destination') }
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

  protected countFaults(counts: Record<string, number>): void {
    this.faults.source.count(counts)
    this.faults.destination.count(counts)
  }
}
