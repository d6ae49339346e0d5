/**
 * The `copy-on-read` filter: what is read through it is copied from the layers below into its child, down to the node
 * `bottom` with that included. Other users of the child may write meanwhile.
 *
 * What may fail: reads, also because a copy cannot be written. What never may: a change of what the child reads.
 */
import { assert, type Co, type Errno } from '../../co'
import { BlockError } from '../error'
import { Permission } from '../flags'
import { copyOnReadThrough } from '../io_copy_on_read'
import type { BlockChild, BlockNode } from '../node'
import { FilterDriver } from './filter'

export class CopyOnReadDriver extends FilterDriver {
  readonly name = 'copy-on-read'
  private readonly bottom: BlockNode | null

  /** `bottom`: the lowest layer that is copied from; null: all are. See `findBottom`. */
  constructor(bottom: BlockNode | null = null) {
    super()
    assert(bottom === null || bottom.filtered === null, 'bottom-is-a-layer')
    this.bottom = bottom
  }

  /** Copies are no change, so that others may hold the child as if nobody wrote. */
  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    const { permission, shared } = super.childPermissions(child, parentPermission, parentShared)
    return { permission: permission | Permission.WriteUnchanged, shared: shared | Permission.WriteUnchanged }
  }

  override pread(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    return copyOnReadThrough(this.child, offsetBytes, buffer.length, buffer, this.bottom)
  }

  /** Copies a range without reading it for anybody. */
  prefetch(offsetBytes: number, lengthBytes: number): Co<Errno> {
    return copyOnReadThrough(this.child, offsetBytes, lengthBytes, null, this.bottom)
  }
}

/** The node that the option `bottom` means, in the chain below `file`. Throws BlockError. */
export function findBottom(file: BlockNode, name: string): BlockNode {
  const bottom = file.graph.findNode(name)
  if (bottom === null) throw new BlockError(`Bottom node '${name}' not found`)
  if (bottom.filtered !== null) throw new BlockError(`Bottom node '${name}' is a filter`)
  let layer = file.below()
  while (layer !== null && layer !== bottom) layer = layer.below()
  if (layer === null) throw new BlockError(`Bottom node '${name}' is not in the backing chain of '${file.name}'`)
  return bottom
}
