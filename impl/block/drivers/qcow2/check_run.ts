/** What the parts of a check share: the image, what is to be repaired, what was found, and how it is told. */
import { assert, type Co, EIO, type Errno, OK } from '../../../co'
import type { CheckFix, CheckResult } from '../../driver'
import { ReferenceCounts } from './check_references'
import type { Qcow2Image } from './image'
import { ClusterType, COMPRESSED_HIGH, COPIED_HIGH, OFFSET_END_BYTES, prefixedHex, ZERO_LOW } from './layout'

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

export function emptyResult(): CheckResult {
  return {
    errno: OK,
    corruptions: 0,
    leaks: 0,
    checkErrors: 0,
    corruptionsFixed: 0,
    leaksFixed: 0,
    imageEndOffsetBytes: 0,
    totalClusters: 0,
    allocatedClusters: 0,
    fragmentedClusters: 0,
    compressedClusters: 0,
  }
}

/** Adds what was found, but not what was counted of clusters. */
export function addResult(sum: CheckResult, part: CheckResult): void {
  sum.corruptions += part.corruptions
  sum.leaks += part.leaks
  sum.checkErrors += part.checkErrors
  sum.corruptionsFixed += part.corruptionsFixed
  sum.leaksFixed += part.leaksFixed
}

/** A 64-bit word as QEMU prints entries. */
export function hex(high: number, low: number): string {
  return high === 0 ? low.toString(16) : high.toString(16) + low.toString(16).padStart(8, '0')
}

/**
 * The type of an entry for a check. Damaged entries need QEMU's own order of questions: bit 0 says zero only without
 * subclusters, and a place at offset 0 of a data file is one only where the entry is not zero.
 */
export function entryType(image: Qcow2Image, high: number, low: number): ClusterType {
  assert(high >= 0 && low >= 0, 'entry-words')
  if ((high & COMPRESSED_HIGH) !== 0) return ClusterType.Compressed
  const hasOffset = ((high & 0x00ffffff) | (low & 0xfffffe00)) !== 0
  if ((low & ZERO_LOW) !== 0 && !image.geometry.hasSubclusters)
    return hasOffset ? ClusterType.ZeroAllocated : ClusterType.ZeroPlain
  if (hasOffset) return ClusterType.Normal
  return image.hasDataFile && (high & COPIED_HIGH) !== 0 ? ClusterType.Normal : ClusterType.UnallocatedPlain
}

export class CheckRun {
  readonly image: Qcow2Image
  readonly tell: (line: string) => void
  fixesErrors: boolean
  readonly fixesLeaks: boolean
  /** What the part that is running has found. */
  found: CheckResult = emptyResult()
  references: ReferenceCounts
  /** Refcounts cannot be put right where they are: they need new tables. */
  needsRebuild = false
  highestCluster = 0
  /** False: too much lies behind the end of the file for anybody to say where new tables harm nothing. */
  canRebuild = true
  private readonly words: Uint32Array
  private hasToldBlock = false

  constructor(image: Qcow2Image, fix: CheckFix, tell: (line: string) => void) {
    this.image = image
    this.tell = tell
    this.fixesErrors = fix === 'all'
    this.fixesLeaks = fix !== 'none'
    this.references = new ReferenceCounts(this.fileClusters, image.geometry.refcountMax)
    this.words = new Uint32Array(image.geometry.clusterBytes / 4)
  }

  get fileClusters(): number {
    return Math.ceil(this.image.file.node.lengthBytes / this.image.geometry.clusterBytes)
  }

  /** The verb of a line about something that is repaired if errors are. */
  get verb(): 'Repairing' | 'ERROR' {
    return this.fixesErrors ? 'Repairing' : 'ERROR'
  }

  corrupt(line: string): void {
    this.found.corruptions++
    this.tell(line)
  }

  /** Counts a reference to every cluster that the range touches. The last cluster of a file may be short. */
  refer(offsetBytes: number, lengthBytes: number): void {
    const { clusterBytes } = this.image.geometry
    if (lengthBytes <= 0) return
    assert(clusterBytes > 0 && this.references.clusters >= 0, 'reference-counted')
    if (offsetBytes + lengthBytes - this.image.file.node.lengthBytes >= clusterBytes) {
      const where = `offset 0x${hexNumber(offsetBytes)} size 0x${hexNumber(lengthBytes)}`
      this.corrupt(`ERROR: counting reference for region exceeding the end of the file by one cluster or more: ${where}`)
      // What lies further away than any file reaches is in nobody's way.
      if (offsetBytes + lengthBytes >= OFFSET_END_BYTES) return
      const first = Math.floor(offsetBytes / clusterBytes)
      const isKept = this.references.avoid(first, Math.ceil((offsetBytes + lengthBytes) / clusterBytes))
      this.canRebuild &&= isKept
      return
    }
    const last = Math.floor((offsetBytes + lengthBytes - 1) / clusterBytes)
    assert(offsetBytes >= 0 && last < OFFSET_END_BYTES, 'reference-range')
    for (let cluster = Math.floor(offsetBytes / clusterBytes); cluster <= last; cluster++) {
      if (this.references.add(cluster)) continue
      this.corrupt(`ERROR: overflow cluster offset=0x${hexNumber(cluster * clusterBytes)}`)
      this.tell(
        'Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the ' +
          'image cannot be opened for writing',
      )
    }
  }

  /** Reads an L2 table as words, high and low of each; valid until the next call. Null: it cannot be read. */
  *readTable(offsetBytes: number): Co<Uint32Array | null> {
    const bytes = Buffer.from(this.words.buffer)
    const errno = yield* this.image.readThrough(offsetBytes, bytes)
    if (errno !== OK) return null
    if (IS_LITTLE_ENDIAN) bytes.swap32()
    return this.words
  }

  /** Leaves the refcount of a cluster in `image.refcounts.value`. A block that lies nowhere is told once. */
  *readRefcount(cluster: number): Co<Errno> {
    const { refcounts, geometry } = this.image
    const tableIndex = Math.floor(cluster / geometry.refcountBlockEntries)
    const blockOffset = tableIndex < refcounts.table.length ? refcounts.table[tableIndex]! : 0
    const isAligned = blockOffset % geometry.clusterBytes === 0
    if (isAligned && blockOffset < OFFSET_END_BYTES) return yield* refcounts.read(cluster)
    // Behind the end of every file there is nothing, as long as a file offset can say where.
    if (isAligned && blockOffset < 2 ** 63) {
      refcounts.value = 0
      return OK
    }
    if (!isAligned && !this.hasToldBlock) {
      const text = `Refblock offset ${prefixedHex(blockOffset)} unaligned (reftable index: ${prefixedHex(tableIndex)})`
      this.tell(`qcow2: Image is corrupt: ${text}; further non-fatal corruption events will be suppressed`)
    }
    this.hasToldBlock ||= !isAligned
    return EIO
  }
}

/** A number as QEMU prints it in base 16, also where it is too large to be exact. */
export function hexNumber(value: number): string {
  return Number.isSafeInteger(value) ? value.toString(16) : BigInt(value).toString(16)
}
