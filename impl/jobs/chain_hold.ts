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
  const isFilterOfBase = (node: BlockNode): boolean => node.skipFilters() === base.skipFilters()
  const edges = nodesAbove(top, base).map((node) => {
    const consistent = isFilterOfBase(node) ? Permission.ConsistentRead : Permission.None
    return hold.take('intermediate node', node, Permission.None, Permission.WriteUnchanged | Permission.Write | consistent)
  })
  const [edge] = edges
  assert(edge !== undefined && edge.node === top, 'layers-held')
  return edge
}
