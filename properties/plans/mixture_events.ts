/**
 * The mixture of what happens in worlds: guests' requests, the operator's orders, power cuts and disk errors. As numbers, like
 * what worlds are made of in `mixture.ts`.
 */
import type { ControlOperation, DiskOperation, FaultPlan, GuestOperationKind } from '../../sim/plan'
import type { Table } from './choices'

const KiB = 1024
const MICRO = 1_000
const MILLI = 1_000_000

// ---------------------------------------------------------------------------------------------------------------- guest

export const GUEST_KIND: Table<GuestOperationKind> = [
  ['write', 44, 30],
  ['write-zeroes', 22, 20],
  ['discard', 12, 20],
  ['read', 15, 10],
  ['flush', 6, 15],
  ['get-id', 1, 5],
]

/** Requests in flight at a time. */
export const LANES: Table<number> = [
  [1, 15, 30],
  [2, 25, 0],
  [4, 35, 0],
  [8, 20, 0],
  [16, 5, 70],
]

export const GUEST_UNMAP_PERCENT = 60
/** Writes of a buffer full of zeroes, what detect-zeroes is for. */
export const ZERO_DATA_PERCENT = 15

/** Where operations go. */
export type Place = 'hot' | 'straddle' | 'tail' | 'head' | 'anywhere'

export const PLACE: Table<Place> = [
  // One of the world's few hot chunks: write, zero, discard, write again.
  ['hot', 45, 40],
  // Over a boundary of two chunks.
  ['straddle', 15, 20],
  ['tail', 10, 20],
  ['head', 4, 10],
  ['anywhere', 26, 10],
]

export const HOT_CHUNKS: Table<number> = [
  [1, 35, 60],
  [2, 35, 0],
  [4, 30, 40],
]

/** How long operations are. */
export type Extent = 'block' | 'part' | 'chunk' | 'chunks' | 'disk'

export const EXTENT: Table<Extent> = [
  ['block', 20, 30],
  ['part', 35, 10],
  ['chunk', 22, 20],
  ['chunks', 21, 10],
  ['disk', 2, 30],
]

/** Most chunks of a `chunks` operation, and most bytes of any: long requests cost time and show little. */
export const EXTENT_CHUNKS_MAX = 6
export const OPERATION_BYTES_MAX = 256 * KiB
/**
 * Most bytes of a read or a write, and about the most that all of a world move: whoever has used that up goes on block by
 * block. Moving bytes is what large worlds spend their time on, and the thousandth KiB shows nothing that the first did not.
 */
export const TRANSFER_BYTES_MAX = 64 * KiB
export const TRANSFERRED_BYTES_MAX = 768 * KiB

/** Pauses of the guest: `[share of operations that wait in percent, longest wait]`. */
export const PACE: Table<readonly [percent: number, thinkMaxNs: number]> = [
  // A burst, over before the scan of the source is.
  [[0, 0], 20, 40],
  [[30, 100 * MICRO], 35, 10],
  [[60, 500 * MICRO], 30, 10],
  // Lives on through READY and after it.
  [[50, 10 * MILLI], 13, 10],
  [[20, 150 * MILLI], 2, 30],
]

// -------------------------------------------------------------------------------------------------------------- control

/** How the job ends. Without a control operation, the world completes it when it is ready and the guest has finished. */
export type Ending = 'implicit' | 'complete' | 'complete-anytime' | 'complete-twice' | 'soft-cancel' | 'force-cancel' | 'again'

export const ENDING: Table<Ending> = [
  ['implicit', 54, 25],
  ['complete', 16, 10],
  // At whatever moment: refused before READY.
  ['complete-anytime', 6, 10],
  ['complete-twice', 6, 10],
  ['soft-cancel', 8, 20],
  ['force-cancel', 6, 15],
  // Cancelled, dismissed, and started once more onto what is there.
  ['again', 4, 10],
]

/** Other control operations, in legal and in illegal moments. A pause brings its resume along. */
export const CONTROL_KIND: Table<
  Exclude<ControlOperation['kind'], 'mirror-start' | 'complete' | 'cancel' | 'link-backing' | 'power-cut'>
> = [
  ['pause', 25, 20],
  ['resume', 4, 10],
  ['set-speed', 16, 15],
  ['change-copy-mode', 18, 15],
  ['drain', 20, 20],
  ['device-reset', 8, 10],
  ['resize', 6, 5],
  ['finalize', 4, 5],
  ['dismiss', 5, 5],
]

export type Moment = 'start' | 'mirror-started' | 'ready' | 'guest-done' | 'ending' | 'concluded' | 'operation' | 'control'

export const MOMENT: Table<Moment> = [
  ['start', 5, 10],
  ['mirror-started', 33, 15],
  ['ready', 18, 20],
  ['guest-done', 8, 15],
  ['ending', 3, 10],
  ['concluded', 3, 10],
  ['operation', 20, 10],
  // During a pause, while completion is on its way, after the end.
  ['control', 10, 10],
]

/** When the mirror starts: mostly at once, sometimes after an operation of the guest. */
export const START_LATE_PERCENT = 25
/** Completion that is asked for at whatever moment comes so often when the job is ending already. */
export const COMPLETE_ENDING_PERCENT = 40
/** Soft cancels at whatever moment; the others wait for READY. */
export const CANCEL_ANYTIME_PERCENT = 40

/** Longest time between a moment and its control operation. */
export const AFTER_MAX_NS: Table<number> = [
  [0, 30, 50],
  [100 * MICRO, 40, 0],
  [1 * MILLI, 25, 0],
  [120 * MILLI, 5, 50],
]

export const DRAIN_MAX_NS = 2 * MILLI
export const PAUSE_MAX_NS = 3 * MILLI

// ---------------------------------------------------------------------------------------------------------------- power

export type PowerCutMoment = 'mirror-started' | 'ready' | 'guest-done' | 'operation' | 'flush' | 'ending'

export const POWER_CUT_MOMENT: Table<PowerCutMoment> = [
  ['mirror-started', 15, 20],
  ['ready', 10, 20],
  ['guest-done', 20, 20],
  ['operation', 20, 10],
  // Right after a promise to the guest.
  ['flush', 20, 20],
  // Around the moment at which the guest moves.
  ['ending', 15, 10],
]

/** Longest time between the moment and the cut. */
export const POWER_CUT_AFTER_MAX_NS: Table<number> = [
  [0, 20, 30],
  [20 * MICRO, 20, 10],
  [200 * MICRO, 30, 10],
  [2 * MILLI, 20, 10],
  [120 * MILLI, 10, 40],
]

// --------------------------------------------------------------------------------------------------------------- faults

export const FAULT_COUNT: Table<number> = [
  [1, 50, 20],
  [2, 30, 20],
  [4, 20, 60],
]

export const FAULT_AT: Table<readonly ['source' | 'destination', DiskOperation]> = [
  [['source', 'read'], 14, 10],
  [['source', 'write'], 14, 10],
  [['source', 'write-zeroes'], 7, 10],
  [['source', 'discard'], 5, 10],
  [['source', 'flush'], 3, 10],
  [['source', 'status'], 5, 10],
  [['destination', 'write'], 27, 10],
  [['destination', 'write-zeroes'], 14, 10],
  [['destination', 'discard'], 4, 10],
  [['destination', 'flush'], 4, 10],
  [['destination', 'read'], 2, 5],
  [['destination', 'status'], 1, 5],
]

export const FAULT_SKIP_MAX = 4
export const FAULT_TIMES_MAX = 3
export const NO_SPACE_PERCENT = 30
export const TORN_PERCENT = 50

export const DISK_FAULT_COUNT: Table<number> = [
  [1, 60, 30],
  [2, 30, 30],
  [4, 10, 40],
]

/** Faults that are no errors. What a disk cannot meet becomes a short transfer. */
export const DISK_FAULT_KIND: Table<Exclude<FaultPlan['kind'], 'error' | 'own'>> = [
  ['short-transfer', 20, 20],
  ['memory-pressure', 20, 20],
  ['lost-write', 14, 15],
  ['misdirected-write', 12, 15],
  ['stale-read', 12, 10],
  ['bit-rot', 12, 10],
  ['lying-flush', 10, 10],
]
/** Of the worlds of jobs, NBD and monitors. */
export const SHORT_TRANSFER_PERCENT = 20
export const DISK_FAULT_BYTES_MAX = 64 * KiB

// ------------------------------------------------------------------------------------------------------------- slowness

export const THROTTLED_PERCENT = 4
/** Of the destination where the source is throttled. */
export const BOTH_THROTTLED_PERCENT = 50

const MiB = 1024 * KiB
/** Bytes and requests a second; 0 no limit. A world moves a few MiB in some hundred requests. */
export const LIMITS: Table<readonly [bytesPerSecond: number, requestsPerSecond: number]> = [
  [[256 * KiB, 0], 20, 40],
  [[8 * MiB, 0], 20, 10],
  [[0, 100], 20, 40],
  [[0, 2000], 20, 0],
  [[1 * MiB, 400], 20, 10],
]
/** How much faster than its limit a group may be for a second; 0: not at all. */
export const BURST_FACTOR: Table<number> = [
  [0, 60, 50],
  [1, 5, 20],
  [10, 35, 30],
]

export const STALLED_PERCENT = 5
export const STALL_SKIP_MAX = 8
export const STALL_NS: Table<number> = [
  [5 * MILLI, 30, 20],
  [100 * MILLI, 50, 20],
  [5_000 * MILLI, 20, 60],
]

// -------------------------------------------------------------------------------------------------------- images below

/** Of the disks with an image below: it is opened anew in the course of the world; detached ones are attached. */
export const LINKED_PERCENT = 25
export const ATTACHED_PERCENT = 50

export const LINK_MOMENT: Table<'start' | 'mirror-started' | 'ready' | 'guest-done' | 'ending' | 'concluded' | 'operation'> = [
  ['start', 10, 10],
  ['mirror-started', 25, 20],
  ['ready', 15, 20],
  ['guest-done', 10, 10],
  ['ending', 5, 10],
  ['concluded', 10, 20],
  ['operation', 25, 10],
]
