/**
 * The reference disk: what a guest may read, given the requests it has made. It knows nothing of mirrors, queues or
 * allocation; every sector is a register that requests write and read over intervals of time.
 *
 * A value is legal for a read unless it was surely overwritten before the read began: another change began after the
 * value's own change had ended, and ended itself before the read began. So a read beside a write may return either, sector
 * by sector; a failed or aborted write leaves either for good; a discard may or may not have happened.
 *
 * The past is folded into an image as soon as it has only one outcome, so that most reads are one comparison.
 */
import { readSector, SECTOR_BYTES, stampSectors, ZERO_WRITER } from './stamp'

/** In place of a writer: the sectors may read anything from now on. */
export const UNKNOWN_WRITER = -1

const OPEN = 0x7fffffff
/** Sectors that are compared at once before they are looked at one by one. */
const BLOCK_SECTORS = 16
/** A write, zero or discard of a guest. Times are the disk's own count of request ends. */
export class Change {
  /** Whose stamps the sectors carry afterwards: ZERO_WRITER for zeroes, UNKNOWN_WRITER for anything. */
  readonly writer: number
  readonly firstSector: number
  readonly endSector: number
  readonly began: number
  ended = OPEN
  /** False: it may have happened, in whole or in part, or not at all. */
  isCertain = false

  constructor(writer: number, offsetBytes: number, lengthBytes: number, began: number) {
    this.writer = writer
    this.firstSector = offsetBytes / SECTOR_BYTES
    this.endSector = (offsetBytes + lengthBytes) / SECTOR_BYTES
    this.began = began
  }

  touches(firstSector: number, endSector: number): boolean {
    return this.firstSector < endSector && firstSector < this.endSector
  }
}

/** A read of a guest that is in flight. */
export class Read {
  readonly firstSector: number
  readonly endSector: number
  readonly began: number

  constructor(offsetBytes: number, lengthBytes: number, began: number) {
    this.firstSector = offsetBytes / SECTOR_BYTES
    this.endSector = (offsetBytes + lengthBytes) / SECTOR_BYTES
    this.began = began
  }
}

/** A sector that holds what it must not. */
export interface Mismatch {
  sectorIndex: number
  /** In words: every value that would be legal. */
  expected: string
  actual: string
}

export class ReferenceDisk {
  /** May be longer than the disk. */
  private readonly image: Buffer
  /** Of the change that the image shows in a sector: when it began and when it ended. */
  private readonly settledBegan: Int32Array
  private readonly settledEnded: Int32Array
  /** Changes that may still matter, in the order in which they began. */
  private readonly changes: Change[] = []
  private readonly reads: Read[] = []
  private readonly nameOf: (writer: number) => string
  /** Of the check that is going on: changes that touch its range, and those of them that hide what was before. */
  private near: readonly Change[] = []
  private hiding: readonly Change[] = []
  private now = 1
  /** What a change would leave in a sector, made when it is asked for. */
  private readonly scratch = Buffer.alloc(SECTOR_BYTES)

  /**
   * `initial` is copied into `memory`, which is at least as long and belongs to the disk from now on: whole sectors.
   * `nameOf` puts the writer of a stamp into words.
   */
  constructor(initial: Uint8Array, nameOf: (writer: number) => string, memory: Buffer = Buffer.alloc(initial.length)) {
    this.image = memory
    this.image.set(initial)
    this.settledBegan = new Int32Array(initial.length / SECTOR_BYTES)
    this.settledEnded = new Int32Array(initial.length / SECTOR_BYTES)
    this.nameOf = nameOf
  }

  /** The guest has submitted a change. `writer` as in `Change`. */
  begin(writer: number, offsetBytes: number, lengthBytes: number): Change {
    const change = new Change(writer, offsetBytes, lengthBytes, this.now++)
    this.changes.push(change)
    return change
  }

  /** The guest knows the end of a change. `certain` false: it failed, was aborted, or is advice only. */
  end(change: Change, certain: boolean): void {
    change.ended = this.now++
    change.isCertain = certain && change.writer !== UNKNOWN_WRITER
    this.settle()
  }

  beginRead(offsetBytes: number, lengthBytes: number): Read {
    const read = new Read(offsetBytes, lengthBytes, this.now++)
    this.reads.push(read)
    return read
  }

  /** The read is over. Null if `data` (null: nothing was returned) is legal. */
  endRead(read: Read, data: Uint8Array | null): Mismatch | null {
    const mismatch = data === null ? null : this.check(data, read.firstSector, read.endSector, read.began)
    this.reads.splice(this.reads.indexOf(read), 1)
    this.settle()
    return mismatch
  }

  /** The whole disk as it reads now. */
  checkWhole(bytes: Uint8Array): Mismatch | null {
    return this.check(bytes, 0, this.settledBegan.length, this.now)
  }

  /** The disk is another one from now on. Changes in flight go there; reads in flight are forgotten. */
  replaceImage(bytes: Uint8Array): void {
    this.image.set(bytes)
    this.settledBegan.fill(this.now)
    this.settledEnded.fill(this.now++)
    this.reads.length = 0
    const inFlight = this.changes.filter(({ ended }) => ended === OPEN)
    this.changes.splice(0, this.changes.length, ...inFlight)
  }

  private check(data: Uint8Array, firstSector: number, endSector: number, began: number): Mismatch | null {
    const end = Math.min(endSector, firstSector + data.length / SECTOR_BYTES)
    this.near = this.changes.filter((change) => change.touches(firstSector, end))
    this.hiding = this.near.filter((change) => change.isCertain && change.ended < began)
    if (this.hiding.length === 0 && this.isImage(data, 0, firstSector, end)) return null
    for (let block = firstSector; block < end; block += BLOCK_SECTORS) {
      const blockEnd = Math.min(block + BLOCK_SECTORS, end)
      const mayHide = this.hiding.some((change) => change.touches(block, blockEnd))
      if (!mayHide && this.isImage(data, (block - firstSector) * SECTOR_BYTES, block, blockEnd)) continue
      for (let sector = block; sector < blockEnd; sector++) {
        const at = (sector - firstSector) * SECTOR_BYTES
        if (!this.isLegal(data, at, sector)) return this.explain(data, at, sector)
      }
    }
    return null
  }

  /** Whether `data` from `at` on is what the image has in these sectors. */
  private isImage(data: Uint8Array, at: number, firstSector: number, endSector: number): boolean {
    const start = firstSector * SECTOR_BYTES
    const end = endSector * SECTOR_BYTES
    return this.image.compare(data, at, at + end - start, start, end) === 0
  }

  private isLegal(data: Uint8Array, at: number, sector: number): boolean {
    for (const change of this.near) {
      if (!this.isCandidate(change, sector)) continue
      if (change.writer === UNKNOWN_WRITER || this.isOutcome(change, data, at, sector)) return true
    }
    return !this.isHidden(sector, this.settledEnded[sector]!) && this.isImage(data, at, sector, sector + 1)
  }

  /** Whether the read that is being checked surely does not see what had ended at `ended`. */
  private isHidden(sector: number, ended: number): boolean {
    if (ended < this.settledBegan[sector]!) return true
    for (const change of this.hiding) if (change.touches(sector, sector + 1) && change.began > ended) return true
    return false
  }

  private isCandidate(change: Change, sector: number): boolean {
    return change.touches(sector, sector + 1) && !this.isHidden(sector, change.ended)
  }

  /** Folds into the image whatever has only one outcome by now. */
  private settle(): void {
    for (let index = 0; index < this.changes.length; ) {
      const change = this.changes[index]!
      if (change.isCertain && this.isAlone(change)) {
        this.changes.splice(index, 1)
        this.apply(change)
        index = 0
      } else index++
    }
  }

  /** No change overlaps it in time and space, and no read may still see what was before it. */
  private isAlone(change: Change): boolean {
    const { firstSector, endSector, began, ended } = change
    for (const other of this.changes) {
      if (other === change || !other.touches(firstSector, endSector)) continue
      if (other.ended > began && other.began < ended) return false
    }
    for (const read of this.reads) {
      if (read.began < ended && read.firstSector < endSector && firstSector < read.endSector) return false
    }
    return true
  }

  private apply(change: Change): void {
    const { firstSector, endSector, began, ended } = change
    for (let sector = firstSector; sector < endSector; ) {
      // A later change may have been folded before this one.
      let end = sector
      while (end < endSector && this.settledBegan[end]! <= ended) end++
      if (end > sector) this.applyTo(change, sector, end)
      sector = end + 1
    }
    for (let index = this.changes.length - 1; index >= 0; index--) {
      const other = this.changes[index]!
      const isHidden = other.ended < began && other.firstSector >= firstSector && other.endSector <= endSector
      if (isHidden) this.changes.splice(index, 1)
    }
  }

  private applyTo(change: Change, firstSector: number, endSector: number): void {
    this.settledBegan.fill(change.began, firstSector, endSector)
    this.settledEnded.fill(change.ended, firstSector, endSector)
    stampSectors(this.image, firstSector * SECTOR_BYTES, change.writer, firstSector, endSector - firstSector)
  }

  /** Whether `data` has at `at` what a change would leave in the sector. */
  private isOutcome(change: Change, data: Uint8Array, at: number, sector: number): boolean {
    stampSectors(this.scratch, 0, change.writer, sector, 1)
    return this.scratch.compare(data, at, at + SECTOR_BYTES) === 0
  }

  private explain(data: Uint8Array, at: number, sector: number): Mismatch {
    const legal: string[] = []
    if (!this.isHidden(sector, this.settledEnded[sector]!)) {
      legal.push(describeSector(this.image, sector * SECTOR_BYTES, sector, this.nameOf))
    }
    for (const change of this.near) {
      if (this.isCandidate(change, sector))
        legal.push(change.writer === ZERO_WRITER ? 'zeroes' : `data of ${this.nameOf(change.writer)}`)
    }
    const expected = [...new Set(legal)].join(' or ')
    return { sectorIndex: sector, expected, actual: describeSector(data, at, sector, this.nameOf) }
  }
}

/** What a sector holds, in words: whose data, whether it belongs there, or that nobody can have written it. */
export function describeSector(bytes: Uint8Array, at: number, sector: number, nameOf: (writer: number) => string): string {
  const reading = readSector(bytes, at)
  if (reading.kind === 'zero') return 'zeroes'
  if (reading.kind === 'corrupt') return `bytes that nobody wrote (from byte ${reading.firstBadByte} of the sector on)`
  const whose = `data of ${nameOf(reading.writer)}`
  return reading.sectorIndex === sector ? whose : `${whose} for sector ${reading.sectorIndex}, which is misdirected here`
}
