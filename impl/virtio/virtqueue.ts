/**
 * A split virtqueue from the device's side (VIRTIO 1.2, 2.7): takes chains off the available ring, puts them on the used
 * ring, and keeps both sides' wishes about notifications. The rings lie in guest memory and are checked when the queue is
 * made ready; their content is checked each time it is read.
 *
 * What may fail: what the guest wrote. `pop` then answers `Popped.Malformed`, with `fault` in words.
 * What never may: a head used twice, or used after the driver has taken the queue away.
 */
import { assert } from '../co'
import { DESCRIPTOR_BYTES, type DescriptorChain } from './descriptor_chain'
import type { GuestMemory } from './guest_memory'

export const QUEUE_SIZE_MAX = 1024

/** What `pop` answers if not the index of a head. */
export const enum Popped {
  Empty = -1,
  Malformed = -2,
}

const AVAILABLE_NO_INTERRUPT = 1
const USED_NO_NOTIFY = 1
/** Of both rings: flags and index. */
const RING_HEADER_BYTES = 4
const EVENT_BYTES = 2
const USED_ELEMENT_BYTES = 8

export class Virtqueue {
  readonly index: number
  readonly sizeMax: number
  /** Segments that the device offers to take; a chain has no more, or as many as the ring. */
  private readonly segmentsMax: number
  private readonly memory: GuestMemory
  /** Set by the driver before the queue is made ready: the size and three guest-physical addresses. */
  size: number
  descriptorAddress = 0
  driverAddress = 0
  deviceAddress = 0
  isReady = false
  /** Raised when the driver takes the queue away: whoever popped before must not touch guest memory afterwards. */
  epoch = 0
  /** Heads that were popped in this epoch and are not used yet. */
  inFlight = 0
  /** What was wrong, after Popped.Malformed. */
  fault = ''
  private readonly isTaken: Uint8Array
  private mayIndirect = false
  private hasEventIndex = false
  private tableOffset = 0
  private availableOffset = 0
  private usedOffset = 0
  /** Free-running indices modulo 2^16. */
  private availableNext = 0
  private usedNext = 0
  private signalledNext = 0

  constructor(memory: GuestMemory, index: number, sizeMax: number, segmentsMax: number) {
    assert(sizeMax > 0 && sizeMax <= QUEUE_SIZE_MAX && (sizeMax & (sizeMax - 1)) === 0, 'queue-size', () => String(sizeMax))
    this.memory = memory
    this.index = index
    this.sizeMax = sizeMax
    this.segmentsMax = segmentsMax
    this.size = sizeMax
    this.isTaken = new Uint8Array(sizeMax)
  }

  /** A power of two up to `sizeMax`; anything else is ignored, and so is a change while the queue is in use. */
  setSize(size: number): void {
    if (!this.isReady && size > 0 && size <= this.sizeMax && (size & (size - 1)) === 0) this.size = size
  }

  /** Takes the rings into use. Returns what is wrong with where they lie, or null. */
  enable(mayIndirect: boolean, hasEventIndex: boolean): string | null {
    assert(!this.isReady && this.inFlight === 0, 'enable-idle')
    const { memory, size } = this
    if (this.descriptorAddress % 16 !== 0) return 'the descriptor table is not aligned to 16'
    if (this.driverAddress % 2 !== 0) return 'the driver area is not aligned to 2'
    if (this.deviceAddress % 4 !== 0) return 'the device area is not aligned to 4'
    this.tableOffset = memory.offsetOf(this.descriptorAddress, size * DESCRIPTOR_BYTES)
    this.availableOffset = memory.offsetOf(this.driverAddress, RING_HEADER_BYTES + 2 * size + EVENT_BYTES)
    this.usedOffset = memory.offsetOf(this.deviceAddress, RING_HEADER_BYTES + USED_ELEMENT_BYTES * size + EVENT_BYTES)
    if (this.tableOffset < 0 || this.availableOffset < 0 || this.usedOffset < 0) return 'a ring lies outside memory'
    this.mayIndirect = mayIndirect
    this.hasEventIndex = hasEventIndex
    this.availableNext = this.usedNext = this.signalledNext = 0
    this.isReady = true
    return null
  }

  /** The driver takes the rings back. Returns how many requests now end into nothing. */
  disable(): number {
    const abandoned = this.inFlight
    this.inFlight = 0
    this.isReady = false
    this.epoch++
    this.isTaken.fill(0)
    assert(abandoned <= this.size, 'abandoned-in-queue')
    return abandoned
  }

  /** As after power-on. */
  reset(): number {
    const abandoned = this.disable()
    this.size = this.sizeMax
    this.descriptorAddress = this.driverAddress = this.deviceAddress = 0
    assert(!this.isReady && this.inFlight === 0, 'reset-queue')
    return abandoned
  }

  /**
   * Reads the next available chain into `chain` and returns its head, or one of `Popped`. A chain with fewer readable or
   * writable bytes than any request of the device has is malformed.
   */
  pop(chain: DescriptorChain, readableMinBytes: number, writableMinBytes: number): number {
    assert(this.isReady, 'pop-ready')
    const { memory, size } = this
    const available = (memory.readU16(this.availableOffset + 2) - this.availableNext) & 0xffff
    if (available === 0) return Popped.Empty
    if (available > size) return this.malformed(`${available} chains are available in a ring of ${size}`)
    const head = memory.readU16(this.availableOffset + RING_HEADER_BYTES + 2 * (this.availableNext & (size - 1)))
    if (head >= size) return this.malformed(`head ${head} is outside a table of ${size}`)
    if (this.isTaken[head] !== 0) return this.malformed(`head ${head} is available a second time`)
    const fault = chain.read(memory, this.tableOffset, size, head, this.mayIndirect, Math.max(size, this.segmentsMax))
    if (fault !== null) return this.malformed(fault)
    const { readableBytes, writableBytes } = chain
    if (readableBytes < readableMinBytes || writableBytes < writableMinBytes)
      return this.malformed(`a request of ${readableBytes} readable and ${writableBytes} writable bytes`)
    this.availableNext = (this.availableNext + 1) & 0xffff
    this.isTaken[head] = 1
    this.inFlight++
    assert(this.inFlight <= size, 'in-flight-in-queue')
    return head
  }

  private malformed(fault: string): Popped {
    assert(fault !== '', 'fault-in-words')
    this.fault = fault
    return Popped.Malformed
  }

  /** Returns a chain to the driver. `writtenBytes` have been written from the start of its writable part. */
  push(head: number, writtenBytes: number): void {
    assert(this.isReady && this.isTaken[head] === 1, 'push-taken', () => `head ${head} of queue ${this.index}`)
    const { memory } = this
    const offset = this.usedOffset + RING_HEADER_BYTES + USED_ELEMENT_BYTES * (this.usedNext & (this.size - 1))
    memory.writeU32(offset, head)
    memory.writeU32(offset + 4, writtenBytes)
    this.usedNext = (this.usedNext + 1) & 0xffff
    memory.writeU16(this.usedOffset + 2, this.usedNext)
    this.isTaken[head] = 0
    this.inFlight--
    assert(this.inFlight >= 0, 'in-flight-in-queue')
  }

  /** Whether the driver wants to hear of what was pushed since the last call (2.7.7.2, 2.7.10). */
  takeInterruptWish(): boolean {
    const pushed = (this.usedNext - this.signalledNext) & 0xffff
    this.signalledNext = this.usedNext
    if (!this.hasEventIndex) return (this.memory.readU16(this.availableOffset) & AVAILABLE_NO_INTERRUPT) === 0
    const wanted = this.memory.readU16(this.availableOffset + RING_HEADER_BYTES + 2 * this.size)
    return ((this.usedNext - wanted - 1) & 0xffff) < pushed
  }

  /** Tells the driver whether to notify. Refusing is a hint: notifications may still come. */
  askNotifications(isWanted: boolean): void {
    assert(this.isReady, 'notifications-ready')
    if (!this.hasEventIndex) this.memory.writeU16(this.usedOffset, isWanted ? 0 : USED_NO_NOTIFY)
    else if (isWanted)
      this.memory.writeU16(this.usedOffset + RING_HEADER_BYTES + USED_ELEMENT_BYTES * this.size, this.availableNext)
  }
}
