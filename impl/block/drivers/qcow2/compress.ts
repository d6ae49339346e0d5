/**
 * Writing compressed clusters. They lie one behind the other, byte by byte, and share clusters of the file.
 *
 * What may fail: files, as an errno; EIO for a cluster that has a place already, as compressed data overwrites nothing;
 * ENOTSUP without the codec or with an external data file. Data that does not shrink is written as it is.
 */
import { assert, type Co, EINVAL, EIO, ENOTSUP, type Errno, OK } from '../../../co'
import { finishAllocation, writeImage } from './allocate'
import { Allocation } from './allocation'
import { waitAllocations } from './discard'
import type { Qcow2Image } from './image'
import { ClusterType, compressedHigh, compressedOffsetEnd, lowWord, standardType } from './layout'
import { Place } from './overlap'
import { ownedSlice, ownSlice } from './tables'

/** Writes `buffer`, from a cluster boundary to one or to the end of the disk, compressed where that makes it shorter. */
export function* writeCompressed(image: Qcow2Image, guestBytes: number, buffer: Uint8Array): Co<Errno> {
  const { clusterBytes } = image.geometry
  const endBytes = guestBytes + buffer.length
  if (image.hasDataFile || image.codec === null) return ENOTSUP
  if (guestBytes % clusterBytes !== 0) return EINVAL
  if (endBytes % clusterBytes !== 0 && endBytes !== image.header.sizeBytes) return EINVAL
  for (let at = 0; at < buffer.length; at += clusterBytes) {
    const errno = yield* writeOne(image, guestBytes + at, buffer.subarray(at, at + clusterBytes))
    if (errno !== OK) return errno
  }
  return OK
}

function* writeOne(image: Qcow2Image, guestBytes: number, part: Uint8Array): Co<Errno> {
  const { clusterBytes } = image.geometry
  const { codec } = image
  assert(codec !== null && part.length <= clusterBytes, 'compress-one-cluster')
  let input = part
  if (part.length < clusterBytes) {
    input = new Uint8Array(clusterBytes)
    input.set(part)
  }
  // One byte less than a cluster at most, or nothing is gained.
  const output = new Uint8Array(clusterBytes - 1)
  const lengthBytes = codec.compress(input, output)
  if (lengthBytes === -1) return yield* writeImage(image, guestBytes, part)
  assert(lengthBytes > 0 && lengthBytes < clusterBytes, 'compressed-length')
  yield* image.lock.lock()
  const prepared = yield* prepare(image, guestBytes, lengthBytes)
  image.lock.unlock()
  if (typeof prepared === 'number') return prepared
  image.noteWrite(prepared.hostBytes + lengthBytes)
  let errno = yield* image.data.pwrite(prepared.hostBytes, output.subarray(0, lengthBytes))
  yield* image.lock.lock()
  if (errno === OK) errno = image.isBroken ? EIO : yield* linkCompressed(image, prepared, lengthBytes)
  if (errno !== OK && !image.isBroken) image.refcounts.free(prepared.hostBytes, lengthBytes, 0)
  image.lock.unlock()
  finishAllocation(image, prepared)
  return errno
}

function* prepare(image: Qcow2Image, guestBytes: number, lengthBytes: number): Co<Errno | Allocation> {
  const { clusterBytes, clusterBits } = image.geometry
  yield* waitAllocations(image, guestBytes, guestBytes + clusterBytes)
  if (image.isBroken) return EIO
  let errno = yield* ownSlice(image, guestBytes)
  if (errno !== OK) return errno
  const { words } = ownedSlice(image, guestBytes)
  const at = image.sliceIndex(guestBytes) * image.entryWords
  const type = standardType(words[at]!, words[at + 1]!, false)
  if (type !== ClusterType.UnallocatedPlain && type !== ClusterType.ZeroPlain) return EIO
  errno = yield* image.markDirty()
  if (errno === OK) errno = yield* image.refcounts.allocateCompressed(lengthBytes, compressedOffsetEnd(clusterBits))
  if (errno !== OK) return errno
  const hostBytes = image.refcounts.allocatedBytes
  const refusal = image.guard(hostBytes, lengthBytes, Place.None)
  if (refusal !== null) return yield* refusal
  const allocation = new Allocation(image.kernel, guestBytes, guestBytes + clusterBytes, hostBytes, false)
  image.allocations.push(allocation)
  return allocation
}

function* linkCompressed(image: Qcow2Image, allocation: Allocation, lengthBytes: number): Co<Errno> {
  const errno = yield* ownSlice(image, allocation.fromBytes)
  if (errno !== OK) return errno
  const slice = ownedSlice(image, allocation.fromBytes)
  const { words } = slice
  const at = image.sliceIndex(allocation.fromBytes) * image.entryWords
  words[at] = compressedHigh(image.geometry.clusterBits, allocation.hostBytes, lengthBytes)
  words[at + 1] = lowWord(allocation.hostBytes)
  if (image.entryWords === 4) words.fill(0, at + 2, at + 4)
  assert(standardType(words[at]!, words[at + 1]!, false) === ClusterType.Compressed, 'compressed-entry')
  image.metadata.l2.markDirty(slice, at * 4, (at + image.entryWords) * 4)
  image.metadata.l2NeedsBarrier = true
  return OK
}
