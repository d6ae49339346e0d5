/**
 * The guest's RAM as a device sees it: one flat array at a guest-physical base address. Everything that comes from a ring
 * is an address chosen by the guest, so it goes through `offsetOf` first; the accessors below it take offsets.
 *
 * What may fail: any address or length of the guest, told by -1. What never may: an access outside `bytes`.
 */
import { assert } from '../co'

const HIGH_WORD = 0x1_0000_0000

export class GuestMemory {
  readonly bytes: Uint8Array
  /** Guest-physical address of `bytes[0]`. */
  readonly baseAddress: number
  private readonly view: DataView

  constructor(bytes: Uint8Array, baseAddress = 0) {
    assert(Number.isSafeInteger(baseAddress) && baseAddress >= 0, 'memory-base', () => String(baseAddress))
    assert(Number.isSafeInteger(baseAddress + bytes.length), 'memory-end')
    this.bytes = bytes
    this.baseAddress = baseAddress
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** The offset in `bytes` of a range of guest-physical memory, or -1 unless all of it is RAM. */
  offsetOf(address: number, lengthBytes: number): number {
    const offset = address - this.baseAddress
    return offset >= 0 && lengthBytes >= 0 && offset + lengthBytes <= this.bytes.length ? offset : -1
  }

  readU16(offset: number): number {
    return this.view.getUint16(offset, true)
  }
  readU32(offset: number): number {
    return this.view.getUint32(offset, true)
  }
  /** Rounded above 2^53, where no RAM and no disk can be: good for comparing, never for computing on. */
  readU64(offset: number): number {
    return this.view.getUint32(offset, true) + this.view.getUint32(offset + 4, true) * HIGH_WORD
  }
  writeU16(offset: number, value: number): void {
    this.view.setUint16(offset, value, true)
  }
  writeU32(offset: number, value: number): void {
    this.view.setUint32(offset, value, true)
  }
}
