/**
 * The mixture: what worlds look like, as plain numbers. Every table is `[value, weight, weight in extreme worlds]`; a weight
 * is a share of its table's sum. To see more of a feature, raise its number: nothing else has to change, and the
 * distribution test tells what the change did to the rest.
 */
import type { DiskPlan, ErrorPolicy, FormatPlan, MirrorPlan, SchedulePlan } from '../../sim/plan'
import type { Style, Table } from './choices'

const KiB = 1024
const MiB = 1024 * KiB
const MICRO = 1_000
const MILLI = 1_000_000

/**
 * Uniform worlds find defects of tails and part chunks fastest, swarm worlds those that need many of one kind of operation
 * or none of another, extreme worlds what only shows at the ends. Neither replaces the others.
 */
export const STYLES: Table<Style> = [
  ['uniform', 50, 50],
  ['swarm', 40, 40],
  ['extreme', 10, 10],
]

/** What profiles differ in; everything else is common to all. */
export interface Profile {
  /** For people: one line. */
  readonly about: string
  readonly diskBytes: { readonly least: number; readonly most: number }
  readonly granularityBytes: Table<number>
  readonly chunks: Table<readonly [least: number, most: number]>
  readonly guestOperations: Table<readonly [least: number, most: number]>
  readonly controlOperations: Table<number>
  /** Share of the worlds with disk errors, in percent. */
  readonly faultyPercent: number
  /** Share of the worlds with faults that are no errors, in percent. */
  readonly diskFaultPercent: number
  /** How seeds decide. */
  readonly schedules: Table<SchedulePlan>
  /** Share of the worlds that end by a power cut, in percent. */
  readonly powerCutPercent: number
  /** Share of the worlds with an image on one disk or on both, in percent. */
  readonly formatPercent: number
  /** Share of the images with another one below, and of those worlds in which only the top layer is mirrored, in percent. */
  readonly backingPercent: number
  readonly topPercent: number
}

const GRANULARITY: Table<number> = [
  [512, 14, 30],
  [1 * KiB, 10, 0],
  [2 * KiB, 10, 0],
  [4 * KiB, 30, 10],
  [8 * KiB, 12, 0],
  [16 * KiB, 12, 0],
  [32 * KiB, 5, 10],
  [64 * KiB, 5, 30],
  // The default of a target without clusters, asked for by leaving it out.
  [0, 2, 20],
]

/** Chunks of a disk before it is fitted into the profile's size. */
const CHUNKS: Table<readonly [number, number]> = [
  [[1, 1], 3, 20],
  [[2, 3], 5, 10],
  [[4, 12], 40, 20],
  [[13, 32], 40, 10],
  [[33, 80], 12, 10],
  [[81, 256], 3, 30],
]

const CONTROL_COUNT: Table<number> = [
  [0, 30, 20],
  [1, 25, 10],
  [2, 20, 10],
  [3, 12, 10],
  [5, 8, 20],
  [8, 5, 30],
]

/** Worlds of the default profile keep their histories: what another mixture would gain is 5 %. */
const LATENCY_ALONE: Table<SchedulePlan> = [[{ kind: 'latency' }, 1, 1]]

/**
 * By what `npm run schedules` has measured (docs/campaigns.md): no schedule is better than the usual one in all, and each of
 * them finds something sooner.
 */
const SCHEDULES: Table<SchedulePlan> = [
  [{ kind: 'few' }, 40, 40],
  [{ kind: 'latency' }, 25, 25],
  [{ kind: 'pct', depth: 1 }, 15, 15],
  [{ kind: 'pct', depth: 3 }, 10, 10],
  [{ kind: 'pos' }, 5, 5],
  [{ kind: 'uniform' }, 5, 5],
]

const DEFAULT: Profile = {
  about: 'the usual mixture: a busy guest, some control operations, now and then a disk error',
  diskBytes: { least: 32 * KiB, most: 1 * MiB },
  granularityBytes: GRANULARITY,
  chunks: CHUNKS,
  guestOperations: [
    [[0, 4], 4, 20],
    [[5, 24], 20, 20],
    [[25, 48], 52, 20],
    [[49, 72], 24, 20],
    [[120, 160], 0, 20],
  ],
  controlOperations: CONTROL_COUNT,
  faultyPercent: 12,
  diskFaultPercent: 0,
  schedules: LATENCY_ALONE,
  powerCutPercent: 5,
  formatPercent: 0,
  backingPercent: 40,
  topPercent: 15,
}

export const PROFILES = {
  default: DEFAULT,
  faults: {
    ...DEFAULT,
    about: 'disk errors in every world, under all error policies, and most other ways in which disks go wrong',
    faultyPercent: 100,
    diskFaultPercent: 60,
    schedules: SCHEDULES,
    powerCutPercent: 12,
  },
  power: {
    ...DEFAULT,
    about: 'the power goes off in every world',
    faultyPercent: 15,
    diskFaultPercent: 25,
    schedules: SCHEDULES,
    powerCutPercent: 100,
  },
  formats: {
    ...DEFAULT,
    about: 'images in files: every option of creation, with and without images below',
    diskFaultPercent: 8,
    schedules: SCHEDULES,
    formatPercent: 100,
  },
  crashes: {
    ...DEFAULT,
    about: 'images in files, and the power goes off',
    diskFaultPercent: 8,
    schedules: SCHEDULES,
    faultyPercent: 4,
    powerCutPercent: 100,
    formatPercent: 100,
  },
  chains: {
    ...DEFAULT,
    about: 'images above images, mostly mirrored without what lies below',
    diskFaultPercent: 8,
    schedules: SCHEDULES,
    formatPercent: 100,
    backingPercent: 95,
    topPercent: 70,
  },
  quiet: {
    ...DEFAULT,
    about: 'no guest: images are mirrored as they lie there',
    guestOperations: [[[0, 0], 1, 1]],
  },
  small: {
    about: 'a handful of operations on a few chunks, for reading a world in full',
    diskBytes: { least: 1 * KiB, most: 32 * KiB },
    granularityBytes: [
      [512, 40, 30],
      [1 * KiB, 40, 20],
      [2 * KiB, 20, 0],
      [4 * KiB, 0, 50],
    ],
    chunks: [
      [[1, 2], 30, 60],
      [[3, 6], 60, 20],
      [[7, 12], 10, 20],
    ],
    guestOperations: [
      [[1, 2], 40, 40],
      [[3, 6], 60, 60],
    ],
    controlOperations: [
      [0, 60, 40],
      [1, 30, 40],
      [2, 10, 20],
    ],
    faultyPercent: 12,
    diskFaultPercent: 0,
    schedules: SCHEDULES,
    powerCutPercent: 5,
    formatPercent: 0,
    backingPercent: 40,
    topPercent: 15,
  },
} as const satisfies Record<string, Profile>

export type ProfileName = keyof typeof PROFILES

// ---------------------------------------------------------------------------------------------------------------- disks

/** What a disk is cut to where the profile would let it be longer: every world looks at all of its disks several times. */
export const DISK_BYTES_MOST: Table<number> = [
  [256 * KiB, 60, 40],
  [512 * KiB, 32, 40],
  [1 * MiB, 8, 20],
]

/**
 * Worlds whose last chunk is short, in percent of those where alignments allow it (half of them): rounding at the end of
 * an image is where bits get lost.
 */
export const TAIL_PERCENT = 80

/** Disks that nobody may change, and pairs of disks of which one is longer: their jobs end as they begin. */
export const READ_ONLY_PERCENT = 2
export const LENGTHS_DIFFER_PERCENT = 1

export const REQUEST_ALIGNMENT: Table<number> = [
  [1, 25, 20],
  [512, 60, 30],
  [4 * KiB, 15, 50],
]

/** Multiples of the request alignment; 0 no limit. */
export const MAX_TRANSFER: Table<number> = [
  [0, 78, 50],
  [4 * KiB, 4, 40],
  [16 * KiB, 8, 10],
  [64 * KiB, 10, 0],
]

/** Largest write-zeroes or discard; multiples of the alignments below. */
export const MAX_ZEROES: Table<number> = [
  [0, 75, 50],
  [64 * KiB, 15, 10],
  [16 * KiB, 10, 40],
]

/** What write-zeroes and discards are good at: below it, a driver may decline. */
export const ZEROES_ALIGNMENT: Table<number> = [
  [0, 60, 40],
  [4 * KiB, 20, 10],
  [16 * KiB, 20, 50],
]

export const ALLOCATION_UNIT: Table<number> = [
  [512, 25, 30],
  [4 * KiB, 45, 10],
  [16 * KiB, 18, 20],
  [64 * KiB, 12, 40],
]

export const WRITE_ZEROES: Table<DiskPlan['writeZeroes']> = [
  ['unmapping', 62, 40],
  ['allocating', 23, 30],
  ['none', 15, 30],
]

export const DISCARD: Table<DiskPlan['discard']> = [
  ['reads-zero', 50, 20],
  ['reads-old', 15, 25],
  ['reads-garbage', 10, 25],
  ['none', 25, 30],
]

export const REPORTS_HOLES_PERCENT = 82
export const HOLES_READ_ZERO_PERCENT = 88

export const NODE_DISCARD: Table<'ignore' | 'unmap'> = [
  ['unmap', 80, 60],
  ['ignore', 20, 40],
]

/** `unmap` turns into `on` at a node that ignores discards, as the block layer demands. */
export const DETECT_ZEROES: Table<'off' | 'on' | 'unmap'> = [
  ['off', 64, 40],
  ['on', 14, 20],
  ['unmap', 22, 40],
]

/** `[least, step, steps]` of a latency. Long steps stretch every race that a request takes part in. */
export const LATENCY: Table<readonly [minNs: number, stepNs: number, steps: number]> = [
  // Everything at the same instant: the order is all that is left to decide.
  [[0, 0, 1], 8, 20],
  [[10 * MICRO, 0, 1], 12, 10],
  [[10 * MICRO, 5 * MICRO, 4], 30, 0],
  [[5 * MICRO, 20 * MICRO, 16], 30, 10],
  [[50 * MICRO, 200 * MICRO, 8], 15, 20],
  // One request may take longer than all the others together.
  [[1 * MICRO, 2 * MILLI, 3], 5, 40],
]

// --------------------------------------------------------------------------------------------------------------- images

export type ImageShape = 'empty' | 'full' | 'half' | 'scattered' | 'stripes' | 'zeroed' | 'edges'

export const SOURCE_IMAGE: Table<ImageShape> = [
  ['empty', 12, 30],
  ['full', 8, 20],
  ['half', 15, 0],
  // Extents of any size, so that holes shorter than a chunk occur.
  ['scattered', 40, 10],
  // Data, hole, data, hole: the most runs to split.
  ['stripes', 12, 20],
  // Allocated, yet all zero.
  ['zeroed', 5, 10],
  // The first and the last sectors only.
  ['edges', 8, 10],
]

export const DESTINATION_IMAGE: Table<ImageShape> = [
  ['empty', 60, 40],
  ['full', 8, 20],
  ['half', 6, 0],
  ['scattered', 12, 10],
  ['stripes', 4, 0],
  ['zeroed', 8, 20],
  ['edges', 2, 10],
]

/** Share of zero extents (allocated, reading zero) in scattered images, in percent. */
export const ZERO_EXTENT_PERCENT = 25

// -------------------------------------------------------------------------------------------------------------- formats

export const FORMAT_AT: Table<'source' | 'destination' | 'both'> = [
  ['source', 20, 20],
  ['destination', 35, 30],
  ['both', 45, 50],
]

/** Of the plain disks. */
export const RAW_PERCENT = 8
export const VERSION_2_PERCENT = 15
export const CLUSTER: Table<number> = [
  [512, 12, 20],
  [1 * KiB, 6, 0],
  [2 * KiB, 8, 0],
  [4 * KiB, 24, 10],
  [8 * KiB, 8, 0],
  [16 * KiB, 16, 20],
  [32 * KiB, 8, 0],
  [64 * KiB, 16, 25],
  [256 * KiB, 2, 10],
  [2 * MiB, 0, 8],
]
export const EXTENDED_L2_PERCENT = 40
export const REFCOUNT_BITS: Table<number> = [
  [16, 55, 10],
  [1, 9, 30],
  [2, 6, 10],
  [4, 6, 10],
  [8, 8, 10],
  [32, 8, 10],
  [64, 8, 20],
]
export const LAZY_REFCOUNTS_PERCENT = 20
export const DISCARD_NO_UNREF_PERCENT = 15
export const PREALLOCATION: Table<FormatPlan['preallocation']> = [
  ['off', 70, 60],
  ['metadata', 14, 20],
  ['falloc', 8, 10],
  ['full', 8, 10],
]
export const DATA_FILE: Table<FormatPlan['dataFile']> = [
  ['none', 76, 60],
  ['external', 12, 20],
  ['raw', 12, 20],
]
/** Among destinations with an image below. */
export const DETACHED_PERCENT = 35
/** Length of the image below, as a share of the disk. */
export const BACKING_LENGTH: Table<readonly [numerator: number, denominator: number]> = [
  [[1, 1], 50, 20],
  [[1, 2], 20, 20],
  [[1, 20], 5, 20],
  [[3, 2], 15, 20],
  [[4, 1], 10, 20],
]
export const COMPRESSED_PERCENT = 15
/** Of the images above others that have data: a part of that is hidden by a hole. */
export const MASK_PERCENT = 30
/** How often the granularity is drawn without regard for clusters and the disk. */
export const FORMAT_GRANULARITY_PERCENT = 20
export const FORMAT_GRANULARITY: Table<number> = [
  [0, 40, 20],
  [512, 10, 20],
  [256 * KiB, 20, 10],
  [1 * MiB, 20, 10],
  [64 * MiB, 10, 40],
]

// --------------------------------------------------------------------------------------------------------------- mirror

export const SYNC: Table<MirrorPlan['sync']> = [
  ['full', 88, 70],
  ['top', 6, 15],
  ['none', 6, 15],
]

export const COPY_MODE: Table<MirrorPlan['copyMode']> = [
  ['write-blocking', 62, 50],
  ['background', 38, 50],
]

/** Buffers in chunks; 0 asks for the default size. */
export const BUFFER_CHUNKS: Table<number> = [
  [1, 12, 50],
  [2, 15, 0],
  [4, 25, 0],
  [16, 30, 0],
  [64, 10, 0],
  [0, 8, 50],
]

/** Speeds as shares of the disk a second: `8` copies it in an eighth. 0 no limit. Bounded below, so that worlds end. */
export const SPEED_SHARES: Table<number> = [
  [0, 86, 60],
  [64, 6, 0],
  [8, 5, 10],
  [2, 3, 30],
]

/** Name of the node that the copy takes the place of; the last two are refused. */
export const REPLACES: Table<string | null> = [
  [null, 94, 70],
  ['source', 4, 20],
  ['destination', 1, 5],
  ['nowhere', 1, 5],
]

export const UNMAP_PERCENT = 85
/** Among destinations that do read zero. */
export const TARGET_IS_ZERO_PERCENT = 30
export const AUTO_FINALIZE_PERCENT = 90

export const ERROR_POLICY: Table<ErrorPolicy> = [
  ['report', 40, 25],
  ['ignore', 20, 25],
  ['stop', 20, 25],
  ['enospc', 20, 25],
]

// --------------------------------------------------------------------------------------------------------------- device

export const BLOCK_BYTES: Table<number> = [
  [512, 80, 50],
  [4 * KiB, 20, 50],
]

export const QUEUE_COUNT: Table<number> = [
  [1, 70, 40],
  [2, 20, 0],
  [4, 10, 60],
]

/** Ring sizes leave room for `SEGMENTS_MAX` and the two other descriptors of a request. */
export const QUEUE_SIZE: Table<number> = [
  [8, 10, 50],
  [16, 20, 0],
  [64, 50, 0],
  [128, 20, 50],
]

export const SEGMENTS_MAX: Table<number> = [
  [1, 40, 50],
  [2, 25, 0],
  [4, 25, 0],
  [6, 10, 50],
]

export const INDIRECT_PERCENT = 50
export const EVENT_INDEX_PERCENT = 50
export const WRITE_CACHE_PERCENT = 80

// --------------------------------------------------------------------------------------------------------------- bounds

/** A world that has not come to rest by then never will: two orders of magnitude above the longest that do. */
export const EVENTS_MAX = 200_000
export const TIME_MAX_NS = 600_000 * MILLI
