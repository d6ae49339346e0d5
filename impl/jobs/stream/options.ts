/** What a stream can be asked for, and what is refused before anything has been touched, with QEMU's texts. */
import { BlockError, type BlockNode, chainContains, checkUnblocked, findOverlay, nodesAbove } from '../../block'
import { assert } from '../../co'
import type { ErrorPolicy } from '../error_policy'

export interface StreamOptions {
  jobId: string
  /** What the data comes to. Not necessarily a root node. */
  device: BlockNode
  /** What stays below it; null: nothing. Not together with `bottom`. */
  base?: BlockNode | null
  /** The last layer that the data is taken from; what is below it stays. */
  bottom?: BlockNode
  /** The name of the base for the header of the image; absent: what the graph calls it. */
  backingFile?: string
  /** 0: no limit. */
  speedBytesPerSecond: number
  onError: ErrorPolicy
  /** Absent: a name is made up and user-visible queries skip the filter. */
  filterNodeName?: string
  autoFinalize: boolean
  autoDismiss: boolean
}

/** The nodes of a stream. */
export interface StreamPlaces {
  readonly device: BlockNode
  /** The layer that the data comes to. */
  readonly target: BlockNode
  /** The last layer that the data comes from; `target` itself: there is nothing to do. */
  readonly lastLayer: BlockNode
  /** The node whose link leads to what stays: `lastLayer` or a filter below it. */
  readonly aboveBase: BlockNode
}

/** Throws BlockError unless a stream may be started like this. */
export function checkStream(options: StreamOptions): StreamPlaces {
  const { device, base = null, bottom, backingFile } = options
  assert(base === null || bottom === undefined, 'base-or-bottom')
  if (base !== null && (base === device || !chainContains(device, base))) {
    throw new BlockError(`Node '${base.name}' is not a backing image of '${device.name}'`)
  }
  if (bottom !== undefined && bottom.filtered !== null) {
    throw new BlockError(`Node '${bottom.name}' is a filter, use a non-filter node as 'bottom'`)
  }
  if (bottom !== undefined && !chainContains(device, bottom)) {
    throw new BlockError(`Node '${bottom.name}' is not in a chain starting from '${device.name}'`)
  }
  const end = bottom === undefined ? base : bottom.below()
  for (const node of nodesAbove(device, end)) checkUnblocked(node.name, node.blockers, 'stream')
  if (base === null && bottom === undefined && backingFile !== undefined) {
    throw new BlockError('backing file specified, but streaming the entire chain')
  }
  const lastLayer = bottom ?? findOverlay(device, base)
  if (lastLayer === null) throw new BlockError(`'${base?.name}' is not in the backing chain of '${device.name}'`)
  return { device, target: device.skipFilters(), lastLayer, aboveBase: nodeAbove(lastLayer, end) }
}

/** The last node from `layer` on whose link leads to `base`. */
function nodeAbove(layer: BlockNode, base: BlockNode | null): BlockNode {
  let node = layer
  for (let below = node.below(); below !== null && below !== base; below = node.below()) node = below
  return node
}
