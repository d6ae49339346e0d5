/**
 * What a filmed world is as plain data: a frame for each event, and spans of what takes time. Made by sim/film.ts; read by
 * whoever shows it.
 */
import type { DiskName, Plan } from './plan'
import type { TraceRecord, WorldResult } from './verdict'

/**
 * Who something happens at: `guest`, `mirror`, `source`, `destination`, others by the kind of world; `device` shows requests
 * of the guest while the mirror's filter has them.
 */
export type FilmLane = string

/**
 * What the two disks of a film are. mirror, pair: a source and its copy, in a world with a device or in one of NBD or
 * monitors; chain: what a guest must find, and what its chain of images shows; file: an image's file before it was damaged,
 * and now.
 */
export type FilmKind = 'mirror' | 'pair' | 'chain' | 'file'

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

/** What a sector holds: 0 for zeroes, a writer (model/stamp.ts; of a file, a hash of its bytes), or one of these. */
export const CORRUPT_SECTOR = 0xffff_ffff
export const MISDIRECTED_SECTOR = 0xffff_fffe
/** Nobody can say what the sector must hold; it is never wrong. */
export const ANYTHING_SECTOR = 0xffff_fffd
/** Of a layer: what lies below shows. */
export const NOTHING_SECTOR = 0xffff_fffc

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
  /** The node that the guest is on. */
  readonly guestDisk: string
  readonly source: DiskFrame
  readonly destination: DiskFrame
  /** What else there is to see, in the order of the film's list. */
  readonly layers: readonly DiskFrame[]
  readonly mirror: MirrorFrame | null
  /** Every coroutine that waits, and for what. */
  readonly waits: readonly string[]
}

/** A named situation (sim/probes.ts) that was met in an event; once an event, however often. */
export interface Situation {
  readonly step: number
  readonly name: string
}

/** A disk beside the two, such as an image of a chain. */
export interface Layer {
  readonly name: string
  readonly allocationUnitBytes: number
}

export interface Film {
  readonly kind: FilmKind
  /** How the two disks are called. */
  readonly names: Readonly<Record<DiskName, string>>
  readonly lanes: readonly FilmLane[]
  readonly layers: readonly Layer[]
  /** The unit of the maps. */
  readonly chunkBytes: number
  readonly lengthBytes: number
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
