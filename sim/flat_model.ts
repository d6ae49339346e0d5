/**
 * What a disk must read, by sectors, as somebody knows who has written to it: the model of the smaller worlds. Changes that
 * overlap in time leave sectors of which nobody knows what they hold, and so do failures and discards.
 */
import { stampSectors, writerOf } from '../model/stamp'
import { type GuestOperation, SECTOR_BYTES } from './plan'

/** A change on its way. */
export interface FlatChange {
  readonly operation: GuestOperation
  readonly data: Uint8Array
}

export class FlatModel {
  readonly bytes: Uint8Array
  /** 0 for sectors of which one cannot know. */
  readonly isKnown: Uint8Array
  /** Changes that are on their way, a count for each sector. */
  private readonly changing: Uint8Array
  /** Several changes were on their way at once. */
  private readonly isMixed: Uint8Array
  /** Raised by each change. */
  private readonly version: Uint16Array

  /** `bytes`: what the disk holds now; they are the model's from now on. */
  constructor(bytes: Uint8Array) {
    const sectors = bytes.length / SECTOR_BYTES
    this.bytes = bytes
    this.isKnown = new Uint8Array(sectors).fill(1)
    this.changing = new Uint8Array(sectors)
    this.isMixed = new Uint8Array(sectors)
    this.version = new Uint16Array(sectors)
  }

  /** A change of the guest begins. What a write writes is in `data`. */
  begin(operation: GuestOperation): FlatChange {
    const { offsetBytes, lengthBytes, id } = operation
    const { first, end } = sectorsOf(offsetBytes, lengthBytes)
    for (let sector = first; sector < end; sector++) {
      if (this.changing[sector]!++ > 0) this.isMixed[sector] = 1
    }
    const data = new Uint8Array(lengthBytes)
    if (operation.zeroData !== true) stampSectors(data, 0, writerOf(id), first, end - first)
    return { operation, data }
  }

  /** It is over. `isDone` false: it failed, and may have worked in part. */
  end({ operation, data }: FlatChange, isDone: boolean): void {
    const { kind, offsetBytes, lengthBytes } = operation
    const { first, end } = sectorsOf(offsetBytes, lengthBytes)
    for (let sector = first; sector < end; sector++) {
      // Of two changes at once nobody knows which was the last; a discard promises nothing.
      this.isKnown[sector] = isDone && kind !== 'discard' && this.isMixed[sector] === 0 ? 1 : 0
      this.version[sector]!++
      if (--this.changing[sector]! === 0) this.isMixed[sector] = 0
    }
    if (kind === 'write') this.bytes.set(data, offsetBytes)
    else this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes)
  }

  /** Nobody can say when it ends: its sectors are not known any more, whatever comes. */
  lose({ operation }: FlatChange): void {
    const { first, end } = sectorsOf(operation.offsetBytes, operation.lengthBytes)
    this.isKnown.fill(0, first, end)
    for (let sector = first; sector < end; sector++) this.isMixed[sector] = 1
  }

  /** Whether one knows now what a sector must hold. */
  isCertain(sector: number): boolean {
    return this.isKnown[sector] === 1 && this.changing[sector] === 0
  }

  /** To be asked when a look at a range begins; the answer says later which of its sectors nobody has changed since. */
  look(offsetBytes: number, lengthBytes: number): (sector: number) => boolean {
    const { first, end } = sectorsOf(offsetBytes, lengthBytes)
    const versions = this.version.slice(first, end)
    const isQuiet = this.changing.slice(first, end).map((count) => (count === 0 ? 1 : 0))
    return (sector) =>
      isQuiet[sector - first] === 1 && this.changing[sector] === 0 && this.version[sector] === versions[sector - first]
  }

  /** The first sector of those that are known and wanted that does not hold what it should, or -1. */
  firstWrong(found: Uint8Array, offsetBytes: number, isWanted: (sector: number) => boolean = () => true): number {
    for (let at = 0; at < found.length; at += SECTOR_BYTES) {
      const sector = (offsetBytes + at) / SECTOR_BYTES
      if (this.isKnown[sector] === 0 || !isWanted(sector)) continue
      const wanted = this.bytes.subarray(offsetBytes + at, offsetBytes + at + SECTOR_BYTES)
      if (Buffer.compare(found.subarray(at, at + SECTOR_BYTES), wanted) !== 0) return sector
    }
    return -1
  }
}

function sectorsOf(offsetBytes: number, lengthBytes: number): { first: number; end: number } {
  const first = offsetBytes / SECTOR_BYTES
  return { first, end: first + lengthBytes / SECTOR_BYTES }
}
