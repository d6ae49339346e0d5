/**
 * Which chunks of the target are known to read zero, in the chain that the target will have when the job is over. A set
 * bit saves a zero write; it must never be wrong, because then old data would stay.
 *
 * Bits are cleared outwards and set inwards: before a write of data every chunk it touches, after a successful zero write
 * only the chunks it covers wholly. The short chunk at the end of the disk is covered by what reaches the end.
 */
import { DirtyBitmap } from '../../block/dirty_bitmap'
import { assert } from '../../co'

export class ZeroBitmap {
  private readonly bits: DirtyBitmap
  private readonly granularityBytes: number
  private readonly endBytes: number

  constructor(lengthBytes: number, granularityBytes: number) {
    this.bits = new DirtyBitmap(lengthBytes, granularityBytes)
    this.granularityBytes = granularityBytes
    this.endBytes = lengthBytes
    assert(this.bits.count === 0, 'zero-bitmap-starts-empty')
  }

  get words(): Uint32Array {
    return this.bits.words
  }

  /** The whole target is known to read zero. */
  setAll(): void {
    this.bits.setAll()
  }

  /** Data is about to be written to a range. Not empty. */
  clearTouched(offsetBytes: number, lengthBytes: number): void {
    const startBytes = offsetBytes - (offsetBytes % this.granularityBytes)
    const over = (offsetBytes + lengthBytes) % this.granularityBytes
    const roundedBytes = offsetBytes + lengthBytes + (over === 0 ? 0 : this.granularityBytes - over)
    this.bits.reset(startBytes, Math.min(roundedBytes, this.endBytes) - startBytes)
  }

  /** A range has been zeroed. Nothing happens if it covers no chunk. */
  setCovered(offsetBytes: number, lengthBytes: number): void {
    const endBytes = offsetBytes + lengthBytes
    assert(lengthBytes > 0 && endBytes <= this.endBytes, 'zeroed-range', () => `${offsetBytes}+${lengthBytes}`)
    const head = offsetBytes % this.granularityBytes
    const startBytes = head === 0 ? offsetBytes : offsetBytes + this.granularityBytes - head
    const stopBytes = endBytes === this.endBytes ? endBytes : endBytes - (endBytes % this.granularityBytes)
    if (startBytes < stopBytes) this.bits.set(startBytes, stopBytes - startBytes)
  }

  /** The first offset in [offset, end) that is not known to read zero, or `endBytes`. */
  nextUnknown(offsetBytes: number, endBytes: number): number {
    assert(offsetBytes < endBytes, 'zero-search')
    const chunkBytes = this.bits.nextClean(offsetBytes)
    return chunkBytes < 0 ? endBytes : Math.min(Math.max(chunkBytes, offsetBytes), endBytes)
  }

  /** The first offset in [offset, end) that is known to read zero, or `endBytes`. */
  nextKnown(offsetBytes: number, endBytes: number): number {
    assert(offsetBytes < endBytes, 'zero-search')
    const chunkBytes = this.bits.nextDirty(offsetBytes)
    return chunkBytes < 0 ? endBytes : Math.min(Math.max(chunkBytes, offsetBytes), endBytes)
  }
}
