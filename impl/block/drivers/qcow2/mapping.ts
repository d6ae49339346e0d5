/**
 * From guest offsets to places in the file: what the start of a range is, where it lies, and for how many bytes that holds.
 * A run goes as far as one slice of an L2 table reaches, or over all missing L2 tables.
 *
 * What may fail: reading a table, as an errno; an entry that contradicts itself is a corruption: EIO.
 */
import { assert, type Co, EIO, type Errno, OK } from '../../../co'
import type { Qcow2Image } from './image'
import {
  ClusterType,
  compressedBytes,
  compressedOffset,
  entryOffset,
  OFFSET_END_BYTES,
  prefixedHex,
  standardType,
  subclusterType,
} from './layout'

/** The answer of a lookup. `hostBytes` counts for Normal, ZeroAllocated and UnallocatedAllocated: where the run's start lies. */
export class Run {
  type: ClusterType = ClusterType.UnallocatedPlain
  bytes = 0
  hostBytes = 0
  /** The cluster is used by this table alone, so that it may be written in place. */
  isCopied = false
  /** Compressed only: upper bound of the length of the compressed data, which starts at `hostBytes`. */
  compressedBytes = 0
}

/**
 * Looks [guestBytes, guestBytes + maxBytes) up with what is in memory. False: the slice has to be loaded first. Types may be
 * Invalid: `runError` says why.
 */
export function peekRun(image: Qcow2Image, guestBytes: number, maxBytes: number, run: Run): boolean {
  const l2OffsetBytes = image.l2Offset(guestBytes)
  if (l2OffsetBytes === 0) {
    run.type = ClusterType.UnallocatedPlain
    run.bytes = Math.min(unmappedBytes(image, guestBytes, maxBytes), maxBytes)
    run.isCopied = false
    return true
  }
  const slice = image.findSlice(l2OffsetBytes, guestBytes)
  if (slice === null) return false
  readRun(image, slice.words, guestBytes, maxBytes, run)
  return true
}

/** As `peekRun`, but loads what is missing. */
export function* findRun(image: Qcow2Image, guestBytes: number, maxBytes: number, run: Run): Co<Errno> {
  if (peekRun(image, guestBytes, maxBytes, run))
    return run.type === ClusterType.Invalid ? yield* invalidRun(image, guestBytes) : OK
  yield* image.lock.lock()
  const errno = yield* findRunLocked(image, guestBytes, maxBytes, run)
  image.lock.unlock()
  return errno
}

/** `findRun` for those who hold the lock. */
export function* findRunLocked(image: Qcow2Image, guestBytes: number, maxBytes: number, run: Run): Co<Errno> {
  if (!peekRun(image, guestBytes, maxBytes, run)) {
    const errno = yield* image.loadSlice(image.l2Offset(guestBytes), guestBytes)
    if (errno !== OK) return errno
    const isKnown = peekRun(image, guestBytes, maxBytes, run)
    assert(isKnown, 'slice-loaded')
  }
  assert(run.bytes > 0 && run.bytes <= maxBytes, 'run-bytes', () => `${run.bytes} of ${maxBytes}`)
  return run.type === ClusterType.Invalid ? yield* invalidRun(image, guestBytes) : OK
}

/** How far from `guestBytes` on there is no L2 table. */
function unmappedBytes(image: Qcow2Image, guestBytes: number, maxBytes: number): number {
  const { l2CoversBytes } = image.geometry
  let endBytes = (Math.floor(guestBytes / l2CoversBytes) + 1) * l2CoversBytes
  while (endBytes < guestBytes + maxBytes && image.l2Offset(endBytes) === 0) endBytes += l2CoversBytes
  assert(endBytes > guestBytes, 'unmapped-bytes')
  return endBytes - guestBytes
}

/** Reads a run off the words of a slice, which may be one that nobody has loaded: whoever only watches must not. */
export function readRun(image: Qcow2Image, words: Uint32Array, guestBytes: number, maxBytes: number, run: Run): void {
  const { clusterBytes, hasSubclusters } = image.geometry
  const index = image.sliceIndex(guestBytes)
  const inCluster = guestBytes % clusterBytes
  const entries = Math.min(image.sliceEntries - index, Math.ceil((inCluster + maxBytes) / clusterBytes))
  assert(entries > 0 && maxBytes > 0, 'run-asked')
  if (hasSubclusters) readSubclusters(image, words, index, index + entries, inCluster, run)
  else readClusters(image, words, index, index + entries, inCluster, run)
  if (run.bytes > maxBytes) run.bytes = maxBytes
}

function readClusters(image: Qcow2Image, words: Uint32Array, first: number, end: number, inCluster: number, run: Run): void {
  const { clusterBytes, clusterBits } = image.geometry
  const hasDataFile = image.hasDataFile
  const high = words[first * 2]!
  const low = words[first * 2 + 1]!
  const type = standardType(high, low, hasDataFile)
  run.type = type
  run.isCopied = high >= 0x80000000
  run.bytes = clusterBytes - inCluster
  if (type === ClusterType.Compressed) {
    run.hostBytes = compressedOffset(clusterBits, high, low)
    run.compressedBytes = compressedBytes(clusterBits, high, low)
    return
  }
  const hasPlace = type === ClusterType.Normal || type === ClusterType.ZeroAllocated
  const offset = entryOffset(high, low)
  run.hostBytes = offset + inCluster
  if (hasPlace && !isPlace(offset, clusterBytes)) {
    run.type = ClusterType.Invalid
    return
  }
  let next = offset
  let index = first + 1
  for (; index < end; index++) {
    const nextHigh = words[index * 2]!
    const nextLow = words[index * 2 + 1]!
    if (standardType(nextHigh, nextLow, hasDataFile) !== type) break
    next += clusterBytes
    if (hasPlace && (entryOffset(nextHigh, nextLow) !== next || nextHigh >= 0x80000000 !== run.isCopied)) break
  }
  run.bytes = (index - first) * clusterBytes - inCluster
}

function readSubclusters(image: Qcow2Image, words: Uint32Array, first: number, end: number, inCluster: number, run: Run): void {
  const { clusterBytes, clusterBits, subclusterBytes } = image.geometry
  const hasDataFile = image.hasDataFile
  const high = words[first * 4]!
  const low = words[first * 4 + 1]!
  const firstSubcluster = Math.floor(inCluster / subclusterBytes)
  const type = subclusterType(high, low, words[first * 4 + 2]!, words[first * 4 + 3]!, firstSubcluster, hasDataFile)
  run.type = type
  run.isCopied = high >= 0x80000000
  if (type === ClusterType.Compressed) {
    run.bytes = clusterBytes - inCluster
    run.hostBytes = compressedOffset(clusterBits, high, low)
    run.compressedBytes = compressedBytes(clusterBits, high, low)
    return
  }
  const hasPlace = type !== ClusterType.UnallocatedPlain && type !== ClusterType.ZeroPlain
  const offset = entryOffset(high, low)
  run.hostBytes = offset + inCluster
  run.bytes = subclusterBytes
  if (type === ClusterType.Invalid || (hasPlace && !isPlace(offset, clusterBytes))) {
    run.type = ClusterType.Invalid
    return
  }
  let next = offset
  let subcluster = firstSubcluster + 1
  let endBytes = (firstSubcluster + 1) * subclusterBytes
  for (let index = first; index < end; index++, subcluster = 0) {
    const at = index * 4
    if (index > first && hasPlace) {
      next += clusterBytes
      if (entryOffset(words[at]!, words[at + 1]!) !== next || words[at]! >= 0x80000000 !== run.isCopied) break
    }
    const same = sameSubclusters(words, at, subcluster, type, hasDataFile)
    endBytes = (index - first) * clusterBytes + same * subclusterBytes
    if (same < 32) break
  }
  run.bytes = endBytes - inCluster
}

/** The number of the first subcluster from `from` on that is not of `type`, or 32. */
function sameSubclusters(words: Uint32Array, at: number, from: number, type: ClusterType, hasDataFile: boolean): number {
  const high = words[at]!
  const low = words[at + 1]!
  const zeroBits = words[at + 2]!
  const dataBits = words[at + 3]!
  for (let number = from; number < 32; number++) {
    if (subclusterType(high, low, zeroBits, dataBits, number, hasDataFile) !== type) return number
  }
  return 32
}

function isPlace(offsetBytes: number, clusterBytes: number): boolean {
  return offsetBytes % clusterBytes === 0 && offsetBytes < OFFSET_END_BYTES
}

/** Says what is wrong with the entry of `guestBytes`, whose slice is in memory. */
export function* invalidRun(image: Qcow2Image, guestBytes: number): Co<Errno> {
  const l2OffsetBytes = image.l2Offset(guestBytes)
  const slice = image.findSlice(l2OffsetBytes, guestBytes)
  if (slice === null) return EIO
  const at = image.sliceIndex(guestBytes) * image.entryWords
  const offset = entryOffset(slice.words[at]!, slice.words[at + 1]!)
  const index = Math.floor(guestBytes / image.geometry.clusterBytes) % image.geometry.l2Entries
  const where = `(L2 offset: ${prefixedHex(l2OffsetBytes)}, L2 index: ${prefixedHex(index)})`
  assert(image.entryWords === 2 || image.entryWords === 4, 'entry-words')
  if (isPlace(offset, image.geometry.clusterBytes)) return yield* image.corruption(`Invalid cluster entry found ${where}`)
  const isZero = image.entryWords === 2 && (slice.words[at + 1]! & 1) !== 0
  const what = isZero ? 'Preallocated zero cluster' : 'Cluster allocation'
  return yield* image.corruption(`${what} offset ${prefixedHex(offset)} unaligned ${where}`)
}
