/**
 * What a filmed world is as plain data: a frame for each event, and spans of what takes time. Made by sim/film.ts; read by
 * whoever shows it.
 */
import type { DiskName, Plan } from './plan'
import type { TraceRecord, WorldResult } from './verdict'

/** Who something happens at; `device` shows requests of the guest while the mirror's filter has them. */
export type FilmLane = 'guest' | 'device' | 'mirror' | 'source' | 'destination'

/** Something that takes time. */
export interface Span {
  lane: FilmLane
  /** The guest's operation, or for whom it is done. */
  id: string
  kind: string
  offsetBytes: number
  lengthBytes: number
  fromStep: number
  /** Infinity: it never ended. */
  toStep: number
  /** Of the destination and the source: an error; of the guest: a status other than 0; of the mirror: it only waited. */
  isBad: boolean
}

/** What a sector holds: 0 for zeroes, a writer (model/stamp.ts), or one of the two below. */
export const CORRUPT_SECTOR = 0xffff_ffff
export const MISDIRECTED_SECTOR = 0xffff_fffe

export interface DiskFrame {
  /** One a sector. */
  readonly sectors: Uint32Array
  /** One a unit of allocation: 1 allocated. */
  readonly allocated: Uint8Array
}

/** Bits by chunk, as in the mirror: bit i & 31 of word i >> 5. */
export interface MirrorFrame {
  readonly phase: string
  readonly copyMode: string
  readonly activelySynced: boolean
  readonly wasReady: boolean
  readonly granularityBytes: number
  readonly chunkCount: number
  readonly dirty: Uint32Array
  readonly zero: Uint32Array | null
  readonly inFlight: Uint32Array | null
  readonly cow: Uint32Array | null
  readonly copiedBytes: number
  readonly skippedZeroBytes: number
  readonly zeroedBytes: number
  readonly discardedBytes: number
}

export interface Frame {
  readonly step: number
  readonly timeNs: number
  readonly jobStatus: string
  readonly jobOffsetBytes: number
  readonly jobLengthBytes: number
  readonly guestDisk: DiskName
  readonly source: DiskFrame
  readonly destination: DiskFrame
  readonly mirror: MirrorFrame | null
  /** Every coroutine that waits, and for what. */
  readonly waits: readonly string[]
}

/** A named situation (sim/probes.ts) that was met in an event; once an event, however often. */
export interface Situation {
  readonly step: number
  readonly name: string
}

export interface Film {
  readonly plan: Plan
  readonly result: WorldResult
  /** The first one shows what was there before anything happened. */
  readonly frames: readonly Frame[]
  readonly spans: readonly Span[]
  /** By step. */
  readonly situations: readonly Situation[]
  /** All lines of the trace, by step. */
  readonly lines: readonly TraceRecord[]
  readonly allocationUnitBytes: Readonly<Record<DiskName, number>>
  /** The operations and extents that are known by their writer. */
  readonly writers: ReadonlyMap<number, string>
}

/** Whether chunk `index` is marked. */
export function isMarked(words: Uint32Array | null, index: number): boolean {
  return words !== null && ((words[index >> 5]! >>> (index & 31)) & 1) === 1
}
