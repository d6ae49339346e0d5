/**
 * Compares two images byte by byte. What is a hole in both is not read. Raw images are asked through their files, by
 * descriptors of their own and by none of the code that has copied them; others through nodes that were opened afresh.
 */
import type { HostExtent } from '../block'
import { isZero } from '../block'
import { type Co, type Errno, type Kernel, OK } from '../co'

const PIECE_BYTES = 1024 * 1024

/** What is compared: a file, or an image as a guest sees it. */
export interface Comparable {
  pread(offsetBytes: number, buffer: Uint8Array): Co<Errno>
  /** Zeroes, or something to read, up to `endBytes`. */
  extentAt(offsetBytes: number): Co<HostExtent>
}

export interface Comparison<F extends Comparable = Comparable> {
  /** null: no difference. */
  differenceBytes: number | null
  /** Of the read that failed, or OK. */
  errno: Errno
  /** The file that could not be read. */
  failed: F | null
}

/** Where the file's present extent ends, so that it is not asked about again before that. */
class ExtentCursor {
  isData = true
  private endBytes = 0
  private canTell = true

  constructor(readonly file: Comparable) {}

  /** How far the extent at `atBytes` reaches, at most to `limitBytes`. */
  *reach(atBytes: number, limitBytes: number): Co<number> {
    if (atBytes >= this.endBytes && this.canTell) {
      const extent = yield* this.file.extentAt(atBytes)
      this.canTell = extent.errno === OK
      this.isData = extent.errno !== OK || extent.isData
      this.endBytes = extent.errno === OK ? extent.endBytes : limitBytes
    }
    if (!this.canTell) return limitBytes
    return Math.max(atBytes + 1, Math.min(this.endBytes, limitBytes))
  }
}

/** Compares the first `lengthBytes` of two files; `onProgress` hears how far it is. */
export function* compareFiles<F extends Comparable>(
  kernel: Kernel,
  left: F,
  right: F,
  lengthBytes: number,
  onProgress: (doneBytes: number) => void,
): Co<Comparison<F>> {
  const leftExtent = new ExtentCursor(left)
  const rightExtent = new ExtentCursor(right)
  const leftBuffer = Buffer.allocUnsafeSlow(PIECE_BYTES)
  const rightBuffer = Buffer.allocUnsafeSlow(PIECE_BYTES)
  for (let at = 0; at < lengthBytes; ) {
    onProgress(at)
    let endBytes = yield* leftExtent.reach(at, lengthBytes)
    endBytes = yield* rightExtent.reach(at, endBytes)
    if (leftExtent.isData || rightExtent.isData) {
      endBytes = Math.min(endBytes, at + PIECE_BYTES)
      const leftPiece = leftExtent.isData ? leftBuffer.subarray(0, endBytes - at) : null
      const rightPiece = rightExtent.isData ? rightBuffer.subarray(0, endBytes - at) : null
      const leftErrno = leftPiece === null ? OK : yield* left.pread(at, leftPiece)
      if (leftErrno !== OK) return { differenceBytes: null, errno: leftErrno, failed: left }
      const rightErrno = rightPiece === null ? OK : yield* right.pread(at, rightPiece)
      if (rightErrno !== OK) return { differenceBytes: null, errno: rightErrno, failed: right }
      const difference = firstDifference(leftPiece, rightPiece)
      if (difference !== null) return { differenceBytes: at + difference, errno: OK, failed: null }
      // Others want to hear signals and draw.
      yield* kernel.sleepNs(0)
    }
    at = endBytes
  }
  return { differenceBytes: null, errno: OK, failed: null }
}

/** Index of the first byte that differs, or null; null for a piece stands for zeroes. */
function firstDifference(left: Buffer | null, right: Buffer | null): number | null {
  if (left !== null && right !== null) {
    if (left.equals(right)) return null
    return left.findIndex((byte, index) => byte !== right[index])
  }
  const piece = left ?? right
  if (piece === null || isZero(piece)) return null
  return piece.findIndex((byte) => byte !== 0)
}
