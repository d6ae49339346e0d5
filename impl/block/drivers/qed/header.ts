/** The header of `qed` images, little-endian. What may fail: one that promises what is not so, as BlockError with QEMU's texts. */
import { assert, EINVAL, ENOTSUP } from '../../../co'
import { BlockError } from '../../error'
import { hasText, putText, readNumber64, viewOf } from '../clusters/bytes'

export const QED_HEADER_BYTES = 64
export const NAME_BYTES_MAX = 1023
const MAGIC = 'QED\0'
const CLUSTER_BYTES_MIN = 4096
const CLUSTER_BYTES_MAX = 64 * 2 ** 20
const TABLE_CLUSTERS_MAX = 16
const ENTRY_BYTES = 8
const SECTOR_BYTES = 512

export const FEATURE = { backing: 1n, needCheck: 2n, rawBacking: 4n } as const
const FEATURES_KNOWN = FEATURE.backing | FEATURE.needCheck | FEATURE.rawBacking

const AT = {
  clusterBytes: 4,
  tableClusters: 8,
  headerClusters: 12,
  features: 16,
  compatible: 24,
  autoclear: 32,
  tableOffset: 40,
  diskBytes: 48,
  backingOffset: 56,
  backingBytes: 60,
} as const

export interface QedHeader {
  clusterBytes: number
  tableClusters: number
  headerClusters: number
  features: bigint
  compatible: bigint
  autoclear: bigint
  tableOffsetBytes: number
  diskBytes: number
  /** Where the name stands in the file. */
  backingAt: number
  backingName: string | null
}

export function probeQed(head: Uint8Array): boolean {
  return head.length >= QED_HEADER_BYTES && hasText(head, 0, MAGIC)
}
function isPower(value: number, least: number, most: number): boolean {
  return value >= least && value <= most && Number.isInteger(Math.log2(value))
}
/** The longest disk that the tables reach. */
export function maxDiskBytes(clusterBytes: number, tableClusters: number): number {
  const entries = (tableClusters * clusterBytes) / ENTRY_BYTES
  return Math.min(entries * entries * clusterBytes, Number.MAX_SAFE_INTEGER)
}

/** Header and the length of the name, which is still to be read. Throws BlockError. */
export function decodeQedHeader(head: Uint8Array): QedHeader & { backingBytes: number } {
  assert(head.length === QED_HEADER_BYTES, 'qed-header-length')
  const view = viewOf(head)
  const refuse = (text: string): never => {
    throw new BlockError(text, { errno: EINVAL })
  }
  if (!hasText(head, 0, MAGIC)) refuse('Image not in QED format')
  const features = view.getBigUint64(AT.features, true)
  const unknown = features & ~FEATURES_KNOWN
  if (unknown !== 0n) throw new BlockError(`Unsupported QED features: ${unknown.toString(16)}`, { errno: ENOTSUP })
  const clusterBytes = view.getUint32(AT.clusterBytes, true)
  const tableClusters = view.getUint32(AT.tableClusters, true)
  const diskBytes = readNumber64(view, AT.diskBytes, true)
  if (!isPower(clusterBytes, CLUSTER_BYTES_MIN, CLUSTER_BYTES_MAX)) refuse('QED cluster size is invalid')
  if (!isPower(tableClusters, 1, TABLE_CLUSTERS_MAX)) refuse('QED table size is invalid')
  if (diskBytes % SECTOR_BYTES !== 0 || diskBytes > maxDiskBytes(clusterBytes, tableClusters)) {
    refuse('QED image size is invalid')
  }
  return {
    ...{ clusterBytes, tableClusters, features, diskBytes },
    headerClusters: view.getUint32(AT.headerClusters, true),
    compatible: view.getBigUint64(AT.compatible, true),
    autoclear: view.getBigUint64(AT.autoclear, true),
    tableOffsetBytes: readNumber64(view, AT.tableOffset, true),
    backingAt: view.getUint32(AT.backingOffset, true),
    backingBytes: view.getUint32(AT.backingBytes, true),
    backingName: null,
  }
}

export function encodeQedHeader(header: QedHeader): Uint8Array {
  const head = new Uint8Array(QED_HEADER_BYTES)
  const view = viewOf(head)
  putText(head, 0, MAGIC)
  view.setUint32(AT.clusterBytes, header.clusterBytes, true)
  view.setUint32(AT.tableClusters, header.tableClusters, true)
  view.setUint32(AT.headerClusters, header.headerClusters, true)
  view.setBigUint64(AT.features, header.features, true)
  view.setBigUint64(AT.compatible, header.compatible, true)
  view.setBigUint64(AT.autoclear, header.autoclear, true)
  view.setBigUint64(AT.tableOffset, BigInt(header.tableOffsetBytes), true)
  view.setBigUint64(AT.diskBytes, BigInt(header.diskBytes), true)
  view.setUint32(AT.backingOffset, header.backingAt, true)
  view.setUint32(AT.backingBytes, header.backingName === null ? 0 : Buffer.byteLength(header.backingName), true)
  assert(header.diskBytes % SECTOR_BYTES === 0 && Number.isSafeInteger(header.tableOffsetBytes), 'qed-header-sane')
  return head
}

export interface NewQed {
  sizeBytes: number
  clusterBytes: number
  tableClusters: number
  backingName: string | null
  isBackingRaw: boolean
}

/** What a new image begins with, and how long its file is. Throws BlockError with QEMU's texts. */
export function newQed(given: NewQed): { head: Uint8Array; fileBytes: number } {
  const { sizeBytes, clusterBytes, tableClusters, backingName, isBackingRaw } = given
  if (!isPower(clusterBytes, CLUSTER_BYTES_MIN, CLUSTER_BYTES_MAX)) {
    throw new BlockError(`QED cluster size must be within range [${CLUSTER_BYTES_MIN}, ${CLUSTER_BYTES_MAX}] and power of 2`)
  }
  if (!isPower(tableClusters, 1, TABLE_CLUSTERS_MAX)) {
    throw new BlockError(`QED table size must be within range [1, ${TABLE_CLUSTERS_MAX}] and power of 2`)
  }
  const most = maxDiskBytes(clusterBytes, tableClusters)
  if (sizeBytes > most) {
    throw new BlockError(`QED image size must be a non-zero multiple of cluster size and less than ${most} bytes`)
  }
  const name = backingName === null ? new Uint8Array(0) : Buffer.from(backingName)
  if (name.length > NAME_BYTES_MAX) throw new BlockError('Backing file name too long', { errno: EINVAL })
  const features = backingName === null ? 0n : FEATURE.backing | (isBackingRaw ? FEATURE.rawBacking : 0n)
  const backingAt = backingName === null ? 0 : QED_HEADER_BYTES
  const head = new Uint8Array(QED_HEADER_BYTES + name.length)
  const header = {
    ...{ clusterBytes, tableClusters, features, backingAt, backingName },
    headerClusters: 1,
    compatible: 0n,
    autoclear: 0n,
  }
  head.set(encodeQedHeader({ ...header, tableOffsetBytes: clusterBytes, diskBytes: sizeBytes }))
  head.set(name, QED_HEADER_BYTES)
  assert(head.length < clusterBytes, 'qed-header-fits')
  return { head, fileBytes: clusterBytes * (1 + tableClusters) }
}
