/** What a commit can be asked for, and what is refused before anything has been touched, with QEMU's texts. */
import {
  BlockError,
  type BlockNode,
  chainContains,
  checkUnblocked,
  findLastLayer,
  findOverlay,
  nodesAbove,
  Permission,
} from '../../block'
import { neededOf } from '../../block/permissions'
import { assert } from '../../co'
import type { ErrorPolicy } from '../error_policy'

export interface CommitOptions {
  jobId: string
  /** The active layer: a root node. */
  device: BlockNode
  /** What is committed: `top` and all between it and `base`. Absent: the active layer. */
  top?: BlockNode
  /** What it is written to. Absent: the end of the chain. */
  base?: BlockNode
  /** The name of `base` that the image above `top` is to have in its header; absent: what the graph calls it. */
  backingFile?: string
  /** 0: no limit. */
  speedBytesPerSecond: number
  onError: ErrorPolicy
  /** Absent: a name is made up and user-visible queries skip the filter. */
  filterNodeName?: string
  autoFinalize: boolean
  autoDismiss: boolean
}

/** The nodes of a commit. */
export interface CommitPlaces {
  readonly device: BlockNode
  readonly top: BlockNode
  readonly base: BlockNode
  /** Guests may write to `top` meanwhile: the job has to become READY and to be completed. */
  readonly isActive: boolean
}

/** Throws BlockError unless a commit may be started like this. */
export function checkCommit(options: CommitOptions): CommitPlaces {
  const { device, backingFile } = options
  for (const edge of device.parents) if (edge.parent.node !== null) throw new BlockError('Need a root block node')
  checkUnblocked(device.name, device.blockers, 'commit-source')
  const top = options.top ?? device
  if (!chainContains(device, top)) throw new BlockError(`'${top.name}' is not in this backing file chain`)
  const base = options.base ?? findLastLayer(top)
  if (!chainContains(top, base)) throw new BlockError(`'${base.name}' is not in this backing file chain`)
  for (const node of [...nodesAbove(top, base), base]) checkUnblocked(node.name, node.blockers, 'commit-target')
  if (top === base) throw new BlockError('cannot commit an image into itself')
  const isDevice = top.skipFilters() === device.skipFilters()
  const isActive = isDevice || (neededOf(top) & Permission.Write) !== 0
  if (isActive) {
    if (backingFile === undefined) return { device, top, base, isActive }
    throw new BlockError(`'backing-file' specified, but 'top' ${isDevice ? 'is the active layer' : 'has a writer on it'}`)
  }
  const overlay = findOverlay(device, top)
  assert(overlay !== null, 'inactive-top-has-overlay')
  checkUnblocked(overlay.name, overlay.blockers, 'commit-target')
  if (top.skipFilters() === base.skipFilters()) throw new BlockError('Invalid files for merge: top and base are the same')
  return { device, top, base, isActive }
}
