/**
 * The copy is as sparse as the original. Three rules, none of which asks the mirror what it knows:
 *
 * - no zero write is sent to a chunk that is known to read zero already, by what the destination itself was sent so far;
 * - the destination allocates nothing that neither data of the source, nor a guest's write, nor a zero write that had to
 *   allocate has made necessary;
 * - where the job may unmap and both disks are capable of it, what is a hole in the source is one in the destination.
 */
import { AllocationBound } from '../../model/allocation'
import type { CorruptionView } from '../../sim/corruption'
import type { Checker, DiskRequestView, JobEventView, MirrorView, WorldView } from '../../sim/observer'
import type { DiskName, GuestOperation, Plan } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { reclaimsAll } from './reclaim'
import { bufferOn, isZeroRange, OK, punchesZeroes } from './shared'
import { ZeroShadow } from './zero_shadow'

export function makeSparsenessChecker(world: WorldView): Checker {
  return new SparsenessChecker(world)
}

class SparsenessChecker implements Checker {
  readonly name = 'sparseness'
  private readonly world: WorldView
  private readonly bound: AllocationBound
  /** With a base that is not copied: what the layer above it was given. Chunks are copied whole, with what shows of the base. */
  private readonly above: Array<readonly [offsetBytes: number, endBytes: number]> | null
  private readonly zeroesMayComeAsData: boolean
  private readonly zeroWritesAllocate: boolean
  private mirror: MirrorView | null = null
  private shadow: ZeroShadow | null = null
  private hasErrors = false
  /** Allocated in the destination when the mirror started, and taken for zero, so that nobody will look at it. */
  private initial: Uint8Array | null = null
  /** Writes to a source in an image that have not ended. */
  private underWay: DiskRequestView[] = []
  private readonly hasSourceImage: boolean

  constructor(world: WorldView) {
    const { source, destination } = world.plan
    this.world = world
    this.hasSourceImage = source.format !== undefined
    const roundings = [source.requestAlignmentBytes, destination.writeZeroesAlignmentBytes, destination.requestAlignmentBytes]
    this.bound = new AllocationBound(world.destination.lengthBytes, world.destination.allocationUnitBytes, roundings)
    this.zeroesMayComeAsData = destination.writeZeroes === 'none' || destination.writeZeroesAlignmentBytes > 0
    this.zeroWritesAllocate = destination.writeZeroes !== 'unmapping'
    // What is not known to be a hole of zeroes has to be copied.
    if (!source.reportsHoles || !source.holesReadZero) this.bound.allowAll()
    this.above = rangesAbove(world.plan)
    this.allowSource(0, world.source.lengthBytes)
  }

  /** Chunks, and clusters of the source, that hold something above the base. */
  private allowAbove(offsetBytes: number, endBytes: number): void {
    const { mirror } = this.world
    const unitBytes = Math.max(mirror!.granularityBytes, this.world.source.allocationUnitBytes)
    const startBytes = Math.floor(offsetBytes / unitBytes) * unitBytes
    this.bound.allow(startBytes, Math.min(Math.ceil(endBytes / unitBytes) * unitBytes, this.world.source.lengthBytes))
  }

  /** Whatever is allocated in a range of the source may be copied, and have been when it is no longer there. */
  private allowSource(offsetBytes: number, endBytes: number): void {
    const { allocated, allocationUnitBytes: unitBytes } = this.world.source
    if (this.above !== null) return
    const last = Math.min(Math.ceil(endBytes / unitBytes), allocated.length)
    for (let unit = Math.floor(offsetBytes / unitBytes); unit < last; unit++) {
      if (allocated[unit] === 0) continue
      const first = unit
      while (unit < last && allocated[unit] === 1) unit++
      this.bound.allow(first * unitBytes, unit * unitBytes)
    }
  }

  guestSubmitted(operation: GuestOperation): Finding | null {
    const { kind, offsetBytes, lengthBytes } = operation
    const endBytes = offsetBytes + lengthBytes
    if (kind === 'write') this.bound.allow(offsetBytes, endBytes)
    if (this.above === null || (kind !== 'write' && kind !== 'write-zeroes' && kind !== 'discard')) return null
    if (this.mirror === null) this.above.push([offsetBytes, endBytes])
    else this.allowAbove(offsetBytes, endBytes)
    return null
  }

  jobEvent(event: JobEventView): Finding | null {
    if (event.event !== 'JOB_STATUS_CHANGE') return null
    switch (event.data['status']) {
      case 'created':
        this.begin()
        return null
      case 'pending':
        return this.checkAllocation() ?? this.checkReclaimed()
      case 'ready':
      case 'aborting':
        return this.checkAllocation()
      default:
        return null
    }
  }

  private begin(): void {
    const { mirror, plan, destination } = this.world
    this.mirror = mirror
    if (mirror === null) return
    for (const [offsetBytes, endBytes] of this.above ?? []) this.allowAbove(offsetBytes, endBytes)
    const bytes = bufferOn(destination.bytes)
    const punches = punchesZeroes(plan)
    const readsZero = isZeroRange(bytes, 0, bytes.length)
    this.initial = readsZero && !punches ? destination.allocated.slice() : null
    // What the destination holds already it need not give back.
    this.bound.allowUnits(destination.allocated, plan.destination.requestAlignmentBytes)
    if (plan.mirror.sync === 'none') return
    const { reportsHoles, holesReadZero } = plan.destination
    const isUnknown = plan.destination.format?.backing !== undefined
    const isEmpty = !isUnknown && reportsHoles && holesReadZero && readsZero && !destination.allocated.includes(1)
    this.shadow = new ZeroShadow(mirror.granularityBytes, mirror.lengthBytes, !punches && (isEmpty || plan.mirror.targetIsZero))
  }

  /** From the start of the mirror until the guest has moved: whatever reaches the destination comes from the mirror. */
  private get isMirroring(): boolean {
    return this.mirror !== null && this.mirror.phase !== 'finished' && this.world.guestDisk === 'source'
  }

  diskSubmitted(disk: DiskName, request: DiskRequestView): Finding | null {
    if (disk === 'source' && this.hasSourceImage && request.operation === 'write') this.underWay.push(request)
    if (disk !== 'destination' || !this.isMirroring) return null
    switch (request.operation) {
      case 'write-zeroes':
        return this.zeroSubmitted(request)
      case 'write':
        if (this.zeroesMayComeAsData && isZeroData(request)) this.allowZeroes(request)
        this.shadow?.dataSubmitted(request)
        return null
      case 'discard':
        this.shadow?.dataSubmitted(request)
        return null
      default:
        return null
    }
  }

  private zeroSubmitted(request: DiskRequestView): Finding | null {
    const chunkIndex = this.shadow === null ? -1 : this.shadow.firstKnown(request)
    if (chunkIndex < 0) {
      if (this.zeroWritesAllocate || !request.mayUnmap) this.allowZeroes(request)
      return null
    }
    const { offsetBytes, lengthBytes, origin } = request
    return {
      class: 'sparseness',
      key: 'sparseness/redundant-zero-write',
      text: `a zero write is sent to chunk ${chunkIndex} of the destination, which is known to read zero already`,
      disk: 'destination',
      offsetBytes,
      lengthBytes,
      chunkIndex,
      operationId: origin,
    }
  }

  /** Zeroes for chunks that were not known to read zero may allocate where the destination cannot do better. */
  private allowZeroes(request: DiskRequestView): void {
    const { granularityBytes } = this.mirror!
    const requestEndBytes = request.offsetBytes + request.lengthBytes
    for (let at = request.offsetBytes; at < requestEndBytes; ) {
      const end = Math.min(at - (at % granularityBytes) + granularityBytes, requestEndBytes)
      if (this.shadow === null || !this.shadow.isKnown(Math.floor(at / granularityBytes))) this.bound.allowExactly(at, end)
      at = end
    }
  }

  diskCompleted(disk: DiskName, request: DiskRequestView, errno: number): Finding | null {
    const { operation, offsetBytes, lengthBytes } = request
    if (errno !== OK) this.hasErrors = true
    if (disk === 'source') {
      if (this.underWay.length > 0) this.underWay = this.underWay.filter((other) => other !== request)
      if (operation === 'write' || operation === 'write-zeroes') this.allowSource(offsetBytes, offsetBytes + lengthBytes)
      // What cannot be told to be a hole is copied.
      else if (operation === 'status' && errno !== OK) this.bound.allowAll()
      return null
    }
    if (!this.isMirroring || this.shadow === null) return null
    if (errno !== OK && operation !== 'flush' && operation !== 'status') this.shadow.forget()
    else if (operation === 'write-zeroes' && !this.isBlockOfWrite(request)) this.shadow.zeroCompleted(request)
    return null
  }

  /** The node turns a block that is zero after a read-modify-write into a zero write; the mirror asked for less than that. */
  private isBlockOfWrite({ lengthBytes }: DiskRequestView): boolean {
    const { destination, device } = this.world.plan
    return destination.requestAlignmentBytes > device.blockBytes && lengthBytes <= destination.requestAlignmentBytes
  }

  private checkAllocation(): Finding | null {
    if (this.mirror === null || this.world.guestDisk === 'destination') return null
    const { destination } = this.world
    let unit = this.bound.firstExcess(destination.allocated)
    if (unit >= 0 && this.underWay.length > 0) {
      this.allowUnderWay()
      unit = this.bound.firstExcess(destination.allocated)
    }
    if (unit >= 0 && this.world.corruption?.isAny === true) {
      this.allowHits(this.world.corruption)
      unit = this.bound.firstExcess(destination.allocated)
    }
    if (unit < 0) return null
    const offsetBytes = unit * destination.allocationUnitBytes
    const text = `the destination has space allocated at ${offsetBytes} where the source never had data`
    return this.finding('allocation', text, offsetBytes)
  }

  /** Of a write to an image some clusters may be there, and be copied, before it ends. */
  private allowUnderWay(): void {
    const { allocationUnitBytes: unitBytes } = this.world.source
    for (const { offsetBytes, lengthBytes } of this.underWay) {
      const endBytes = Math.ceil((offsetBytes + lengthBytes) / unitBytes) * unitBytes
      this.bound.allow(offsetBytes - (offsetBytes % unitBytes), Math.min(endBytes, this.world.source.lengthBytes))
    }
  }

  /** A write that a disk has put there by itself takes space, in whole units of the source, and so does its copy. */
  private allowHits(corruption: CorruptionView): void {
    const { lengthBytes } = this.world.destination
    const { allocationUnitBytes: unitBytes } = this.world.source
    for (let at = 0; at < lengthBytes; at++) {
      const end = corruption.hitUntil(at, lengthBytes)
      if (end > at) this.bound.allow(at - (at % unitBytes), Math.min(Math.ceil(end / unitBytes) * unitBytes, lengthBytes))
      at = end
    }
  }

  private checkReclaimed(): Finding | null {
    const { plan, source, destination } = this.world
    if (this.hasErrors || this.mirror === null || !reclaimsAll(plan, this.mirror.granularityBytes)) return null
    const { allocationUnitBytes: unitBytes } = destination
    const blockBytes = Math.max(plan.destination.writeZeroesAlignmentBytes, plan.destination.requestAlignmentBytes)
    // A disk that ends between two blocks has its last unit zeroed in two requests, none of which frees it.
    const isTailWhole = destination.lengthBytes % blockBytes === 0
    const unitCount = isTailWhole ? destination.allocated.length : Math.floor(destination.lengthBytes / unitBytes)
    for (let unit = 0; unit < unitCount; unit++) {
      if (destination.allocated[unit] === 0 || this.initial?.[unit] === 1) continue
      const offsetBytes = unit * unitBytes
      if (source.allocated[Math.floor(offsetBytes / source.allocationUnitBytes)] === 1) continue
      if (this.world.corruption?.touches(offsetBytes, offsetBytes + unitBytes) === true) continue
      const text = `the source has a hole at ${offsetBytes}, the job may unmap, and the destination keeps the space allocated`
      return this.finding('not-reclaimed', text, offsetBytes)
    }
    return null
  }

  private finding(what: string, text: string, offsetBytes: number): Finding {
    const lengthBytes = this.world.destination.allocationUnitBytes
    return { class: 'sparseness', key: `sparseness/${what}`, text, disk: 'destination', offsetBytes, lengthBytes }
  }
}

function isZeroData({ data }: DiskRequestView): boolean {
  // Data nearly always shows in its first byte.
  return data !== null && data[0] === 0 && isZeroRange(bufferOn(data), 0, data.length)
}

/** What the layer above a base that is not copied holds at first; null where everything is copied. */
function rangesAbove({ source, mirror }: Plan): Array<readonly [number, number]> | null {
  const backing = source.format?.backing
  if (mirror.sync !== 'top' || backing === undefined) return null
  const below = new Set(backing.initial.map(({ id }) => id))
  return source.initial
    .filter(({ id }) => !below.has(id))
    .map(({ offsetBytes, lengthBytes }) => [offsetBytes, offsetBytes + lengthBytes] as const)
}
