/**
 * A plan is everything a world is made of, as plain JSON. It runs without its seed: `seed` is the key of the decisions
 * that the plan leaves open (latencies, ties) and a label for people. Every operation has a stable id; ids never change
 * when others are deleted, and decisions are keyed by them.
 *
 * This file holds types only; `plan_check.ts` checks a plan that comes from outside.
 */

export const SECTOR_BYTES = 512

export interface Plan {
  format: 'mirrorsim-plan'
  /**
   * 2: disks may have formats, and the power may go off. 3: disks are throttled, requests stall, backing images come and go.
   * 4: faults of other kinds than errors, and schedules. 5: an image above the chain of any job but a backup. 6: faults
   * that whoever runs the plan brings along.
   */
  version: 1 | 2 | 3 | 4 | 5 | 6
  /** Empty: what the plan leaves open is the dull choice. */
  seed: string
  /** Which part of the mixture made it: `uniform`, `swarm`, `extreme`, a scenario's name, … A label only. */
  profile: string
  device: DevicePlan
  source: DiskPlan
  destination: DiskPlan
  mirror: MirrorPlan
  guest: GuestOperation[]
  control: ControlOperation[]
  faults: FaultPlan[]
  /** How what the plan leaves open is decided. Absent: `latency`. Without a seed it is of no effect. */
  schedule?: SchedulePlan
  /** Absent: no request takes longer than the latency of its disk. */
  stalls?: StallPlan[]
  /** Present: no world, but the image of the source, damaged like this and then used by the guest's operations. */
  damage?: DamagePlan[]
  /** What else is done with a damaged image. Absent: nothing. */
  damageUse?: DamageUsePlan
  /** Present: no mirror and no device, but this job on the chain of the source, and the guest's operations on it. */
  job?: JobPlan
  /** Present: no device, but guests that reach the source over NBD, and a mirror to a destination behind another server. */
  nbd?: NbdPlan
  /** Present: no device, but guests on a backend, and a mirror that monitors drive with QMP. */
  monitor?: MonitorPlan
  /** Bounds after which the world is stuck: a liveness failure. */
  bounds: { eventsMax: number; timeMaxNs: number }
}

/** Each kind is a file of `sim/schedules`. */
export type SchedulePlan = { kind: 'latency' | 'uniform' | 'pos' | 'few' } | { kind: 'pct'; depth: number }

/** Another job than the mirror. The source is an image with one below it. */
export interface JobPlan {
  kind: 'commit' | 'active-commit' | 'stream' | 'backup'
  /** Of a backup, which goes to the destination. */
  sync: 'full' | 'top' | 'none'
  onError: ErrorPolicy
  speedBytesPerSecond: number
  autoFinalize: boolean
  /** An empty image above that of the source, where the guest writes. A commit has one in any case, a backup has none. */
  overlay?: {
    /** So much longer than the image below it: there it reads zero, whatever lies in layers further down. */
    longerBytes: number
    /** A stream leaves the lowest layer where it is. */
    keepsBase: boolean
  }
}

/** Users at monitors, each with what it sends in order. */
export interface MonitorPlan {
  users: MonitorUserPlan[]
  link: LinkPlan
}

export interface MonitorUserPlan {
  id: string
  /** The link ends after so many commands without an answer being waited for; absent: it stays. */
  leavesAfter?: number
  commands: QmpCommandPlan[]
}

export interface QmpCommandPlan {
  id: string
  /** Waits so long before it sends, and for the answers of what it has sent if `isPatient`. */
  afterNs: number
  isPatient: boolean
  /** One request as text. */
  text: string
  /** `any`: it depends on who comes first. */
  expects: 'return' | 'error' | 'any'
}

/** Servers, clients, and the links between them. */
export interface NbdPlan {
  /** By lane; operations of a lane without one do not happen. */
  clients: NbdClientPlan[]
  link: LinkPlan
  cuts: CutPlan[]
  /** How long requests of the mirror wait for a link that broke. */
  reconnectDelaySeconds: number
}

export interface NbdClientPlan {
  lane: number
  headers: 'simple' | 'structured' | 'extended'
  /** Asks for `base:allocation`, and for block status in place of every other read. */
  allocation: boolean
  /** Requests under way at once; at least 1. */
  depth: number
  /** Changes are durable when they are answered. */
  fua: boolean
  fastZero: boolean
  oddities: NbdOddityPlan[]
}

/** What no client should send, before the operation of that index in the lane. `magic` ends the connection. */
export interface NbdOddityPlan {
  id: string
  before: number
  kind: 'magic' | 'write-beyond' | 'read-beyond' | 'command' | 'flags' | 'read-too-long'
}

export interface LinkPlan {
  /** Most bytes under way in one direction. */
  capacityBytes: number
  /** A piece takes `stepNs` times what the decider chooses below `steps`. */
  stepNs: number
  steps: number
  /** Whether the decider cuts messages into pieces. */
  isCut: boolean
}

/** A link breaks: that of the mirror, or of a lane. Nobody gets through for `downNs` after it. */
export interface CutPlan {
  id: string
  link: 'target' | number
  afterNs: number
  downNs: number
}

/** One field of an image that somebody has changed. */
export interface DamagePlan {
  id: string
  /** Where the field is, by what the undamaged image says; `length` cuts the file. */
  target:
    | 'header'
    | 'extensions'
    | 'l1'
    | 'l2'
    | 'refcount-table'
    | 'refcount-block'
    | 'snapshots'
    | 'snapshot-l1'
    | 'bitmaps'
    | 'bitmap-table'
    | 'anywhere'
    | 'length'
  /** Which of the fields there, taken modulo their number. */
  index: number
  widthBytes: 1 | 2 | 4 | 8
  /** Big-endian, up to 16 hexadecimal digits. */
  value: string
}

/** What a damaged image has beside its disk, and what is done with it before and after the guest's operations. */
export interface DamageUsePlan {
  /** Internal snapshots and persistent bitmaps, made before the damage. */
  snapshots: number
  bitmaps: number
  /** A check before it is used, which repairs so much. */
  check: 'skip' | 'none' | 'leaks' | 'all'
  snapshotUse: 'none' | 'create' | 'apply' | 'delete' | 'show'
  bitmapUse: 'none' | 'add' | 'remove'
}

/** The virtio-blk device as the guest sees it. */
export interface DevicePlan {
  queueCount: number
  queueSize: number
  /** Size of the guest's logical blocks; guest operations are multiples of it. 512 or 4096. */
  blockBytes: number
  indirect: boolean
  eventIndex: boolean
  /** Data segments into which the guest's driver cuts a buffer; 1 or more. */
  segmentsMax: number
  writeCache: boolean
}

/** A disk whose backing store belongs to the world, with the node on top of it. */
export interface DiskPlan {
  lengthBytes: number
  requestAlignmentBytes: number
  /** 0: no limit. */
  maxTransferBytes: number
  maxWriteZeroesBytes: number
  writeZeroesAlignmentBytes: number
  maxDiscardBytes: number
  discardAlignmentBytes: number
  /** Unit in which the store allocates and deallocates; a multiple of 512. */
  allocationUnitBytes: number
  /** none: ENOTSUP; allocating: zeroes in place; unmapping: MayUnmap deallocates whole units. */
  writeZeroes: 'none' | 'allocating' | 'unmapping'
  /** none: ENOTSUP; otherwise whole units are deallocated and then read: zero / what was there / other bytes. */
  discard: 'none' | 'reads-zero' | 'reads-old' | 'reads-garbage'
  /** Whether block status tells holes from data; otherwise everything is data. */
  reportsHoles: boolean
  /** Whether a hole is known to read zero (status flag Zero). */
  holesReadZero: boolean
  node: { discard: 'ignore' | 'unmap'; detectZeroes: 'off' | 'on' | 'unmap'; readOnly?: boolean }
  latency: LatencyPlan
  /** In order; later ones overwrite. Everything else is a hole that reads zero, or shows the backing image. */
  initial: InitialExtent[]
  /** Absent: the disk is what the node shows. Otherwise it is a file, and the node shows the image in it. */
  format?: FormatPlan
  throttle?: ThrottlePlan
  /** A plain disk is used through the format `raw`: one node more. */
  raw?: boolean
}

/** A throttle filter with a group of its own, or in that of the other disk; 0 is no limit. */
export interface ThrottlePlan {
  /** `top`: guests and the mirror use the filter; `file`: it lies between an image and its file. */
  at: 'top' | 'file'
  bytesPerSecond: number
  requestsPerSecond: number
  /** Rates of a burst of one second; each 0 or at least the limit itself, which must not be 0 then. */
  burstBytesPerSecond: number
  burstRequestsPerSecond: number
  /** Of the destination: it joins the group of the source, and its own limits do not count. */
  joinsSource: boolean
}

/** A qcow2 image as it is created and opened. `lengthBytes` of the disk is what a guest sees of it. */
export interface FormatPlan {
  kind: 'qcow2'
  version: 2 | 3
  clusterBytes: number
  extendedL2: boolean
  refcountBits: number
  lazyRefcounts: boolean
  discardNoUnref: boolean
  preallocation: 'off' | 'metadata' | 'falloc' | 'full'
  /** Where guests' data lies: in the image, or in a second file, which may be one that shows what the guest sees. */
  dataFile: 'none' | 'external' | 'raw'
  backing?: BackingPlan
}

/** The image below; nobody changes it. */
export interface BackingPlan {
  format: 'raw' | 'qcow2'
  lengthBytes: number
  initial: InitialExtent[]
  /** Of a destination: named by the image, and not attached before an operator does that or the world is over. */
  isDetached: boolean
}

/** Latency of a request is minNs + stepNs * decide(0 … steps - 1). */
export interface LatencyPlan {
  minNs: number
  stepNs: number
  steps: number
}

export interface InitialExtent {
  id: string
  offsetBytes: number
  lengthBytes: number
  content: ExtentContent
}

/**
 * data: stamped sectors; zero: allocated, reads zero. Of qcow2 images only: compressed: data, and what of it covers whole
 * clusters is compressed; hole: reads zero without space, also where a backing image has data.
 */
export type ExtentContent = 'data' | 'zero' | 'compressed' | 'hole'

export interface MirrorPlan {
  sync: 'full' | 'top' | 'none'
  copyMode: 'background' | 'write-blocking'
  /** 0: the default. */
  granularityBytes: number
  bufferBytes: number
  speedBytesPerSecond: number
  unmap: boolean
  targetIsZero: boolean
  onSourceError: ErrorPolicy
  onTargetError: ErrorPolicy
  autoFinalize: boolean
  /** `replaces`: name of a node; absent: the source. */
  replaces?: string
}

export type ErrorPolicy = 'report' | 'ignore' | 'stop' | 'enospc'

export type GuestOperationKind = 'read' | 'write' | 'write-zeroes' | 'discard' | 'flush' | 'get-id'

export interface GuestOperation {
  id: string
  kind: GuestOperationKind
  /** Requests of one lane follow one another; lanes run side by side: their number is the queue depth. */
  lane: number
  /** Multiples of the device's block size; 0 for flush and get-id. */
  offsetBytes: number
  lengthBytes: number
  /** The driver waits this long before it issues the request, after the lane's previous one has completed. */
  thinkNs: number
  /** write-zeroes with the UNMAP flag. */
  unmap?: boolean
  /** write: a buffer full of zero bytes instead of stamped data. */
  zeroData?: boolean
}

/** Of each only the first time counts. `ending`: a job is pending or aborting; `concluded`: it has ended, well or not. */
export type Moment = 'start' | 'mirror-started' | 'ready' | 'guest-done' | 'ending' | 'concluded'

/** When a control operation happens. `afterNs` counts from the moment named by `on`. */
export interface Trigger {
  on: Moment | { operationDone: string } | { controlDone: string }
  afterNs: number
}

export type ControlOperation = { id: string; when: Trigger } & (
  | { kind: 'mirror-start' }
  | { kind: 'pause' }
  | { kind: 'resume' }
  | { kind: 'set-speed'; speedBytesPerSecond: number }
  | { kind: 'change-copy-mode'; copyMode: 'background' | 'write-blocking' }
  | { kind: 'complete' }
  | { kind: 'cancel'; force: boolean }
  | { kind: 'finalize' }
  | { kind: 'dismiss' }
  | { kind: 'drain'; durationNs: number }
  | { kind: 'device-reset' }
  /** The guest's disk gets the length that it has: refused as long as a mirror depends on it. */
  | { kind: 'resize' }
  /** The image below is opened anew, and the disk's image linked to it: attached, or replaced by what shows the same. */
  | { kind: 'link-backing'; disk: DiskName }
  /** The world ends at once; what has reached the media is all that is left. */
  | { kind: 'power-cut' }
)

export type DiskName = 'source' | 'destination'
export type DiskOperation = 'read' | 'write' | 'write-zeroes' | 'discard' | 'flush' | 'status' | 'truncate'

/** Requests of a disk that something happens to. */
export interface OccasionPlan {
  id: string
  disk: DiskName
  operation: DiskOperation
  offsetBytes: number
  lengthBytes: number
  /** Matching requests that pass first, and how many are met after that. */
  skip: number
  times: number
}

/** They take longer by `delayNs`. */
export interface StallPlan extends OccasionPlan {
  delayNs: number
}

/** What the requests meet. Each kind is a file of `sim/faults`, which says what it does and what it excuses. */
export type FaultPlan = ErrorFaultPlan | MisdirectedFaultPlan | OtherFaultPlan | OwnFaultPlan

/** They end with an error. */
export interface ErrorFaultPlan extends OccasionPlan {
  kind: 'error'
  errno: 'EIO' | 'ENOSPC'
  /** A failing write still changes the first half of its range (torn). */
  torn?: boolean
}

/** They land so far behind their place, and go on at the beginning of the disk; sectors. */
export interface MisdirectedFaultPlan extends OccasionPlan {
  kind: 'misdirected-write'
  byBytes: number
}

export interface OtherFaultPlan extends OccasionPlan {
  kind: 'short-transfer' | 'memory-pressure' | 'lost-write' | 'stale-read' | 'bit-rot' | 'lying-flush'
}

/** They meet a fault that whoever runs the plan brings along (`sim/faults/own.ts`). */
export interface OwnFaultPlan extends OccasionPlan {
  kind: 'own'
  /** That of the fault. */
  name: string
  /** As the fault says it. */
  promise: 'survived' | 'reported' | 'silent'
  /** For the fault alone; integers. */
  settings?: Record<string, number>
}
