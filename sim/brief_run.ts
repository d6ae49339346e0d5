/**
 * What the smaller kinds of worlds share: no virtio device, no checkers of events, one model of their own, and a result like
 * that of any world.
 *
 * What may fail: anything that the plan says, and the code under test; the first failure is in the result. Nothing is thrown.
 */
import { AssertionFailure } from '../impl/co'
import type { BriefWatcher } from './brief_watch'
import type { Plan } from './plan'
import { BufferPool } from './pool'
import { type Line, Trace } from './trace'
import { withTripwires } from './tripwires'
import type { Failure, WorldEnd, WorldResult } from './verdict'
import { errorText, stackOf } from './watch'

const QUIET_END: WorldEnd = {
  jobStatus: 'none',
  jobError: null,
  guestOperationsDone: 0,
  sourceAllocatedBytes: 0,
  destinationAllocatedBytes: 0,
  skippedZeroBytes: 0,
  copiedBytes: 0,
}

export abstract class BriefRun {
  protected readonly plan: Plan
  protected readonly pool: BufferPool
  protected readonly trace: Trace
  /** null: nobody films. */
  protected readonly eye: BriefWatcher | null
  protected failure: Failure | null = null
  protected operationsDone = 0
  private readonly probes: Record<string, number> = {}

  constructor(plan: Plan, pool: BufferPool, eye: BriefWatcher | null) {
    this.plan = plan
    this.pool = pool
    this.eye = eye
    this.trace = new Trace(eye !== null)
  }

  /** From the beginning to the end; what it throws is a fault of the harness. */
  abstract run(): void
  /** How often each planned fault has fired, by id; and by the name of its kind, into `probes`. */
  protected abstract countFaults(probes: Record<string, number>): Record<string, number>
  /** What is to be said of the end, beside the number of operations. */
  protected abstract endFacts(): Partial<WorldEnd>

  protected count(probe: string): void {
    this.probes[probe] = (this.probes[probe] ?? 0) + 1
  }

  /** A line of the trace; not part of its hash. */
  protected note(lane: string, text: string): void {
    this.trace.line(lane, itself, '', text, 0, 0, 0)
  }

  protected crashed(error: unknown): void {
    const key = error instanceof AssertionFailure ? error.invariant : error instanceof Error ? error.name : 'exception'
    this.found('crash', `crash/${key}`, error)
  }

  /** The first one counts. `place`: where it is, if it is anywhere. */
  found(
    kind: Failure['class'],
    key: string,
    error: unknown,
    place: Pick<Failure, 'disk' | 'offsetBytes' | 'lengthBytes'> = {},
  ): void {
    const { step, timeNs } = this.trace
    this.failure ??= { class: kind, key, text: errorText(error), ...place, details: stackOf(error), step, timeNs }
  }

  result(): WorldResult {
    const { trace, failure, probes } = this
    const faultsFired = this.countFaults(probes)
    return {
      failure,
      events: trace.step,
      timeNs: trace.timeNs,
      hash: trace.hashText(),
      checkpoints: trace.checkpoints,
      probes,
      faultsFired,
      trace: failure !== null || this.eye !== null ? trace.records() : [],
      end: { ...QUIET_END, guestOperationsDone: this.operationsDone, ...this.endFacts() },
    }
  }
}

function itself({ word }: Line): string {
  return word
}

/** Runs what `make` makes, with memory of its own; `harnessKey` names what the harness itself does wrong. */
export function runBriefly(harnessKey: string, make: (pool: BufferPool) => BriefRun): WorldResult {
  const pool = new BufferPool()
  const run = make(pool)
  try {
    withTripwires(() => run.run())
  } catch (error) {
    run.found('harness', harnessKey, error)
  } finally {
    pool.giveBack()
  }
  return run.result()
}
