/**
 * Writing: in place where a cluster belongs to this image alone, otherwise into new clusters, with what lies around the data
 * in the same cluster copied along. The table learns of new clusters after all of it has been written, and reaches the file
 * after that is stable (cache.ts).
 *
 * What may fail: files, as an errno; what was taken is given back then. Two writes to one cluster that is being allocated
 * run one after the other.
 */
import { assert, type Co, EIO, ENOTSUP, type Errno, OK } from '../../../co'
import { RequestFlag } from '../../flags'
import { Allocation, overlapping } from './allocation'
import type { Table } from './cache'
import { freeEntry } from './discard'
import type { Qcow2Image } from './image'
import { ClusterType, COPIED_HIGH, copiedHigh, entryOffset, lowWord, standardType, subclusterType } from './layout'
import { findRunLocked, peekRun, Run } from './mapping'
import { Place } from './overlap'
import { readImage } from './read'
import { FreeKind } from './refcount'
import { ownedSlice, ownSlice } from './tables'

/** Up to this length data is copied together with what surrounds it, so that one request writes both. */
const MERGED_BYTES_MAX = 65536

/** Writes `buffer` at `guestBytes`. */
export function* writeImage(image: Qcow2Image, guestBytes: number, buffer: Uint8Array): Co<Errno> {
  const run = new Run()
  // Behind what this write has just written is the best place for what comes next, where a cluster begins there.
  let nextHostBytes = 0
  for (let at = 0; at < buffer.length; ) {
    if (image.isBroken) return EIO
    const from = guestBytes + at
    const rest = buffer.length - at
    let allocation: Allocation | null = null
    if (!peekRun(image, from, rest, run) || run.type !== ClusterType.Normal || !run.isCopied) {
      yield* image.lock.lock()
      const prepared = yield* prepare(image, from, from + rest, run, nextHostBytes)
      image.lock.unlock()
      if (typeof prepared === 'number') {
        if (prepared !== OK) return prepared
      } else allocation = prepared
    }
    assert(run.bytes > 0 && run.bytes <= rest, 'write-run')
    const bytes = run.bytes
    const part = bytes === buffer.length ? buffer : buffer.subarray(at, at + bytes)
    const errno =
      allocation === null
        ? yield* writeInPlace(image, from, run.hostBytes, part)
        : yield* writeAllocated(image, allocation, from, part, run.hostBytes)
    if (errno !== OK) return errno
    at += bytes
    const endBytes = run.hostBytes + bytes
    nextHostBytes = endBytes % image.geometry.clusterBytes === 0 ? endBytes : 0
  }
  return OK
}

/** Begun in the step that looked the place up: see `Qcow2Image.beginTransfer`. */
function* writeInPlace(image: Qcow2Image, guestBytes: number, hostBytes: number, part: Uint8Array): Co<Errno> {
  const refusal = image.hasDataFile ? null : image.guard(hostBytes, part.length, Place.None)
  if (refusal !== null) return yield* refusal
  assert(hostBytes >= 0 && part.length > 0, 'write-place')
  const epoch = image.beginTransfer()
  image.noteWrite(hostBytes + part.length)
  if (image.file.node.hearsEvents) yield* image.file.node.debugEvent('write_aio')
  const errno = yield* image.writeData(guestBytes, hostBytes, part)
  image.endTransfer(epoch)
  return errno
}

/**
 * Finds a place for the start of [from, to), as long as it goes in one piece: `run.bytes` at `run.hostBytes`. Gives OK if it
 * is there already, an errno, or what was allocated: at `nextHostBytes` if that is free, unless it is 0.
 */
function* prepare(
  image: Qcow2Image,
  fromBytes: number,
  toBytes: number,
  run: Run,
  nextHostBytes: number,
): Co<Errno | Allocation> {
  const { clusterBytes } = image.geometry
  const clusterFrom = fromBytes - (fromBytes % clusterBytes)
  let endBytes = toBytes
  for (;;) {
    if (image.isBroken) return EIO
    const other = overlapping(image.allocations, clusterFrom, toBytes)
    endBytes = other === null ? toBytes : other.fromBytes
    if (other === null || endBytes > fromBytes) break
    image.lock.unlock()
    yield* other.wait()
    yield* image.lock.lock()
  }
  let errno = image.refcounts.mustSettle ? yield* image.refcounts.settle() : OK
  if (errno === OK) errno = yield* ownSlice(image, fromBytes)
  if (errno === OK) errno = yield* findRunLocked(image, fromBytes, endBytes - fromBytes, run)
  if (errno !== OK || (run.type === ClusterType.Normal && run.isCopied)) return errno
  const slice = ownedSlice(image, fromBytes)
  const index = image.sliceIndex(fromBytes)
  const clusters = Math.min(Math.ceil((endBytes - clusterFrom) / clusterBytes), image.sliceEntries - index)
  const keeps = isKept(image, slice, index)
  if (keeps || image.hasDataFile) yield* image.hiddenSettled()
  let count = keeps ? keptClusters(image, slice, index, clusters) : newClusters(image, slice, index, clusters)
  let hostBytes = keeps ? run.hostBytes - (fromBytes - clusterFrom) : clusterFrom
  if (!keeps && !image.hasDataFile) {
    errno = yield* image.markDirty()
    if (errno === OK) errno = yield* takeClusters(image, count, nextHostBytes)
    if (errno !== OK) return errno
    hostBytes = image.refcounts.allocatedBytes
    count = image.refcounts.allocatedClusters
  }
  const lastBytes = Math.min(endBytes, clusterFrom + count * clusterBytes)
  const refusal = image.hasDataFile ? null : image.guard(hostBytes, count * clusterBytes, Place.None)
  if (refusal !== null) return yield* refusal
  const allocation = new Allocation(image.kernel, clusterFrom, clusterFrom + count * clusterBytes, hostBytes, keeps)
  allocation.copyFromBytes = copyStart(image, slice, index, fromBytes, keeps)
  allocation.copyToBytes = copyEnd(image, slice, index + count - 1, lastBytes, keeps)
  image.allocations.push(allocation)
  run.bytes = lastBytes - fromBytes
  run.hostBytes = hostBytes + (fromBytes - clusterFrom)
  return allocation
}

/** Takes up to `count` clusters at `hintBytes` if the first is free there, otherwise `count` somewhere. */
function* takeClusters({ refcounts }: Qcow2Image, count: number, hintBytes: number): Co<Errno> {
  assert(count > 0, 'take-something')
  if (hintBytes > 0) {
    const errno = yield* refcounts.allocateAt(hintBytes, count)
    refcounts.allocatedBytes = hintBytes
    if (errno !== OK || refcounts.allocatedClusters > 0) return errno
  }
  refcounts.allocatedClusters = count
  return yield* refcounts.allocate(count)
}

/** Whether a cluster is there that may be written in place, apart from what its entry says about its parts. */
function isKept(image: Qcow2Image, slice: Table, index: number): boolean {
  const at = index * image.entryWords
  const high = slice.words[at]!
  if ((high & COPIED_HIGH) === 0) return false
  const type = standardType(high, slice.words[at + 1]!, image.hasDataFile)
  return type === ClusterType.Normal || type === ClusterType.ZeroAllocated
}

/** Clusters from `index` on that are kept and lie one behind the other. */
function keptClusters(image: Qcow2Image, slice: Table, index: number, clustersMax: number): number {
  const { words } = slice
  const { clusterBytes } = image.geometry
  let count = 1
  for (; count < clustersMax && isKept(image, slice, index + count); count++) {
    const at = (index + count) * image.entryWords
    const before = at - image.entryWords
    const isNext = entryOffset(words[at]!, words[at + 1]!) === entryOffset(words[before]!, words[before + 1]!) + clusterBytes
    // With standard entries a run in place is cheaper than one that changes the table.
    if (!isNext || (image.entryWords === 2 && (words[at + 1]! & 1) === 0)) break
  }
  return count
}

/** Clusters from `index` on that need a place. */
function newClusters(image: Qcow2Image, slice: Table, index: number, clustersMax: number): number {
  let count = 1
  while (count < clustersMax && !isKept(image, slice, index + count)) count++
  assert(count <= clustersMax, 'new-clusters')
  return count
}

/** Where copying before the data has to start: at the first subcluster that would otherwise be lost. */
function copyStart(image: Qcow2Image, slice: Table, index: number, fromBytes: number, keeps: boolean): number {
  const { clusterBytes, subclusterBytes, hasSubclusters } = image.geometry
  const clusterFrom = fromBytes - (fromBytes % clusterBytes)
  if (!hasSubclusters) return clusterFrom
  const at = index * 4
  const { words } = slice
  const subclusterFrom = fromBytes - (fromBytes % subclusterBytes)
  const number = Math.floor((fromBytes - clusterFrom) / subclusterBytes)
  const type = subclusterType(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!, number, image.hasDataFile)
  if (keeps) return type === ClusterType.Normal ? fromBytes : subclusterFrom
  if (type === ClusterType.Compressed) return clusterFrom
  const dataBits = words[at + 3]!
  const firstData = dataBits === 0 ? 32 : 31 - Math.clz32(dataBits & -dataBits)
  return clusterFrom + Math.min(number, firstData) * subclusterBytes
}

function copyEnd(image: Qcow2Image, slice: Table, index: number, toBytes: number, keeps: boolean): number {
  const { clusterBytes, subclusterBytes, hasSubclusters } = image.geometry
  const clusterTo = Math.ceil(toBytes / clusterBytes) * clusterBytes
  if (!hasSubclusters) return clusterTo
  const at = index * 4
  const { words } = slice
  const clusterFrom = clusterTo - clusterBytes
  const number = Math.floor((toBytes - 1 - clusterFrom) / subclusterBytes)
  const type = subclusterType(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!, number, image.hasDataFile)
  const subclusterTo = clusterFrom + (number + 1) * subclusterBytes
  if (keeps) return type === ClusterType.Normal ? toBytes : subclusterTo
  if (type === ClusterType.Compressed) return clusterTo
  const lastData = 32 - Math.clz32(words[at + 3]!)
  return clusterFrom + Math.max(number + 1, lastData) * subclusterBytes
}

/** Writes into what was allocated, then tells the table; gives everything back if something fails. */
function* writeAllocated(image: Qcow2Image, allocation: Allocation, from: number, part: Uint8Array, host: number): Co<Errno> {
  // Nobody can give these clusters up meanwhile: whoever wants to waits for the end of the allocation.
  let errno = yield* fill(image, allocation, from, part, host)
  yield* image.lock.lock()
  if (errno === OK) errno = image.isBroken ? EIO : yield* link(image, allocation)
  if (errno !== OK && !allocation.keepsClusters && !image.hasDataFile && !image.isBroken) {
    image.refcounts.free(allocation.hostBytes, allocation.toBytes - allocation.fromBytes, FreeKind.Keep)
  }
  image.lock.unlock()
  finishAllocation(image, allocation)
  return errno
}

export function finishAllocation(image: Qcow2Image, allocation: Allocation): void {
  const at = image.allocations.indexOf(allocation)
  assert(at !== -1, 'allocation-listed')
  image.allocations.splice(at, 1)
  allocation.finish()
}

/** The data, and around it what the cluster has read so far. */
function* fill(image: Qcow2Image, allocation: Allocation, from: number, part: Uint8Array, host: number): Co<Errno> {
  const headBytes = from - allocation.copyFromBytes
  const tailBytes = allocation.copyToBytes - (from + part.length)
  assert(headBytes >= 0 && tailBytes >= 0, 'copy-around-data')
  const hostFrom = host - headBytes
  const hostTo = host + part.length + tailBytes
  const isFresh = image.readsZeroFrom(hostFrom)
  image.noteWrite(hostTo)
  if (image.file.node.hearsEvents) yield* image.file.node.debugEvent('write_aio')
  if (headBytes === 0 && tailBytes === 0) return yield* image.writeData(from, host, part)
  const isZeroAround =
    isKnownZero(image, allocation.copyFromBytes, headBytes) && isKnownZero(image, from + part.length, tailBytes)
  // Zeroes of the file are none for guests where it is encrypted.
  if (isZeroAround && image.encryption === null) {
    const errno = isFresh ? OK : yield* zeroAround(image, allocation, hostFrom, headBytes, hostTo, tailBytes)
    if (errno === OK) return yield* image.writeData(from, host, part)
    if (errno !== ENOTSUP) return errno
  }
  if (part.length > MERGED_BYTES_MAX) return yield* fillApart(image, allocation, from, part, host)
  const merged = image.allocateBuffer(hostTo - hostFrom)
  let errno = yield* readAround(image, allocation.copyFromBytes, merged.subarray(0, headBytes), isZeroAround)
  if (errno === OK) errno = yield* readAround(image, from + part.length, merged.subarray(headBytes + part.length), isZeroAround)
  if (errno !== OK) return errno
  merged.set(part, headBytes)
  return yield* image.writeData(allocation.copyFromBytes, hostFrom, merged)
}

/**
 * Zeroes new clusters as a whole. Clusters that are there already may show the middle to readers, and keep it after a power
 * cut: only what surrounds the data is zeroed in them.
 */
function* zeroAround(
  image: Qcow2Image,
  allocation: Allocation,
  hostFrom: number,
  headBytes: number,
  hostTo: number,
  tailBytes: number,
): Co<Errno> {
  assert(headBytes + tailBytes > 0, 'something-around')
  const flags = RequestFlag.NoFallback
  if (!allocation.keepsClusters) return yield* image.data.pwriteZeroes(hostFrom, hostTo - hostFrom, flags)
  let errno = headBytes === 0 ? OK : yield* image.data.pwriteZeroes(hostFrom, headBytes, flags)
  if (errno === OK && tailBytes > 0) errno = yield* image.data.pwriteZeroes(hostTo - tailBytes, tailBytes, flags)
  return errno
}

/** Long data is not copied: what surrounds it is written by itself. */
function* fillApart(image: Qcow2Image, allocation: Allocation, from: number, part: Uint8Array, host: number): Co<Errno> {
  const head = image.allocateBuffer(from - allocation.copyFromBytes)
  const tail = image.allocateBuffer(allocation.copyToBytes - (from + part.length))
  assert(head.length + tail.length > 0, 'something-around')
  let errno = yield* readAround(image, allocation.copyFromBytes, head, false)
  if (errno === OK) errno = yield* readAround(image, from + part.length, tail, false)
  if (errno === OK && head.length > 0) errno = yield* image.writeData(from - head.length, host - head.length, head)
  if (errno === OK) errno = yield* image.writeData(from, host, part)
  const toBytes = from + part.length
  if (errno === OK && tail.length > 0) errno = yield* image.writeData(toBytes, host + part.length, tail)
  return errno
}

function* readAround(image: Qcow2Image, guestBytes: number, buffer: Uint8Array, isZero: boolean): Co<Errno> {
  if (!isZero && buffer.length > 0) return yield* readImage(image, guestBytes, buffer)
  buffer.fill(0)
  return OK
}

/** Whether a range that is being allocated has read zero so far, as far as tables tell. */
function isKnownZero(image: Qcow2Image, guestBytes: number, lengthBytes: number): boolean {
  const run = new Run()
  const backingBytes = image.backing?.node.lengthBytes ?? 0
  for (let at = 0; at < lengthBytes; at += run.bytes) {
    if (!peekRun(image, guestBytes + at, lengthBytes - at, run)) return false
    const isHole = run.type === ClusterType.UnallocatedPlain || run.type === ClusterType.UnallocatedAllocated
    if (run.type === ClusterType.ZeroPlain || run.type === ClusterType.ZeroAllocated) continue
    if (!isHole || guestBytes + at < backingBytes) return false
  }
  return true
}

/** Makes the table point to what was allocated. Under the lock. */
export function* link(image: Qcow2Image, allocation: Allocation): Co<Errno> {
  const { clusterBytes } = image.geometry
  const errno = yield* ownSlice(image, allocation.fromBytes)
  if (errno !== OK) return errno
  const slice = ownedSlice(image, allocation.fromBytes)
  const first = image.sliceIndex(allocation.fromBytes)
  const count = (allocation.toBytes - allocation.fromBytes) / clusterBytes
  assert(first + count <= image.sliceEntries, 'link-one-slice')
  const { words } = slice
  for (let number = 0; number < count; number++) {
    const at = (first + number) * image.entryWords
    const host = allocation.hostBytes + number * clusterBytes
    if (!allocation.keepsClusters) freeEntry(image, words[at]!, words[at + 1]!, FreeKind.Keep)
    words[at] = copiedHigh(host)
    words[at + 1] = lowWord(host)
    // A preallocated cluster holds nothing yet: its subclusters stay unallocated.
    if (image.entryWords === 4 && allocation.copyToBytes > 0)
      linkSubclusters(image, words, at, allocation, allocation.fromBytes + number * clusterBytes)
  }
  const entryBytes = image.entryWords * 4
  image.metadata.l2.markDirty(slice, first * entryBytes, (first + count) * entryBytes)
  image.metadata.l2NeedsBarrier = true
  return OK
}

/** Marks the subclusters that were written in the cluster at `clusterFrom`. */
function linkSubclusters(image: Qcow2Image, words: Uint32Array, at: number, allocation: Allocation, clusterFrom: number): void {
  const { clusterBytes, subclusterBytes } = image.geometry
  const from = Math.max(allocation.copyFromBytes, clusterFrom) - clusterFrom
  const to = Math.min(allocation.copyToBytes, clusterFrom + clusterBytes) - clusterFrom
  const written = bitRange(Math.floor(from / subclusterBytes), Math.ceil(to / subclusterBytes))
  assert(from < to, 'subclusters-written')
  words[at + 2] = words[at + 2]! & ~written
  words[at + 3] = words[at + 3]! | written
}

/** Bits `from` to `to` (exclusive) of a word, with 0 <= from <= to <= 32. */
export function bitRange(from: number, to: number): number {
  const upTo = to === 32 ? 0xffffffff : 2 ** to - 1
  return (upTo - (2 ** from - 1)) >>> 0
}
