/** What a mirror can be asked for, and what is refused before anything has been touched, with QEMU's texts. */
import { BlockError, type BlockNode, checkUnblocked } from '../../block'
import { assert, type Co, EPERM } from '../../co'
import type { ErrorPolicy } from '../error_policy'
import { type BitmapMode, checkSyncBitmap } from '../sync_bitmap'

export type CopyMode = 'background' | 'write-blocking'

export interface MirrorOptions {
  jobId: string
  /** A root node: nothing but devices, exports and jobs above it. */
  source: BlockNode
  target: BlockNode
  /**
   * full: the whole chain; top: what is allocated above the backing image; none: only what is written from now on.
   * bitmap: what a bitmap of the source has dirty, the target has everything else already; incremental: that with on-success.
   */
  sync: 'full' | 'top' | 'none' | 'bitmap' | 'incremental'
  /** The name of a bitmap of the source. With `full` and `top` it only says afterwards what is left to be copied. */
  bitmap?: string
  bitmapMode?: BitmapMode
  /** auto: in the background, unless that cannot keep up with the guests. */
  copyMode: CopyMode | 'auto'
  /** A power of two from 512 to 64 MiB; absent or 0: the target's cluster, at least 4 KiB and at most 64 KiB. */
  granularityBytes?: number
  /** Limit of memory for data on the way; absent or 0: 16 MiB. */
  bufferBytes?: number
  /** 0: no limit. */
  speedBytesPerSecond: number
  /** Of changes that guests wait for; absent or 0: no limit. */
  activeSpeedBytesPerSecond?: number
  /** Zero writes may deallocate in the target. */
  unmap: boolean
  /** The user vouches for it that the whole target reads zero. */
  targetIsZero: boolean
  /** The target names a backing image that is not attached while the job runs: what it does not hold is not zero. */
  targetHasDetachedBacking?: boolean
  /**
   * Attaches what will lie below the target to it, once the copy is whole. Is called with the target drained and nobody's;
   * throws BlockError where that cannot be done, and then the job has failed. Absent: what is attached stays.
   */
  linkTarget?: () => Co<void>
  onSourceError: ErrorPolicy
  onTargetError: ErrorPolicy
  /** Absent: a name is made up and user-visible queries skip the filter. */
  filterNodeName?: string
  /** Name of the node that the target takes the place of; absent: the source below its implicit filters. */
  replaces?: string
  autoFinalize: boolean
  autoDismiss: boolean
  /** The target lies below the source, which is committed to it; `targetWasReadOnly` until the job came. */
  commit?: { targetWasReadOnly: boolean }
}

const GRANULARITY_MIN_BYTES = 512
const GRANULARITY_MAX_BYTES = 64 * 1024 * 1024
const GRANULARITY_DEFAULT_MIN_BYTES = 4096
const GRANULARITY_DEFAULT_MAX_BYTES = 65536
const BUFFER_DEFAULT_BYTES = 16 * 1024 * 1024

/** Throws BlockError unless a mirror may be started like this, as far as that can be said before starting it. */
export function checkOptions(options: MirrorOptions): void {
  const { source, target, granularityBytes = 0, bufferBytes = 0 } = options
  if (granularityBytes !== 0) {
    if (!(granularityBytes >= GRANULARITY_MIN_BYTES && granularityBytes <= GRANULARITY_MAX_BYTES)) {
      throw new BlockError("Parameter 'granularity' expects a value in range [512B, 64MB]")
    }
    if ((granularityBytes & (granularityBytes - 1)) !== 0 || !Number.isInteger(granularityBytes)) {
      throw new BlockError("Parameter 'granularity' expects a power of 2")
    }
  }
  checkActiveSpeed(options.activeSpeedBytesPerSecond ?? 0)
  if (!Number.isSafeInteger(bufferBytes) || bufferBytes < 0) throw new BlockError("Invalid parameter 'buf-size'")
  checkSyncBitmap(options)
  for (const edge of source.parents) if (edge.parent.node !== null) throw new BlockError('Need a root block node')
  checkUnblocked(source.name, source.blockers, 'mirror-source')
  checkUnblocked(target.name, target.blockers, 'mirror-target')
  if (source.skipFilters() === target.skipFilters()) throw new BlockError("Can't mirror node into itself")
  if (target.filtered !== null && isInChain(source, target.skipFilters())) {
    throw new BlockError("Cannot mirror to a filter on top of a node in the source's backing chain")
  }
  if (target.options.readOnly) throw new BlockError('Block node is read-only', { errno: EPERM })
  assert(source.graph === target.graph, 'mirror-inside-graph')
}

/** Throws BlockError if there is no such limit. */
export function checkActiveSpeed(bytesPerSecond: number): void {
  if (Number.isSafeInteger(bytesPerSecond) && bytesPerSecond >= 0) return
  throw new BlockError("Parameter 'active-speed' expects a non-negative value")
}

function isInChain(top: BlockNode, wanted: BlockNode): boolean {
  for (let node: BlockNode | null = top; node !== null; node = node.below()) if (node === wanted) return true
  return false
}

/**
 * Bytes of a chunk. Never less than the target's blocks: a write to one chunk would rewrite others that share its block,
 * behind the back of whoever copies those.
 */
export function chooseGranularity(options: MirrorOptions): number {
  const { target, granularityBytes = 0 } = options
  const clusterBytes = target.driver.info().clusterBytes
  const defaultBytes =
    clusterBytes === 0
      ? GRANULARITY_DEFAULT_MAX_BYTES
      : Math.min(Math.max(clusterBytes, GRANULARITY_DEFAULT_MIN_BYTES), GRANULARITY_DEFAULT_MAX_BYTES)
  const chosenBytes = Math.max(granularityBytes || defaultBytes, target.limits.requestAlignmentBytes)
  assert((chosenBytes & (chosenBytes - 1)) === 0, 'granularity-power-of-two', () => String(chosenBytes))
  return chosenBytes
}

/** Bytes of the buffer: whole chunks, and at least one unit of what is copied at once. */
export function chooseBuffer(options: MirrorOptions, granularityBytes: number, unitBytes: number): number {
  const wantedBytes = options.bufferBytes || BUFFER_DEFAULT_BYTES
  const roundedBytes = Math.ceil(wantedBytes / granularityBytes) * granularityBytes
  assert(unitBytes >= granularityBytes, 'unit-holds-chunk')
  return Math.max(roundedBytes, unitBytes)
}

/** The node that the target is to replace. Throws BlockError. */
export function findReplaced(options: MirrorOptions): BlockNode {
  const { source, replaces } = options
  let replaced = source
  if (replaces === undefined) {
    while (replaced.isImplicit && replaced.filtered !== null) replaced = replaced.filtered.node
    return replaced
  }
  const named = source.graph.findNode(replaces)
  if (named === null) throw new BlockError(`Failed to find node with node-name='${replaces}'`)
  checkUnblocked(named.name, named.blockers, 'replace')
  checkReplaceable(source, named)
  if (named.lengthBytes !== source.lengthBytes) {
    throw new BlockError('cannot replace image with a mirror image of different size')
  }
  return named
}

/** A replica that somebody else uses as well shows its data to that user, too. */
function isReplaceable(shown: BlockNode, replaced: BlockNode): boolean {
  for (let node: BlockNode | null = shown; node !== null; node = node.filtered?.node ?? null) {
    if (node === replaced) return true
    const replicas = node.driver.replicas().filter((replica) => replica.node.parents.size === 1)
    if (replicas.some((replica) => isReplaceable(replica.node, replaced))) return true
  }
  return false
}

/**
 * Only what shows the same data as the source may be replaced by its copy: the source, or what it filters. Throws
 * BlockError.
 */
export function checkReplaceable(source: BlockNode, replaced: BlockNode): void {
  if (isReplaceable(source, replaced)) return
  throw new BlockError(
    `Cannot replace '${replaced.name}' by a node mirrored from '${source.name}', because it cannot be guaranteed that ` +
      'doing so would not lead to an abrupt change of visible data',
  )
}
