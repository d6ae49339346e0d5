/**
 * Changing the options of an image that is there: what `qemu-img amend` can. Everything that is asked for is looked at before
 * anything is changed, as far as that can be known.
 *
 * What may fail: options that do not go together or that this image cannot have, and the file: BlockError with QEMU's texts.
 * Runs in a drained node; the caller does not hold the lock.
 */
import { assert, type Co, EFBIG, EINVAL, ENOTSUP, type Errno, OK, strerror } from '../../../co'
import type { LuksAmendment } from '../../crypto/luks'
import { BlockError } from '../../error'
import { writeImage } from './allocate'
import { placeRefcounts, writeBlocks } from './check_refcounts'
import { ReferenceCounts } from './check_references'
import { discardClusters } from './discard'
import { headerFits, type Qcow2Header } from './header'
import { decodeWords, type Qcow2Image } from './image'
import {
  AUTOCLEAR_DATA_FILE_RAW,
  ClusterType,
  COMPATIBLE_LAZY_REFCOUNTS,
  COMPRESSED_HIGH,
  entryOffset,
  geometryOf,
  HEADER_REFCOUNT_TABLE_AT,
  INCOMPATIBLE_DIRTY,
  OFFSET_END_BYTES,
  writeU32,
  writeU64,
  ZERO_LOW,
} from './layout'
import { findRunLocked, Run } from './mapping'
import { demand } from './open'
import { FreeKind } from './refcount'
import { resizeImage } from './resize'
import { SNAPSHOT_EXTRA_BYTES_MIN } from './snapshot_table'
import { writeSnapshots } from './snapshot_write'
import { readSnapshotL1 } from './snapshots'

/** What is absent stays as it is. */
export interface Qcow2AmendOptions {
  version?: 2 | 3
  sizeBytes?: number
  /** Empty: none. */
  backingName?: string
  backingFormat?: string
  dataFileName?: string
  dataFileRaw?: boolean
  lazyRefcounts?: boolean
  refcountBits?: number
  /** Passwords; `force` also erases and overwrites what may be the last one. */
  encryption?: { amendment: LuksAmendment; force: boolean }
}

/** Where refcount table and refcount order lie in the header, in one sector. */
const REFCOUNT_FIELD_BYTES = 100 - HEADER_REFCOUNT_TABLE_AT
const UINT32_MAX = 0xffffffff
const ZEROES = new Uint8Array(65536)

/** Throws BlockError. */
export function* amendImage(image: Qcow2Image, options: Qcow2AmendOptions): Co<void> {
  const { header, geometry } = image
  const version = options.version ?? header.version
  checkOptions(image, options, version)
  if (version > header.version) yield* locked(image, () => upgrade(image))
  if (options.encryption !== undefined) {
    const { amendment, force } = options.encryption
    const { encryption } = image
    if (encryption === null) refuse("Can't amend encryption options - encryption not present")
    yield* locked(image, () => encryption.amend(image, amendment, force))
  }
  const { refcountBits = geometry.refcountBits } = options
  if (refcountBits !== geometry.refcountBits) yield* locked(image, () => changeRefcountBits(image, refcountBits))
  yield* locked(image, () => changeNames(image, options))
  if (options.lazyRefcounts !== undefined) yield* locked(image, () => changeLazyRefcounts(image, options.lazyRefcounts!))
  if (options.sizeBytes !== undefined && options.sizeBytes !== header.sizeBytes) {
    demand(yield* resizeImage(image, options.sizeBytes, 'off'), 'Failed to resize the image')
  }
  if (version < header.version) yield* downgrade(image)
  assert(image.header.version === version, 'amended-version')
}

function* locked(image: Qcow2Image, body: () => Co<void>): Co<void> {
  yield* image.lock.lock()
  try {
    yield* body()
  } finally {
    image.lock.unlock()
  }
}

function refuse(text: string, errno: Errno = EINVAL): never {
  throw new BlockError(text, { errno })
}

function checkOptions(image: Qcow2Image, options: Qcow2AmendOptions, version: 2 | 3): void {
  const { header, geometry } = image
  const { refcountBits = geometry.refcountBits, backingName, backingFormat } = options
  if (!Number.isInteger(Math.log2(refcountBits)) || refcountBits > 64 || refcountBits < 1) {
    refuse('Refcount width must be a power of two and may not exceed 64 bits')
  }
  if (options.dataFileName !== undefined && !image.hasDataFile) {
    refuse('data-file can only be set for images that use an external data file')
  }
  if (options.dataFileRaw === true && !image.isDataFileRaw) refuse('data_file_raw cannot be set on existing images')
  const asksForOther = (wanted: string | undefined, is: string | null): boolean => wanted !== undefined && wanted !== (is ?? '')
  if (asksForOther(backingName, header.backingName) || asksForOther(backingFormat, header.backingFormat)) {
    refuse('Cannot amend the backing file')
  }
  if (version < 3 && refcountBits !== 16) {
    if (header.version === 3 && refcountBits === geometry.refcountBits) refuse('compat=0.10 requires refcount_bits=16', ENOTSUP)
    refuse('Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)')
  }
  if (version < 3 && options.lazyRefcounts === true) {
    refuse('Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)')
  }
  if (version < header.version) checkDowngrade(image)
  assert(version === 2 || version === 3, 'amend-version')
}

function checkDowngrade(image: Qcow2Image): void {
  const { header } = image
  if (image.hasDataFile) refuse('Cannot downgrade an image with a data file', ENOTSUP)
  for (const { vmStateBytes, diskBytes } of image.snapshots) {
    if (vmStateBytes > UINT32_MAX || diskBytes !== header.sizeBytes) {
      refuse('Internal snapshots prevent downgrade of image', ENOTSUP)
    }
  }
  if ((header.incompatible & ~INCOMPATIBLE_DIRTY) !== 0n) {
    const features = (header.incompatible & ~INCOMPATIBLE_DIRTY).toString(16)
    refuse(`Cannot downgrade an image with incompatible features 0x${features} set`, ENOTSUP)
  }
  if (header.bitmaps !== null || image.storedBitmaps.length > 0) {
    refuse('Cannot downgrade an image with persistent bitmaps', ENOTSUP)
  }
}

/** Everything that is in memory is in the file afterwards, and the dirty bit is gone. */
function* settle(image: Qcow2Image): Co<Errno> {
  let errno = yield* image.markClean()
  if (errno === OK) errno = yield* image.metadata.refcounts.writeAll()
  return errno === OK ? yield* image.flushFiles() : errno
}

/** Writes these fields of the header with all others. Throws BlockError. */
function* changeHeader(image: Qcow2Image, change: Partial<Qcow2Header>): Co<void> {
  const { header } = image
  if (!headerFits({ ...header, ...change })) refuse('Failed to update the image header: No space left on device')
  const before = { ...header }
  Object.assign(header, change)
  let errno = yield* image.writeHeader()
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno !== OK) Object.assign(header, before)
  demand(errno, 'Failed to update the image header')
}

function* upgrade(image: Qcow2Image): Co<void> {
  if (image.snapshots.some(({ extraBytes }) => extraBytes < SNAPSHOT_EXTRA_BYTES_MIN)) {
    demand(yield* writeSnapshots(image, image.snapshots), 'Failed to update the snapshot table')
  }
  assert(image.header.version === 2, 'upgrade-version-2')
  yield* changeHeader(image, { version: 3 })
}

function* changeNames(image: Qcow2Image, { dataFileName, dataFileRaw }: Qcow2AmendOptions): Co<void> {
  const { header } = image
  const change: Partial<Qcow2Header> = {}
  if (dataFileName !== undefined) change.dataFileName = dataFileName === '' ? null : dataFileName
  if (dataFileRaw === false) change.autoclear = header.autoclear & ~AUTOCLEAR_DATA_FILE_RAW
  assert(header.version >= 2, 'header-version')
  const isSame = Object.entries(change).every(([name, value]) => header[name as keyof Qcow2Header] === value)
  if (!isSame) yield* changeHeader(image, change)
}

function* changeLazyRefcounts(image: Qcow2Image, isLazy: boolean): Co<void> {
  const { header, settings } = image
  const isLazyNow = (header.compatible & COMPATIBLE_LAZY_REFCOUNTS) !== 0n
  if (!isLazy) demand(yield* settle(image), 'Failed to make the image clean')
  const compatible = isLazy ? header.compatible | COMPATIBLE_LAZY_REFCOUNTS : header.compatible & ~COMPATIBLE_LAZY_REFCOUNTS
  if (isLazy !== isLazyNow) yield* changeHeader(image, { compatible })
  assert(header.version >= 3 || !isLazy, 'lazy-version-3')
  settings.lazyRefcounts = isLazy
}

/** All refcounts in another width: new blocks and a new table beside the old ones, which go when the header names the new. */
function* changeRefcountBits(image: Qcow2Image, refcountBits: number): Co<void> {
  const { refcounts, header } = image
  const old = image.geometry
  demand(yield* settle(image), 'Failed to write the refcounts')
  const geometry = geometryOf(old.clusterBits, Math.log2(refcountBits), old.hasSubclusters)
  const counts = new ReferenceCounts(0, UINT32_MAX)
  const oldTable = { blocks: refcounts.table.filter((offset) => offset !== 0), offsetBytes: refcounts.tableOffsetBytes }
  const oldTableBytes = refcounts.table.length * 8
  yield* readCounts(image, counts, geometry.refcountMax, refcountBits)
  const built = placeRefcounts(counts, geometry)
  if (built === null) refuse('The image has too many clusters for such refcounts', EFBIG)
  demand(yield* writeBlocks(image, counts, geometry, built.table), 'Failed to write the new refblocks')
  const nameTable = (): Co<Errno> => nameRefcounts(image, built, geometry.refcountOrder)
  const errno = yield* refcounts.replaceTable(Float64Array.from(built.table), built.offsetBytes, nameTable)
  demand(errno, 'Failed to update the image header')
  image.geometry = geometry
  header.refcountOrder = geometry.refcountOrder
  image.refcountTableChanged(null)
  assert(image.geometry.refcountBits === refcountBits, 'refcount-width')
  for (const offset of oldTable.blocks) {
    if (image.isPlace(offset)) refcounts.free(offset, geometry.clusterBytes, FreeKind.Other)
  }
  refcounts.free(oldTable.offsetBytes, oldTableBytes, FreeKind.Other)
  demand(yield* settle(image), 'Failed to give up the old refcounts')
}

/** Reads every refcount. Throws BlockError if one has no room in the new width. */
function* readCounts(image: Qcow2Image, counts: ReferenceCounts, countMax: number, refcountBits: number): Co<void> {
  const { refcounts } = image
  const { refcountBlockEntries, clusterBytes } = image.geometry
  for (let index = 0; index < refcounts.table.length; index++) {
    if (refcounts.table[index] === 0) continue
    for (let entry = 0; entry < refcountBlockEntries; entry++) {
      const cluster = index * refcountBlockEntries + entry
      if (refcounts.known(cluster) === -1) demand(yield* refcounts.read(cluster), 'Failed to read a refblock')
      const count = refcounts.known(cluster)
      if (count === 0) continue
      if (count > Math.min(countMax, UINT32_MAX)) {
        const where = `Cluster at offset 0x${(cluster * clusterBytes).toString(16)} has a refcount of ${count}`
        refuse(`Cannot decrease refcount entry width to ${refcountBits} bits: ${where}`)
      }
      counts.set(cluster, count)
    }
  }
  assert(counts.clusters > 0, 'header-counted')
}

/** One write of the header's first sector names the table and the width of what it leads to. */
function* nameRefcounts(
  image: Qcow2Image,
  { table, offsetBytes }: { table: number[]; offsetBytes: number },
  order: number,
): Co<Errno> {
  const before = new Uint8Array(REFCOUNT_FIELD_BYTES)
  const errno = yield* image.readThrough(HEADER_REFCOUNT_TABLE_AT, before)
  if (errno !== OK) return errno
  const wanted = before.slice()
  writeU64(wanted, 0, offsetBytes)
  writeU32(wanted, 8, (table.length * 8) / image.geometry.clusterBytes)
  writeU32(wanted, 96 - HEADER_REFCOUNT_TABLE_AT, order)
  assert(image.header.version >= 3, 'refcount-width-version-3')
  return yield* image.writeField(HEADER_REFCOUNT_TABLE_AT, wanted, before)
}

/** Version 2 has no zero clusters: they become holes, or data where something lies below. */
function* downgrade(image: Qcow2Image): Co<void> {
  yield* locked(image, () => demandNoZeroesBelow(image))
  yield* expandZeroes(image)
  yield* locked(image, function* () {
    demand(yield* settle(image), 'Failed to turn zero into data clusters')
    image.settings.lazyRefcounts = false
    const field = { version: 2 as const, incompatible: 0n, compatible: 0n, autoclear: 0n, unknownFields: new Uint8Array(0) }
    yield* changeHeader(image, field)
    assert(image.header.version === 2, 'downgraded')
  })
}

/** A snapshot's zero clusters cannot be written to without taking them away from it. */
function* demandNoZeroesBelow(image: Qcow2Image): Co<void> {
  const { clusterBytes, l2Entries } = image.geometry
  for (const entry of image.snapshots) {
    const { errno, words } = yield* readSnapshotL1(image, entry)
    demand(errno, 'Failed to read l1 table for snapshot')
    for (let at = 0; at < words.length; at += 2) {
      const offsetBytes = entryOffset(words[at]!, words[at + 1]!)
      if (!image.isPlace(offsetBytes) || offsetBytes >= OFFSET_END_BYTES) continue
      const bytes = new Uint8Array(clusterBytes)
      demand(yield* image.readThrough(offsetBytes, bytes), 'Failed to read L2 table of a snapshot')
      const table = decodeWords(bytes)
      for (let index = 0; index < l2Entries; index++) {
        const isCompressed = (table[index * 2]! & COMPRESSED_HIGH) !== 0
        if (!isCompressed && (table[index * 2 + 1]! & ZERO_LOW) !== 0) {
          refuse('Internal snapshots prevent downgrade of image', ENOTSUP)
        }
      }
    }
  }
  assert(!image.geometry.hasSubclusters, 'downgrade-standard-entries')
}

function* expandZeroes(image: Qcow2Image): Co<void> {
  const { clusterBytes } = image.geometry
  const run = new Run()
  const endBytes = image.header.sizeBytes
  for (let at = 0; at < endBytes; at += run.bytes) {
    yield* image.lock.lock()
    let errno = yield* findRunLocked(image, at, endBytes - at, run)
    const isZero = run.type === ClusterType.ZeroPlain || run.type === ClusterType.ZeroAllocated
    if (errno === OK && isZero && image.backing === null) {
      const toBytes = Math.ceil((at + run.bytes) / clusterBytes) * clusterBytes
      errno = yield* discardClusters(image, at, toBytes, FreeKind.Request, true)
    }
    image.lock.unlock()
    for (let done = 0; errno === OK && isZero && image.backing !== null && done < run.bytes; done += ZEROES.length) {
      errno = yield* writeImage(image, at + done, ZEROES.subarray(0, Math.min(ZEROES.length, run.bytes - done)))
    }
    if (errno !== OK) refuse(`Failed to turn zero into data clusters: ${strerror(errno)}`, errno)
    assert(run.bytes > 0, 'zero-run')
  }
}
