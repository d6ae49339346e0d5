/**
 * A bitmap over byte ranges with one bit per `granularityBytes` (a power of two), hierarchical so that finding the next
 * set or clear bit of a huge, nearly empty or nearly full disk is fast. The last bit may cover a short chunk.
 *
 * `set` rounds outwards. `reset` takes aligned ranges only (the end may be the end of the disk): a reset that rounded
 * outwards would forget somebody's write (QEMU's hbitmap bugs of 2019, mirror.md 3.1 #42).
 */

export class DirtyBitmap {
  readonly granularityBytes: number
  readonly lengthBytes: number
  /** Number of bits: ceil(length / granularity). */
  readonly bitCount: number

  constructor(lengthBytes: number, granularityBytes: number) {
    this.lengthBytes = lengthBytes
    this.granularityBytes = granularityBytes
    this.bitCount = Math.ceil(lengthBytes / granularityBytes)
  }

  /** Number of set bits. */
  get count(): number {
    throw new Error('not built')
  }
  /** Whole chunks, even for a short tail, as query-named-block-nodes shows. */
  get countBytes(): number {
    return this.count * this.granularityBytes
  }
  get(_offsetBytes: number): boolean {
    throw new Error('not built')
  }
  /** Sets every chunk touched by [offset, offset + length). length > 0. */
  set(_offsetBytes: number, _lengthBytes: number): void {
    throw new Error('not built')
  }
  /** Clears whole chunks; both ends aligned, the end may be the end of the disk. length > 0. */
  reset(_offsetBytes: number, _lengthBytes: number): void {
    throw new Error('not built')
  }
  /** Offset of the first chunk at or after `offsetBytes` whose bit is set, or -1. */
  nextDirty(_offsetBytes: number): number {
    throw new Error('not built')
  }
  /** Offset of the first chunk at or after `offsetBytes` whose bit is clear, or -1. */
  nextClean(_offsetBytes: number): number {
    throw new Error('not built')
  }
  /** True if every chunk touched by the range is set. */
  isAllSet(_offsetBytes: number, _lengthBytes: number): boolean {
    throw new Error('not built')
  }
  /** The bottom level, bit i of word i >> 5; for inspection only. */
  get words(): Uint32Array {
    throw new Error('not built')
  }
}
