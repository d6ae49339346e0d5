/**
 * Walks down a chain of filters and backing images. A layer is a node that is no filter: it may determine data. Chains have
 * no loops, because graphs have none.
 */
import { assert } from '../co'
import type { BlockNode } from './node'

/** Whether `wanted` is `top` or lies below it in its chain. */
export function chainContains(top: BlockNode, wanted: BlockNode): boolean {
  for (let node: BlockNode | null = top; node !== null; node = node.below()) if (node === wanted) return true
  return false
}

/**
 * The lowest layer whose backing image is `base`, seen through filters; null for `base`: the last layer. Null if there is
 * none from `top` on.
 */
export function findOverlay(top: BlockNode, base: BlockNode | null): BlockNode | null {
  const wanted = base === null ? null : base.skipFilters()
  for (let layer: BlockNode | null = top.skipFilters(); layer !== null; ) {
    const below: BlockNode | null = layer.backing?.node.skipFilters() ?? null
    if (below === wanted) return layer
    layer = below
  }
  return null
}

/** The last layer of the chain. */
export function findLastLayer(top: BlockNode): BlockNode {
  let layer = top.skipFilters()
  for (let edge = layer.backing; edge !== null; edge = layer.backing) layer = edge.node.skipFilters()
  assert(layer.filtered === null && layer.backing === null, 'chain-ends')
  return layer
}

/** `top` and what is below it, down to `base` without that. `base` must be in the chain, or null for its end. */
export function nodesAbove(top: BlockNode, base: BlockNode | null): BlockNode[] {
  const nodes: BlockNode[] = []
  let node: BlockNode | null = top
  for (; node !== null && node !== base; node = node.below()) nodes.push(node)
  assert(node === base, 'base-in-chain', () => `${base?.name} below ${top.name}`)
  return nodes
}
