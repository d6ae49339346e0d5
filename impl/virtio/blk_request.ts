/**
 * One request of virtio-blk between the rings and the block layer. Data always passes through a buffer of the device: the
 * guest may change its memory while a request runs, and may reset the device; what the block layer holds stays as it was.
 *
 * What never may happen: guest memory touched after the driver has taken the queue away.
 */
import { assert } from '../co'
import { SECTOR_BYTES } from './blk_options'
import { DescriptorChain } from './descriptor_chain'
import type { GuestMemory } from './guest_memory'
import type { Virtqueue } from './virtqueue'

/** type, reserved, sector (5.2.6). */
export const HEADER_BYTES = 16
/** sector, count, flags of a discard or write-zeroes segment. */
export const RANGE_BYTES = 16

/** Larger buffers are not kept for the next request. */
const KEPT_MAX_BYTES = 1 << 20
const KEPT_MIN_BYTES = 4096

const NOTHING = new Uint8Array(0)

/** Below this, a view to copy from costs more than the copy. */
const VIEWED_MIN_BYTES = 48

function copyBytes(from: Uint8Array, fromOffset: number, to: Uint8Array, toOffset: number, lengthBytes: number): void {
  if (lengthBytes < VIEWED_MIN_BYTES) {
    for (let index = 0; index < lengthBytes; index++) to[toOffset + index] = from[fromOffset + index]!
  } else if (lengthBytes === from.length) to.set(from, toOffset)
  else to.set(from.subarray(fromOffset, fromOffset + lengthBytes), toOffset)
}

/** Four bytes, little-endian, as an unsigned integer. */
export function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

export class BlkRequest {
  readonly chain = new DescriptorChain()
  private readonly memory: GuestMemory
  private readonly allocate: (bytes: number) => Uint8Array
  private readonly header = new Uint8Array(HEADER_BYTES)
  private storage: Uint8Array = NOTHING
  private queue: Virtqueue | null = null
  private epoch = 0
  head = 0
  /** The data of the request: a part of `storage`. */
  data: Uint8Array = this.storage

  constructor(memory: GuestMemory, allocate: (bytes: number) => Uint8Array) {
    this.memory = memory
    this.allocate = allocate
  }

  /** The chain has just been popped as `head` of `queue`. */
  begin(queue: Virtqueue, head: number): void {
    assert(this.queue === null, 'request-free')
    this.queue = queue
    this.epoch = queue.epoch
    this.head = head
    this.gather(0, this.header)
  }

  /** Gives the queue back if it is still the one that the request came from; null otherwise. */
  end(): Virtqueue | null {
    assert(this.queue !== null, 'request-taken')
    const queue = this.isCurrent ? this.queue : null
    this.queue = null
    if (this.storage.length > KEPT_MAX_BYTES) this.data = this.storage = NOTHING
    return queue
  }

  /** False once the driver has taken the queue away. */
  get isCurrent(): boolean {
    return this.queue?.epoch === this.epoch
  }
  get type(): number {
    return wordAt(this.header, 0)
  }
  /** Where the request begins; so rough above 2^53 that it lies outside any disk. */
  get offsetBytes(): number {
    return (wordAt(this.header, 8) + wordAt(this.header, 12) * 2 ** 32) * SECTOR_BYTES
  }
  /** Bytes from the driver beyond the header. */
  get outBytes(): number {
    return this.chain.readableBytes - HEADER_BYTES
  }
  /** Bytes for the driver before the status byte. */
  get inBytes(): number {
    return this.chain.writableBytes - 1
  }

  /** Makes `data` so long; its content is undefined. */
  reserve(lengthBytes: number): Uint8Array {
    assert(lengthBytes >= 0, 'reserve-length')
    if (this.data.length === lengthBytes) return this.data
    if (this.storage.length < lengthBytes) {
      this.storage = this.allocate(Math.max(KEPT_MIN_BYTES, 2 ** (32 - Math.clz32(lengthBytes - 1))))
    }
    this.data = this.storage.length === lengthBytes ? this.storage : this.storage.subarray(0, lengthBytes)
    return this.data
  }

  /** Copies the driver's data, without the header, into `data`. */
  fetch(): Uint8Array {
    assert(this.isCurrent, 'fetch-current')
    const data = this.reserve(this.outBytes)
    this.gather(HEADER_BYTES, data)
    return data
  }

  /** Fills `target` with readable bytes from `skipBytes` on. */
  private gather(skipBytes: number, target: Uint8Array): void {
    const { chain } = this
    const { bytes } = this.memory
    let skip = skipBytes
    let filled = 0
    for (let index = 0; index < chain.readableCount && filled < target.length; index++) {
      const lengthBytes = chain.lengths[index]!
      if (skip >= lengthBytes) {
        skip -= lengthBytes
        continue
      }
      const take = Math.min(lengthBytes - skip, target.length - filled)
      const from = chain.offsets[index]! + skip
      copyBytes(bytes, from, target, filled, take)
      filled += take
      skip = 0
    }
    assert(filled === target.length, 'gathered-all')
  }

  /**
   * Writes the whole writable part: the first `dataBytes` of `data`, zeroes after them, and the status at its very end.
   * Zeroes, so that the used length is true and a failed read shows nothing that happens to lie in the buffer.
   */
  answer(dataBytes: number, status: number): void {
    assert(this.isCurrent, 'answer-current')
    assert(dataBytes <= this.inBytes && dataBytes <= this.data.length, 'answer-fits')
    const { chain, data } = this
    const { bytes } = this.memory
    let copied = 0
    for (let index = chain.readableCount; index < chain.segmentCount; index++) {
      const to = chain.offsets[index]!
      const lengthBytes = chain.lengths[index]!
      const take = Math.min(lengthBytes, dataBytes - copied)
      if (take > 0) copyBytes(data, copied, bytes, to, take)
      if (take < lengthBytes) bytes.fill(0, to + take, to + lengthBytes)
      copied += take
    }
    const last = chain.segmentCount - 1
    bytes[chain.offsets[last]! + chain.lengths[last]! - 1] = status
  }
}
