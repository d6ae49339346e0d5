/**
 * A plan is everything a world is made of, as plain JSON. It runs without its seed: `seed` is the key of the decisions
 * that the plan leaves open (latencies, ties) and a label for people. Every operation has a stable id; ids never change
 * when others are deleted, and decisions are keyed by them.
 *
 * This file holds types only; `plan_check.ts` checks a plan that comes from outside.
 */

/** Unit of content in worlds. */
export const SECTOR_BYTES = 512

/** Everything that a world is made of, as plain JSON; it runs without its seed. */
export interface Plan {
  /** Tells a plan from other objects. */
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
  /** Between guest and source. */
  device: DevicePlan
  /** What is mirrored; the guest begins on it. */
  source: DiskPlan
  /** Where the mirror writes. */
  destination: DiskPlan
  /** Options of the job. */
  mirror: MirrorPlan
  /** What the guest does. */
  guest: GuestOperation[]
  /** What an operator does. */
  control: ControlOperation[]
  /** What goes wrong. */
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
  bounds: {
    /** Events. */
    eventsMax: number
    /** Virtual time. */
    timeMaxNs: number
  }
}

/** Each kind is a file of `sim/schedules`. */
export type SchedulePlan = { kind: 'latency' | 'uniform' | 'pos' | 'few' } | { kind: 'pct'; depth: number }

/** Another job than the mirror. The source is an image with one below it. */
export interface JobPlan {
  /** Which job. */
  kind: 'commit' | 'active-commit' | 'stream' | 'backup'
  /** Of a backup, which goes to the destination. */
  sync: 'full' | 'top' | 'none'
  /** What an error does to it. */
  onError: ErrorPolicy
  /** 0: no limit. */
  speedBytesPerSecond: number
  /** The job finishes without being told to. */
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
  /** Each has a monitor of its own. */
  users: MonitorUserPlan[]
  /** Of which kind their connections are. */
  link: LinkPlan
}

/** Somebody at a monitor. */
export interface MonitorUserPlan {
  id: string
  /** The link ends after so many commands without an answer being waited for; absent: it stays. */
  leavesAfter?: number
  /** What it sends, in order. */
  commands: QmpCommandPlan[]
}

/** One command of a user. */
export interface QmpCommandPlan {
  id: string
  /** Waits so long before it sends, and for the answers of what it has sent if `isPatient`. */
  afterNs: number
  /** Waits for the answers of what it has sent. */
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
  /** Of which kind all connections are. */
  link: LinkPlan
  /** When they break. */
  cuts: CutPlan[]
  /** How long requests of the mirror wait for a link that broke. */
  reconnectDelaySeconds: number
}

/** A guest that reaches the source over NBD. */
export interface NbdClientPlan {
  /** Whose operations it carries out. */
  lane: number
  /** What it negotiates. */
  headers: 'simple' | 'structured' | 'extended'
  /** Asks for `base:allocation`, and for block status in place of every other read. */
  allocation: boolean
  /** Requests under way at once; at least 1. */
  depth: number
  /** Changes are durable when they are answered. */
  fua: boolean
  /** Zero writes are asked to be fast or to fail. */
  fastZero: boolean
  /** What it sends that it should not. */
  oddities: NbdOddityPlan[]
}

/** What no client should send, before the operation of that index in the lane. `magic` ends the connection. */
export interface NbdOddityPlan {
  id: string
  /** Index of an operation in the lane. */
  before: number
  /** What is sent. */
  kind: 'magic' | 'write-beyond' | 'read-beyond' | 'command' | 'flags' | 'read-too-long'
}

/** A connection that delays and cuts what it carries. */
export interface LinkPlan {
  /** Most bytes under way in one direction. */
  capacityBytes: number
  /** A piece takes `stepNs` times what the decider chooses below `steps`. */
  stepNs: number
  /** How many outcomes the decision has. */
  steps: number
  /** Whether the decider cuts messages into pieces. */
  isCut: boolean
}

/** A link breaks: that of the mirror, or of a lane. Nobody gets through for `downNs` after it. */
export interface CutPlan {
  id: string
  /** That of the mirror, or of a lane. */
  link: 'target' | number
  /** Since the beginning of the world. */
  afterNs: number
  /** How long nobody gets through. */
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
  /** Of the field that is written. */
  widthBytes: 1 | 2 | 4 | 8
  /** Big-endian, up to 16 hexadecimal digits. */
  value: string
}

/** What a damaged image has beside its disk, and what is done with it before and after the guest's operations. */
export interface DamageUsePlan {
  /** Internal snapshots and persistent bitmaps, made before the damage. */
  snapshots: number
  /** Persistent bitmaps, made before the damage. */
  bitmaps: number
  /** A check before it is used, which repairs so much. */
  check: 'skip' | 'none' | 'leaks' | 'all'
  /** What is done with a snapshot afterwards. */
  snapshotUse: 'none' | 'create' | 'apply' | 'delete' | 'show'
  /** What is done with a bitmap afterwards. */
  bitmapUse: 'none' | 'add' | 'remove'
}

/** The virtio-blk device as the guest sees it. */
export interface DevicePlan {
  /** Request queues. */
  queueCount: number
  /** Descriptors of a queue; a power of two. */
  queueSize: number
  /** Size of the guest's logical blocks; guest operations are multiples of it. 512 or 4096. */
  blockBytes: number
  /** Offers indirect descriptors. */
  indirect: boolean
  /** Offers event indexes, which suppress notifications. */
  eventIndex: boolean
  /** Data segments into which the guest's driver cuts a buffer; 1 or more. */
  segmentsMax: number
  /** Tells the guest of a volatile cache, so that it flushes. */
  writeCache: boolean
}

/** A disk whose backing store belongs to the world, with the node on top of it. */
export interface DiskPlan {
  /** What a guest can address. */
  lengthBytes: number
  /** Offsets and lengths of requests are multiples of it; a power of two. */
  requestAlignmentBytes: number
  /** Longest read or write; 0: no limit. */
  maxTransferBytes: number
  /** Longest zero write; 0: no limit. */
  maxWriteZeroesBytes: number
  /** Crooked zero writes are refused with ENOTSUP; 0: none is crooked. */
  writeZeroesAlignmentBytes: number
  /** Longest discard; 0: no limit. */
  maxDiscardBytes: number
  /** As for zero writes. */
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
  /** Options of the node above the disk. */
  node: {
    /** Whether discards go through. */
    discard: 'ignore' | 'unmap'
    /** What becomes of data that is all zero: it is kept, or a zero write, or one that may deallocate. */
    detectZeroes: 'off' | 'on' | 'unmap'
    /** Writes are refused. */
    readOnly?: boolean
  }
  /** How long requests take. */
  latency: LatencyPlan
  /** In order; later ones overwrite. Everything else is a hole that reads zero, or shows the backing image. */
  initial: InitialExtent[]
  /** Absent: the disk is what the node shows. Otherwise it is a file, and the node shows the image in it. */
  format?: FormatPlan
  /** Absent: no limit but the latency. */
  throttle?: ThrottlePlan
  /** A plain disk is used through the format `raw`: one node more. */
  raw?: boolean
}

/** A throttle filter with a group of its own, or in that of the other disk; 0 is no limit. */
export interface ThrottlePlan {
  /** `top`: guests and the mirror use the filter; `file`: it lies between an image and its file. */
  at: 'top' | 'file'
  /** Of all requests. */
  bytesPerSecond: number
  /** Of all requests. */
  requestsPerSecond: number
  /** For one second; 0 or at least the limit itself, which must not be 0 then. */
  burstBytesPerSecond: number
  /** For one second; 0 or at least the limit itself, which must not be 0 then. */
  burstRequestsPerSecond: number
  /** Of the destination: it joins the group of the source, and its own limits do not count. */
  joinsSource: boolean
}

/** A qcow2 image as it is created and opened. `lengthBytes` of the disk is what a guest sees of it. */
export interface FormatPlan {
  kind: 'qcow2'
  /** Of the format. */
  version: 2 | 3
  /** A power of two. */
  clusterBytes: number
  /** Clusters have 32 subclusters each. */
  extendedL2: boolean
  /** Width of a reference count; a power of two. */
  refcountBits: number
  /** Reference counts are written late, behind a dirty bit. */
  lazyRefcounts: boolean
  /** Discarded clusters keep their place. */
  discardNoUnref: boolean
  /** What space is taken at once. */
  preallocation: 'off' | 'metadata' | 'falloc' | 'full'
  /** Where guests' data lies: in the image, or in a second file, which may be one that shows what the guest sees. */
  dataFile: 'none' | 'external' | 'raw'
  /** The image below; absent: none. */
  backing?: BackingPlan
}

/** The image below; nobody changes it. */
export interface BackingPlan {
  /** Of the image below. */
  format: 'raw' | 'qcow2'
  /** Of the image below. */
  lengthBytes: number
  /** What lies in it. */
  initial: InitialExtent[]
  /** Of a destination: named by the image, and not attached before an operator does that or the world is over. */
  isDetached: boolean
}

/** Latency of a request is minNs + stepNs * decide(0 … steps - 1). */
export interface LatencyPlan {
  /** The least. */
  minNs: number
  /** What one step is worth. */
  stepNs: number
  /** How many outcomes the decision has; 1: none to make. */
  steps: number
}

/** What lies on a disk when the world begins. */
export interface InitialExtent {
  id: string
  /** A multiple of 512. */
  offsetBytes: number
  /** A multiple of 512. */
  lengthBytes: number
  /** What lies there. */
  content: ExtentContent
}

/**
 * data: stamped sectors; zero: allocated, reads zero. Of qcow2 images only: compressed: data, and what of it covers whole
 * clusters is compressed; hole: reads zero without space, also where a backing image has data.
 */
export type ExtentContent = 'data' | 'zero' | 'compressed' | 'hole'

/** Options of the job, as `blockdev-mirror` has them. */
export interface MirrorPlan {
  /** What is copied: all layers, the top one, or only what changes. */
  sync: 'full' | 'top' | 'none'
  /** Whether writes of the guest wait for their copy. */
  copyMode: 'background' | 'write-blocking'
  /** 0: the default. */
  granularityBytes: number
  /** Memory for data on its way. */
  bufferBytes: number
  /** 0: no limit. */
  speedBytesPerSecond: number
  /** Zeroes may deallocate at the destination. */
  unmap: boolean
  /** The destination is said to read zero all over. */
  targetIsZero: boolean
  /** What an error of reading does to the job. */
  onSourceError: ErrorPolicy
  /** What an error of writing does to the job. */
  onTargetError: ErrorPolicy
  /** The job finishes without being told to. */
  autoFinalize: boolean
  /** `replaces`: name of a node; absent: the source. */
  replaces?: string
}

/** Of a job: it fails, goes on, or stops to be resumed; `enospc` stops where space has run out and fails otherwise. */
export type ErrorPolicy = 'report' | 'ignore' | 'stop' | 'enospc'

/** Requests of virtio-blk. */
export type GuestOperationKind = 'read' | 'write' | 'write-zeroes' | 'discard' | 'flush' | 'get-id'

/** One request of the guest. */
export interface GuestOperation {
  id: string
  /** What is asked for. */
  kind: GuestOperationKind
  /** Requests of one lane follow one another; lanes run side by side: their number is the queue depth. */
  lane: number
  /** Multiples of the device's block size; 0 for flush and get-id. */
  offsetBytes: number
  /** A multiple of the device's block size; 0 for flush and get-id. */
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
  /** What has to have happened. */
  on: Moment | { operationDone: string } | { controlDone: string }
  /** How much later it is; virtual time. */
  afterNs: number
}

/** What an operator does, once; `mirror-start` begins the job. */
export type ControlOperation = {
  id: string
  /** When it happens. */
  when: Trigger
} & (
  | { kind: 'mirror-start' }
  /** The job is paused by its user. */
  | { kind: 'pause' }
  /** The user's pause ends. */
  | { kind: 'resume' }
  /** 0: no limit. */
  | { kind: 'set-speed'; speedBytesPerSecond: number }
  /** While the job runs. */
  | { kind: 'change-copy-mode'; copyMode: 'background' | 'write-blocking' }
  /** The guest goes over to the destination once the job is ready. */
  | { kind: 'complete' }
  /** By force at once; otherwise a job that is ready leaves a copy of that moment. */
  | { kind: 'cancel'; force: boolean }
  /** A job that waits for it is finished. */
  | { kind: 'finalize' }
  /** A job that has ended is forgotten. */
  | { kind: 'dismiss' }
  /** No request is under way at the guest's disk for so long. */
  | { kind: 'drain'; durationNs: number }
  /** Requests that are under way are lost to the guest. */
  | { kind: 'device-reset' }
  /** The guest's disk gets the length that it has: refused as long as a mirror depends on it. */
  | { kind: 'resize' }
  /** The image below is opened anew, and the disk's image linked to it: attached, or replaced by what shows the same. */
  | { kind: 'link-backing'; disk: DiskName }
  /** The world ends at once; what has reached the media is all that is left. */
  | { kind: 'power-cut' }
)

/** The disks of a world. */
export type DiskName = 'source' | 'destination'
/** Requests as a disk receives them. */
export type DiskOperation = 'read' | 'write' | 'write-zeroes' | 'discard' | 'flush' | 'status' | 'truncate'

/** Requests of a disk that something happens to. */
export interface OccasionPlan {
  id: string
  /** Whose requests. */
  disk: DiskName
  /** Which requests. */
  operation: DiskOperation
  /** Requests that touch the range match; of a flush all do. */
  offsetBytes: number
  /** Of that range. */
  lengthBytes: number
  /** Matching requests that pass first, and how many are met after that. */
  skip: number
  /** How many are met after that. */
  times: number
}

/** They take longer by `delayNs`. */
export interface StallPlan extends OccasionPlan {
  /** Beside the latency of the disk; virtual time. */
  delayNs: number
}

/** What the requests meet. Each kind is a file of `sim/faults`, which says what it does and what it excuses. */
export type FaultPlan = ErrorFaultPlan | MisdirectedFaultPlan | OtherFaultPlan | OwnFaultPlan

/** They end with an error. */
export interface ErrorFaultPlan extends OccasionPlan {
  kind: 'error'
  /** What the request ends with. */
  errno: 'EIO' | 'ENOSPC'
  /** A failing write still changes the first half of its range (torn). */
  torn?: boolean
}

/** They land so far behind their place, and go on at the beginning of the disk; sectors. */
export interface MisdirectedFaultPlan extends OccasionPlan {
  kind: 'misdirected-write'
  /** Whole sectors. */
  byBytes: number
}

/** They meet a fault that needs nothing else to be said. */
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
