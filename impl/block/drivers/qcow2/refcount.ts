/**
 * Refcounts: which clusters of the file are in use, by how many, and where new ones come from. Places are chosen as QEMU
 * chooses them (first fit from the lowest place that may be free), because images are compared with QEMU's byte by byte.
 *
 * Giving up is lazy: `free` only notes a range; `settle` writes all tables first and lowers the refcounts then (rule 3 of
 * cache.ts). So a cluster is never used again while something on stable storage, or a transfer, refers to it.
 *
 * What may fail: the file, as an errno; ENOSPC or EFBIG when tables cannot grow; EINVAL when a refcount has no more room.
 * A refcount block that lies where none can is a corruption: EIO. All methods that yield are called under the lock.
 */
import { assert, type Co, EAGAIN, EFBIG, EINVAL, EIO, type Errno, OK } from '../../../co'
import type { Metadata, Table } from './cache'
import {
  type Geometry,
  getRefcount,
  HEADER_REFCOUNT_TABLE_AT,
  OFFSET_END_BYTES,
  prefixedHex,
  REFCOUNT_TABLE_BYTES_MAX,
  readU64,
  refcountMetadata,
  setRefcount,
  writeU32,
  writeU64,
} from './layout'

/** Why something is given up: decides whether the file is told to discard it. */
export const enum FreeKind {
  /** The file keeps the clusters: they will be used again soon. */
  Keep = 0,
  /** A guest asked for it. */
  Request = 1,
  /** A snapshot goes. */
  Snapshot = 2,
  Other = 3,
  /** A repair has found that nobody uses it. */
  Always = 4,
}

/** Ranges that are noted at most before they are settled. */
const RELEASES_MAX = 1024

interface Release {
  offsetBytes: number
  lengthBytes: number
  kind: FreeKind
}

/** What refcounts need of their image. */
export interface RefcountHost {
  readonly geometry: Geometry
  readonly metadata: Metadata
  /** Writes to the image file itself, past all caches. */
  writeThrough(offsetBytes: number, bytes: Uint8Array): Co<Errno>
  readThrough(offsetBytes: number, bytes: Uint8Array): Co<Errno>
  flushFiles(): Co<Errno>
  /** Changes a field of the header, or leaves it as it was. */
  writeField(offsetBytes: number, wanted: Uint8Array, before: Uint8Array): Co<Errno>
  /** Discards in the image file; failure does not matter. */
  discardInFile(offsetBytes: number, lengthBytes: number): Co<void>
  /** Waits until every transfer has ended that began before this call. */
  transfersSettled(): Co<void>
  passesDiscard(kind: FreeKind): boolean
  /** The table has a new block at this offset, or null: it is another table. */
  refcountTableChanged(blockOffset: number | null): void
  /** Reports a corruption and gives the errno for it. */
  corruption(text: string, offsetBytes?: number, lengthBytes?: number): Co<Errno>
}

export class Refcounts {
  private readonly host: RefcountHost
  /** Offsets of the refcount blocks, 0 for none. As long as the table in the file. */
  table: Float64Array
  tableOffsetBytes: number
  /** Numbers of the entries of the table with bits that must be 0; only a check wants to know. */
  reserved: ReadonlySet<number> = new Set()
  /** Clusters below this number are in use, or have been passed over. */
  freeFrom = 0
  /** Where the next compressed data may go in a cluster that has room, or 0. */
  freeByteOffset = 0
  /** Results of the last successful call, because Co<Errno> has no other place for them. */
  value = 0
  allocatedBytes = 0
  allocatedClusters = 0
  private releases: Release[] = []
  private isSettling = false

  constructor(host: RefcountHost, table: Float64Array, tableOffsetBytes: number) {
    this.host = host
    this.table = table
    this.tableOffsetBytes = tableOffsetBytes
  }

  /** True if something has been given up and not settled yet. */
  get hasReleases(): boolean {
    return this.releases.length > 0
  }
  get mustSettle(): boolean {
    return this.releases.length >= RELEASES_MAX
  }

  /** The refcount of a cluster if it is known without reading, otherwise -1. */
  private peek(clusterIndex: number): number {
    const { refcountBlockEntries, refcountOrder } = this.host.geometry
    const tableIndex = Math.floor(clusterIndex / refcountBlockEntries)
    const blockOffset = tableIndex < this.table.length ? this.table[tableIndex]! : 0
    if (blockOffset === 0) return 0
    const block = this.host.metadata.refcounts.find(blockOffset)
    return block === null ? -1 : getRefcount(block.bytes, refcountOrder, clusterIndex % refcountBlockEntries)
  }

  /** As `peek`, for a check that looks at all clusters. */
  known(clusterIndex: number): number {
    return this.peek(clusterIndex)
  }

  /** Sets a refcount whose block is in memory, for a repair. */
  *put(clusterIndex: number, value: number): Co<Errno> {
    const { geometry, metadata } = this.host
    assert(this.peek(clusterIndex) > 0 && value >= 0, 'refcount-repaired')
    const block = metadata.refcounts.find(this.table[Math.floor(clusterIndex / geometry.refcountBlockEntries)]!)
    if (block === null || value > geometry.refcountMax) return EINVAL
    this.store(block, clusterIndex % geometry.refcountBlockEntries, value)
    if (value > 0) return OK
    this.freeFrom = Math.min(this.freeFrom, clusterIndex)
    if (this.host.passesDiscard(FreeKind.Always)) {
      yield* this.host.discardInFile(clusterIndex * geometry.clusterBytes, geometry.clusterBytes)
    }
    return OK
  }

  private store(block: Table, entry: number, value: number): void {
    const { geometry, metadata } = this.host
    setRefcount(block.bytes, geometry.refcountOrder, entry, value)
    const at = Math.floor((entry * geometry.refcountBits) / 8)
    metadata.refcounts.markDirty(block, at, at + Math.max(1, geometry.refcountBits / 8))
  }

  /** Leaves the refcount of a cluster in `value`. */
  *read(clusterIndex: number): Co<Errno> {
    assert(clusterIndex >= 0, 'cluster-index')
    let value = this.peek(clusterIndex)
    if (value === -1) {
      const errno = yield* this.loadBlock(Math.floor(clusterIndex / this.host.geometry.refcountBlockEntries))
      if (errno !== OK) return errno
      value = this.peek(clusterIndex)
    }
    assert(value >= 0, 'refcount-known')
    this.value = value
    return OK
  }

  private *loadBlock(tableIndex: number): Co<Errno> {
    const blockOffset = this.table[tableIndex]!
    if (blockOffset % this.host.geometry.clusterBytes !== 0 || blockOffset >= OFFSET_END_BYTES) {
      const text = `Refblock offset ${prefixedHex(blockOffset)} unaligned (reftable index: ${prefixedHex(tableIndex)})`
      return yield* this.host.corruption(text)
    }
    return yield* this.host.metadata.loadRefcounts(blockOffset)
  }

  /** Finds the first run of `clusters` free clusters and leaves its offset in `allocatedBytes`; nothing is taken yet. */
  private *findFree(clusters: number, endBytes: number): Co<Errno> {
    const { clusterBytes } = this.host.geometry
    assert(clusters > 0, 'allocate-something')
    for (let found = 0; found < clusters; ) {
      const index = this.freeFrom++
      let refcount = this.peek(index)
      if (refcount === -1) {
        const errno = yield* this.read(index)
        if (errno !== OK) return errno
        refcount = this.value
      }
      found = refcount === 0 ? found + 1 : 0
    }
    const end = this.freeFrom * clusterBytes
    if (end > endBytes) return EFBIG
    this.allocatedBytes = end - clusters * clusterBytes
    return OK
  }

  /** Takes `clusters` neighbouring clusters; their offset is in `allocatedBytes`. */
  *allocate(clusters: number, endBytes = OFFSET_END_BYTES): Co<Errno> {
    const { clusterBytes } = this.host.geometry
    for (;;) {
      let errno = yield* this.findFree(clusters, endBytes)
      if (errno !== OK) return errno
      const offsetBytes = this.allocatedBytes
      if (offsetBytes === 0) {
        return yield* this.host.corruption('Preventing invalid allocation of data cluster at offset 0')
      }
      errno = yield* this.increase(offsetBytes, clusters * clusterBytes)
      this.allocatedBytes = offsetBytes
      if (errno !== EAGAIN) return errno
    }
  }

  /** Takes as many free clusters from `offsetBytes` on as there are, at most `clusters`: `allocatedClusters`. */
  *allocateAt(offsetBytes: number, clusters: number): Co<Errno> {
    const { clusterBytes } = this.host.geometry
    assert(offsetBytes % clusterBytes === 0, 'allocate-aligned')
    for (;;) {
      let free = 0
      for (; free < clusters; free++) {
        const errno = yield* this.read(offsetBytes / clusterBytes + free)
        if (errno !== OK) return errno
        if (this.value !== 0) break
      }
      const errno = free === 0 ? OK : yield* this.increase(offsetBytes, free * clusterBytes)
      this.allocatedClusters = free
      if (errno !== EAGAIN) return errno
    }
  }

  /** Takes room for `lengthBytes` of compressed data, behind earlier such data where that fits: `allocatedBytes`. */
  *allocateCompressed(lengthBytes: number, endBytes: number): Co<Errno> {
    const { clusterBytes, refcountMax } = this.host.geometry
    assert(lengthBytes > 0 && lengthBytes <= clusterBytes, 'compressed-length')
    let offsetBytes = this.freeByteOffset
    if (offsetBytes !== 0) {
      const errno = yield* this.read(Math.floor(offsetBytes / clusterBytes))
      if (errno !== OK) return errno
      if (this.value === 0 || this.value === refcountMax) offsetBytes = 0
    }
    let roomBytes = offsetBytes === 0 ? 0 : clusterBytes - (offsetBytes % clusterBytes)
    for (;;) {
      if (offsetBytes === 0 || roomBytes < lengthBytes) {
        const errno = yield* this.findFree(1, endBytes)
        if (errno !== OK) return errno
        const clusterOffset = this.allocatedBytes
        if (clusterOffset === 0) {
          return yield* this.host.corruption('Preventing invalid allocation of compressed cluster at offset 0')
        }
        if (offsetBytes === 0 || Math.ceil(offsetBytes / clusterBytes) * clusterBytes !== clusterOffset) {
          offsetBytes = clusterOffset
          roomBytes = clusterBytes
        } else roomBytes += clusterBytes
      }
      const errno = yield* this.increase(offsetBytes, lengthBytes)
      if (errno === OK) break
      if (errno !== EAGAIN) return errno
      offsetBytes = 0
    }
    this.allocatedBytes = offsetBytes
    const nextBytes = offsetBytes + lengthBytes
    this.freeByteOffset = nextBytes % clusterBytes === 0 ? 0 : nextBytes
    return OK
  }

  /**
   * One more user for every cluster that the range touches. EAGAIN: nothing has changed, but a refcount block was made
   * that may lie in the range; look for another place.
   */
  *increase(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const { clusterBytes } = this.host.geometry
    const first = Math.floor(offsetBytes / clusterBytes)
    const last = Math.floor((offsetBytes + lengthBytes - 1) / clusterBytes)
    assert(lengthBytes > 0 && offsetBytes >= 0, 'refcount-range')
    for (let index = first; index <= last; index++) {
      const errno = yield* this.add(index, 1)
      if (errno === OK) continue
      for (let undone = first; undone < index; undone++) yield* this.add(undone, -1)
      this.freeFrom = Math.min(this.freeFrom, first)
      return errno
    }
    return OK
  }

  /** Changes one refcount in memory; makes the refcount block if there is none. */
  private *add(clusterIndex: number, change: 1 | -1): Co<Errno> {
    const { geometry, metadata } = this.host
    const tableIndex = Math.floor(clusterIndex / geometry.refcountBlockEntries)
    if (tableIndex >= this.table.length || this.table[tableIndex] === 0) {
      if (change < 0) return EINVAL
      return yield* this.makeBlock(clusterIndex)
    }
    let block = metadata.refcounts.find(this.table[tableIndex]!)
    if (block === null) {
      const errno = yield* this.loadBlock(tableIndex)
      if (errno !== OK) return errno
      block = metadata.refcounts.find(this.table[tableIndex]!)
    }
    assert(block !== null, 'refcount-block-loaded')
    const entry = clusterIndex % geometry.refcountBlockEntries
    const value = getRefcount(block.bytes, geometry.refcountOrder, entry) + change
    if (value < 0 || value > geometry.refcountMax) return EINVAL
    this.store(block, entry, value)
    return OK
  }

  /** Makes the refcount block for `clusterIndex`. EAGAIN on success: it may lie exactly there. */
  private *makeBlock(clusterIndex: number): Co<Errno> {
    const { geometry, metadata } = this.host
    const tableIndex = Math.floor(clusterIndex / geometry.refcountBlockEntries)
    let errno = yield* this.findFree(1, OFFSET_END_BYTES)
    if (errno !== OK) return errno
    const blockOffset = this.allocatedBytes
    const blockIndex = blockOffset / geometry.clusterBytes
    const isSelfDescribing = Math.floor(blockIndex / geometry.refcountBlockEntries) === tableIndex
    if (!isSelfDescribing) {
      // Described by another block, which may have to be made first.
      errno = yield* this.add(blockIndex, 1)
      if (errno !== OK) return errno
    }
    errno = yield* metadata.createRefcounts(blockOffset)
    if (errno !== OK) return errno
    const block = metadata.refcounts.find(blockOffset)
    assert(block !== null, 'refcount-block-made')
    if (isSelfDescribing) setRefcount(block.bytes, geometry.refcountOrder, blockIndex % geometry.refcountBlockEntries, 1)
    if (tableIndex < this.table.length) errno = yield* this.hookUp(tableIndex, blockOffset)
    else errno = yield* this.makeArea(Math.max(clusterIndex + 1, blockIndex), tableIndex, blockOffset)
    if (errno === OK) return EAGAIN
    metadata.refcounts.forget(blockOffset, geometry.clusterBytes)
    return errno
  }

  /** The block, and what describes it, must be stable before the table says where it is. */
  private *hookUp(tableIndex: number, blockOffset: number): Co<Errno> {
    assert(this.table[tableIndex] === 0, 'refcount-block-new')
    let errno = yield* this.host.metadata.refcounts.writeAll()
    if (errno === OK) errno = yield* this.host.flushFiles()
    if (errno === OK) {
      const entry = new Uint8Array(8)
      writeU64(entry, 0, blockOffset)
      errno = yield* this.host.writeThrough(this.tableOffsetBytes + tableIndex * 8, entry)
    }
    if (errno !== OK) return errno
    this.table[tableIndex] = blockOffset
    this.host.refcountTableChanged(blockOffset)
    return OK
  }

  /**
   * Moves the refcount table to a larger place: behind everything that has a block, the first `clusters` clusters, together
   * with the blocks that this area needs for itself. `blockOffset` is the block that had no place in the old table.
   */
  private *makeArea(clusters: number, tableIndex: number, blockOffset: number): Co<Errno> {
    const { geometry, metadata } = this.host
    const { clusterBytes, refcountBlockEntries } = geometry
    const firstBlock = Math.ceil(clusters / refcountBlockEntries)
    const blocks = refcountMetadata(geometry, firstBlock * refcountBlockEntries, true).blocks
    const entriesPerCluster = clusterBytes / 8
    const tableClusters = Math.ceil((blocks + Math.ceil(blocks / 2)) / entriesPerCluster)
    const newBlocks = blocks - firstBlock
    assert(firstBlock > tableIndex && newBlocks > 0, 'area-beyond-table')
    // An offset from 2^53 on is damage, and no number here can carry it over bit by bit.
    if (!this.table.every(Number.isSafeInteger)) return EIO
    const startBytes = firstBlock * refcountBlockEntries * clusterBytes
    const areaBytes = (newBlocks + tableClusters) * clusterBytes
    if (tableClusters * clusterBytes > REFCOUNT_TABLE_BYTES_MAX || startBytes + areaBytes >= OFFSET_END_BYTES) return EFBIG
    const table = new Float64Array(tableClusters * entriesPerCluster)
    table.set(this.table)
    table[tableIndex] = blockOffset
    let errno = OK
    let inUse = newBlocks + tableClusters
    for (let number = 0; number < newBlocks && errno === OK; number++) {
      const offset = startBytes + number * clusterBytes
      table[firstBlock + number] = offset
      errno = yield* metadata.createRefcounts(offset)
      const block = errno === OK ? metadata.refcounts.find(offset) : null
      for (let entry = 0; block !== null && entry < refcountBlockEntries && inUse > 0; entry++, inUse--) {
        setRefcount(block.bytes, geometry.refcountOrder, entry, 1)
      }
    }
    assert(errno !== OK || inUse === 0, 'area-described')
    if (errno === OK) errno = yield* this.switchTable(table, startBytes + newBlocks * clusterBytes)
    if (errno !== OK) metadata.refcounts.forget(startBytes, areaBytes)
    return errno
  }

  private *switchTable(table: Float64Array, offsetBytes: number): Co<Errno> {
    const { clusterBytes } = this.host.geometry
    const bytes = encodeRefcountTable(table)
    let errno = yield* this.host.metadata.refcounts.writeAll()
    if (errno === OK) errno = yield* this.host.writeThrough(offsetBytes, bytes)
    if (errno === OK) errno = yield* this.host.flushFiles()
    if (errno === OK) {
      const before = tableField(this.tableOffsetBytes, (this.table.length * 8) / clusterBytes)
      errno = yield* this.host.writeField(HEADER_REFCOUNT_TABLE_AT, tableField(offsetBytes, bytes.length / clusterBytes), before)
    }
    if (errno !== OK) return errno
    const oldOffset = this.tableOffsetBytes
    const oldBytes = this.table.length * 8
    this.table = table
    this.tableOffsetBytes = offsetBytes
    this.host.refcountTableChanged(null)
    if (oldBytes > 0) this.free(oldOffset, oldBytes, FreeKind.Other)
    assert(bytes.length % clusterBytes === 0, 'table-whole-clusters')
    return OK
  }

  /**
   * Another table, whose blocks have been written, takes the place of this one and its blocks: nothing is given up.
   * `nameTable` lets the header name it instead of the usual way.
   */
  *replaceTable(table: Float64Array, offsetBytes: number, nameTable?: () => Co<Errno>): Co<Errno> {
    assert(this.releases.length === 0 && table.length > 0, 'replace-settled')
    const bytes = encodeRefcountTable(table)
    let errno = yield* this.host.writeThrough(offsetBytes, bytes)
    if (errno === OK) errno = yield* this.host.flushFiles()
    const { clusterBytes } = this.host.geometry
    const before = tableField(this.tableOffsetBytes, (this.table.length * 8) / clusterBytes)
    const wanted = tableField(offsetBytes, bytes.length / clusterBytes)
    if (errno === OK && nameTable !== undefined) errno = yield* nameTable()
    else if (errno === OK) errno = yield* this.host.writeField(HEADER_REFCOUNT_TABLE_AT, wanted, before)
    if (errno !== OK) return errno
    this.host.metadata.refcounts.dropAll()
    this.adopt(table, offsetBytes)
    this.reserved = new Set()
    return OK
  }

  private adopt(table: Float64Array, offsetBytes: number): void {
    this.table = table
    this.tableOffsetBytes = offsetBytes
    this.host.refcountTableChanged(null)
    this.freeFrom = 0
    this.freeByteOffset = 0
  }

  /** Notes that one user of every cluster which the range touches has gone. Takes effect with `settle`. */
  free(offsetBytes: number, lengthBytes: number, kind: FreeKind): void {
    assert(offsetBytes > 0 && lengthBytes > 0, 'free-range', () => `${offsetBytes}+${lengthBytes}`)
    const last = this.releases[this.releases.length - 1]
    const { clusterBytes } = this.host.geometry
    if (
      last !== undefined &&
      last.kind === kind &&
      last.offsetBytes + last.lengthBytes === offsetBytes &&
      offsetBytes % clusterBytes === 0
    ) {
      last.lengthBytes += lengthBytes
      return
    }
    this.releases.push({ offsetBytes, lengthBytes, kind })
  }

  /**
   * Writes all tables and flushes the file, then lowers the refcounts of everything that was given up before. The lower
   * refcounts are in memory only; a power cut before they are written leaks the clusters.
   */
  *settle(): Co<Errno> {
    if (this.releases.length === 0) return OK
    assert(!this.isSettling, 'settle-under-lock')
    this.isSettling = true
    let errno = yield* this.host.metadata.writeAll()
    if (errno === OK) errno = yield* this.host.flushFiles()
    if (errno === OK) {
      const settled = this.releases
      this.releases = []
      yield* this.host.transfersSettled()
      for (const release of settled) {
        const releaseErrno = yield* this.lower(release)
        if (errno === OK) errno = releaseErrno
      }
    }
    this.isSettling = false
    return errno
  }

  /** Lowers refcounts of a range that no table on stable storage, and no transfer, refers to any more. */
  *lowerNow(offsetBytes: number, lengthBytes: number, kind: FreeKind): Co<Errno> {
    assert(lengthBytes > 0, 'lower-something')
    return yield* this.lower({ offsetBytes, lengthBytes, kind })
  }

  private *lower(release: Release): Co<Errno> {
    const { clusterBytes } = this.host.geometry
    const first = Math.floor(release.offsetBytes / clusterBytes)
    const last = Math.floor((release.offsetBytes + release.lengthBytes - 1) / clusterBytes)
    const passes = this.host.passesDiscard(release.kind)
    let discardFrom = -1
    for (let index = first; index <= last + 1; index++) {
      let isFree = false
      if (index <= last) {
        const errno = yield* this.lowerOne(index)
        if (errno !== OK) return errno
        isFree = this.value === 0
      }
      if (isFree && discardFrom === -1) discardFrom = index
      if (!isFree && discardFrom !== -1) {
        if (passes) yield* this.host.discardInFile(discardFrom * clusterBytes, (index - discardFrom) * clusterBytes)
        discardFrom = -1
      }
    }
    return OK
  }

  /** Lowers one refcount and leaves what remains in `value`. */
  private *lowerOne(clusterIndex: number): Co<Errno> {
    const { clusterBytes } = this.host.geometry
    const errno = yield* this.add(clusterIndex, -1)
    if (errno === EINVAL) {
      return yield* this.host.corruption(
        `Preventing invalid decrease of the refcount of cluster ${prefixedHex(clusterIndex * clusterBytes)}`,
      )
    }
    if (errno !== OK) return errno
    const remaining = this.peek(clusterIndex)
    assert(remaining >= 0, 'refcount-known')
    this.value = remaining
    if (remaining > 0) return OK
    this.freeFrom = Math.min(this.freeFrom, clusterIndex)
    if (Math.floor(this.freeByteOffset / clusterBytes) === clusterIndex) this.freeByteOffset = 0
    // A table that lay here is none any more.
    const { l2, refcounts } = this.host.metadata
    l2.forget(clusterIndex * clusterBytes, clusterBytes)
    refcounts.forget(clusterIndex * clusterBytes, clusterBytes)
    return OK
  }

  /** Reads the table again, after somebody else has changed it in the file. */
  *reload(tableOffsetBytes: number, tableClusters: number): Co<Errno> {
    assert(this.releases.length === 0, 'reload-settled')
    const bytes = new Uint8Array(tableClusters * this.host.geometry.clusterBytes)
    const errno = bytes.length === 0 ? OK : yield* this.host.readThrough(tableOffsetBytes, bytes)
    if (errno !== OK) return errno
    const { table, reserved } = decodeRefcountTable(bytes)
    this.adopt(table, tableOffsetBytes)
    this.reserved = reserved
    return OK
  }
}

/** Offset and length of the refcount table as the header has them. */
function tableField(offsetBytes: number, clusters: number): Uint8Array {
  const field = new Uint8Array(12)
  writeU64(field, 0, offsetBytes)
  writeU32(field, 8, clusters)
  return field
}

/**
 * Offsets of refcount blocks, in the memory of the bytes, and the numbers of the entries whose low 9 bits are not 0, as they
 * must be.
 */
export function decodeRefcountTable(bytes: Uint8Array<ArrayBuffer>): { table: Float64Array; reserved: Set<number> } {
  assert(bytes.length % 8 === 0 && bytes.byteOffset % 8 === 0, 'refcount-table-entries')
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  const table = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)
  const reserved = new Set<number>()
  for (let index = 0; index < table.length; index++) {
    // Almost all are 0, in every notation.
    if ((words[index * 2]! | words[index * 2 + 1]!) === 0) continue
    if (((bytes[index * 8 + 6]! & 1) | bytes[index * 8 + 7]!) !== 0) reserved.add(index)
    const value = readU64(bytes, index * 8)
    table[index] = value - (value % 512)
  }
  return { table, reserved }
}

function encodeRefcountTable(table: Float64Array): Uint8Array {
  const bytes = new Uint8Array(table.length * 8)
  for (let index = 0; index < table.length; index++) writeU64(bytes, index * 8, table[index]!)
  return bytes
}
