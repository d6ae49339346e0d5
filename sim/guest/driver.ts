/**
 * The guest's virtio-blk driver: finds the device through its registers, lays requests out in RAM, and believes nothing.
 * Every answer of the device is held against the rules of virtio; a breach is a finding of class `protocol`.
 *
 * What may fail: requests, by their status. What never may: a request that the guest knows to be done while the device
 * still holds its memory; a check that uses the device's own code.
 */
import { type Co, type Coroutine, type Kernel, type Label, makeLabel, WaitQueue, type WaitReason } from '../../impl/co'
import { type DevicePlan, type GuestOperation, SECTOR_BYTES } from '../plan'
import type { Finding } from '../verdict'
import { GuestHeap } from './heap'
import { type Negotiated, negotiate, programQueue, startDriver } from './negotiation'
import {
  DESC_BYTES,
  Desc,
  HEADER_BYTES,
  ID_BYTES,
  INTERRUPT_CONFIG,
  INTERRUPT_USED,
  RANGE_BYTES,
  Reg,
  Req,
  STATUS_OK,
  STATUS_UNSUPP,
  Stat,
} from './registers'
import { blockBytesOf, cutPieces, RequestMemory, type RequestShape } from './request_memory'
import { GuestRing } from './ring'

/** The device's window, by offset; values are unsigned integers of `sizeBytes`. */
export interface MmioPort {
  read(offset: number, sizeBytes: number): number
  write(offset: number, sizeBytes: number, value: number): void
}

/** All are called synchronously. `completed` and `aborted` may submit at once. */
export interface GuestHooks {
  /** The device may see the request from now on; it has not been notified yet. */
  submitted?(request: GuestRequest): void
  /** `request.status` is set, and `request.buffer` is filled if a read went well. */
  completed?(request: GuestRequest): void
  /** A reset of the device ended the request; a write may or may not have happened. */
  aborted?(request: GuestRequest): void
  /** The device broke a rule. It may be called several times for one breach. */
  found(finding: Finding): void
}

export interface GuestDriverOptions {
  kernel: Kernel
  /** The guest's memory, at least `guestRamBytes`; begins on a multiple of 4. What it holds at first does not matter. */
  ram: Uint8Array
  /** Guest-physical address of `ram[0]`. */
  baseAddress?: number
  port: MmioPort
  plan: DevicePlan
  hooks: GuestHooks
}

export type GuestOutcome = 'in-flight' | 'done' | 'aborted'

/** One request from its submission to its end. */
export class GuestRequest implements WaitReason {
  readonly operation: GuestOperation
  readonly label: Label
  /** write: what is written, not to be changed before the end. read and get-id: filled at the end. Otherwise null. */
  readonly buffer: Uint8Array | null
  outcome: GuestOutcome = 'in-flight'
  /** The status byte: 0 ok, 1 I/O error, 2 unsupported. Valid when done. */
  status = -1
  readonly ring: GuestRing
  head = -1
  readonly type: number
  readonly shape: RequestShape
  readonly block: number
  waiter: Coroutine | null = null

  constructor(operation: GuestOperation, buffer: Uint8Array | null, ring: GuestRing, shape: RequestShape, block: number) {
    this.operation = operation
    this.label = makeLabel(operation.id)
    this.buffer = buffer
    this.ring = ring
    this.type = typeOf(operation)
    this.shape = shape
    this.block = block
  }

  get sector(): number {
    return this.type === Req.In || this.type === Req.Out ? this.operation.offsetBytes / SECTOR_BYTES : 0
  }
  get isDataWritable(): boolean {
    return this.type === Req.In || this.type === Req.GetId
  }
  describe(): string {
    return `waits for the device to answer ${this.operation.id} (${this.operation.kind})`
  }
}

const ROOM: WaitReason = { describe: () => 'waits for room in the ring and in guest memory' }
const OUTSIDE: Label = makeLabel('guest')
const RANGE_UNMAP = 1
const RINGS_ALIGNMENT_BYTES = 16

/** Least RAM for a device and requests of up to `largestBytes`: the rings, and `depth` such requests side by side. */
export function guestRamBytes(plan: DevicePlan, largestBytes: number, depth: number): number {
  const tableBytes = (plan.segmentsMax + 2) * DESC_BYTES
  const shape = { tableBytes, dataBytes: largestBytes, ...cutPieces(largestBytes, plan.segmentsMax) }
  const ringBytes = DESC_BYTES * plan.queueSize + 2 * plan.queueSize + 8 * plan.queueSize + 4 * RINGS_ALIGNMENT_BYTES
  return plan.queueCount * ringBytes + depth * blockBytesOf(shape)
}

export class GuestDriver {
  private readonly kernel: Kernel
  private readonly port: MmioPort
  private readonly plan: DevicePlan
  private readonly hooks: GuestHooks
  private readonly rings: GuestRing[] = []
  private readonly heap: GuestHeap
  private readonly memory: RequestMemory
  private readonly room: WaitQueue
  /** Of each ring, by head. */
  private readonly inFlight: Array<Array<GuestRequest | null>> = []
  private readonly wasUsed: Uint8Array[] = []
  /** Blocks of aborted requests, filled with the sentinel: nobody may write there any more. */
  private quarantine: Array<{ block: number; lengthBytes: number; operationId: string }> = []
  private negotiated: Negotiated | null = null
  inFlightCount = 0

  constructor(options: GuestDriverOptions) {
    const { plan, ram } = options
    this.kernel = options.kernel
    this.port = options.port
    this.plan = plan
    this.hooks = options.hooks
    this.memory = new RequestMemory(ram)
    this.room = new WaitQueue(options.kernel)
    let offset = 0
    for (let index = 0; index < plan.queueCount; index++) {
      const ring = new GuestRing(this.memory.view, options.baseAddress ?? 0, offset, index, plan.queueSize, plan.eventIndex)
      this.rings.push(ring)
      this.inFlight.push(new Array<GuestRequest | null>(plan.queueSize).fill(null))
      this.wasUsed.push(new Uint8Array(plan.queueSize))
      offset = ring.endOffset
    }
    this.heap = new GuestHeap(offset, ram.length & -RINGS_ALIGNMENT_BYTES)
  }

  /** Bytes of the disk as the device tells it; 0 before `initialise`. */
  get capacityBytes(): number {
    return this.negotiated?.capacityBytes ?? 0
  }
  get isReady(): boolean {
    return this.negotiated !== null
  }

  /** Resets the device and brings it up in the order that the specification asks for (3.1.1). False: it refused. */
  initialise(): boolean {
    const { port, plan } = this
    this.negotiated = null
    const negotiated = negotiate(port, plan, (key, text) => this.find(key, text, null))
    if (negotiated === null) return false
    for (const ring of this.rings) {
      ring.clear()
      this.wasUsed[ring.index]!.fill(0)
      if (!programQueue(port, ring)) {
        this.find('queue-refused', 'the device did not take a queue of the size and at the addresses given', null)
        return false
      }
    }
    startDriver(port)
    this.negotiated = negotiated
    this.room.wakeAll()
    return true
  }

  /** For whom the device works on the request at this head. */
  labelOf(queueIndex: number, headIndex: number): Label {
    return this.inFlight[queueIndex]?.[headIndex]?.label ?? OUTSIDE
  }

  /** Waits for room and submits. `buffer` as in `GuestRequest`, of exactly the operation's length (20 for get-id). */
  *submit(operation: GuestOperation, buffer: Uint8Array | null): Co<GuestRequest> {
    while (true) {
      const request = this.trySubmit(operation, buffer)
      if (request !== null) return request
      yield* this.room.wait(ROOM)
    }
  }

  /** Waits until the request is done or aborted. One waiter a request. */
  *wait(request: GuestRequest): Co<void> {
    while (request.outcome === 'in-flight') {
      request.waiter = this.kernel.willPark(request)
      yield
    }
  }

  /** Submits at once, or returns null while there is no room or the device is not ready. */
  trySubmit(operation: GuestOperation, buffer: Uint8Array | null): GuestRequest | null {
    if (this.negotiated === null) return null
    const ring = this.rings[operation.lane % this.rings.length]!
    const shape = this.shapeOf(operation, buffer, this.negotiated)
    if (!ring.hasRoom(this.plan.indirect ? 1 : shape.segmentCount + 2)) return null
    const lengthBytes = blockBytesOf(shape)
    const block = this.takeBlock(lengthBytes)
    if (block < 0) return null
    const request = new GuestRequest(operation, buffer, ring, shape, block)
    this.lay(request)
    this.inFlight[ring.index]![request.head] = request
    this.inFlightCount++
    const isKickWanted = ring.publish(request.head)
    this.hooks.submitted?.(request)
    if (isKickWanted) this.port.write(Reg.QueueNotify, 4, ring.index)
    return request
  }

  private shapeOf(operation: GuestOperation, buffer: Uint8Array | null, negotiated: Negotiated): RequestShape {
    const { kind, offsetBytes, lengthBytes } = operation
    if (offsetBytes % this.plan.blockBytes !== 0 || lengthBytes % this.plan.blockBytes !== 0)
      throw new Error(`guest: ${operation.id} is not made of whole blocks`)
    const isRange = kind === 'discard' || kind === 'write-zeroes'
    if (isRange && lengthBytes > (kind === 'discard' ? negotiated.discardMaxBytes : negotiated.writeZeroesMaxBytes))
      throw new Error(`guest: ${operation.id} is longer than the device takes`)
    const dataBytes = kind === 'flush' ? 0 : kind === 'get-id' ? ID_BYTES : isRange ? RANGE_BYTES : lengthBytes
    if ((buffer?.length ?? 0) !== (isRange ? 0 : dataBytes))
      throw new Error(`guest: the buffer of ${operation.id} does not fit it`)
    const { segmentCount, pieceBytes } = cutPieces(dataBytes, Math.min(this.plan.segmentsMax, negotiated.segmentsMax))
    return { tableBytes: this.plan.indirect ? (segmentCount + 2) * DESC_BYTES : 0, dataBytes, segmentCount, pieceBytes }
  }

  private takeBlock(lengthBytes: number): number {
    if (lengthBytes > this.heap.capacityBytes) throw new Error(`guest: a request of ${lengthBytes} bytes never fits in memory`)
    const block = this.heap.take(lengthBytes)
    if (block >= 0 || this.quarantine.length === 0) return block
    this.endQuarantine()
    return this.heap.take(lengthBytes)
  }

  /** Puts the request into memory and its descriptors into the table. */
  private lay(request: GuestRequest): void {
    const { memory } = this
    const { block, shape, ring, buffer, operation } = request
    memory.writeHeader(block, shape, request.type, request.sector)
    memory.poison(block, shape, request.isDataWritable)
    if (request.type === Req.Out) memory.putData(block, shape, buffer!)
    else if (request.type === Req.Discard || request.type === Req.WriteZeroes) {
      const at = memory.segmentOffset(block, shape, 0)
      const sector = operation.offsetBytes / SECTOR_BYTES
      memory.view.setUint32(at, sector % 2 ** 32, true)
      memory.view.setUint32(at + 4, Math.floor(sector / 2 ** 32), true)
      memory.view.setUint32(at + 8, operation.lengthBytes / SECTOR_BYTES, true)
      memory.view.setUint32(at + 12, request.type === Req.WriteZeroes && operation.unmap === true ? RANGE_UNMAP : 0, true)
    }
    request.head = this.plan.indirect ? this.describeIndirect(request) : this.describeDirect(request)
    if (this.plan.indirect) ring.describe(ring.tableOffset, request.head, block, shape.tableBytes, Desc.Indirect, -1)
  }

  private describeDirect(request: GuestRequest): number {
    const { ring, shape } = request
    const head = ring.take(-1)
    let descriptor = head
    for (let part = 0; part < shape.segmentCount + 2; part++) {
      const next = part < shape.segmentCount + 1 ? ring.take(descriptor) : -1
      this.describePart(request, ring.tableOffset, descriptor, part, next)
      descriptor = next
    }
    return head
  }

  private describeIndirect(request: GuestRequest): number {
    const partCount = request.shape.segmentCount + 2
    for (let part = 0; part < partCount; part++) {
      this.describePart(request, request.block, part, part, part < partCount - 1 ? part + 1 : -1)
    }
    return request.ring.take(-1)
  }

  /** Part 0 is the header, the last one the status byte, the others are data. */
  private describePart(request: GuestRequest, tableOffset: number, descriptor: number, part: number, next: number): void {
    const { memory } = this
    const { block, shape, ring } = request
    if (part === 0) ring.describe(tableOffset, descriptor, memory.headerOffset(block, shape), HEADER_BYTES, 0, next)
    else if (part > shape.segmentCount) {
      ring.describe(tableOffset, descriptor, memory.statusOffset(block, shape), 1, Desc.Write, next)
    } else {
      const offset = memory.segmentOffset(block, shape, part - 1)
      const flags = request.isDataWritable ? Desc.Write : 0
      ring.describe(tableOffset, descriptor, offset, memory.segmentBytes(shape, part - 1), flags, next)
    }
  }

  /** The interrupt handler. Acknowledges first, so that what comes meanwhile raises the line again. */
  interrupt(): void {
    const causes = this.port.read(Reg.InterruptStatus, 4)
    if (causes === 0) return
    this.port.write(Reg.InterruptAck, 4, causes)
    if ((causes & INTERRUPT_CONFIG) !== 0 && (this.port.read(Reg.Status, 4) & Stat.NeedsReset) !== 0)
      this.find('needs-reset', 'the device took offence at a driver that keeps to the rules', null)
    if ((causes & INTERRUPT_USED) === 0 || this.negotiated === null) return
    for (const ring of this.rings) this.harvest(ring)
  }

  private harvest(ring: GuestRing): void {
    let unseen = ring.unseen()
    while (unseen > 0) {
      if (unseen > ring.size) {
        this.find('used-index', `the used index is ${unseen} ahead in a ring of ${ring.size}`, null)
        return
      }
      const head = ring.usedId()
      const usedBytes = ring.usedBytes()
      ring.advanceUsed()
      const request = this.inFlight[ring.index]![head] ?? null
      if (request === null) {
        const isTwice = this.wasUsed[ring.index]![head] === 1
        if (isTwice) this.find('completed-twice', `the device returned descriptor ${head} a second time`, null)
        else this.find('used-unknown', `the device returned descriptor ${head}, which was never submitted`, null)
      } else this.complete(request, usedBytes)
      unseen = ring.unseen()
      // Hooks may have submitted, or reset the device, meanwhile; the wish for an interrupt has to follow the last look.
      if (unseen === 0) {
        ring.wantInterrupt()
        unseen = ring.unseen()
      }
    }
  }

  private complete(request: GuestRequest, usedBytes: number): void {
    const { memory } = this
    const { block, shape, ring, head, buffer } = request
    request.status = memory.ram[memory.statusOffset(block, shape)]!
    this.check(request, usedBytes)
    if (request.status === STATUS_OK && request.isDataWritable) memory.getData(block, shape, buffer!)
    this.inFlight[ring.index]![head] = null
    this.wasUsed[ring.index]![head] = 1
    this.inFlightCount--
    ring.release(head)
    this.heap.free(block, blockBytesOf(shape))
    this.end(request, 'done')
    this.hooks.completed?.(request)
    this.room.wakeAll()
  }

  private end(request: GuestRequest, outcome: 'done' | 'aborted'): void {
    request.outcome = outcome
    if (request.waiter !== null) this.kernel.wake(request.waiter)
    request.waiter = null
  }

  /** Whether the device wrote what it had to and nothing else. */
  private check(request: GuestRequest, usedBytes: number): void {
    const { memory } = this
    const { block, shape, status, type } = request
    const writableBytes = request.isDataWritable ? shape.dataBytes + 1 : 1
    if (status > STATUS_UNSUPP) this.find('no-status', `the status byte holds ${status}`, request)
    else if (status === STATUS_UNSUPP) this.find('unsupported', 'the device does not support what it offered', request)
    if (usedBytes > writableBytes || (status === STATUS_OK && usedBytes !== writableBytes))
      this.find('used-length', `the device says that it wrote ${usedBytes} bytes of ${writableBytes}`, request)
    const broken = memory.firstBrokenGuard(block, shape)
    if (broken >= 0) this.find('wrote-beyond', 'the device wrote outside the buffers of the request', request)
    if (!memory.isHeaderIntact(block, shape, type, request.sector))
      this.find('wrote-header', 'the device wrote into the header, which is only to be read', request)
    if (type === Req.Out && !memory.isData(block, shape, request.buffer!))
      this.find('wrote-data', 'the device wrote into data that is only to be read', request)
  }

  /**
   * To be called after every event, unless an interrupt is on its way that the device has been relieved of: the driver
   * asks for an interrupt at each used element, so none may lie there without one.
   */
  checkInterrupt(): void {
    if (this.negotiated === null) return
    for (const ring of this.rings) {
      if (ring.unseen() > 0 && (this.port.read(Reg.InterruptStatus, 4) & INTERRUPT_USED) === 0)
        this.find('interrupt-missing', `queue ${ring.index} has used elements and no interrupt`, null)
    }
  }

  /** Resets the device, aborts everything in flight, and brings the device up again. */
  reset(): boolean {
    this.port.write(Reg.Status, 4, 0)
    if (this.port.read(Reg.Status, 4) !== 0) this.find('reset-status', 'the status is not 0 after a reset', null)
    this.endQuarantine()
    const aborted: GuestRequest[] = []
    for (const requests of this.inFlight) {
      for (const request of requests) if (request !== null) aborted.push(request)
      requests.fill(null)
    }
    for (const { block, shape, operation } of aborted) {
      const lengthBytes = blockBytesOf(shape)
      this.memory.fillBlock(block, lengthBytes)
      this.quarantine.push({ block, lengthBytes, operationId: operation.id })
    }
    this.inFlightCount = 0
    const isUp = this.initialise()
    for (const request of aborted) {
      this.end(request, 'aborted')
      this.hooks.aborted?.(request)
    }
    return isUp
  }

  /** Looks once more at the memory of aborted requests and frees it. To be called at the end of a world. */
  endQuarantine(): void {
    const ended = this.quarantine
    this.quarantine = []
    for (const { block, lengthBytes, operationId } of ended) {
      if (!this.memory.isFilled(block, lengthBytes)) {
        this.hooks.found({
          class: 'protocol',
          key: 'guest-driver/touched-after-reset',
          text: 'the device wrote into the memory of a request after it had been reset',
          operationId,
        })
      }
      this.heap.free(block, lengthBytes)
    }
  }

  private find(key: string, text: string, request: GuestRequest | null): void {
    const finding: Finding = { class: 'protocol', key: `guest-driver/${key}`, text }
    if (request !== null) finding.operationId = request.operation.id
    this.hooks.found(finding)
  }
}

function typeOf(operation: GuestOperation): number {
  switch (operation.kind) {
    case 'read':
      return Req.In
    case 'write':
      return Req.Out
    case 'flush':
      return Req.Flush
    case 'get-id':
      return Req.GetId
    case 'discard':
      return Req.Discard
    case 'write-zeroes':
      return Req.WriteZeroes
  }
}
