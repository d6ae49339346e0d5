/**
 * What a power cut may leave of a disk. A change is safe when the guest has been told of a flush that began after the guest
 * had been told of the change; everything later may have reached the medium or not, sector by sector, in any order.
 *
 * A value is legal for a sector unless a safe change surely overwrote it: one that began after the value's own change had
 * ended. So what was never written is never legal, and what was flushed can only have given way to something newer.
 */
import { Change, describeSector, describeWriter, type HitBytes, isOutcome, type Mismatch, UNKNOWN_WRITER, wordsOf } from './disk'
import { readSector, SECTOR_BYTES, ZERO_WRITER } from './stamp'

const OPEN = 0x7fffffff
const SECTOR_WORDS = SECTOR_BYTES / 4

/** A moment in the order of what the guest was told. */
export type Moment = number

export class DurableDisk {
  /** What was safe from the beginning, by sector. */
  private readonly base: Uint32Array
  /** All changes since, in the order in which they began. */
  private changes: Change[] = []
  private readonly writtenThrough = new Set<Change>()
  /** Changes that had ended before this moment are safe. */
  private safeUntil: Moment = 0
  private now: Moment = 1
  private readonly nameOf: (writer: number) => string
  /** null: there are none. */
  hits: HitBytes | null = null

  /** A disk of zeroes. `nameOf` puts the writer of a stamp into words. */
  constructor(lengthBytes: number, nameOf: (writer: number) => string) {
    this.base = new Uint32Array(lengthBytes / SECTOR_BYTES)
    this.nameOf = nameOf
  }

  /** What lies on the disk, safely, before the first request. */
  place(writer: number, offsetBytes: number, lengthBytes: number): void {
    const firstSector = offsetBytes / SECTOR_BYTES
    this.base.fill(writer, firstSector, firstSector + lengthBytes / SECTOR_BYTES)
  }

  moment(): Moment {
    return this.now++
  }

  begin(writer: number, offsetBytes: number, lengthBytes: number): Change {
    const change = new Change(writer, offsetBytes, lengthBytes, this.now++)
    this.changes.push(change)
    return change
  }

  /** `certain` false: it failed, was aborted, or is advice only. `isSafe`: the disk has no cache that writes could be in. */
  end(change: Change, certain: boolean, isSafe: boolean): void {
    change.ended = this.now++
    change.isCertain = certain && change.writer !== UNKNOWN_WRITER
    if (isSafe) this.writtenThrough.add(change)
  }

  /** Whatever had ended at that moment is safe now. */
  flushed(began: Moment): void {
    if (began > this.safeUntil) this.safeUntil = began
  }

  /** The disk is another one, which held `bytes` safely at that moment; changes that ended later have gone there. */
  moveTo(bytes: Uint8Array, at: Moment): void {
    for (let sector = 0; sector < this.base.length; sector++) {
      const reading = readSector(bytes, sector * SECTOR_BYTES)
      const isOwn = reading.kind === 'stamp' && reading.sectorIndex === sector
      this.base[sector] = isOwn ? reading.writer : reading.kind === 'zero' ? ZERO_WRITER : UNKNOWN_WRITER
    }
    this.changes = this.changes.filter(({ ended }) => ended > at)
    this.safeUntil = Math.min(this.safeUntil, at)
  }

  /** The whole disk as somebody finds it after a power cut. Null if every sector may read like that. */
  check(bytes: Uint8Array): Mismatch | null {
    const words = wordsOf(bytes)
    const safe = this.changes.filter((change) => this.isSafe(change))
    for (let sector = 0; sector < this.base.length; sector++) {
      // A value that ended before this is gone. Ends of safe changes lie before their successors' beginnings.
      let goneUntil = -1
      for (const change of safe) if (change.touches(sector, sector + 1)) goneUntil = Math.max(goneUntil, change.began)
      if (this.isLegal(words, sector, goneUntil, null)) continue
      if (this.hits !== null && this.isLegal(words, sector, goneUntil, this.hits)) continue
      return this.explain(bytes, sector, goneUntil)
    }
    return null
  }

  private isSafe(change: Change): boolean {
    return change.isCertain && change.ended < OPEN && (change.ended < this.safeUntil || this.writtenThrough.has(change))
  }

  private isLegal(words: Int32Array, sector: number, goneUntil: Moment, hits: HitBytes | null): boolean {
    const at = sector * SECTOR_WORDS
    if (goneUntil < 0 && isOutcome(this.base[sector]!, words, at, sector, hits)) return true
    for (const change of this.changes) {
      if (change.ended < goneUntil || !change.touches(sector, sector + 1)) continue
      if (isOutcome(change.writer, words, at, sector, hits)) return true
    }
    return false
  }

  private explain(bytes: Uint8Array, sector: number, goneUntil: Moment): Mismatch {
    const legal = new Set<string>()
    if (goneUntil < 0) legal.add(describeWriter(this.base[sector]!, this.nameOf))
    for (const change of this.changes) {
      if (change.ended >= goneUntil && change.touches(sector, sector + 1)) legal.add(describeWriter(change.writer, this.nameOf))
    }
    const actual = describeSector(bytes, sector * SECTOR_BYTES, sector, this.nameOf)
    return { sectorIndex: sector, expected: [...legal].join(' or '), actual }
  }
}
