/**
 * What checkers see of a world. They live in `properties`, share no code with `impl`, and get plain data: requests as the
 * disks receive them, operations as the guest submits and completes them, and the mirror's read-only view.
 *
 * Every hook returns null, or the finding that ends the world. Hooks run synchronously between two events; they must not
 * keep references to the byte arrays that they are shown.
 */
import type { MirrorView } from '../impl/jobs/mirror/inspect'
import type { CorruptionView } from './corruption'
import type { DiskName, DiskOperation, GuestOperation, Plan } from './plan'
import type { Finding } from './verdict'

export type { MirrorOperationView, MirrorView } from '../impl/jobs/mirror/inspect'

/** A request at a simulated disk. `submitted` is when it arrives; its effect on the store happens at completion. */
export interface DiskRequestView {
  /** Counts requests of this disk, from 0. */
  serial: number
  operation: DiskOperation
  offsetBytes: number
  lengthBytes: number
  /** write: the bytes. read: the bytes returned, at completion. */
  data: Uint8Array | null
  /** write-zeroes: the request may deallocate. */
  mayUnmap: boolean
  /** For whom the request is made (the label of the coroutine). */
  origin: string
}

/** A simulated disk as checkers see it: content by sector and allocation by unit, live. */
export interface DiskView {
  name: DiskName
  lengthBytes: number
  allocationUnitBytes: number
  bytes: Uint8Array
  /** One byte per allocation unit: 1 allocated. */
  allocated: Uint8Array
  /** Raised by whatever changes bytes or allocation: who has looked at one value need not look again. */
  readonly changeCount: number
}

/** An event of a job, as QMP tells it. */
export interface JobEventView {
  /** `JOB_STATUS_CHANGE`, `BLOCK_JOB_READY`, … */
  event: string
  data: Readonly<Record<string, unknown>>
}

/** A world as checkers see it, live: nothing of it can be changed through it. */
export interface WorldView {
  readonly plan: Plan
  readonly source: DiskView
  readonly destination: DiskView
  /** null before the mirror has been started. */
  readonly mirror: MirrorView | null
  /** The job's status as query-jobs shows it, or `none`. */
  readonly jobStatus: string
  readonly jobOffsetBytes: number
  readonly jobLengthBytes: number
  /** The job has been cancelled by force: nothing new is to be sent to the destination. */
  readonly isCancelledByForce: boolean
  /** Somebody has cancelled the job by force, or before it was READY: it may end as cancelled. */
  readonly isForcedToEnd: boolean
  /** What silent faults have hit; null where the plan has none. */
  readonly corruption: CorruptionView | null
  /** After a pivot the guest's device is on the destination. */
  readonly guestDisk: DiskName
  readonly timeNs: number
  readonly step: number
  /** Marks that a named situation happened. */
  probe(name: string): void
}

/**
 * One rule in one world. Each hook gives null or a finding, which ends the world; what it throws is a failure of class
 * `harness`.
 */
export interface Checker {
  readonly name: string
  /** Hooks that this world's plan gives nothing to do: they are not called. */
  readonly idle?: readonly CheckerHook[]
  diskSubmitted?(disk: DiskName, request: DiskRequestView): Finding | null
  diskCompleted?(disk: DiskName, request: DiskRequestView, errno: number): Finding | null
  /** The guest's driver has made the request visible to the device. */
  guestSubmitted?(operation: GuestOperation, data: Uint8Array | null): Finding | null
  /** The used ring told the guest; `status` is virtio's status byte (0 ok, 1 ioerr, 2 unsupp), data what a read got. */
  guestCompleted?(operation: GuestOperation, status: number, data: Uint8Array | null): Finding | null
  /** The device was reset: operations in flight will never complete, writes among them may or may not have happened. */
  guestAborted?(operation: GuestOperation): Finding | null
  jobEvent?(event: JobEventView): Finding | null
  afterEvent?(): Finding | null
  /** The world has come to rest; both images have been opened afresh and read whole into `source` and `destination`. */
  atEnd?(end: {
    source: Uint8Array
    destination: Uint8Array
    files: ImageFiles
    jobCompleted: boolean
    jobCancelledAfterReady: boolean
  }): Finding | null
  /** The power went off in the middle of everything; `atEnd` never comes. */
  powerCut?(images: SurvivingImages): Finding | null
}

export type CheckerHook = Exclude<keyof Checker, 'name' | 'idle'>

/** The files that images lie in, byte by byte; null for a plain disk. */
export type ImageFiles = Readonly<Record<DiskName, Uint8Array | null>>

/** Both images as somebody finds them after a power cut, opened afresh and read whole. */
export interface SurvivingImages {
  source: Uint8Array
  destination: Uint8Array
  files: ImageFiles
}

/** Makes a checker for one world. */
export type CheckerFactory = (world: WorldView) => Checker
