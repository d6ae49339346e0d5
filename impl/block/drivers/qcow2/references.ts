/**
 * What an L1 table refers to, as a whole: one user more or less for all of its clusters, and the flags of its entries put in
 * step with the refcounts. What snapshots are made of.
 *
 * Under the lock, in an image that nobody uses meanwhile. What may fail: tables, as an errno; an entry that leads nowhere is a
 * corruption: EIO. A failure leaves refcounts too high, never too low.
 */
import { assert, type Co, EAGAIN, EIO, type Errno, OK } from '../../../co'
import type { Table } from './cache'
import { encodeWords, type Qcow2Image } from './image'
import {
  ClusterType,
  COPIED_HIGH,
  compressedBytes,
  compressedOffset,
  entryOffset,
  OFFSET_END_BYTES,
  prefixedHex,
  standardType,
} from './layout'
import { Place } from './overlap'
import { FreeKind } from './refcount'

/**
 * Changes the refcounts of all that `l1` (words, high and low) refers to by `change`. Unless something is given up, each entry
 * says afterwards whether it owns its cluster alone; flags in `l1` itself are changed in memory only.
 */
export function* changeReferences(image: Qcow2Image, l1: Uint32Array, change: 1 | 0 | -1): Co<Errno> {
  const { clusterBytes } = image.geometry
  assert(image.lock.isLocked && l1.length % 2 === 0, 'references-locked')
  for (let index = 0; index < l1.length; index += 2) {
    const l2OffsetBytes = entryOffset(l1[index]!, l1[index + 1]!)
    if (l2OffsetBytes === 0) continue
    if (l2OffsetBytes % clusterBytes !== 0 || l2OffsetBytes >= OFFSET_END_BYTES) {
      const where = `(L1 index: ${prefixedHex(index / 2)})`
      return yield* image.corruption(`L2 table offset ${prefixedHex(l2OffsetBytes)} unaligned ${where}`)
    }
    let errno = yield* changeTable(image, l2OffsetBytes, change)
    if (errno === OK) errno = yield* changeOne(image, l2OffsetBytes, clusterBytes, change)
    if (errno !== OK) return errno
    if (change === -1) continue
    errno = yield* image.refcounts.read(l2OffsetBytes / clusterBytes)
    if (errno !== OK) return errno
    l1[index] = withFlag(l1[index]!, image.refcounts.value === 1)
  }
  return OK
}

function withFlag(high: number, isCopied: boolean): number {
  return (isCopied ? high | COPIED_HIGH : high & ~COPIED_HIGH) >>> 0
}

function* changeOne(image: Qcow2Image, offsetBytes: number, lengthBytes: number, change: 1 | 0 | -1): Co<Errno> {
  if (change === 0) return OK
  if (change === 1) {
    const errno = yield* image.refcounts.increase(offsetBytes, lengthBytes)
    // It had no refcount at all although somebody uses it.
    return errno === EAGAIN ? EIO : errno
  }
  return yield* image.refcounts.lowerNow(offsetBytes, lengthBytes, FreeKind.Snapshot)
}

function* changeTable(image: Qcow2Image, l2OffsetBytes: number, change: 1 | 0 | -1): Co<Errno> {
  const { clusterBytes } = image.geometry
  for (let at = 0; at < clusterBytes; at += image.sliceBytes) {
    for (let index = 0; index < image.sliceEntries; index++) {
      // Found again for each entry: reading refcounts gives other coroutines no chance, but may take time.
      let slice = image.metadata.l2.find(l2OffsetBytes + at)
      if (slice === null) {
        const errno = yield* image.metadata.loadL2(l2OffsetBytes + at)
        if (errno !== OK) return errno
        slice = image.metadata.l2.find(l2OffsetBytes + at)
      }
      assert(slice !== null, 'slice-loaded')
      const word = index * image.entryWords
      if ((slice.words[word]! | slice.words[word + 1]!) === 0) continue
      const errno = yield* changeEntry(image, slice, word, l2OffsetBytes, at / image.sliceBytes, change)
      if (errno !== OK) return errno
    }
  }
  return OK
}

function* changeEntry(
  image: Qcow2Image,
  slice: Table,
  word: number,
  l2OffsetBytes: number,
  sliceNumber: number,
  change: 1 | 0 | -1,
): Co<Errno> {
  const { clusterBytes, clusterBits } = image.geometry
  const high = slice.words[word]!
  const low = slice.words[word + 1]!
  const type = standardType(high, low, false)
  if (type === ClusterType.Compressed) {
    return yield* changeOne(image, compressedOffset(clusterBits, high, low), compressedBytes(clusterBits, high, low), change)
  }
  if (type !== ClusterType.Normal && type !== ClusterType.ZeroAllocated) return OK
  const offsetBytes = entryOffset(high, low)
  if (offsetBytes % clusterBytes !== 0 || offsetBytes === 0 || offsetBytes >= OFFSET_END_BYTES) {
    const index = sliceNumber * image.sliceEntries + word / image.entryWords
    const where = `(L2 offset: ${prefixedHex(l2OffsetBytes)}, L2 index: ${prefixedHex(index)})`
    return yield* image.corruption(`Cluster allocation offset ${prefixedHex(offsetBytes)} unaligned ${where}`)
  }
  let errno = yield* changeOne(image, offsetBytes, clusterBytes, change)
  if (errno !== OK || change === -1) return errno
  errno = yield* image.refcounts.read(offsetBytes / clusterBytes)
  if (errno !== OK) return errno
  const wanted = withFlag(high, image.refcounts.value === 1)
  assert(slice.offsetBytes !== -1, 'slice-kept')
  if (wanted === high) return OK
  slice.words[word] = wanted
  image.metadata.l2.markDirty(slice, word * 4, word * 4 + 8)
  image.metadata.l2NeedsBarrier = true
  return OK
}

/** Puts the flags of the active tables in step with the refcounts, and writes the L1 table. */
export function* refreshCopied(image: Qcow2Image): Co<Errno> {
  const before = image.l1.slice()
  const errno = yield* changeReferences(image, image.l1, 0)
  return errno === OK ? yield* writeL1(image, before) : errno
}

/** Writes the active L1 table in place if its flags differ from `before`. */
export function* writeL1(image: Qcow2Image, before: Uint32Array): Co<Errno> {
  const { l1, header } = image
  assert(before.length === l1.length, 'l1-compared')
  if (before.every((word, index) => word === l1[index])) return OK
  const refusal = image.guard(header.l1OffsetBytes, l1.length * 4, Place.ActiveL1)
  if (refusal !== null) return yield* refusal
  // Refcounts first: a flag that is gone too early is only slow, one that stays too long is not.
  let errno = yield* image.metadata.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno === OK) errno = yield* image.writeThrough(header.l1OffsetBytes, encodeWords(l1))
  return errno
}
