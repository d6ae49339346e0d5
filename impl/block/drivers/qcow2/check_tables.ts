/**
 * The walk over everything that refers to clusters: header, L1 and L2 tables of the disk and of its snapshots, the snapshot
 * table, refcount table and blocks, bitmaps. Counts references and finds entries that contradict themselves.
 *
 * What may fail: reading, which is counted as a check error and ends the walk with its errno. With `fixesErrors`, entries
 * that stand for nothing are made to read zero.
 */
import { assert, type Co, EFBIG, EINVAL, EIO, type Errno, OK, strerror } from '../../../co'
import { BlockError } from '../../error'
import { isTableEntry, readBitmapDirectory, readBitmapTable } from './bitmap_directory'
import { type CheckRun, entryType, hex, hexNumber } from './check_run'
import { decodeWords, encodeWords } from './image'
import {
  ClusterType,
  COPIED_HIGH,
  compressedBytes,
  compressedOffset,
  entryOffset,
  L1_BYTES_MAX,
  OFFSET_END_BYTES,
  ZERO_LOW,
} from './layout'
import { Place } from './overlap'

/** Bits of L1 and of standard L2 entries that must be 0: of the high word, and of the low one. */
const RESERVED_L1_HIGH = 0x7f000000
const RESERVED_L1_LOW = 0x1ff
const RESERVED_L2_HIGH = 0x3f000000
const RESERVED_L2_LOW = 0x1fe

/** A long L1 table is read in parts. */
const L1_WINDOW_ENTRIES = 8192

/** What stays the same over one L1 table. */
interface Walk {
  run: CheckRun
  isActive: boolean
  tablesLeft: number
}

/** Counts all references of the image. */
export function* countReferences(run: CheckRun): Co<Errno> {
  const { image } = run
  const { clusterBytes } = image.geometry
  const { header } = image
  run.refer(0, clusterBytes)
  let errno = yield* walkL1(run, header.l1OffsetBytes, header.l1Entries, true)
  if (errno !== OK) return errno
  if (image.hasDataFile && image.snapshots.length > 0) {
    run.corrupt(`ERROR ${image.snapshots.length} snapshots in image with data file`)
  }
  for (const { id, name, l1OffsetBytes, l1OffsetLow, l1Entries } of image.snapshots) {
    const who = `ERROR snapshot ${id} (${name})`
    if (l1OffsetLow % clusterBytes !== 0) {
      run.corrupt(
        `${who} l1_offset=0x${hexNumber(l1OffsetBytes)}: L1 table is not cluster aligned; snapshot table entry corrupted`,
      )
    } else if (l1Entries > L1_BYTES_MAX / 8) {
      run.corrupt(`${who} l1_size=0x${l1Entries.toString(16)}: L1 table is too large; snapshot table entry corrupted`)
    } else {
      errno = yield* walkL1(run, l1OffsetBytes, l1Entries, false)
      if (errno !== OK) return errno
    }
  }
  if (header.cryptoHeader !== null) run.refer(header.cryptoHeader.offsetBytes, header.cryptoHeader.lengthBytes)
  run.refer(header.snapshotsOffsetBytes, image.snapshotTableBytes)
  run.refer(image.refcounts.tableOffsetBytes, image.refcounts.table.length * 8)
  errno = yield* walkBitmaps(run)
  return errno === OK ? yield* walkRefcountBlocks(run) : errno
}

function* walkL1(run: CheckRun, offsetBytes: number, entries: number, isActive: boolean): Co<Errno> {
  if (entries === 0) return OK
  const { image } = run
  run.refer(offsetBytes, entries * 8)
  // So far behind the end of every file there is nothing, or not even a place to read from.
  if (offsetBytes >= OFFSET_END_BYTES && offsetBytes < 2 ** 63) return OK
  const walk: Walk = { run, isActive, tablesLeft: run.references.clusters + 1 }
  assert(entries * 8 <= L1_BYTES_MAX, 'l1-bounded')
  for (let first = 0; first < entries; first += L1_WINDOW_ENTRIES) {
    const bytes = new Uint8Array(Math.min(L1_WINDOW_ENTRIES, entries - first) * 8)
    const readErrno = offsetBytes >= OFFSET_END_BYTES ? EIO : yield* image.readThrough(offsetBytes + first * 8, bytes)
    if (readErrno !== OK) {
      run.tell('ERROR: I/O error in check_refcounts_l1')
      run.found.checkErrors++
      return readErrno
    }
    const words = decodeWords(bytes)
    for (let at = 0; at < words.length; at += 2) {
      const errno = (words[at]! | words[at + 1]!) === 0 ? OK : yield* walkL1Entry(walk, words[at]!, words[at + 1]!)
      if (errno !== OK) return errno
    }
  }
  return OK
}

function* walkL1Entry(walk: Walk, high: number, low: number): Co<Errno> {
  const { run } = walk
  const { clusterBytes } = run.image.geometry
  if ((high & RESERVED_L1_HIGH) !== 0 || (low & RESERVED_L1_LOW) !== 0) {
    run.corrupt(`ERROR found L1 entry with reserved bits set: ${hex(high, low)}`)
  }
  const offsetBytes = entryOffset(high, low)
  run.refer(offsetBytes, clusterBytes)
  if (offsetBytes % clusterBytes !== 0) {
    run.corrupt(`ERROR l2_offset=${hexNumber(offsetBytes)}: Table is not cluster aligned; L1 entry corrupted`)
  }
  if (walk.tablesLeft-- === 0) {
    run.tell('ERROR L1 table has more L2 tables than the file has clusters')
    run.found.checkErrors++
    return EFBIG
  }
  return yield* walkL2(walk, offsetBytes)
}

function* walkL2(walk: Walk, l2OffsetBytes: number): Co<Errno> {
  const { run } = walk
  const { image } = run
  // Nothing can lie there, and it was told already that it does.
  if (l2OffsetBytes >= OFFSET_END_BYTES) return OK
  const words = yield* run.readTable(l2OffsetBytes)
  if (words === null) {
    run.tell('ERROR: I/O error in check_refcounts_l2')
    run.found.checkErrors++
    return EINVAL
  }
  let nextOffset = 0
  for (let index = 0; index < image.geometry.l2Entries; index++) {
    const at = index * image.entryWords
    const high = words[at]!
    const low = words[at + 1]!
    const zeroBits = image.entryWords === 4 ? words[at + 2]! : 0
    const dataBits = image.entryWords === 4 ? words[at + 3]! : 0
    if ((high | low | zeroBits | dataBits) === 0) continue
    const type = entryType(image, high, low)
    if (type !== ClusterType.Compressed && ((high & RESERVED_L2_HIGH) !== 0 || (low & RESERVED_L2_LOW) !== 0)) {
      run.corrupt(`ERROR found l2 entry with reserved bits set: ${hex(high, low)}`)
    }
    if (type === ClusterType.Compressed) walkCompressed(walk, index, high, low, (zeroBits | dataBits) !== 0)
    else if (type === ClusterType.UnallocatedPlain && dataBits !== 0) {
      run.corrupt('ERROR: Unallocated cluster has non-zero subcluster allocation map')
    } else if (type === ClusterType.Normal || type === ClusterType.ZeroAllocated) {
      const offsetBytes = entryOffset(high, low)
      const wrong = placeProblem(walk, offsetBytes, low, zeroBits, dataBits)
      const fix = wrong === 'fixable' && run.fixesErrors ? yield* zeroEntry(walk, l2OffsetBytes, index) : 'none'
      if (fix === 'overlap') return EINVAL
      if (fix === 'done') continue
      walkPlace(walk, offsetBytes, nextOffset)
      nextOffset = offsetBytes + image.geometry.clusterBytes
    }
  }
  return OK
}

function walkCompressed({ run, isActive }: Walk, index: number, high: number, low: number, hasBits: boolean): void {
  const { image } = run
  const { clusterBits } = image.geometry
  const offsetBytes = compressedOffset(clusterBits, high, low)
  let entryHigh = high
  if ((high & COPIED_HIGH) !== 0) {
    run.corrupt(`ERROR: coffset=0x${hexNumber(offsetBytes)}: copied flag must never be set for compressed clusters`)
    entryHigh = (high & ~COPIED_HIGH) >>> 0
  }
  if (image.hasDataFile) {
    run.corrupt(`ERROR compressed cluster ${index} with data file, entry=0x${hex(entryHigh, low)}`)
    return
  }
  if (hasBits) {
    const entry = `entry=0x${hex(entryHigh, low)}`
    run.corrupt(`ERROR compressed cluster ${index} with non-zero subcluster allocation bitmap, ${entry}`)
    return
  }
  run.refer(offsetBytes, compressedBytes(clusterBits, high, low))
  assert(index >= 0, 'compressed-index')
  if (!isActive) return
  // Compressed data is fragmented by nature.
  run.found.allocatedClusters++
  run.found.compressedClusters++
  run.found.fragmentedClusters++
}

/** What is wrong with the place of an allocated cluster. `fixable`: it holds no data, so nothing is lost with it. */
function placeProblem(
  { run }: Walk,
  offsetBytes: number,
  low: number,
  zeroBits: number,
  dataBits: number,
): 'none' | 'fixable' | 'data' {
  const { geometry } = run.image
  if ((zeroBits & dataBits) !== 0) {
    run.corrupt(`ERROR offset=${hexNumber(offsetBytes)}: Allocated cluster has corrupted subcluster allocation bitmap`)
    if (run.fixesErrors) return 'fixable'
  }
  if (offsetBytes % geometry.clusterBytes === 0) return 'none'
  const hasData = geometry.hasSubclusters ? dataBits !== 0 : (low & ZERO_LOW) === 0
  assert(geometry.clusterBytes > 0, 'place-cluster')
  if (hasData) {
    run.corrupt(`ERROR offset=${hexNumber(offsetBytes)}: Data cluster is not properly aligned; L2 entry corrupted.`)
    return 'data'
  }
  const what = 'Preallocated cluster is not properly aligned; L2 entry corrupted.'
  run.corrupt(`${run.verb} offset=${hexNumber(offsetBytes)}: ${what}`)
  return 'fixable'
}

function walkPlace({ run, isActive }: Walk, offsetBytes: number, nextOffset: number): void {
  if (isActive) {
    run.found.allocatedClusters++
    if (nextOffset !== 0 && offsetBytes !== nextOffset) run.found.fragmentedClusters++
  }
  if (!run.image.hasDataFile) run.refer(offsetBytes, run.image.geometry.clusterBytes)
}

/** Makes an entry read zero, in the file. */
function* zeroEntry({ run, isActive }: Walk, l2OffsetBytes: number, index: number): Co<'done' | 'failed' | 'overlap'> {
  const { image } = run
  const { entryWords } = image
  const entry = entryWords === 4 ? [0, 0, 0xffffffff, 0] : [0, ZERO_LOW]
  const at = l2OffsetBytes + index * entryWords * 4
  const refusal = image.guard(at, entryWords * 4, isActive ? Place.ActiveL2 : Place.InactiveL2)
  if (refusal !== null) {
    yield* refusal
    run.tell('ERROR: Overlap check failed')
    run.found.checkErrors++
    return 'overlap'
  }
  let errno = yield* image.writeThrough(at, encodeWords(Uint32Array.from(entry)))
  if (errno === OK) errno = yield* image.flushFiles()
  assert(index < image.geometry.l2Entries, 'zero-entry')
  if (errno !== OK) {
    run.tell(`ERROR: Failed to overwrite L2 table entry: ${strerror(errno)}`)
    run.found.checkErrors++
    return 'failed'
  }
  run.found.corruptions--
  run.found.corruptionsFixed++
  return 'done'
}

function* walkBitmaps(run: CheckRun): Co<Errno> {
  const { image } = run
  const { bitmaps } = image.header
  const { clusterBytes } = image.geometry
  if (bitmaps === null) return OK
  run.refer(bitmaps.directoryOffsetBytes, bitmaps.directoryBytes)
  const read = (at: number, bytes: Uint8Array): Co<Errno> => image.readThrough(at, bytes)
  try {
    const list = yield* readBitmapDirectory(read, bitmaps, { clusterBytes, diskBytes: image.header.sizeBytes })
    for (const bitmap of list) {
      run.refer(bitmap.tableOffsetBytes, bitmap.tableEntries * 8)
      const words = yield* readBitmapTable(read, bitmap)
      for (let at = 0; at < words.length; at += 2) {
        if (!isTableEntry(words[at]!, words[at + 1]!, clusterBytes)) {
          run.found.corruptions++
          return EINVAL
        }
        const offsetBytes = entryOffset(words[at]!, words[at + 1]!)
        if (offsetBytes !== 0) run.refer(offsetBytes, clusterBytes)
      }
    }
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    run.found.corruptions++
    return EINVAL
  }
  assert(bitmaps.count > 0, 'bitmaps-counted')
  return OK
}

function* walkRefcountBlocks(run: CheckRun): Co<Errno> {
  const { image, references } = run
  const { clusterBytes } = image.geometry
  const { table, reserved } = image.refcounts
  for (let index = 0; index < table.length; index++) {
    const offsetBytes = table[index]!
    if (reserved.has(index)) {
      run.corrupt(`ERROR refcount table entry ${index} has reserved bits set`)
      run.needsRebuild = true
      continue
    }
    if (offsetBytes === 0) continue
    if (offsetBytes % clusterBytes !== 0) {
      run.corrupt(`ERROR refcount block ${index} is not cluster aligned; refcount table entry corrupted`)
      run.needsRebuild = true
      continue
    }
    const cluster = offsetBytes / clusterBytes
    if (cluster >= references.clusters) {
      run.corrupt(`${run.verb} refcount block ${index} is outside image`)
      if (run.fixesErrors) yield* reachBlock(run, offsetBytes)
      continue
    }
    run.refer(offsetBytes, clusterBytes)
    const count = references.get(cluster)
    assert(count >= 0, 'block-count')
    if (count === 1) continue
    run.corrupt(`ERROR refcount block ${index} refcount=${count}`)
    run.needsRebuild = true
  }
  return OK
}

/** Makes the file long enough for a refcount block behind its end; the block is empty then. */
function* reachBlock(run: CheckRun, offsetBytes: number): Co<void> {
  const { image, references } = run
  const { clusterBytes } = image.geometry
  const endBytes = offsetBytes + clusterBytes
  assert(offsetBytes % clusterBytes === 0, 'block-aligned')
  let errno: Errno = endBytes >= OFFSET_END_BYTES ? EINVAL : OK
  if (errno === OK) errno = yield* image.file.truncate(endBytes, false, 'off')
  if (errno === OK && run.fileClusters * clusterBytes < endBytes) errno = EINVAL
  if (errno !== OK) {
    run.needsRebuild = true
    run.tell(`ERROR could not resize image: ${strerror(errno)}`)
    return
  }
  references.clusters = Math.max(references.clusters, run.fileClusters)
  run.found.corruptions--
  run.found.corruptionsFixed++
  run.refer(offsetBytes, clusterBytes)
}
