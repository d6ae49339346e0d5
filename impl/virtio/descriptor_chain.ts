/**
 * One descriptor chain, flattened: the device-readable segments and after them the device-writable ones, as offsets in
 * guest memory (VIRTIO 1.2, 2.7.5). The table is the guest's and may hold anything.
 *
 * What may fail: every field. `read` answers in words, and the device then needs a reset. What never may: a segment
 * outside RAM, a walk without end, a guest that changes a descriptor after it was checked (each is read once).
 */
import { assert } from '../co'
import type { GuestMemory } from './guest_memory'

export const DESCRIPTOR_BYTES = 16

const enum DescriptorFlag {
  Next = 1,
  Write = 2,
  Indirect = 4,
}

export class DescriptorChain {
  /** Of each segment; valid below `segmentCount`. */
  readonly offsets: number[] = []
  readonly lengths: number[] = []
  segmentCount = 0
  /** Segments [0, readableCount) are for the device to read, the others to write. */
  readableCount = 0
  readableBytes = 0
  writableBytes = 0

  /**
   * Reads the chain that begins at `head` of the table at `tableOffset`. Returns what is wrong with it, or null. Any number
   * of plain descriptors may precede an indirect one, which ends the chain (2.7.5.3.2).
   */
  read(
    memory: GuestMemory,
    tableOffset: number,
    tableSize: number,
    head: number,
    mayIndirect: boolean,
    segmentsMax: number,
  ): string | null {
    assert(head < tableSize, 'chain-head-in-table')
    this.segmentCount = this.readableCount = this.readableBytes = this.writableBytes = 0
    let at = tableOffset
    let size = tableSize
    let index = head
    let isIndirect = false
    while (true) {
      if (index >= size) return `descriptor ${index} is outside a table of ${size}`
      const offset = at + index * DESCRIPTOR_BYTES
      const address = memory.readU64(offset)
      const lengthBytes = memory.readU32(offset + 8)
      const flags = memory.readU16(offset + 12)
      if ((flags & DescriptorFlag.Indirect) === 0) {
        const fault = this.add(memory, address, lengthBytes, (flags & DescriptorFlag.Write) !== 0, segmentsMax)
        if (fault !== null) return fault
        if ((flags & DescriptorFlag.Next) === 0) break
        index = memory.readU16(offset + 14)
        continue
      }
      if (!mayIndirect) return 'an indirect descriptor without VIRTIO_F_INDIRECT_DESC'
      if (isIndirect) return 'an indirect descriptor inside an indirect table'
      if ((flags & DescriptorFlag.Next) !== 0) return 'an indirect descriptor with a next one'
      if (lengthBytes === 0 || lengthBytes % DESCRIPTOR_BYTES !== 0) return `an indirect table of ${lengthBytes} bytes`
      at = memory.offsetOf(address, lengthBytes)
      if (at < 0) return 'an indirect table outside memory'
      size = lengthBytes / DESCRIPTOR_BYTES
      index = 0
      isIndirect = true
    }
    assert(this.segmentCount > 0 && this.segmentCount <= segmentsMax, 'chain-bounded')
    return null
  }

  /** More segments than `segmentsMax` are either too many or a loop; both end here. */
  private add(
    memory: GuestMemory,
    address: number,
    lengthBytes: number,
    isWritable: boolean,
    segmentsMax: number,
  ): string | null {
    if (lengthBytes === 0) return 'a descriptor of no bytes'
    if (this.segmentCount === segmentsMax) return `a chain of more than ${segmentsMax} descriptors`
    const offset = memory.offsetOf(address, lengthBytes)
    if (offset < 0) return 'a buffer outside memory'
    if (isWritable) this.writableBytes += lengthBytes
    else if (this.readableCount < this.segmentCount) return 'a readable descriptor after a writable one'
    else {
      this.readableBytes += lengthBytes
      this.readableCount++
    }
    this.offsets[this.segmentCount] = offset
    this.lengths[this.segmentCount] = lengthBytes
    this.segmentCount++
    return null
  }
}
