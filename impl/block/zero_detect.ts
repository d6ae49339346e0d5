/** Buffers of zeroes: one to write from and to compare with, shared by all because nobody ever writes to it. */

/** Longest run of zeroes that is written as data at once, and the step of the comparison. */
export const ZERO_PIECE_BYTES = 1 << 20

const ZEROES = Buffer.alloc(ZERO_PIECE_BYTES)

/** `lengthBytes` (at most ZERO_PIECE_BYTES) zero bytes. Read-only. */
export function zeroBytes(lengthBytes: number): Uint8Array {
  return ZEROES.subarray(0, lengthBytes)
}

/** True if every byte is zero. An empty buffer is. */
export function isZero(bytes: Uint8Array): boolean {
  const length = bytes.length
  if (length === 0) return true
  // Data almost always differs at its ends, which saves the views below.
  if (bytes[0] !== 0 || bytes[length - 1] !== 0) return false
  if (length <= ZERO_PIECE_BYTES) return Buffer.compare(bytes, ZEROES.subarray(0, length)) === 0
  for (let at = 0; at < length; at += ZERO_PIECE_BYTES) {
    const piece = bytes.subarray(at, at + ZERO_PIECE_BYTES)
    if (Buffer.compare(piece, ZEROES.subarray(0, piece.length)) !== 0) return false
  }
  return true
}
