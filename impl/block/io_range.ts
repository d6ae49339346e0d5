/** Arithmetic on byte ranges of a disk: integers below 2^53, alignments are powers of two up to 2^30. */

/** True if the range is a multiple of `alignmentBytes` (a power of two) at both ends; `&` keeps the low 32 bits exact. */
export function isAligned(offsetBytes: number, lengthBytes: number, alignmentBytes: number): boolean {
  return ((offsetBytes | lengthBytes) & (alignmentBytes - 1)) === 0
}

/** Rounds down to a power of two below 2^31. */
export function alignDown(bytes: number, alignmentBytes: number): number {
  return bytes - (bytes & (alignmentBytes - 1))
}

/** Whether [offset, offset + length) is a range inside a disk of `endBytes`. */
export function isInside(offsetBytes: number, lengthBytes: number, endBytes: number): boolean {
  return offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes <= endBytes && lengthBytes <= endBytes - offsetBytes
}

/** How much is missing to the next multiple. */
export function alignmentRest(bytes: number, alignmentBytes: number): number {
  const over = bytes & (alignmentBytes - 1)
  return over === 0 ? 0 : alignmentBytes - over
}
