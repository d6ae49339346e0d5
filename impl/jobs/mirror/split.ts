/**
 * Cuts a run of dirty chunks into pieces by what the source holds there: whole units that read zero, and units with data
 * in them, together with the part of them that is data. So a short hole inside a chunk is not copied as data.
 *
 * Extents come from block status, which may be wrong in one direction only: what is called zero reads zero, or has been
 * written since and is dirty again.
 */
import { StatusFlag } from '../../block'
import { assert, type Co, OK } from '../../co'
import type { MirrorState } from './state'

/** Parts of one copy, at most about; what follows is left to the next one. */
const SEGMENTS_MAX = 64

export class RunSplitter {
  private readonly state: MirrorState
  private readonly endBytes: number
  private extentEndBytes = 0
  private extentIsZero = false
  /** The last answer, which may be that for what follows the extent. */
  private aheadEndBytes = 0
  private aheadIsZero = false
  /** The last piece found: where it ends, and whether all of it reads zero. */
  pieceEndBytes = 0
  pieceIsZero = false
  /** Of a piece that does not read zero: ends of alternating parts, a zero part first (it may be empty); empty: all is data. */
  parts: number[] = []

  constructor(state: MirrorState, endBytes: number) {
    this.state = state
    this.endBytes = endBytes
  }

  /** Learns what lies at `at`: an extent of data, or all zeroes that lie in a row, of however many layers they are. */
  private *learn(at: number): Co<void> {
    if (at < this.extentEndBytes) return
    if (at >= this.aheadEndBytes) yield* this.ask(at)
    this.extentEndBytes = this.aheadEndBytes
    this.extentIsZero = this.aheadIsZero
    while (this.extentIsZero && this.extentEndBytes < this.endBytes) {
      yield* this.ask(this.extentEndBytes)
      assert(this.aheadEndBytes > this.extentEndBytes, 'status-forward')
      if (!this.aheadIsZero) break
      this.extentEndBytes = this.aheadEndBytes
    }
  }

  /** An error counts as data: reading it will say more. */
  private *ask(at: number): Co<void> {
    const status = yield* this.state.source.blockStatusAbove(null, 'want-zero', at, this.endBytes - at)
    assert(status.errno !== OK || status.bytes > 0, 'status-progress')
    this.aheadIsZero = status.errno === OK && (status.flags & StatusFlag.Zero) !== 0 && (status.flags & StatusFlag.Data) === 0
    this.aheadEndBytes = status.errno === OK ? at + status.bytes : this.endBytes
  }

  /** Finds the piece that starts at `at`, inside the run. */
  *next(at: number): Co<void> {
    assert(at < this.endBytes, 'split-inside-run')
    yield* this.learn(at)
    if (this.extentIsZero && this.findZeroes(at)) return
    yield* this.findData(at)
  }

  /** The zero piece at `at`, or false if not even one unit of it reads zero. */
  private findZeroes(at: number): boolean {
    const zeroEndBytes = this.extentEndBytes
    const coveredBytes = zeroEndBytes === this.endBytes ? zeroEndBytes : this.state.unitFloor(zeroEndBytes)
    assert(zeroEndBytes <= this.endBytes, 'zeroes-inside-run')
    // A hole that ends inside its unit is left to `findData`.
    if (coveredBytes <= at) return false
    this.pieceEndBytes = coveredBytes
    this.pieceIsZero = true
    return true
  }

  private *findData(at: number): Co<void> {
    const { state, endBytes } = this
    const unitBytes = state.unitBytes
    let limitBytes = Math.min(endBytes, at + state.copyMaxBytes)
    const parts = this.parts
    parts.length = 0
    for (let position = at; position < limitBytes; ) {
      yield* this.learn(position)
      const stopBytes = Math.min(this.extentEndBytes, limitBytes)
      if (this.extentIsZero) {
        const unitStart = Math.min(state.unitCeiling(position), endBytes)
        const isUnitZero = this.extentEndBytes >= Math.min(unitStart + unitBytes, endBytes)
        // A hole of whole units is a piece of its own.
        if (unitStart > at && unitStart < limitBytes && isUnitZero) limitBytes = unitStart
        if (position === limitBytes) break
        this.addZeroPart(at, position, Math.min(stopBytes, limitBytes), limitBytes)
      } else this.addPart(at, stopBytes, false)
      position = Math.min(stopBytes, limitBytes)
      if (parts.length > SEGMENTS_MAX) limitBytes = Math.min(limitBytes, state.unitCeiling(position))
    }
    this.pieceEndBytes = limitBytes
    this.pieceIsZero = false
    if (parts.length === 2 && parts[0] === at) parts.length = 0
    assert(limitBytes > at, 'piece-progress')
  }

  /**
   * A hole inside a piece, without its ends that share a block of the target with data. With whole clusters to write,
   * holes are data too.
   */
  private addZeroPart(pieceBytes: number, offsetBytes: number, stopBytes: number, limitBytes: number): void {
    const holeBytes = this.state.holeUnitBytes
    const isEnd = stopBytes === limitBytes
    const startBytes = offsetBytes === pieceBytes ? offsetBytes : Math.ceil(offsetBytes / holeBytes) * holeBytes
    const innerBytes = isEnd ? stopBytes : stopBytes - (stopBytes % holeBytes)
    if (this.state.cow === null && startBytes < innerBytes) {
      if (startBytes > offsetBytes) this.addPart(pieceBytes, startBytes, false)
      this.addPart(pieceBytes, innerBytes, true)
      if (innerBytes === stopBytes) return
    }
    this.addPart(pieceBytes, stopBytes, false)
  }

  private addPart(pieceBytes: number, stopBytes: number, isZero: boolean): void {
    const parts = this.parts
    assert(parts.length === 0 || stopBytes > parts[parts.length - 1]! || parts[0] === pieceBytes, 'parts-forward')
    // Part number 0, 2, … reads zero.
    const isLastZero = parts.length % 2 === 1
    if (parts.length === 0 && !isZero) parts.push(pieceBytes, stopBytes)
    else if (parts.length > 0 && isLastZero === isZero) parts[parts.length - 1] = stopBytes
    else parts.push(stopBytes)
  }
}
