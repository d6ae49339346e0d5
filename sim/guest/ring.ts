/**
 * A split virtqueue from the driver's side: descriptors, the available ring, the used ring. What the device writes is
 * checked by the driver; this file only knows where things lie.
 */
import { DESC_BYTES, Desc, NO_NOTIFY } from './registers'

const RING_ALIGNMENT_BYTES = 16

export class GuestRing {
  readonly index: number
  readonly size: number
  /** Offsets in RAM. */
  readonly tableOffset: number
  readonly availOffset: number
  readonly usedOffset: number
  readonly endOffset: number
  private readonly view: DataView
  private readonly baseAddress: number
  private readonly usesEventIndex: boolean
  /** Descriptors not in a chain, as a stack; and the chains of the others, by what follows each. */
  private readonly free: Uint16Array
  private freeCount = 0
  private readonly following: Uint16Array
  /** Free-running, modulo 2^16. */
  availIndex = 0
  usedSeen = 0

  constructor(view: DataView, baseAddress: number, startOffset: number, index: number, size: number, usesEventIndex: boolean) {
    this.view = view
    this.baseAddress = baseAddress
    this.index = index
    this.size = size
    this.usesEventIndex = usesEventIndex
    this.tableOffset = startOffset
    this.availOffset = this.tableOffset + size * DESC_BYTES
    this.usedOffset = roundUp(this.availOffset + 4 + 2 * size + 2)
    this.endOffset = roundUp(this.usedOffset + 4 + 8 * size + 2)
    this.free = new Uint16Array(size)
    this.following = new Uint16Array(size)
    this.clear()
  }

  /** As after a reset: all descriptors free, both rings empty. */
  clear(): void {
    new Uint8Array(this.view.buffer, this.view.byteOffset).fill(0, this.tableOffset, this.endOffset)
    this.freeCount = this.size
    for (let index = 0; index < this.size; index++) this.free[index] = this.size - 1 - index
    this.availIndex = this.usedSeen = 0
  }

  /** Guest-physical. */
  addressOf(offset: number): number {
    return this.baseAddress + offset
  }

  hasRoom(descriptors: number): boolean {
    return descriptors <= this.freeCount
  }
  /** Takes a descriptor and links it behind `previous`, which is -1 for a head. */
  take(previous: number): number {
    const descriptor = this.free[--this.freeCount]!
    this.following[descriptor] = descriptor
    if (previous >= 0) this.following[previous] = descriptor
    return descriptor
  }
  /** Frees a whole chain. */
  release(head: number): void {
    for (let descriptor = head; ; ) {
      const next = this.following[descriptor]!
      this.free[this.freeCount++] = descriptor
      if (next === descriptor) return
      descriptor = next
    }
  }

  /** Writes one descriptor of the table at `tableOffset`, which may be an indirect one. */
  describe(tableOffset: number, descriptor: number, offset: number, lengthBytes: number, flags: number, next: number): void {
    const at = tableOffset + descriptor * DESC_BYTES
    const address = this.addressOf(offset)
    this.view.setUint32(at, address % 2 ** 32, true)
    this.view.setUint32(at + 4, Math.floor(address / 2 ** 32), true)
    this.view.setUint32(at + 8, lengthBytes, true)
    this.view.setUint16(at + 12, next >= 0 ? flags | Desc.Next : flags, true)
    this.view.setUint16(at + 14, next >= 0 ? next : 0, true)
  }

  /** Makes a chain available. Returns whether the device wants to be told. */
  publish(head: number): boolean {
    const { view } = this
    view.setUint16(this.availOffset + 4 + 2 * (this.availIndex % this.size), head, true)
    const before = this.availIndex
    this.availIndex = (before + 1) & 0xffff
    view.setUint16(this.availOffset + 2, this.availIndex, true)
    if (!this.usesEventIndex) return (view.getUint16(this.usedOffset, true) & NO_NOTIFY) === 0
    const wanted = view.getUint16(this.usedOffset + 4 + 8 * this.size, true)
    return ((this.availIndex - wanted - 1) & 0xffff) < ((this.availIndex - before) & 0xffff)
  }

  /** How many elements of the used ring have not been looked at. */
  unseen(): number {
    return (this.view.getUint16(this.usedOffset + 2, true) - this.usedSeen) & 0xffff
  }
  private usedAt(): number {
    return this.usedOffset + 4 + 8 * (this.usedSeen % this.size)
  }
  usedId(): number {
    return this.view.getUint32(this.usedAt(), true)
  }
  usedBytes(): number {
    return this.view.getUint32(this.usedAt() + 4, true)
  }
  advanceUsed(): void {
    this.usedSeen = (this.usedSeen + 1) & 0xffff
  }
  /** Asks for an interrupt at the next used element. */
  wantInterrupt(): void {
    if (this.usesEventIndex) this.view.setUint16(this.availOffset + 4 + 2 * this.size, this.usedSeen, true)
  }
}

function roundUp(offset: number): number {
  return Math.ceil(offset / RING_ALIGNMENT_BYTES) * RING_ALIGNMENT_BYTES
}
