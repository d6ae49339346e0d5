/**
 * A fault is something that goes wrong in a world: one file each, and the list of all in `index.ts`. It says what it does to
 * a request, what the stack promises under it, and which verdicts it excuses.
 *
 * What the stack promises to survive, or to report, is never excused but where the promise itself is smaller then: `excuses`
 * names the checker and the reason. What nobody in the stack can see is told by the world: it marks the bytes that were hit,
 * checkers leave out these, and the next byte beside them counts as before.
 */
import type { Errno } from '../../impl/co'
import type { Corruption } from '../corruption'
import type { DiskOperation, FaultPlan } from '../plan'
import type { ProbeName } from '../probes'
import type { DiskStore } from '../store'

export interface Fault {
  readonly name: string
  /** One line for people. */
  readonly about: string
  /**
   * survived: jobs and guests go on as if nothing had been; reported: as an error, under the job's policy; silent: nobody in
   * the stack can see it, and the world marks what was hit.
   */
  readonly promise: 'survived' | 'reported' | 'silent'
  readonly excuses: readonly Excuse[]
}

export interface Excuse {
  readonly checker: string
  readonly why: string
}

/** One that requests of disks meet by an entry of `plan.faults`. */
export interface DiskFault<P extends FaultPlan = FaultPlan> extends Fault {
  /** Whether an entry of the plan is for this fault. */
  is(plan: FaultPlan): plan is P
  /** Requests that it may be planned for. */
  readonly operations: readonly DiskOperation[]
  /** Settings of its entry where they have nothing to do with a failure, for shrinkers. */
  readonly dull?: Partial<P>
  /** Absent: the request goes on as usual, whatever else is done about it. */
  meet?(plan: P, request: MetRequest, disk: MetDisk): Errno | null
}

/** A request at its end, before it has had its effect. */
export interface MetRequest {
  readonly operation: DiskOperation
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** write: the bytes; read: where they go. */
  readonly buffer: Uint8Array | null
  /** A write has its effect here. */
  landsAtBytes: number
  /** Of what has had its effect: bytes from the beginning on. */
  landedBytes: number
}

/** The disk whose request has met a fault. */
export interface MetDisk {
  readonly store: DiskStore
  /** What was there when the world began; null where no fault asks for it. */
  readonly original: DiskStore | null
  /** null where no fault of the plan is silent. */
  readonly corruption: Corruption | null
  hit(probe: ProbeName): void
}

/** All checkers that compare what disks hold, and why a silent fault changes their verdict at the bytes that it hit. */
export function excusesOfContent(what: string): readonly Excuse[] {
  return ['content', 'chunks', 'zero-bits', 'sparseness', 'discards', 'power'].map((checker) => ({
    checker,
    why: `${what}: at these bytes, and at no others`,
  }))
}
