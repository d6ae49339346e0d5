/**
 * Persistent bitmaps of an image: loaded when it is opened, stored when it is closed or becomes read-only. In between the
 * directory says that they are in use: after a power cut they are inconsistent, and can only be removed.
 *
 * Where the header has to change, the autoclear bit goes first and comes back last: a power cut in between loses the bitmaps,
 * which were in use and so of no worth, and leaks their clusters.
 *
 * What may fail: a directory that breaks the rules, as BlockError with QEMU's text; the file, as an errno. Under the lock.
 */
import { assert, type Co, EFBIG, EINVAL, type Errno, OK, strerror } from '../../../co'
import { DirtyBitmap } from '../../dirty_bitmap'
import { BlockError } from '../../error'
import { adoptBitmap, type NamedBitmap } from '../../named_bitmap'
import type { BlockNode } from '../../node'
import { isZero } from '../../zero_detect'
import {
  BITMAP_AUTO,
  BITMAP_IN_USE,
  type BitmapGeometry,
  bitmapTableEntries,
  checkStorable,
  encodeDirectory,
  isTableEntry,
  readBitmapDirectory,
  readBitmapTable,
  type StoredBitmap,
  TABLE_ENTRY_ALL_ONES,
} from './bitmap_directory'
import { BITMAP_DIRECTORY_BYTES_MAX, BITMAPS_MAX, headerFits } from './header'
import type { Qcow2Image } from './image'
import { AUTOCLEAR_BITMAPS, entryOffset, HEADER_AUTOCLEAR_AT, writeBits, writeU64 } from './layout'
import { Place } from './overlap'
import { FreeKind } from './refcount'
import type { ReadFile } from './snapshot_table'

/** Memory for the bits of all bitmaps of an image: what it says of itself must have an end. */
const LOADED_BYTES_MAX = 64 * 2 ** 20

function geometryOf(image: Qcow2Image): BitmapGeometry {
  return { clusterBytes: image.geometry.clusterBytes, diskBytes: image.header.sizeBytes }
}

function readerOf(image: Qcow2Image): ReadFile {
  return (at, bytes) => image.readThrough(at, bytes)
}

/** Reads the directory into `image.storedBitmaps`. Throws BlockError. */
export function* readStoredBitmaps(image: Qcow2Image): Co<void> {
  const { bitmaps } = image.header
  image.storedBitmaps = bitmaps === null ? [] : yield* readBitmapDirectory(readerOf(image), bitmaps, geometryOf(image))
  const names = new Set(image.storedBitmaps.map(({ name }) => name))
  if (names.size < image.storedBitmaps.length) throw new BlockError('Bitmap directory has two bitmaps of one name')
  assert(image.storedBitmaps.length <= BITMAPS_MAX, 'bitmaps-bounded')
}

/** Gives the node the image's bitmaps, and says in the image that they are in use if it may be written to. Throws BlockError. */
export function* loadBitmaps(image: Qcow2Image, node: BlockNode): Co<void> {
  yield* readStoredBitmaps(image)
  let budgetBytes = LOADED_BYTES_MAX
  for (const stored of image.storedBitmaps) {
    const granularityBytes = 2 ** stored.granularityBits
    const isInconsistent = (stored.flags & BITMAP_IN_USE) !== 0
    const lengthBytes = isInconsistent ? 0 : node.lengthBytes
    budgetBytes -= lengthBytes / granularityBytes / 8
    if (budgetBytes < 0) throw new BlockError('The bitmaps of the image need too much memory', { errno: EFBIG })
    const bits = new DirtyBitmap(lengthBytes, granularityBytes)
    if (!isInconsistent) yield* loadBits(image, stored, bits)
    const bitmap = adoptBitmap(node, stored.name, bits)
    bitmap.isPersistent = true
    bitmap.isInconsistent = isInconsistent
    bitmap.isReadOnly = image.settings.isReadOnly
    bitmap.setEnabled(!isInconsistent && (stored.flags & BITMAP_AUTO) !== 0)
  }
  assert(image.storedBitmaps.length <= node.namedBitmaps.size, 'bitmaps-loaded')
  if (!image.settings.isReadOnly) yield* useBitmaps(image)
}

function* loadBits(image: Qcow2Image, stored: StoredBitmap, bits: DirtyBitmap): Co<void> {
  const { clusterBytes } = image.geometry
  const words = yield* readBitmapTable(readerOf(image), stored)
  const wanted = bitmapTableEntries(bits.lengthBytes, stored.granularityBits, clusterBytes)
  if (stored.tableEntries !== wanted) throw cannotLoad(stored, EINVAL)
  const cluster = new Uint8Array(clusterBytes)
  for (let index = 0; index < stored.tableEntries; index++) {
    const high = words[index * 2]!
    const low = words[index * 2 + 1]!
    if (!isTableEntry(high, low, clusterBytes)) throw cannotLoad(stored, EINVAL)
    const offsetBytes = entryOffset(high, low)
    if (offsetBytes === 0 && (low & TABLE_ENTRY_ALL_ONES) === 0) continue
    if (offsetBytes === 0) cluster.fill(0xff)
    else {
      const errno = yield* image.readThrough(offsetBytes, cluster)
      if (errno !== OK) throw cannotLoad(stored, errno)
    }
    bits.loadBytes(index * clusterBytes, cluster)
  }
  assert(bits.count <= bits.bitCount, 'bits-loaded')
}

function cannotLoad({ name }: StoredBitmap, errno: Errno): BlockError {
  return new BlockError(`Could not read bitmap '${name}' from image: ${strerror(errno)}`, { errno })
}

/** From now on the bitmaps in the image are behind. Single flags change in place, so no power cut can tear them. */
export function* useBitmaps(image: Qcow2Image): Co<void> {
  const { bitmaps } = image.header
  const isInUse = image.storedBitmaps.every(({ flags }) => (flags & BITMAP_IN_USE) !== 0)
  if (bitmaps === null || isInUse) return
  const used = image.storedBitmaps.map((stored) => ({ ...stored, flags: stored.flags | BITMAP_IN_USE }))
  const bytes = encodeDirectory(used)
  assert(bytes.length === bitmaps.directoryBytes, 'directory-in-place')
  const refusal = image.guard(bitmaps.directoryOffsetBytes, bytes.length, Place.BitmapDirectory)
  let errno = refusal === null ? yield* image.writeThrough(bitmaps.directoryOffsetBytes, bytes) : yield* refusal
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno !== OK) throw new BlockError(`Can't update bitmap directory: ${strerror(errno)}`, { errno })
  image.storedBitmaps = used
}

/** Whether the directory has room for one more. Throws BlockError with QEMU's text. */
export function checkNewBitmap(image: Qcow2Image, node: BlockNode, name: string, granularityBytes: number): void {
  const where = `Can't make bitmap '${name}' persistent in '${node.name}': `
  const refuse = (text: string): never => {
    throw new BlockError(where + text)
  }
  if (image.header.version < 3) refuse('Cannot store dirty bitmaps in qcow2 v2 files')
  try {
    checkStorable(name, granularityBytes, geometryOf(image))
  } catch (error) {
    if (error instanceof BlockError) refuse(error.message)
    throw error
  }
  const kept = [...node.namedBitmaps.values()].filter(({ isPersistent }) => isPersistent)
  if (kept.length >= BITMAPS_MAX) refuse('Maximum number of persistent bitmaps is already reached')
  const sizeOf = (text: string): number => Math.ceil((24 + Buffer.byteLength(text)) / 8) * 8
  const total = kept.reduce((sum, bitmap) => sum + sizeOf(bitmap.name), sizeOf(name))
  if (total > BITMAP_DIRECTORY_BYTES_MAX) refuse('Not enough space in the bitmap directory')
  assert(kept.length < BITMAPS_MAX, 'bitmaps-bounded')
}

/** Stores what the node's persistent bitmaps hold, in place of what the image has of them. */
export function* storeBitmaps(image: Qcow2Image, node: BlockNode): Co<Errno> {
  const list = [...image.storedBitmaps]
  const old: StoredBitmap[] = []
  const fresh: StoredBitmap[] = []
  let errno = OK
  for (const bitmap of [...node.namedBitmaps.values()].reverse()) {
    if (!bitmap.isPersistent || bitmap.isInconsistent || bitmap.isReadOnly) continue
    const at = list.findIndex(({ name }) => name === bitmap.name)
    if (at !== -1) old.push(list[at]!)
    const stored: StoredBitmap = {
      name: bitmap.name,
      tableOffsetBytes: 0,
      tableEntries: 0,
      flags: bitmap.isEnabled ? BITMAP_AUTO : 0,
      granularityBits: Math.log2(bitmap.granularityBytes),
    }
    fresh.push(stored)
    if (at === -1) list.push(stored)
    else list[at] = stored
  }
  if (fresh.length === 0) return OK
  if (list.length > BITMAPS_MAX) return EFBIG
  for (const stored of list) {
    if (!fresh.includes(stored) || errno !== OK) continue
    errno = yield* storeBits(image, stored, node.namedBitmaps.get(stored.name)!)
  }
  if (errno === OK) errno = yield* writeDirectory(image, list)
  if (errno !== OK) {
    for (const stored of fresh) if (stored.tableOffsetBytes !== 0) yield* freeStored(image, stored)
    return errno
  }
  assert(old.length <= fresh.length, 'bitmaps-stored')
  for (const stored of old) yield* freeStored(image, stored)
  return OK
}

function* storeBits(image: Qcow2Image, stored: StoredBitmap, { bits }: NamedBitmap): Co<Errno> {
  const { clusterBytes } = image.geometry
  const entries = Math.max(1, bitmapTableEntries(bits.lengthBytes, stored.granularityBits, clusterBytes))
  const table = new Uint8Array(entries * 8)
  const cluster = new Uint8Array(clusterBytes)
  let errno = OK
  for (let index = 0; index < entries && errno === OK; index++) {
    bits.saveBytes(index * clusterBytes, cluster)
    if (isZero(cluster)) continue
    errno = yield* writeNew(image, cluster)
    if (errno === OK) writeU64(table, index * 8, image.refcounts.allocatedBytes)
  }
  if (errno === OK) errno = yield* writeNew(image, table)
  if (errno !== OK) {
    for (let at = 0; at < table.length; at += 8) freeTableEntry(image, table, at)
    return errno
  }
  stored.tableOffsetBytes = image.refcounts.allocatedBytes
  stored.tableEntries = entries
  assert(stored.tableOffsetBytes > 0, 'bitmap-table-placed')
  return OK
}

function freeTableEntry(image: Qcow2Image, table: Uint8Array, at: number): void {
  const view = new DataView(table.buffer, table.byteOffset)
  const offsetBytes = entryOffset(view.getUint32(at), view.getUint32(at + 4))
  const { clusterBytes } = image.geometry
  if (offsetBytes > 0 && offsetBytes % clusterBytes === 0) image.refcounts.free(offsetBytes, clusterBytes, FreeKind.Other)
}

/** Writes bytes into new clusters: `refcounts.allocatedBytes`. */
function* writeNew(image: Qcow2Image, bytes: Uint8Array): Co<Errno> {
  const { refcounts, geometry } = image
  let errno = yield* image.markDirty()
  if (errno === OK) errno = yield* refcounts.allocate(Math.ceil(bytes.length / geometry.clusterBytes))
  if (errno !== OK) return errno
  const offsetBytes = refcounts.allocatedBytes
  const refusal = image.guard(offsetBytes, bytes.length, Place.None)
  if (refusal !== null) return yield* refusal
  errno = yield* image.writeThrough(offsetBytes, bytes)
  assert(offsetBytes > 0 && bytes.length > 0, 'bitmap-written')
  if (errno !== OK) refcounts.free(offsetBytes, bytes.length, FreeKind.Keep)
  refcounts.allocatedBytes = offsetBytes
  return errno
}

/** Writes another directory and lets the header name it; the old one is given up. */
function* writeDirectory(image: Qcow2Image, list: readonly StoredBitmap[]): Co<Errno> {
  const { header, refcounts } = image
  const before = { bitmaps: header.bitmaps, autoclear: header.autoclear }
  let bitmaps: typeof header.bitmaps = null
  let errno = OK
  if (list.length > 0) {
    let bytes: Uint8Array
    try {
      bytes = encodeDirectory(list)
    } catch (error) {
      if (error instanceof BlockError) return error.errno
      throw error
    }
    errno = yield* writeNew(image, bytes)
    if (errno !== OK) return errno
    bitmaps = { count: list.length, directoryBytes: bytes.length, directoryOffsetBytes: refcounts.allocatedBytes }
  }
  const wanted = { ...header, bitmaps }
  if (errno === OK && !headerFits(wanted)) errno = EFBIG
  if (errno === OK) errno = yield* image.metadata.refcounts.writeAll()
  if (errno === OK) errno = yield* image.metadata.writeAll()
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno === OK) errno = yield* switchDirectory(image, bitmaps)
  if (errno !== OK) {
    Object.assign(header, before)
    if (bitmaps !== null) refcounts.free(bitmaps.directoryOffsetBytes, bitmaps.directoryBytes, FreeKind.Other)
    return errno
  }
  if (before.bitmaps !== null && image.isPlace(before.bitmaps.directoryOffsetBytes)) {
    refcounts.free(before.bitmaps.directoryOffsetBytes, before.bitmaps.directoryBytes, FreeKind.Other)
  }
  image.storedBitmaps = [...list]
  image.places.bitmapDirectory = {
    offsetBytes: bitmaps?.directoryOffsetBytes ?? 0,
    lengthBytes: bitmaps?.directoryBytes ?? 0,
  }
  assert((bitmaps === null) === (list.length === 0), 'directory-named')
  return OK
}

/** The extension cannot be changed in one sector: it counts for nothing while it is being changed. */
function* switchDirectory(image: Qcow2Image, bitmaps: Qcow2Image['header']['bitmaps']): Co<Errno> {
  const { header } = image
  let errno = yield* writeAutoclear(image, header.autoclear & ~AUTOCLEAR_BITMAPS)
  if (errno !== OK) return errno
  header.bitmaps = bitmaps
  errno = yield* image.writeHeader()
  if (errno === OK) errno = yield* image.flushFiles()
  assert((header.autoclear & AUTOCLEAR_BITMAPS) === 0n, 'bitmaps-switched-off')
  return errno === OK && bitmaps !== null ? yield* writeAutoclear(image, header.autoclear | AUTOCLEAR_BITMAPS) : errno
}

function* writeAutoclear(image: Qcow2Image, features: bigint): Co<Errno> {
  const field = new Uint8Array(8)
  writeBits(field, 0, features)
  let errno = yield* image.writeThrough(HEADER_AUTOCLEAR_AT, field)
  if (errno === OK) errno = yield* image.flushFiles()
  if (errno === OK) image.header.autoclear = features
  return errno
}

/** Gives up the clusters of a bitmap that the directory does not name any more. What cannot be read leaks. */
function* freeStored(image: Qcow2Image, stored: StoredBitmap): Co<void> {
  const table = new Uint8Array(stored.tableEntries * 8)
  const errno = yield* image.readThrough(stored.tableOffsetBytes, table)
  if (errno === OK) for (let at = 0; at < table.length; at += 8) freeTableEntry(image, table, at)
  assert(stored.tableEntries > 0, 'bitmap-had-table')
  image.refcounts.free(stored.tableOffsetBytes, table.length, FreeKind.Other)
}

/** Removes a bitmap from the image, if it is there. */
export function* removeStored(image: Qcow2Image, name: string): Co<Errno> {
  const stored = image.storedBitmaps.find((bitmap) => bitmap.name === name)
  if (stored === undefined) return OK
  const errno = yield* writeDirectory(
    image,
    image.storedBitmaps.filter((bitmap) => bitmap !== stored),
  )
  if (errno !== OK) return errno
  yield* freeStored(image, stored)
  assert(!image.storedBitmaps.includes(stored), 'bitmap-removed')
  return yield* image.refcounts.settle()
}
