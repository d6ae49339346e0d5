/**
 * Buffers that copies use one after another. What is handed out holds whatever the last copy left there: whoever takes one
 * fills as much of it as it will show.
 */
import { assert } from '../../co'

/** More than this is not kept for the next one. */
const SPARE_MAX = 16
/** Sizes are powers of two from here on, so that one buffer serves requests of many lengths. */
const LEAST_BYTES = 4096
/** Longer ones are given back to the system: guests choose the lengths. */
const KEPT_MAX_BYTES = 256 * 1024

/** null: there is no memory. */
type Allocate = (offsetBytes: number, bytes: number) => Uint8Array | null

export class BufferStock {
  private readonly allocate: Allocate
  private readonly spare: Uint8Array[] = []

  constructor(allocate: Allocate) {
    this.allocate = allocate
  }

  /** At least `bytes` bytes for what lies at `offsetBytes`; null: there is no memory. */
  take(offsetBytes: number, bytes: number): Uint8Array | null {
    assert(bytes > 0, 'buffer-not-empty')
    const buffer = this.spare.pop()
    if (buffer !== undefined && buffer.length >= bytes) return buffer
    const fresh = this.allocate(offsetBytes, bytes > KEPT_MAX_BYTES ? bytes : roundUp(bytes))
    assert(fresh === null || fresh.length >= bytes, 'buffer-large-enough')
    return fresh
  }

  /** Nobody may use it any more. */
  giveBack(buffer: Uint8Array): void {
    assert(!this.spare.includes(buffer), 'buffer-given-back-once')
    if (buffer.length <= KEPT_MAX_BYTES && this.spare.length < SPARE_MAX) this.spare.push(buffer)
  }
}

function roundUp(bytes: number): number {
  return bytes <= LEAST_BYTES ? LEAST_BYTES : 2 ** (32 - Math.clz32(bytes - 1))
}
