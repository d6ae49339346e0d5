/** The layers that a commit makes superfluous: nobody else may count on what they show. */
import { type BlockChild, type BlockNode, nodesAbove, Permission } from '../block'
import { assert } from '../co'
import type { JobHold } from './hold'

/**
 * Takes hold of `top` and the nodes between it and `base`, and gives the edge to `top`. Writing is shared because what
 * is excluded at a node is excluded below it too, where the job itself writes. Filters right above the base show it
 * unchanged.
 */
export function holdLayers(hold: JobHold, top: BlockNode, base: BlockNode): BlockChild {
  const layers = nodesAbove(top, base)
  const isFilterOfBase = (node: BlockNode): boolean => node.skipFilters() === base.skipFilters()
  for (const node of layers) {
    const consistent = isFilterOfBase(node) ? Permission.ConsistentRead : Permission.None
    hold.take('intermediate node', node, Permission.None, Permission.WriteUnchanged | Permission.Write | consistent)
  }
  const edge = [...top.parents].find(({ parent }) => parent === hold)
  assert(edge !== undefined, 'layers-held')
  return edge
}
