/**
 * The image below one that has been opened without it, as its header names it.
 *
 * What may fail: opening it, as BlockError.
 */
import type { BlockNode } from '../block'
import type { Co } from '../co'
import { backingNameOf } from './backing'
import { inheritOptions } from './common_options'
import type { BlockdevContext } from './context'
import { openImage } from './open'
import { Options } from './options'

/** The image that the header of `node` names, opened for reading; null: it names none. Throws BlockError. */
export function* openNamedBacking(context: BlockdevContext, node: BlockNode): Co<BlockNode | null> {
  const origin = context.origins.get(node)
  if (origin === undefined || origin.backingName === '') return null
  const options = new Options()
  if (origin.backingFormat !== '') options.set('driver', origin.backingFormat)
  inheritOptions(origin.options, options, 'cow')
  const filename = backingNameOf(context, node.children.get('file')?.node ?? node, origin.backingName)
  const below = yield* openImage(context, { filename, options })
  // It is there because the header says so.
  origin.isBackingExplicit = false
  return below
}
