/**
 * The reference disk: what a guest may read, given the requests it has made. It knows nothing of mirrors, queues or
 * allocation; every sector is a register that requests write and read over intervals of time.
 *
 * A value is legal for a read unless it was surely overwritten before the read began: another change began after the
 * value's own change had ended, and ended itself before the read began. So a read beside a write may return either, sector
 * by sector; a failed or aborted write leaves either for good; a discard may or may not have happened. Once a read has shown
 * which, it stays so.
 *
 * The past is folded into one writer for each sector as soon as it has only one outcome, so most reads are simple.
 */
import { holdsStamp, readSector, SECTOR_BYTES, stampSectors, ZERO_WRITER } from './stamp'

/** In place of a writer: the sector may read anything. */
export const UNKNOWN_WRITER = 0xffffffff

const OPEN = 0x7fffffff
const SECTOR_WORDS = SECTOR_BYTES / 4

/** Bytes of the disk that may read anything, for reasons that the guest does not know. */
export interface HitBytes {
  isHit(offsetBytes: number): boolean
}

/** A write, zero or discard of a guest. Times are the disk's own count of request ends. */
export class Change {
  /** Whose stamps the sectors carry afterwards: ZERO_WRITER for zeroes, UNKNOWN_WRITER for anything. */
  readonly writer: number
  readonly firstSector: number
  endSector: number
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
  /** Of the last change that has only one outcome, by sector: whose it was, when it began and when it ended. */
  private readonly settledWriter: Uint32Array
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
  /** null: there are none. */
  hits: HitBytes | null = null

  /** A disk of zeroes. `nameOf` puts the writer of a stamp into words. */
  constructor(lengthBytes: number, nameOf: (writer: number) => string) {
    const sectorCount = lengthBytes / SECTOR_BYTES
    // In one piece: three would cost a small world three times as much.
    const memory = new ArrayBuffer(12 * sectorCount)
    this.settledWriter = new Uint32Array(memory, 0, sectorCount)
    this.settledBegan = new Int32Array(memory, 4 * sectorCount, sectorCount)
    this.settledEnded = new Int32Array(memory, 8 * sectorCount, sectorCount)
    this.nameOf = nameOf
  }

  /** What lies on the disk before the first request. */
  place(writer: number, offsetBytes: number, lengthBytes: number): void {
    const firstSector = offsetBytes / SECTOR_BYTES
    this.settledWriter.fill(writer, firstSector, firstSector + lengthBytes / SECTOR_BYTES)
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
    if (data !== null && mismatch === null && this.near.length > 0) this.pin(read, data)
    this.reads.splice(this.reads.indexOf(read), 1)
    this.settle()
    return mismatch
  }

  /**
   * What a read has shown where every change had ended is what is there: the other outcomes that were legal until then are
   * not any more. As if the value had been written while it was read.
   */
  private pin(read: Read, data: Uint8Array): void {
    const ended = this.now++
    let run: Change | null = null
    for (let sector = read.firstSector; sector < read.endSector; sector++) {
      const writer = this.isAtRest(sector, read.began) ? shownWriter(data, sector - read.firstSector, sector) : null
      if (writer === null) run = null
      else if (run !== null && run.writer === writer) run.endSector = sector + 1
      else {
        run = new Change(writer, sector * SECTOR_BYTES, SECTOR_BYTES, read.began)
        run.ended = ended
        run.isCertain = true
        this.changes.push(run)
      }
    }
  }

  /** Whether changes have left a choice for a sector, and all of them had ended at `began`. */
  private isAtRest(sector: number, began: number): boolean {
    let isTouched = false
    for (const change of this.near) {
      if (!change.touches(sector, sector + 1)) continue
      if (change.ended >= began) return false
      isTouched = true
    }
    return isTouched
  }

  /** The whole disk as it reads now. */
  checkWhole(bytes: Uint8Array): Mismatch | null {
    return this.check(bytes, 0, this.settledBegan.length, this.now)
  }

  /**
   * The disk is another one from now on. Changes in flight go there, and so may those that the guest has given up: the
   * device may not have begun with them. Reads in flight are forgotten.
   */
  moveTo(bytes: Uint8Array): void {
    for (let sector = 0; sector < this.settledWriter.length; sector++) {
      const reading = readSector(bytes, sector * SECTOR_BYTES)
      const isOwn = reading.kind === 'stamp' && reading.sectorIndex === sector
      this.settledWriter[sector] = isOwn ? reading.writer : reading.kind === 'zero' ? ZERO_WRITER : UNKNOWN_WRITER
    }
    this.settledBegan.fill(this.now)
    this.settledEnded.fill(this.now++)
    this.reads.length = 0
    const left = this.changes.filter(({ ended, isCertain }) => ended === OPEN || !isCertain)
    for (const change of left) if (change.ended !== OPEN) change.ended = this.now
    this.now++
    this.changes.splice(0, this.changes.length, ...left)
  }

  private check(data: Uint8Array, firstSector: number, endSector: number, began: number): Mismatch | null {
    const words = wordsOf(data)
    const end = Math.min(endSector, firstSector + data.length / SECTOR_BYTES)
    this.near = this.changes.filter((change) => change.touches(firstSector, end))
    this.hiding = this.near.filter((change) => change.isCertain && change.ended < began)
    for (let sector = firstSector; sector < end; sector++) {
      const at = (sector - firstSector) * SECTOR_WORDS
      if (this.isLegal(words, at, sector, null) || (this.hits !== null && this.isLegal(words, at, sector, this.hits))) continue
      return this.explain(data, (sector - firstSector) * SECTOR_BYTES, sector)
    }
    return null
  }

  private isLegal(words: Int32Array, at: number, sector: number, hits: HitBytes | null): boolean {
    const isSettled = isOutcome(this.settledWriter[sector]!, words, at, sector, hits)
    if (isSettled && (this.hiding.length === 0 || !this.isHidden(sector, this.settledEnded[sector]!))) return true
    for (const change of this.near) {
      if (this.isCandidate(change, sector) && isOutcome(change.writer, words, at, sector, hits)) return true
    }
    return false
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

  /** Folds what has only one outcome by now. */
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
    const { writer, firstSector, endSector, began, ended } = change
    for (let sector = firstSector; sector < endSector; sector++) {
      // A later change may have been folded before this one.
      if (this.settledBegan[sector]! > ended) continue
      this.settledWriter[sector] = writer
      this.settledBegan[sector] = began
      this.settledEnded[sector] = ended
    }
    for (let index = this.changes.length - 1; index >= 0; index--) {
      const other = this.changes[index]!
      const isHidden = other.ended < began && other.firstSector >= firstSector && other.endSector <= endSector
      if (isHidden) this.changes.splice(index, 1)
    }
  }

  private explain(data: Uint8Array, at: number, sector: number): Mismatch {
    const legal = new Set<string>()
    if (!this.isHidden(sector, this.settledEnded[sector]!)) legal.add(describeWriter(this.settledWriter[sector]!, this.nameOf))
    for (const change of this.near) {
      if (this.isCandidate(change, sector)) legal.add(describeWriter(change.writer, this.nameOf))
    }
    const actual = describeSector(data, at, sector, this.nameOf)
    return { sectorIndex: sector, expected: [...legal].join(' or '), actual }
  }
}

/** Whose data a sector holds that was read; null where that says nothing. */
function shownWriter(data: Uint8Array, index: number, sector: number): number | null {
  const reading = readSector(data, index * SECTOR_BYTES)
  if (reading.kind === 'zero') return ZERO_WRITER
  return reading.kind === 'stamp' && reading.sectorIndex === sector ? reading.writer : null
}

/** The same bytes as words of the machine; a copy where they are not aligned. */
export function wordsOf(data: Uint8Array): Int32Array {
  const isAligned = data.byteOffset % 4 === 0
  const { buffer, byteOffset } = isAligned ? data : new Uint8Array(data)
  return new Int32Array(buffer, byteOffset, data.length >> 2)
}

/** Whether 128 words from `at` on are what `writer` would have left in that sector, but for the bytes that were hit. */
export function isOutcome(writer: number, words: Int32Array, at: number, sector: number, hits: HitBytes | null): boolean {
  if (writer === UNKNOWN_WRITER || holdsStamp(words, at, writer, sector)) return true
  return hits !== null && holdsStampBeside(words, at, writer, sector, hits)
}

function holdsStampBeside(words: Int32Array, at: number, writer: number, sector: number, hits: HitBytes): boolean {
  const found = new Uint8Array(words.buffer, words.byteOffset + at * 4, SECTOR_BYTES)
  const wanted = new Uint8Array(SECTOR_BYTES)
  stampSectors(wanted, 0, writer, sector, 1)
  return wanted.every((byte, index) => byte === found[index] || hits.isHit(sector * SECTOR_BYTES + index))
}

/** In words for findings. */
export function describeWriter(writer: number, nameOf: (writer: number) => string): string {
  if (writer === ZERO_WRITER) return 'zeroes'
  return writer === UNKNOWN_WRITER ? 'anything' : `data of ${nameOf(writer)}`
}

/** What a sector holds, in words: whose data, whether it belongs there, or that nobody can have written it. */
export function describeSector(bytes: Uint8Array, at: number, sector: number, nameOf: (writer: number) => string): string {
  const reading = readSector(bytes, at)
  if (reading.kind === 'zero') return 'zeroes'
  if (reading.kind === 'corrupt') return `bytes that nobody wrote (from byte ${reading.firstBadByte} of the sector on)`
  const whose = `data of ${nameOf(reading.writer)}`
  return reading.sectorIndex === sector ? whose : `${whose} for sector ${reading.sectorIndex}, which is misdirected here`
}
