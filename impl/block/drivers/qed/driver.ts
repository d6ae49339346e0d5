/**
 * The `qed` format: two levels of tables with entries of 8 bytes, little-endian, clusters that are zero by a mark, and a
 * flag in the header that says that a check is due. New clusters and tables go to the end of the file.
 *
 * What may fail: a header that promises what is not so, as BlockError with QEMU's texts; the file; entries that lead
 * outside of the image (EINVAL). What never may: an entry for a table or cluster that is not whole in the file; a new
 * cluster in an image whose header does not say that a check is due.
 */
import { assert, type Co, EINVAL, ENOTSUP, type Errno, OK, strerror } from '../../../co'
import type { CheckFix, CheckResult, PreallocationMode } from '../../driver'
import { BlockError } from '../../error'
import { type BlockLimits, RequestFlag } from '../../flags'
import { type Cell, ClusterDriver, NOWHERE, type Place, placeAt, placeError, SECTOR_BYTES, ZEROED } from '../clusters/driver'
import { EntryCache } from '../clusters/entries'
import { checkQed } from './check'
import { encodeQedHeader, FEATURE, maxDiskBytes, NAME_BYTES_MAX, QED_HEADER_BYTES, type QedHeader } from './header'

export const ENTRY_BYTES = 8
const ENTRY_ZERO = 1n

export class QedDriver extends ClusterDriver {
  readonly name = 'qed'
  override readonly supportsBacking = true
  readonly clusterBytes: number
  readonly header: QedHeader
  /** Entries of each table. */
  readonly entries: number
  protected override readonly markZero = (cell: Cell, former: Place): Co<Errno> => this.zeroCluster(cell, former)
  private ownTables: EntryCache | null = null
  /** Where the next cluster goes; null before the first one. */
  private nextBytes: number | null = null

  constructor(header: QedHeader) {
    super()
    this.header = header
    this.clusterBytes = header.clusterBytes
    this.entries = (header.tableClusters * header.clusterBytes) / ENTRY_BYTES
  }

  get tables(): EntryCache {
    assert(this.ownTables !== null, 'qed-attached')
    return this.ownTables
  }
  get tableBytes(): number {
    return this.entries * ENTRY_BYTES
  }
  lengthBytes(): number {
    return this.header.diskBytes
  }
  override refreshLimits(limits: BlockLimits): void {
    super.refreshLimits(limits)
    limits.pwriteZeroesAlignmentBytes = this.clusterBytes
  }
  protected override attached(): void {
    this.ownTables ??= new EntryCache(this.file, { entryBytes: ENTRY_BYTES, isLittleEndian: true })
  }

  /** The end of the last whole cluster of the file. */
  get fileEndBytes(): number {
    return Math.floor(this.file.node.lengthBytes / this.clusterBytes) * this.clusterBytes
  }
  /** Whether a cluster of the file can begin here. */
  isClusterAt(offsetBytes: number): boolean {
    const firstBytes = this.header.headerClusters * this.clusterBytes
    return offsetBytes % this.clusterBytes === 0 && offsetBytes >= firstBytes && offsetBytes < this.fileEndBytes
  }
  isTableAt(offsetBytes: number): boolean {
    return this.isClusterAt(offsetBytes) && this.isClusterAt(offsetBytes + this.tableBytes - this.clusterBytes)
  }

  private firstAt(cluster: number): number {
    const index = Math.floor(cluster / this.entries)
    assert(index < this.entries, 'qed-cluster', () => String(cluster))
    return this.header.tableOffsetBytes + index * ENTRY_BYTES
  }
  /** Where the entry of a cluster is; at 0 if there is no table for it. */
  private *entryAt(cluster: number): Co<Place> {
    const { errno, value } = yield* this.tables.read(this.firstAt(cluster))
    if (errno !== OK) return placeError(errno)
    const tableAt = Number(value)
    if (tableAt === 0) return placeAt(0)
    return this.isTableAt(tableAt) ? placeAt(tableAt + (cluster % this.entries) * ENTRY_BYTES) : placeError(EINVAL)
  }
  protected *find(cluster: number): Co<Place> {
    const at = yield* this.entryAt(cluster)
    if (at.errno !== OK) return at
    if (at.offsetBytes === 0) return NOWHERE
    const { errno, value } = yield* this.tables.read(at.offsetBytes)
    if (errno !== OK) return placeError(errno)
    if (value === 0n) return NOWHERE
    if (value === ENTRY_ZERO) return ZEROED
    const offsetBytes = Number(value)
    return this.isClusterAt(offsetBytes) ? placeAt(offsetBytes) : placeError(EINVAL)
  }

  protected *reserve(_cluster: number): Co<Place> {
    const errno = yield* this.setCheckDue(true)
    if (errno !== OK) return placeError(errno)
    this.nextBytes ??= this.fileEndBytes
    return placeAt(this.nextBytes)
  }
  protected *publish(cluster: number, offsetBytes: number): Co<Errno> {
    this.nextBytes = offsetBytes + this.clusterBytes
    assert(this.nextBytes % this.clusterBytes === 0, 'qed-new-cluster')
    return yield* this.writeEntry(cluster, BigInt(offsetBytes))
  }
  /** Writes the entry of a cluster, into a new table if need be. */
  private *writeEntry(cluster: number, value: bigint): Co<Errno> {
    const at = yield* this.entryAt(cluster)
    if (at.errno !== OK) return at.errno
    if (at.offsetBytes !== 0) return yield* this.tables.write(at.offsetBytes, value)
    this.nextBytes ??= this.fileEndBytes
    const tableAt = this.nextBytes
    let errno = yield* this.file.pwriteZeroes(tableAt, this.tableBytes)
    if (errno !== OK) return errno
    this.nextBytes = tableAt + this.tableBytes
    errno = yield* this.tables.write(tableAt + (cluster % this.entries) * ENTRY_BYTES, value)
    if (errno === OK) errno = yield* this.file.flush()
    return errno === OK ? yield* this.tables.write(this.firstAt(cluster), BigInt(tableAt)) : errno
  }
  private *zeroCluster({ cluster, bytes }: Cell, former: Place): Co<Errno> {
    if (former.kind === 'zero') return OK
    if (former.kind === 'data') return yield* this.file.pwriteZeroes(former.offsetBytes, bytes, RequestFlag.MayUnmap)
    const errno = yield* this.setCheckDue(true)
    return errno === OK ? yield* this.writeEntry(cluster, ENTRY_ZERO) : errno
  }

  /** Says in the header whether a check is due; what was written before is durable then. */
  private *setCheckDue(isDue: boolean): Co<Errno> {
    const { header } = this
    if (((header.features & FEATURE.needCheck) !== 0n) === isDue) return OK
    let errno = isDue ? OK : yield* this.file.flush()
    const features = isDue ? header.features | FEATURE.needCheck : header.features & ~FEATURE.needCheck
    if (errno === OK) errno = yield* this.writeHeader({ ...header, features })
    if (errno === OK) errno = yield* this.file.flush()
    return errno
  }
  private *writeHeader(changed: QedHeader): Co<Errno> {
    const errno = yield* this.file.pwrite(0, encodeQedHeader(changed))
    if (errno === OK) Object.assign(this.header, changed)
    return errno
  }

  /** The second half of opening for writing. Throws BlockError. */
  *start(): Co<void> {
    const { header } = this
    let errno: Errno = OK
    if ((header.autoclear & ~0n) !== 0n) errno = yield* this.writeHeader({ ...header, autoclear: 0n })
    if (errno === OK && (header.features & FEATURE.needCheck) !== 0n) {
      const result = yield* this.checkImage('all', () => {})
      errno = result.errno
    }
    if (errno !== OK) throw new BlockError(`Could not repair the image: ${strerror(errno)}`, { errno })
  }
  override *checkImage(fix: CheckFix, _tell: (line: string) => void): Co<CheckResult> {
    const result = yield* checkQed(this, this.file, fix !== 'none')
    this.nextBytes = null
    const isSound = result.errno === OK && result.corruptions === 0 && result.checkErrors === 0
    if (fix === 'none' || !isSound) return result
    const errno = yield* this.setCheckDue(false)
    return errno === OK ? result : { ...result, errno }
  }
  override *setReadOnly(isReadOnly: boolean): Co<void> {
    if (!isReadOnly || this.node.options.readOnly) return
    const errno = yield* this.setCheckDue(false)
    if (errno !== OK) throw new BlockError(`Could not update the header: ${strerror(errno)}`, { errno })
  }
  override *close(): Co<Errno> {
    if (this.node.options.readOnly || this.isForCheck) return OK
    return yield* this.setCheckDue(false)
  }
  /** The image was opened to be looked at: its flag stays. */
  isForCheck = false

  override *truncate(lengthBytes: number, _exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    const { header } = this
    if (preallocation !== 'off' || lengthBytes < header.diskBytes) return ENOTSUP
    const diskBytes = Math.ceil(lengthBytes / SECTOR_BYTES) * SECTOR_BYTES
    if (diskBytes > maxDiskBytes(header.clusterBytes, header.tableClusters)) return EINVAL
    return yield* this.writeHeader({ ...header, diskBytes })
  }

  override *changeBackingFile(name: string | null, format: string | null): Co<Errno> {
    const bytes = name === null ? new Uint8Array(0) : Buffer.from(name)
    const { header } = this
    const room = header.headerClusters * header.clusterBytes - QED_HEADER_BYTES
    if (bytes.length > Math.min(room, NAME_BYTES_MAX)) return EINVAL
    let features = header.features & ~(FEATURE.backing | FEATURE.rawBacking)
    if (name !== null) features |= FEATURE.backing | (format === 'raw' ? FEATURE.rawBacking : 0n)
    let errno: Errno = OK
    if (bytes.length > 0) errno = yield* this.file.pwrite(QED_HEADER_BYTES, bytes)
    if (errno !== OK) return errno
    errno = yield* this.writeHeader({ ...header, features, backingName: name, backingAt: name === null ? 0 : QED_HEADER_BYTES })
    return errno === OK ? yield* this.file.flush() : errno
  }
}
