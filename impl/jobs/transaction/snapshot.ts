/**
 * Snapshots in the graph: an image without anything below it goes above a node, which stays as it is from then on
 * (blockdev-snapshot, and blockdev-snapshot-sync, which makes the image first). And the name of a backing file in a header.
 */
import { BlockError, type BlockGraph, type BlockNode, chainContains, checkUnblocked, Permission } from '../../block'
import { flushNode } from '../../block/io_flush'
import { neededOf } from '../../block/permissions'
import { assert, type Co, OK, strerror } from '../../co'
import type { TransactionAction } from './transaction'

/** Opens the overlay, after the node below has been flushed. Throws BlockError. */
export type OverlaySource = () => Co<BlockNode>

export class SnapshotAction implements TransactionAction {
  readonly type: string
  private readonly graph: BlockGraph
  private readonly below: BlockNode
  private readonly openOverlay: OverlaySource
  private overlay: BlockNode | null = null

  constructor(graph: BlockGraph, below: BlockNode, openOverlay: OverlaySource, type = 'blockdev-snapshot') {
    this.type = type
    this.graph = graph
    this.below = below
    this.openOverlay = openOverlay
  }

  *prepare(): Co<void> {
    const { graph, below } = this
    yield* graph.drainedBegin(below)
    try {
      checkUnblocked(below.name, below.blockers, 'external-snapshot')
      if ((yield* flushNode(below)) !== OK) throw new BlockError('An IO error has occurred')
      yield* this.append(yield* this.openOverlay())
    } catch (error) {
      graph.drainedEnd(below)
      throw error
    }
  }

  private *append(overlay: BlockNode): Co<void> {
    const { graph, below } = this
    try {
      checkOverlay(overlay)
      yield* graph.drainedBegin(overlay)
      try {
        graph.append(overlay, below)
      } catch (error) {
        graph.drainedEnd(overlay)
        throw error
      }
    } catch (error) {
      yield* graph.release(overlay)
      throw error
    }
    this.overlay = overlay
    assert(overlay.backing?.node === below, 'snapshot-appended')
  }

  *commit(): Co<void> {
    // Who writes there all the same keeps it writable.
    yield* this.graph.trySetReadOnly(this.below, true)
  }

  *abort(): Co<void> {
    const { graph, overlay } = this
    assert(overlay !== null, 'snapshot-prepared')
    graph.unappend(overlay)
    graph.drainedEnd(overlay)
    this.overlay = null
    yield* graph.release(overlay)
  }

  *clean(): Co<void> {
    if (this.overlay !== null) this.graph.drainedEnd(this.overlay)
    this.graph.drainedEnd(this.below)
  }
}

/** Throws BlockError. */
function checkOverlay(overlay: BlockNode): void {
  // A job's target is only written to: nobody has looked at what is below yet.
  if ((neededOf(overlay) & Permission.ConsistentRead) !== 0) throw new BlockError('The overlay is already in use')
  if (overlay.filtered !== null) throw new BlockError('Filters cannot be used as overlays')
  if (overlay.backing !== null) throw new BlockError('The overlay already has a backing image')
  if (!overlay.driver.supportsBacking) throw new BlockError('The overlay does not support backing images')
}

/**
 * change-backing-file: writes another name of its backing file into the header of `image`, which lies in the chain of
 * `device`. Throws BlockError.
 */
export function* changeBackingFile(graph: BlockGraph, device: BlockNode, image: BlockNode, name: string): Co<void> {
  for (const edge of device.parents) if (edge.parent.node !== null) throw new BlockError('Need a root block node')
  const below = image.skipFilters().backing?.node
  if (below === undefined) throw new BlockError('not allowing backing file change on an image without a backing file')
  checkUnblocked(device.name, device.blockers, 'change')
  if (!chainContains(device, image)) throw new BlockError(`'${device.name}' and image file are not in the same chain`)
  const isReadOnly = image.options.readOnly
  yield* graph.drainedBegin(image)
  try {
    if (isReadOnly) yield* graph.setReadOnly(image, false)
    const errno = yield* image.driver.changeBackingFile(name, below.skipFilters().driver.name)
    if (isReadOnly) yield* graph.trySetReadOnly(image, true)
    if (errno !== OK) throw new BlockError(`Could not change backing file to '${name}': ${strerror(errno)}`, { errno })
  } finally {
    graph.drainedEnd(image)
  }
}
