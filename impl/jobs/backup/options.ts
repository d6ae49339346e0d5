/** What a backup can be asked for, and what is refused before anything has been touched, with QEMU's texts. */
import { BlockError, type BlockNode, checkUnblocked, type NamedBitmap, RequestFlag } from '../../block'
import { COPY_WORKERS_MAX, copyClusterBytes } from '../../block/block_copy'
import type { CopyError } from '../../block/drivers/copy_before_write'
import { assert } from '../../co'
import type { ErrorPolicy } from '../error_policy'
import { type BitmapMode, checkSyncBitmap } from '../sync_bitmap'

export type BackupSync = 'full' | 'top' | 'none' | 'bitmap' | 'incremental'

export interface BackupOptions {
  jobId: string
  source: BlockNode
  target: BlockNode
  sync: BackupSync
  /** The name of a bitmap of the source. */
  bitmap?: string
  bitmapMode?: BitmapMode
  /** Clusters are written compressed. */
  isCompressed?: boolean
  /** What has been copied is discarded in the source. */
  discardsSource?: boolean
  /** Nobody writes to the source, nor will: no filter is needed. */
  isImmutable?: boolean
  /** 0: no limit. */
  speedBytesPerSecond: number
  onSourceError: ErrorPolicy
  onTargetError: ErrorPolicy
  /** When what a guest is about to overwrite cannot be copied: the guest's request fails, or the backup. */
  onCopyError?: CopyError
  filterNodeName?: string
  autoFinalize: boolean
  autoDismiss: boolean
  /** x-perf. */
  usesCopyRange?: boolean
  maxWorkers?: number
  /** 0: no limit. */
  maxChunkBytes?: number
  minClusterBytes?: number
}

const INT_MAX = 2147483647

/** A backup that has been checked. */
export interface BackupPlan {
  /** incremental is bitmap with on-success. */
  readonly sync: 'full' | 'top' | 'none' | 'bitmap'
  readonly bitmap: NamedBitmap | null
  readonly bitmapMode: BitmapMode
  readonly clusterBytes: number
}

/** Throws BlockError unless a backup may be started like this. The order is QEMU's: the first error is the one told. */
export function checkBackup(options: BackupOptions): BackupPlan {
  const { source, target, maxWorkers = COPY_WORKERS_MAX, maxChunkBytes = 0 } = options
  const { bitmap, bitmapMode } = checkSyncBitmap(options)
  if (source === target) throw new BlockError('Source and target cannot be the same')
  if (options.isCompressed === true && (target.driver.supportedWriteFlags & RequestFlag.Compressed) === 0) {
    throw new BlockError(`Compression is not supported for this drive ${target.graph.deviceNameOf(target)}`)
  }
  checkUnblocked(source.name, source.blockers, 'backup-source')
  checkUnblocked(target.name, target.blockers, 'backup-target')
  if (!(Number.isInteger(maxWorkers) && maxWorkers >= 1 && maxWorkers <= INT_MAX)) {
    throw new BlockError(`max-workers must be between 1 and ${INT_MAX}`)
  }
  if (maxChunkBytes < 0) throw new BlockError('max-chunk must be zero (which means no limit) or positive')
  if (source.lengthBytes !== target.lengthBytes) throw new BlockError('Source and target image have different sizes')
  const clusterBytes = copyClusterBytes(target, options.minClusterBytes)
  if (maxChunkBytes > 0 && maxChunkBytes < clusterBytes) {
    throw new BlockError(`Required max-chunk (${maxChunkBytes}) is less than backup cluster size (${clusterBytes})`)
  }
  if (options.isImmutable === true && options.filterNodeName !== undefined) {
    throw new BlockError('immutable-source and filter-node-name should not be set simultaneously')
  }
  const sync = options.sync === 'incremental' ? 'bitmap' : options.sync
  assert(sync !== 'bitmap' || bitmap !== null, 'bitmap-for-bitmap-sync')
  return { sync, bitmap, bitmapMode, clusterBytes }
}
