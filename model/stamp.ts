/**
 * What the data of the worlds looks like. A data sector carries who wrote it and where it belongs, so that a mismatch can
 * say whether a sector is stale (an older writer), misdirected (another sector) or corrupt (no stamp at all).
 *
 * A sector is 512 bytes: the 16-byte header [magic, writer, sector, check] as little-endian words, repeated 32 times, so
 * that a copy of part of a sector shows too. `writer` is a positive integer; 0 stands for a sector of zero bytes.
 */

export const SECTOR_BYTES = 512
const MAGIC = 0x6d697272
const HEADER_BYTES = 16

/** Writer 0: the sector reads as zeroes. */
export const ZERO_WRITER = 0

function checkOf(writer: number, sectorIndex: number): number {
  return (Math.imul(writer ^ 0x5bd1e995, 0x9e3779b1) ^ Math.imul(sectorIndex + 1, 0x85ebca6b)) >>> 0
}

const ID_HASH_START = 0x811c9dc5
const ID_HASH_FACTOR = 0x01000193

/** The writer that an operation or an initial extent is on disk: a positive integer below 2^31 + 1, the same in all worlds. */
export function writerOf(id: string): number {
  let hash = ID_HASH_START
  for (let index = 0; index < id.length; index++) hash = Math.imul(hash ^ id.charCodeAt(index), ID_HASH_FACTOR)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return ((hash ^ (hash >>> 13)) >>> 1) + 1
}

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** Fills sectors [sectorIndex, sectorIndex + count) of a disk into `bytes` from `atBytes` on; writer 0 writes zeroes. */
export function stampSectors(bytes: Uint8Array, atBytes: number, writer: number, sectorIndex: number, count: number): void {
  if (writer === ZERO_WRITER) {
    bytes.fill(0, atBytes, atBytes + count * SECTOR_BYTES)
    return
  }
  if (IS_LITTLE_ENDIAN && ((bytes.byteOffset + atBytes) & 3) === 0) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + atBytes, (count * SECTOR_BYTES) >> 2)
    stampWords(words, writer, sectorIndex)
    return
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let index = 0; index < count; index++) {
    const at = atBytes + index * SECTOR_BYTES
    view.setUint32(at, MAGIC, true)
    view.setUint32(at + 4, writer, true)
    view.setUint32(at + 8, sectorIndex + index, true)
    view.setUint32(at + 12, checkOf(writer, sectorIndex + index), true)
    for (let filled = HEADER_BYTES; filled < SECTOR_BYTES; filled *= 2) bytes.copyWithin(at + filled, at, at + filled)
  }
}

/** The same by words, several times faster: stamping is a measurable share of a world. */
function stampWords(words: Int32Array, writer: number, firstSectorIndex: number): void {
  const sectorWords = SECTOR_BYTES >> 2
  for (let at = 0, sectorIndex = firstSectorIndex; at < words.length; sectorIndex++) {
    const check = checkOf(writer, sectorIndex)
    for (const end = at + sectorWords; at < end; at += 4) {
      words[at] = MAGIC
      words[at + 1] = writer
      words[at + 2] = sectorIndex
      words[at + 3] = check
    }
  }
}

/** Whether 128 words from `at` on are those of a sector as `writer` would leave it: every word is looked at. */
export function holdsStamp(words: Int32Array, at: number, writer: number, sectorIndex: number): boolean {
  const isZero = writer === ZERO_WRITER
  const magic = isZero ? 0 : MAGIC
  const name = writer | 0
  const place = isZero ? 0 : sectorIndex
  const check = isZero ? 0 : checkOf(writer, sectorIndex) | 0
  // Another writer's sector nearly always shows in its first header; after that one branch for two headers is enough.
  if (words[at] !== magic || words[at + 1] !== name || words[at + 2] !== place || words[at + 3] !== check) return false
  for (let word = at, end = at + (SECTOR_BYTES >> 2); word < end; word += 8) {
    const first = (words[word]! ^ magic) | (words[word + 1]! ^ name) | (words[word + 2]! ^ place) | (words[word + 3]! ^ check)
    const second =
      (words[word + 4]! ^ magic) | (words[word + 5]! ^ name) | (words[word + 6]! ^ place) | (words[word + 7]! ^ check)
    if ((first | second) !== 0) return false
  }
  return true
}

/** What a sector holds: `writer` with 0 for all zeroes, or a fault of its own. */
export type SectorReading =
  | { kind: 'stamp'; writer: number; sectorIndex: number }
  | { kind: 'zero' }
  | { kind: 'corrupt'; firstBadByte: number }

/** Decodes the sector at `atBytes` and checks every byte of it. */
export function readSector(bytes: Uint8Array, atBytes: number): SectorReading {
  const view = new DataView(bytes.buffer, bytes.byteOffset + atBytes, SECTOR_BYTES)
  const magic = view.getUint32(0, true)
  const writer = view.getUint32(4, true)
  const sectorIndex = view.getUint32(8, true)
  const isStamp = magic === MAGIC && view.getUint32(12, true) === checkOf(writer, sectorIndex)
  for (let word = 0; word < SECTOR_BYTES; word += 4) {
    const expected = isStamp ? view.getUint32(word % HEADER_BYTES, true) : 0
    if (view.getUint32(word, true) !== expected) return { kind: 'corrupt', firstBadByte: word }
  }
  return isStamp ? { kind: 'stamp', writer, sectorIndex } : { kind: 'zero' }
}
