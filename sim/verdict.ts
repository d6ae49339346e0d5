/**
 * The outcome of a world. A failure's `key` names what is wrong without ids or offsets, so that a shrinker can tell
 * whether a smaller plan still fails in the same way.
 */

/** What kind of promise was broken. */
export type FailureClass =
  | 'content'
  | 'sparseness'
  | 'invariant'
  | 'liveness'
  | 'protocol'
  | 'durability'
  | 'nondeterminism'
  | 'crash'
  | 'harness'

/** Exit codes of every command that runs worlds; 0 ok, 2 usage, 3 coverage below a floor. */
export const EXIT_CODES: Readonly<Record<FailureClass, number>> = {
  content: 10,
  sparseness: 11,
  invariant: 12,
  liveness: 13,
  nondeterminism: 14,
  crash: 15,
  harness: 16,
  protocol: 17,
  durability: 18,
}

/** What a checker found. Facts are for the report; absent ones do not apply. */
export interface Finding {
  /** What kind of promise was broken; gives the exit code. */
  class: FailureClass
  /** `checker/what`, stable, without ids and offsets. */
  key: string
  /** One sentence for a person who has not seen the code. */
  text: string
  /** Where it was seen. */
  disk?: 'source' | 'destination' | 'guest'
  /** Where on that disk. */
  offsetBytes?: number
  /** How much of it. */
  lengthBytes?: number
  /** Of the mirror's chunks, from 0. */
  chunkIndex?: number
  /** The operation of the guest that it is about. */
  operationId?: string
  /** What should have been, in words. */
  expected?: string
  /** What was, in words. */
  actual?: string
  /** More lines: who waits for whom, the state of the job. */
  details?: string[]
}

/** What ended a world. */
export interface Failure extends Finding {
  /** Number of the event after which it was found. */
  step: number
  /** Virtual time. */
  timeNs: number
}

/** What a world came to. */
export interface WorldResult {
  failure: Failure | null
  events: number
  timeNs: number
  /** Rolling hash over all events, 8 hex digits; and its value at each 64th event. */
  hash: string
  checkpoints: string[]
  /** Situations that happened, by name, with counts. */
  probes: Record<string, number>
  /** How often each planned fault fired, by its id. */
  faultsFired: Record<string, number>
  /** The last lines of the trace if the world failed, or all of them when asked. */
  trace: TraceRecord[]
  /** Facts about the end: job status, allocation of both disks, bytes skipped. */
  end: WorldEnd
}

/** Facts about the end of a world. */
export interface WorldEnd {
  /** `completed`, `cancelled-after-ready`, `cancelled`, `failed`; before any of them, what query-jobs shows, or `none`. */
  jobStatus: string
  /** Why the job failed or could not be started; null also for a cancelled one. */
  jobError: string | null
  guestOperationsDone: number
  sourceAllocatedBytes: number
  destinationAllocatedBytes: number
  skippedZeroBytes: number
  copiedBytes: number
  /** The most memory that an image of somebody else made us ask for; not the same in each run. Absent: not measured. */
  memoryBytesMax?: number
}

/** What must be true at the end of a scenario's world, beside that no checker has found anything. */
export interface Expectation {
  /** null, also when left out: the job ended well. `any`: either way. */
  jobError?: string | null
  /** How the job ended, in the words of `WorldEnd`. */
  jobStatus?: string
  destinationAllocatedBytesMax?: number
  sourceAllocatedBytesMax?: number
  skippedZeroBytesMin?: number
  copiedBytesMax?: number
  /** Virtual time. */
  timeNsMax?: number
  guestOperationsDone?: number
  /** Every planned fault fires at least once. */
  allFaultsFire?: boolean
}

/** One event of a world. Printed in fixed columns: step, time, lane, text. */
export interface TraceRecord {
  /** Number of the event; several records may belong to one. */
  step: number
  /** Virtual time. */
  timeNs: number
  /** Who: `guest`, `source`, `destination`, `mirror`, `job`, `control`. */
  lane: string
  /** What happened. */
  text: string
}
