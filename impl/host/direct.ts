/**
 * O_DIRECT wants buffers that start at an aligned address, which memory of the engine does not do by itself. Transfers go
 * through a buffer that does, unless the caller's happens to.
 */
import type { Co } from '../co'
import { assert } from '../co'
import type { Native } from './native'
import type { Transfers } from './transfers'

const MEMORY_ALIGNMENT_BYTES = 4096
const BOUNCE_BYTES = 1024 * 1024
/** Bounce buffers that are kept for later. */
const SPARE_MAX = 16

export class DirectTransfers implements Transfers {
  private readonly spare: Uint8Array[] = []

  constructor(
    private readonly inner: Transfers,
    private readonly native: Native,
  ) {}

  *read(descriptor: number, buffer: Uint8Array, at: number, offsetBytes: number): Co<number> {
    if (this.isAligned(buffer, at)) return yield* this.inner.read(descriptor, buffer, at, offsetBytes)
    const bounce = this.take()
    const piece = bounce.subarray(0, Math.min(BOUNCE_BYTES, buffer.length - at))
    const count = yield* this.inner.read(descriptor, piece, 0, offsetBytes)
    if (count > 0) buffer.set(piece.subarray(0, count), at)
    this.giveBack(bounce)
    return count
  }

  *write(descriptor: number, buffer: Uint8Array, at: number, offsetBytes: number): Co<number> {
    if (this.isAligned(buffer, at)) return yield* this.inner.write(descriptor, buffer, at, offsetBytes)
    const bounce = this.take()
    const piece = bounce.subarray(0, Math.min(BOUNCE_BYTES, buffer.length - at))
    piece.set(buffer.subarray(at, at + piece.length))
    const count = yield* this.inner.write(descriptor, piece, 0, offsetBytes)
    this.giveBack(bounce)
    return count
  }

  sync(descriptor: number): Co<number> {
    return this.inner.sync(descriptor)
  }

  private isAligned(buffer: Uint8Array, at: number): boolean {
    return at % MEMORY_ALIGNMENT_BYTES === 0 && this.native.misalignment(buffer, MEMORY_ALIGNMENT_BYTES) === 0
  }

  private take(): Uint8Array {
    return this.spare.pop() ?? alignedBuffer(this.native, BOUNCE_BYTES)
  }
  private giveBack(bounce: Uint8Array): void {
    if (this.spare.length < SPARE_MAX) this.spare.push(bounce)
  }
}

/** Memory that direct I/O takes. It stays where it is: the engine does not move what is outside its heap. */
export function alignedBuffer(native: Native, bytes: number): Uint8Array {
  const memory = new Uint8Array(bytes + MEMORY_ALIGNMENT_BYTES)
  const misalignedBytes = native.misalignment(memory, MEMORY_ALIGNMENT_BYTES)
  const skipBytes = misalignedBytes === 0 ? 0 : MEMORY_ALIGNMENT_BYTES - misalignedBytes
  const aligned = memory.subarray(skipBytes, skipBytes + bytes)
  assert(native.misalignment(aligned, MEMORY_ALIGNMENT_BYTES) === 0, 'buffer-aligned')
  return aligned
}
