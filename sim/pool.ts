/**
 * Buffers that worlds take and give back, because fresh ones of this size cost more than the rest of a small world.
 *
 * What never may happen: bytes of one world that another one reads. So what is handed out reads zero, unless the taker
 * overwrites it before anybody looks.
 */

/** Buffers are whole powers of two from here on; smaller ones are not worth keeping. */
const LEAST_BITS = 12
/** Memory of one size that is kept while nobody uses it, and buffers of large sizes. */
const SPARE_BYTES = 512 * 1024
const SPARE_MIN = 8

const spare: Uint8Array[][] = []

function spareMax(bits: number): number {
  return Math.max(SPARE_MIN, SPARE_BYTES >> bits)
}

function bitsOf(lengthBytes: number): number {
  return Math.max(LEAST_BITS, 32 - Math.clz32(Math.max(0, lengthBytes - 1)))
}

/** Belongs to one world, which gives everything back at its end. */
export class BufferPool {
  private readonly taken: Uint8Array[] = []

  /** `lengthBytes` zero bytes that begin at a multiple of 8. Valid until `giveBack`. */
  take(lengthBytes: number): Uint8Array {
    return this.takeToOverwrite(lengthBytes).fill(0)
  }

  /** The same with any content. */
  takeToOverwrite(lengthBytes: number): Uint8Array {
    const bits = bitsOf(lengthBytes)
    const whole = spare[bits]?.pop() ?? new Uint8Array(2 ** bits)
    this.taken.push(whole)
    return whole.length === lengthBytes ? whole : whole.subarray(0, lengthBytes)
  }

  giveBack(): void {
    for (const whole of this.taken) {
      const bits = bitsOf(whole.length)
      spare[bits] ??= []
      if (spare[bits].length < spareMax(bits)) spare[bits].push(whole)
    }
    this.taken.length = 0
  }
}
