/**
 * Writes a header over another one, so that a power cut leaves one of the two. A sector is written as a whole or not at all,
 * and the fields lie in the first one; but extensions and the backing file name may go beyond it. What lies there is then
 * written where the old header has nothing, and the first sector switches to it; the same again brings it to where QEMU
 * writes it. Four flushes, and none where nothing beyond the first sector changes.
 *
 * What may fail: the file, as an errno; nobody knows then which of the two headers it has. Headers that have no room for both
 * in their cluster, which takes names of a kilobyte in clusters of less than four, are written in one go.
 */
import { assert, type Co, type Errno, OK } from '../../../co'
import { encodeHeader, headerFits, type Qcow2Header } from './header'
import { HEADER_V3_BYTES, readU32, readU64, writeU32, writeU64 } from './layout'

const SECTOR_BYTES = 512
/** Of the mark behind the last extension, which is zero and thus does not show. */
const END_BYTES = 8
const HEADER_BACKING_AT = 8
const HEADER_BACKING_LENGTH_AT = 16

/** What is written to. */
export interface HeaderFile {
  pread(offsetBytes: number, buffer: Uint8Array): Co<Errno>
  pwrite(offsetBytes: number, buffer: Uint8Array): Co<Errno>
  flush(): Co<Errno>
}

/** Replaces the header at the start of the file. The last write is not flushed. */
export function* replaceHeader(file: HeaderFile, header: Qcow2Header): Co<Errno> {
  const wanted = encodeHeader(header)
  const old = new Uint8Array(wanted.length)
  const errno = yield* file.pread(0, old)
  if (errno !== OK) return errno
  const isInOneSector = wanted.length <= SECTOR_BYTES || isSame(wanted, old, SECTOR_BYTES)
  if (isInOneSector) return yield* file.pwrite(0, wanted.subarray(0, SECTOR_BYTES))
  if (usedBytesOf(old) === 0) return yield* file.pwrite(0, wanted)
  const usedBytes = Math.max(usedBytesOf(wanted), usedBytesOf(old)) + END_BYTES
  const movedToBytes = Math.ceil(usedBytes / SECTOR_BYTES) * SECTOR_BYTES
  // What a damaged image has written over its header may reach to the end of the cluster.
  const moved = movedToBytes < wanted.length ? movedHeader(header, movedToBytes) : null
  return moved === null ? yield* file.pwrite(0, wanted) : yield* switchTwice(file, moved, wanted)
}

function* switchTwice(file: HeaderFile, moved: MovedHeader, wanted: Uint8Array): Co<Errno> {
  const { bytes, movedToBytes } = moved
  assert(movedToBytes % SECTOR_BYTES === 0 && movedToBytes < bytes.length, 'header-moved-to-sector')
  assert(usedBytesOf(wanted) <= movedToBytes, 'header-moved-behind')
  for (const [at, piece] of [
    [movedToBytes, bytes.subarray(movedToBytes, usedBytesOf(bytes))],
    [0, bytes.subarray(0, SECTOR_BYTES)],
    [SECTOR_BYTES, wanted.subarray(SECTOR_BYTES, movedToBytes)],
    [0, wanted.subarray(0, SECTOR_BYTES)],
  ] as const) {
    let errno = piece.length === 0 ? OK : yield* file.pwrite(at, piece)
    if (errno === OK) errno = yield* file.flush()
    if (errno !== OK) return errno
  }
  return yield* file.pwrite(movedToBytes, wanted.subarray(movedToBytes, usedBytesOf(bytes)))
}

interface MovedHeader {
  bytes: Uint8Array
  movedToBytes: number
}

/**
 * The same header with what does not fit into the first sector from `movedToBytes` on: that is the backing file name, once the
 * names of features are left out. Where extensions are longer than that, all of them go there in version 3, behind fields of
 * the header that nobody knows. Null where there is no such header.
 */
function movedHeader(header: Qcow2Header, movedToBytes: number): MovedHeader | null {
  const bytes = movedName(header, movedToBytes) ?? movedExtensions(header, movedToBytes)
  return bytes === null ? null : { bytes, movedToBytes }
}

function movedName(header: Qcow2Header, movedToBytes: number): Uint8Array | null {
  const full = encodeHeader(header)
  const bare = encodeHeader({ ...header, backingName: null }, false)
  const nameAtBytes = readU64(full, HEADER_BACKING_AT)
  const name = full.subarray(nameAtBytes, nameAtBytes + readU32(full, HEADER_BACKING_LENGTH_AT))
  if (extensionsEndOf(header) > SECTOR_BYTES || movedToBytes + name.length >= bare.length) return null
  if (name.length > 0) {
    writeU64(bare, HEADER_BACKING_AT, movedToBytes)
    writeU32(bare, HEADER_BACKING_LENGTH_AT, name.length)
    bare.set(name, movedToBytes)
  }
  assert(bare.length === full.length, 'header-one-cluster')
  return bare
}

/** Where the extensions end without the names of features: a name would follow there. */
function extensionsEndOf(header: Qcow2Header): number {
  const named = { ...header, backingName: 'x' }
  return headerFits(named) ? readU64(encodeHeader(named, false), HEADER_BACKING_AT) : Infinity
}

function movedExtensions(header: Qcow2Header, movedToBytes: number): Uint8Array | null {
  if (header.version === 2) return null
  assert(movedToBytes >= HEADER_V3_BYTES + header.unknownFields.length, 'header-moved-behind-fields')
  const unknownFields = new Uint8Array(movedToBytes - HEADER_V3_BYTES)
  unknownFields.set(header.unknownFields)
  const moved = { ...header, unknownFields }
  return headerFits(moved) ? encodeHeader(moved) : null
}

function usedBytesOf(bytes: Uint8Array): number {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end--
  return end
}

function isSame(left: Uint8Array, right: Uint8Array, fromBytes: number): boolean {
  assert(left.length === right.length && fromBytes <= left.length, 'same-length')
  for (let at = fromBytes; at < left.length; at++) if (left[at] !== right[at]) return false
  return true
}
