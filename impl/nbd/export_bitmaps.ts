/**
 * The dirty bitmaps that an export shows: found by name in the chain of the node, and kept from others while the export is
 * there.
 *
 * What may fail: finding them, as a BlockError with QEMU's text; none is held then.
 */
import { BitmapRefusal, BlockError, type BlockNode, type NamedBitmap } from '../block'
import { ENOENT } from '../co'
import type { ExportBitmap } from './export'

/** A bitmap of `owner`; of the chain below the exported node if that is null. */
export interface WantedBitmap {
  readonly owner: BlockNode | null
  readonly name: string
}

/** Throws BlockError. */
export function takeBitmaps(node: BlockNode, wanted: readonly WantedBitmap[], isWritable: boolean): ExportBitmap[] {
  const found = wanted.map(({ owner, name }) => find(owner ?? node, owner === null, name))
  for (const bitmap of found) {
    bitmap.demand(BitmapRefusal.Busy | BitmapRefusal.Inconsistent)
    // It would go on recording, though the client has been told that nothing changes.
    if (!isWritable && bitmap.isEnabled && !node.options.readOnly) {
      throw new BlockError(`Enabled bitmap '${bitmap.name}' incompatible with readonly export`)
    }
  }
  return found.map((named) => {
    named.setBusy(true)
    return {
      name: named.name,
      // Clearing puts another one in its place.
      get bitmap() {
        return named.bits
      },
      release: () => named.setBusy(false),
    }
  })
}

function find(node: BlockNode, isChain: boolean, name: string): NamedBitmap {
  for (let layer: BlockNode | null = node; layer !== null; layer = isChain ? layer.below() : null) {
    const bitmap = layer.namedBitmaps.get(name)
    if (bitmap !== undefined) return bitmap
  }
  throw new BlockError(`Bitmap '${name}' is not found`, { errno: ENOENT })
}
