/**
 * A disk of the world: a protocol driver over a store, with the limits and habits of its plan. Each request waits for a
 * time that the decider chooses and changes the store in one step when it completes, so a write's bytes are taken at its
 * completion: whoever changes a buffer that is in flight writes something else, as on a real device.
 *
 * What may fail: requests that a planned fault matches, in the way of that fault (`faults/`). What never may: a request that
 * is unaligned or longer than the plan allows.
 */
import {
  BlockDriver,
  type BlockLimits,
  type BlockStatus,
  type PreallocationMode,
  RequestFlag,
  readWhole,
  StatusFlag,
  type StatusMode,
  statusError,
  statusOf,
  writeWhole,
} from '../impl/block'
import { assert, type Co, EINVAL, ENOTSUP, type Errno, type Label, OK, type WaitReason } from '../impl/co'
import type { Corruption } from './corruption'
import { Attempts, type Decider, Site } from './decider'
import { type Faults, faultOf, type MetDisk, type MetRequest, type Occasions } from './faults'
import { shortPart } from './faults/short_transfer'
import type { DiskRequestView } from './observer'
import type { DiskName, DiskOperation, DiskPlan, FaultPlan, StallPlan } from './plan'
import type { WriteCache } from './power'
import type { ProbeName } from './probes'
import type { DiskStore } from './store'

/** One request between its arrival and its end. */
export class DiskRequest implements WatchedRequest, WaitReason {
  readonly disk: DiskName
  readonly serial: number
  readonly operation: DiskOperation
  readonly offsetBytes: number
  readonly lengthBytes: number
  data: Uint8Array | null
  readonly mayUnmap: boolean
  readonly label: Label
  dueNs: number
  readonly fault: FaultPlan | null
  /** truncate: the length that is asked for. */
  newLengthBytes = 0
  /** For the one who watches: a hash of the data at submission. */
  dataHash = 0

  constructor(
    disk: SimDisk,
    operation: DiskOperation,
    offsetBytes: number,
    lengthBytes: number,
    data: Uint8Array | null,
    mayUnmap: boolean,
  ) {
    const { kernel } = disk.node
    assert(kernel.current !== null, 'disk-request-inside-coroutine')
    this.disk = disk.store.name
    this.serial = disk.nextSerial++
    this.operation = operation
    this.offsetBytes = offsetBytes
    this.lengthBytes = lengthBytes
    this.data = data
    this.mayUnmap = mayUnmap
    this.label = kernel.current.label
    this.dueNs = kernel.nowNs() + disk.latencyNs(this.label) + disk.meetStall(operation, offsetBytes, lengthBytes)
    this.fault = disk.meetFault(operation, offsetBytes, lengthBytes)
  }

  get origin(): string {
    return this.label.id
  }
  describe(): string {
    return `waits for the ${this.disk} disk: ${this.operation} of ${this.offsetBytes}+${this.lengthBytes}`
  }
}

/** A request as it is watched: at a disk, or at the image on it. */
export interface WatchedRequest extends DiskRequestView {
  readonly disk: DiskName
  readonly label: Label
  readonly fault: FaultPlan | null
  dataHash: number
}

/** Who watches the requests of a disk. */
export interface DiskWatcher {
  diskSubmitted(request: WatchedRequest): void
  diskCompleted(request: WatchedRequest, errno: Errno): void
  hit(probe: ProbeName): void
}

export class SimDisk extends BlockDriver implements MetDisk {
  readonly name = 'simulated-disk'
  override readonly isProtocol = true
  readonly store: DiskStore
  nextSerial = 0
  /** Requests in flight. */
  inFlight = 0
  private lastEndedSerial = -1
  private readonly plan: DiskPlan
  private faults: Faults | null
  private decider: Decider | null
  private readonly site: Label
  private readonly attempts = new Attempts()
  private watcher: DiskWatcher | null
  /** What is not safe yet; null in worlds without a power cut. */
  cache: WriteCache | null = null
  /** null in worlds without stalls. */
  stalls: Occasions<StallPlan> | null = null
  /** What silent faults have hit, and what was there before; null where the plan has none, or none that asks. */
  corruption: Corruption | null = null
  original: DiskStore | null = null
  /** Requests that took longer than the least. */
  delayedCount = 0

  /** Without decider, faults and watcher, the disk answers at once and never fails. */
  constructor(store: DiskStore, plan: DiskPlan, decider: Decider | null, faults: Faults | null, watcher: DiskWatcher | null) {
    super()
    this.store = store
    this.plan = plan
    this.decider = decider
    this.faults = faults
    this.watcher = watcher
    this.site = store.name === 'source' ? Site.SourceLatency : Site.DestinationLatency
    this.supportedZeroFlags = RequestFlag.NoFallback | (plan.writeZeroes === 'unmapping' ? RequestFlag.MayUnmap : 0)
  }

  /** From now on the disk takes its time, and fails as planned. */
  engage(decider: Decider, faults: Faults, watcher: DiskWatcher): void {
    this.decider = decider
    this.faults = faults
    this.watcher = watcher
  }

  lengthBytes(): number {
    return this.store.lengthBytes
  }
  override allocatedBytes(): number | null {
    return this.store.canGrow ? this.store.allocatedBytes : null
  }
  /** What a file has gained reads zero; of a disk nobody knows. */
  override hasZeroInit(): boolean {
    return this.store.canGrow
  }
  override refreshLimits(limits: BlockLimits): void {
    const { plan } = this
    limits.requestAlignmentBytes = plan.requestAlignmentBytes
    limits.maxTransferBytes = plan.maxTransferBytes
    limits.maxPwriteZeroesBytes = plan.maxWriteZeroesBytes
    limits.pwriteZeroesAlignmentBytes = plan.writeZeroesAlignmentBytes
    limits.maxPdiscardBytes = plan.maxDiscardBytes
    limits.pdiscardAlignmentBytes = plan.discardAlignmentBytes
  }

  latencyNs(label: Label): number {
    if (this.decider === null) return 0
    const { minNs, stepNs, steps } = this.plan.latency
    if (steps < 2) return minNs
    const choice = this.decider.decide(this.site, label, this.attempts.next(label), steps)
    if (choice > 0) this.delayedCount++
    return minNs + stepNs * choice
  }
  meetFault(operation: DiskOperation, offsetBytes: number, lengthBytes: number): FaultPlan | null {
    return this.faults === null ? null : this.faults.meet(operation, offsetBytes, lengthBytes)
  }

  /** How much longer than usual a request takes. */
  meetStall(operation: DiskOperation, offsetBytes: number, lengthBytes: number): number {
    const stall = this.stalls === null ? null : this.stalls.meet(operation, offsetBytes, lengthBytes)
    if (stall === null) return 0
    this.watcher?.hit('disk/stalled')
    return stall.delayNs
  }

  private submit(request: DiskRequest): void {
    const { requestAlignmentBytes } = this.plan
    assert(request.offsetBytes % requestAlignmentBytes === 0, 'disk-offset-aligned', () => request.describe())
    assert(request.lengthBytes % requestAlignmentBytes === 0, 'disk-length-aligned', () => request.describe())
    assert(request.offsetBytes >= 0 && request.offsetBytes + request.lengthBytes <= this.reachBytes, 'disk-request-inside')
    this.inFlight++
    if (this.cache !== null) this.cache.submitted(request)
    if (this.watcher !== null) this.watcher.diskSubmitted(request)
  }
  /** The end of the disk, rounded up to what a request can address. */
  private get reachBytes(): number {
    const { store, plan } = this
    if (store.canGrow) return Infinity
    return Math.ceil(store.lengthBytes / plan.requestAlignmentBytes) * plan.requestAlignmentBytes
  }

  /** The caller yields after it, and parks again if it was woken before the request is due. */
  private park(request: DiskRequest): void {
    const { kernel } = this.node
    kernel.wakeAt(kernel.willPark(request), request.dueNs)
  }

  hit(probe: ProbeName): void {
    this.watcher?.hit(probe)
  }

  /** What a planned fault makes of a request that is due; null: it has its effect as usual. Ends the request otherwise. */
  private meet(request: DiskRequest, buffer: Uint8Array | null): Errno | null {
    const plan = request.fault
    if (plan === null) return null
    const { operation, offsetBytes, lengthBytes } = request
    const met: MetRequest = { operation, offsetBytes, lengthBytes, buffer, landsAtBytes: offsetBytes, landedBytes: 0 }
    const errno = plan.kind === 'own' ? this.faults!.meetOwn(plan, met, this) : (faultOf(plan).meet?.(plan, met, this) ?? null)
    if (errno === null) return null
    if (errno === OK && operation === 'read') request.data = buffer
    return this.complete(request, errno, met)
  }

  /** The rest of a transfer that the disk has done in part takes its own time. */
  private *again(request: DiskRequest): Co<void> {
    request.dueNs = this.node.kernel.nowNs() + this.latencyNs(request.label)
    do {
      this.park(request)
      yield
    } while (this.node.kernel.nowNs() < request.dueNs)
  }

  /** How much a request moves at once from `at` on. */
  private *partOf(request: DiskRequest, at: number): Co<number> {
    if (at > 0) yield* this.again(request)
    const leftBytes = request.lengthBytes - at
    return at === 0 ? shortPart(leftBytes, this.plan.requestAlignmentBytes) : leftBytes
  }

  private *readPart(request: DiskRequest, buffer: Uint8Array, at: number): Co<number> {
    const bytes = yield* this.partOf(request, at)
    this.store.read(request.offsetBytes + at, buffer.subarray(at, at + bytes))
    return bytes
  }

  private *writePart(request: DiskRequest, buffer: Uint8Array, at: number): Co<number> {
    const bytes = yield* this.partOf(request, at)
    this.store.write(request.offsetBytes + at, buffer.subarray(at, at + bytes))
    return bytes
  }

  private complete(request: DiskRequest, errno: Errno, met: MetRequest | null = null): Errno {
    this.inFlight--
    assert(this.inFlight >= 0, 'disk-in-flight')
    if (this.cache !== null) this.cache.completed(request, errno, met)
    if (this.watcher === null) return errno
    if (request.serial < this.lastEndedSerial) this.watcher.hit('disk/overtaken')
    else this.lastEndedSerial = request.serial
    this.watcher.diskCompleted(request, errno)
    return errno
  }

  *pread(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    const request = new DiskRequest(this, 'read', offsetBytes, buffer.length, null, false)
    assert(this.isTransferSize(buffer.length), 'disk-transfer-size')
    this.submit(request)
    do {
      this.park(request)
      yield
    } while (this.node.kernel.nowNs() < request.dueNs)
    const errno = this.meet(request, buffer)
    if (errno !== null) return errno
    if (request.fault?.kind !== 'short-transfer') this.store.read(offsetBytes, buffer)
    else yield* readWhole(buffer, this.plan.requestAlignmentBytes, (at) => this.readPart(request, buffer, at))
    request.data = buffer
    return this.complete(request, OK)
  }

  *pwrite(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    const request = new DiskRequest(this, 'write', offsetBytes, buffer.length, buffer, false)
    assert(this.isTransferSize(buffer.length), 'disk-transfer-size')
    this.submit(request)
    do {
      this.park(request)
      yield
    } while (this.node.kernel.nowNs() < request.dueNs)
    const errno = this.meet(request, buffer)
    if (errno !== null) return errno
    if (request.fault?.kind !== 'short-transfer') this.store.write(offsetBytes, buffer)
    else yield* writeWhole(buffer.length, (at) => this.writePart(request, buffer, at))
    return this.complete(request, OK)
  }

  private isTransferSize(lengthBytes: number): boolean {
    return this.plan.maxTransferBytes === 0 || lengthBytes <= this.plan.maxTransferBytes
  }

  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const { plan, watcher } = this
    if (plan.writeZeroes === 'none' || this.isCrooked(offsetBytes, lengthBytes, plan.writeZeroesAlignmentBytes)) {
      watcher?.hit('disk/zeroes-refused')
      return ENOTSUP
    }
    assert(plan.maxWriteZeroesBytes === 0 || lengthBytes <= plan.maxWriteZeroesBytes, 'disk-zeroes-size')
    const mayUnmap = (flags & RequestFlag.MayUnmap) !== 0
    const request = new DiskRequest(this, 'write-zeroes', offsetBytes, lengthBytes, null, mayUnmap)
    this.submit(request)
    do {
      this.park(request)
      yield
    } while (this.node.kernel.nowNs() < request.dueNs)
    const errno = this.meet(request, null)
    if (errno !== null) return errno
    this.store.writeZeroes(offsetBytes, lengthBytes, mayUnmap && plan.writeZeroes === 'unmapping')
    return this.complete(request, OK)
  }

  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const { plan, watcher } = this
    if (plan.discard === 'none') return ENOTSUP
    if (this.isCrooked(offsetBytes, lengthBytes, plan.discardAlignmentBytes)) return EINVAL
    assert(plan.maxDiscardBytes === 0 || lengthBytes <= plan.maxDiscardBytes, 'disk-discard-size')
    const request = new DiskRequest(this, 'discard', offsetBytes, lengthBytes, null, true)
    this.submit(request)
    do {
      this.park(request)
      yield
    } while (this.node.kernel.nowNs() < request.dueNs)
    const errno = this.meet(request, null)
    if (errno !== null) return errno
    if (!this.store.discard(offsetBytes, lengthBytes, plan.discard)) watcher?.hit('disk/discard-below-a-unit')
    else if (plan.discard !== 'reads-zero') watcher?.hit('disk/discard-leaves-bytes')
    return this.complete(request, OK)
  }

  /** Not made of whole pieces of `alignmentBytes` (0: any will do). The last piece of the disk may be short. */
  private isCrooked(offsetBytes: number, lengthBytes: number, alignmentBytes: number): boolean {
    if (alignmentBytes === 0) return false
    const endBytes = offsetBytes + lengthBytes
    return offsetBytes % alignmentBytes !== 0 || (endBytes % alignmentBytes !== 0 && endBytes < this.store.lengthBytes)
  }

  /** Only a file changes its length, and only while nobody else is at work on what it gains or loses. */
  override *truncate(lengthBytes: number, _exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    const { store, plan } = this
    if (!store.canGrow || preallocation === 'metadata') return ENOTSUP
    const request = new DiskRequest(this, 'truncate', 0, 0, null, false)
    const oldBytes = store.lengthBytes
    request.newLengthBytes = Math.ceil(lengthBytes / plan.requestAlignmentBytes) * plan.requestAlignmentBytes
    this.submit(request)
    do {
      this.park(request)
      yield
    } while (this.node.kernel.nowNs() < request.dueNs)
    const errno = this.meet(request, null)
    if (errno !== null) return errno
    store.resize(request.newLengthBytes)
    if (preallocation !== 'off' && lengthBytes > oldBytes) store.writeZeroes(oldBytes, lengthBytes - oldBytes, false)
    return this.complete(request, OK)
  }

  override *flush(): Co<Errno> {
    const request = new DiskRequest(this, 'flush', 0, 0, null, false)
    this.submit(request)
    do {
      this.park(request)
      yield
    } while (this.node.kernel.nowNs() < request.dueNs)
    return this.meet(request, null) ?? this.complete(request, OK)
  }

  override *blockStatus(_mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const request = new DiskRequest(this, 'status', offsetBytes, lengthBytes, null, false)
    this.inFlight++
    if (this.watcher !== null) this.watcher.diskSubmitted(request)
    do {
      this.park(request)
      yield
    } while (this.node.kernel.nowNs() < request.dueNs)
    const errno = this.meet(request, null) ?? this.complete(request, OK)
    return errno === OK ? this.look(offsetBytes, lengthBytes) : statusError(errno)
  }

  private look(offsetBytes: number, lengthBytes: number): BlockStatus {
    const { plan, store } = this
    if (!plan.reportsHoles) return statusOf(StatusFlag.Allocated | StatusFlag.Data, lengthBytes)
    const { requestAlignmentBytes } = plan
    const sameBytes = store.sameUntil(offsetBytes, offsetBytes + lengthBytes) - offsetBytes
    const isWhole = sameBytes === lengthBytes
    const bytes = isWhole ? lengthBytes : sameBytes - (sameBytes % requestAlignmentBytes)
    assert(bytes >= 0 && bytes <= lengthBytes, 'disk-status-inside')
    // A block that is in part a hole cannot be told about in parts.
    if (bytes === 0) return statusOf(StatusFlag.Allocated | StatusFlag.Data, Math.min(requestAlignmentBytes, lengthBytes))
    if (store.isAllocatedAt(offsetBytes)) return statusOf(StatusFlag.Allocated | StatusFlag.Data, bytes)
    // Nobody but this disk determines what a hole reads, so it counts as allocated in this layer.
    if (plan.holesReadZero && store.isZeroHoleAt(offsetBytes)) return statusOf(StatusFlag.Allocated | StatusFlag.Zero, bytes)
    this.watcher?.hit('disk/hole-of-unknown-content')
    return statusOf(StatusFlag.Allocated, bytes)
  }
}
