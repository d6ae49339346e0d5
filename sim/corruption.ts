/**
 * What silent faults have hit: bytes at which a disk may hold, or may have told, something else than what was written. The
 * stack carries such bytes from one disk to the other, and back into blocks around a write, always at the same offset: so
 * one map stands for both disks, and a byte that was hit once counts as hit for the rest of the world.
 *
 * What never may happen: a byte that is marked and was not hit. Checkers excuse the marked ones and nothing else.
 */
import { SECTOR_BYTES } from './plan'

/** Bytes that silent faults have hit, of both disks alike. */
export interface CorruptionView {
  readonly isAny: boolean
  /** Rises with each byte that is hit. */
  readonly hitBytes: number
  isHit(offsetBytes: number): boolean
  /** Any byte of the range. */
  touches(offsetBytes: number, endBytes: number): boolean
  /** The first byte from there on that was not hit, at most `endBytes`. */
  hitUntil(offsetBytes: number, endBytes: number): number
}

export class Corruption implements CorruptionView {
  hitBytes = 0
  private readonly hits: Uint8Array

  constructor(lengthBytes: number) {
    // Requests may reach to the end of a block that the disk ends in.
    this.hits = new Uint8Array(Math.ceil(lengthBytes / SECTOR_BYTES) * SECTOR_BYTES)
  }

  mark(offsetBytes: number, endBytes: number): void {
    const end = Math.min(endBytes, this.hits.length)
    for (let at = offsetBytes; at < end; at++) {
      if (this.hits[at] === 1) continue
      this.hits[at] = 1
      this.hitBytes++
    }
  }

  /** Marks where two contents of one range differ. */
  markDifferences(offsetBytes: number, left: Uint8Array, right: Uint8Array): void {
    for (let at = 0; at < left.length; at++) if (left[at] !== right[at]) this.mark(offsetBytes + at, offsetBytes + at + 1)
  }

  get isAny(): boolean {
    return this.hitBytes > 0
  }
  isHit(offsetBytes: number): boolean {
    return this.hits[offsetBytes] === 1
  }
  touches(offsetBytes: number, endBytes: number): boolean {
    if (this.hitBytes === 0) return false
    const at = this.hits.indexOf(1, offsetBytes)
    return at >= 0 && at < endBytes
  }
  hitUntil(offsetBytes: number, endBytes: number): number {
    let at = offsetBytes
    while (at < endBytes && this.hits[at] === 1) at++
    return at
  }
}
