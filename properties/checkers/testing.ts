/**
 * A world made by hand for testing checkers: disks whose bytes and units tests set as they like, a mirror whose maps they
 * set, and short words for what happens. Nothing runs by itself; `say` hands an event to a checker.
 */
import { SECTOR_BYTES, stampSectors, writerOf } from '../../model/stamp'
import type { CorruptionView } from '../../sim/corruption'
import type {
  Checker,
  CheckerFactory,
  DiskRequestView,
  DiskView,
  MirrorOperationView,
  MirrorView,
  WorldView,
} from '../../sim/observer'
import type { ControlOperation, DiskName, DiskOperation, DiskPlan, GuestOperation, MirrorPlan, Plan } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'

export const CHUNK = 4096
export const UNIT = 1024
/** Three whole chunks and a short one. */
export const DISK_BYTES = 3 * CHUNK + 2048

type Writable<T> = { -readonly [K in keyof T]: T[K] }

export interface PlanParts {
  source?: Partial<DiskPlan>
  destination?: Partial<DiskPlan>
  mirror?: Partial<MirrorPlan>
  guest?: GuestOperation[]
  control?: ControlOperation[]
  blockBytes?: number
}

function diskPlan(parts: Partial<DiskPlan> = {}): DiskPlan {
  return {
    lengthBytes: DISK_BYTES,
    requestAlignmentBytes: 512,
    maxTransferBytes: 0,
    maxWriteZeroesBytes: 0,
    writeZeroesAlignmentBytes: 0,
    maxDiscardBytes: 0,
    discardAlignmentBytes: 0,
    allocationUnitBytes: UNIT,
    writeZeroes: 'unmapping',
    discard: 'reads-zero',
    reportsHoles: true,
    holesReadZero: true,
    node: { discard: 'unmap', detectZeroes: 'off' },
    latency: { minNs: 0, stepNs: 0, steps: 1 },
    initial: [],
    ...parts,
  }
}

/** A plan with one fault, so that checkers expect some. */
export function planOf(parts: PlanParts = {}): Plan {
  return {
    format: 'mirrorsim-plan',
    version: 1,
    seed: 'test',
    profile: 'test',
    device: {
      queueCount: 1,
      queueSize: 16,
      blockBytes: parts.blockBytes ?? 512,
      indirect: false,
      eventIndex: false,
      segmentsMax: 1,
      writeCache: true,
    },
    source: diskPlan(parts.source),
    destination: diskPlan(parts.destination),
    mirror: {
      sync: 'full',
      copyMode: 'write-blocking',
      granularityBytes: CHUNK,
      bufferBytes: 0,
      speedBytesPerSecond: 0,
      unmap: true,
      targetIsZero: false,
      onSourceError: 'report',
      onTargetError: 'report',
      autoFinalize: true,
      ...parts.mirror,
    },
    guest: parts.guest ?? [],
    control: parts.control ?? [],
    faults: [
      {
        id: 'f1',
        kind: 'error',
        disk: 'source',
        operation: 'write',
        errno: 'EIO',
        offsetBytes: 0,
        lengthBytes: DISK_BYTES,
        skip: 0,
        times: 1,
      },
    ],
    bounds: { eventsMax: 1000, timeMaxNs: 1000 },
  }
}

class FakeDisk implements DiskView {
  readonly name: DiskName
  readonly lengthBytes: number
  readonly allocationUnitBytes: number
  readonly bytes: Uint8Array
  readonly allocated: Uint8Array
  readonly changeCount = 0

  constructor(name: DiskName, plan: DiskPlan) {
    this.name = name
    this.lengthBytes = plan.lengthBytes
    this.allocationUnitBytes = plan.allocationUnitBytes
    this.bytes = new Uint8Array(plan.lengthBytes)
    this.allocated = new Uint8Array(Math.ceil(plan.lengthBytes / plan.allocationUnitBytes))
    for (const { id, offsetBytes, lengthBytes } of plan.initial) this.write(id, offsetBytes, lengthBytes)
  }

  /** Stamps of an operation, or zeroes for the id ''. */
  write(id: string, offsetBytes: number, lengthBytes: number): void {
    const writer = id === '' ? 0 : writerOf(id)
    stampSectors(this.bytes, offsetBytes, writer, offsetBytes / SECTOR_BYTES, lengthBytes / SECTOR_BYTES)
    const unit = this.allocationUnitBytes
    this.allocated.fill(1, Math.floor(offsetBytes / unit), Math.ceil((offsetBytes + lengthBytes) / unit))
  }
  free(offsetBytes: number, lengthBytes: number): void {
    const unit = this.allocationUnitBytes
    this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes)
    this.allocated.fill(0, Math.floor(offsetBytes / unit), Math.ceil((offsetBytes + lengthBytes) / unit))
  }
}

export class FakeMirror implements MirrorView {
  granularityBytes = CHUNK
  lengthBytes: number
  chunkCount: number
  phase: MirrorView['phase'] = 'copying'
  copyMode: MirrorView['copyMode'] = 'write-blocking'
  activelySynced = false
  wasReady = false
  dirtyWords = new Uint32Array(1)
  zeroWords: Uint32Array | null = new Uint32Array(1)
  inFlightWords: Uint32Array | null = new Uint32Array(1)
  cowWords = null
  operations: MirrorOperationView[] = []
  filterRequests: Array<{ kind: 'write' | 'write-zeroes' | 'discard'; offsetBytes: number; lengthBytes: number }> = []
  statistics = { copiedBytes: 0, skippedZeroBytes: 0, zeroedBytes: 0, discardedBytes: 0 }

  constructor(lengthBytes: number) {
    this.lengthBytes = lengthBytes
    this.chunkCount = Math.ceil(lengthBytes / CHUNK)
  }
}

export class FakeWorld implements WorldView {
  readonly plan: Plan
  readonly source: FakeDisk
  readonly destination: FakeDisk
  readonly fake: FakeMirror
  mirror: MirrorView | null = null
  jobStatus = 'none'
  jobOffsetBytes = 0
  jobLengthBytes = 0
  guestDisk: DiskName = 'source'
  isCancelledByForce = false
  isForcedToEnd = false
  corruption: CorruptionView | null = null
  timeNs = 0
  step = 0
  private readonly checker: Checker
  private serial = 0

  constructor(make: CheckerFactory, parts: PlanParts = {}) {
    this.plan = planOf(parts)
    this.source = new FakeDisk('source', this.plan.source)
    this.destination = new FakeDisk('destination', this.plan.destination)
    this.fake = new FakeMirror(this.plan.source.lengthBytes)
    this.checker = make(this)
  }

  probe(): void {}

  event(event: string, data: Record<string, unknown> = {}): Finding | null {
    return this.checker.jobEvent?.({ event, data }) ?? null
  }
  /** The job gets another status and tells so. */
  status(status: string): Finding | null {
    this.jobStatus = status
    return this.event('JOB_STATUS_CHANGE', { id: 'mirror', status })
  }
  /** The mirror comes into the graph and works. */
  start(): this {
    this.mirror = this.fake
    this.status('created')
    this.status('running')
    return this
  }

  submit(
    disk: DiskName,
    operation: DiskOperation,
    range: readonly [number, number],
    origin: string,
    more: RequestParts = {},
  ): Sent {
    const [offsetBytes, lengthBytes] = range
    const { data = null, mayUnmap = false } = more
    const request: Writable<DiskRequestView> = {
      serial: this.serial++,
      operation,
      offsetBytes,
      lengthBytes,
      data: data ?? (operation === 'write' ? stamped('d', offsetBytes, lengthBytes) : null),
      mayUnmap,
      origin,
    }
    const finding = this.checker.diskSubmitted?.(disk, request) ?? null
    return { finding, end: (errno = 0) => this.checker.diskCompleted?.(disk, request, errno) ?? null }
  }
  /** A request from its submission to its end; the first finding. */
  send(
    disk: DiskName,
    operation: DiskOperation,
    range: readonly [number, number],
    origin: string,
    more: RequestParts = {},
  ): Finding | null {
    const sent = this.submit(disk, operation, range, origin, more)
    return sent.finding ?? sent.end(more.errno)
  }

  begin(operation: GuestOperation): Finding | null {
    const data = operation.kind === 'write' ? stamped(operation.id, operation.offsetBytes, operation.lengthBytes) : null
    return this.checker.guestSubmitted?.(operation, data) ?? null
  }
  end(operation: GuestOperation, status = 0, data: Uint8Array | null = null): Finding | null {
    return this.checker.guestCompleted?.(operation, status, data) ?? null
  }
  abort(operation: GuestOperation): Finding | null {
    return this.checker.guestAborted?.(operation) ?? null
  }
  after(): Finding | null {
    return this.checker.afterEvent?.() ?? null
  }
  atEnd(jobCompleted = false, jobCancelledAfterReady = false): Finding | null {
    const { source, destination } = this
    const files = { source: null, destination: null }
    const end = {
      source: source.bytes.slice(),
      destination: destination.bytes.slice(),
      files,
      jobCompleted,
      jobCancelledAfterReady,
    }
    return this.checker.atEnd?.(end) ?? null
  }
}

interface RequestParts {
  data?: Uint8Array
  mayUnmap?: boolean
  errno?: number
}

interface Sent {
  finding: Finding | null
  end(errno?: number): Finding | null
}

/** The bytes that an operation writes. */
export function stamped(id: string, offsetBytes: number, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes)
  stampSectors(bytes, 0, writerOf(id), offsetBytes / SECTOR_BYTES, lengthBytes / SECTOR_BYTES)
  return bytes
}

/** An operation of the guest: `op('g1', 'write', 0, 512)`. */
export function op(id: string, kind: GuestOperation['kind'], offsetBytes = 0, lengthBytes = 0): GuestOperation {
  return { id, kind, lane: 0, offsetBytes, lengthBytes, thinkNs: 0 }
}

export function keyOf(finding: Finding | null): string | null {
  return finding === null ? null : finding.key
}
