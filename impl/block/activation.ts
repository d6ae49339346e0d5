/**
 * Handing images over to another program: an inactive node has nothing in memory that its file lacks, holds no locks, and takes
 * no requests of devices, exports and jobs; another program may change the file. Active again, it reads anew what it needs.
 *
 * What may fail: nodes whose users do not let go, and formats that cannot read anew, as BlockError with QEMU's texts; all is as
 * it was then. What cannot be written, or locked again.
 */
import { assert, type Co, EPERM, OK, strerror } from '../co'
import { BlockError } from './error'
import { Permission } from './flags'
import type { BlockGraph } from './graph'
import { flushNode } from './io_flush'
import type { BlockChild, BlockNode } from './node'
import { loosenPermissions } from './permissions'

const WRITING = Permission.Write | Permission.WriteUnchanged

/** Makes `top`, and what stands below it for it alone, inactive. Throws BlockError. */
export function* inactivateNode(graph: BlockGraph, top: BlockNode): Co<void> {
  for (const { parent } of top.parents) {
    if (parent.node !== null && !parent.node.isInactive) throw new BlockError('Node has active parent node', { errno: EPERM })
  }
  assert(graph.findNode(top.name) === top, 'inactivated-node-in-graph', () => top.name)
  yield* inactivate(graph, [top])
}

/** Makes every node inactive. Throws BlockError. */
export function* inactivateAll(graph: BlockGraph): Co<void> {
  yield* inactivate(
    graph,
    [...graph.nodes.values()].filter((node) => ![...node.parents].some(({ parent }) => parent.node !== null)),
  )
}

function* inactivate(graph: BlockGraph, tops: readonly BlockNode[]): Co<void> {
  const leaving = familyOf(tops).filter((node) => !node.isInactive)
  for (const node of leaving) checkLeaving(node)
  const gone: BlockNode[] = []
  for (const node of leaving) yield* graph.drainedBegin(node)
  try {
    for (const node of leaving) {
      yield* node.driver.inactivate()
      const errno = yield* flushNode(node)
      if (errno !== OK) throw new BlockError(`Could not write node '${node.name}': ${strerror(errno)}`, { errno })
      node.isInactive = true
      gone.push(node)
    }
    for (const node of leaving) loosenPermissions(node)
  } catch (error) {
    yield* activate(graph, gone.reverse())
    throw error
  } finally {
    for (const node of leaving) graph.drainedEnd(node)
  }
  assert(
    leaving.every(({ isInactive }) => isInactive),
    'inactivated',
  )
}

/** Parents before children; a child that an active node outside uses as well stays. */
function familyOf(tops: readonly BlockNode[]): BlockNode[] {
  const family = new Set<BlockNode>()
  const isFree = ({ parent }: BlockChild): boolean => parent.node === null || parent.node.isInactive || family.has(parent.node)
  const waiting = [...tops]
  for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) {
    if (![...node.parents].every(isFree)) continue
    family.delete(node)
    family.add(node)
    for (const child of node.children.values()) waiting.push(child.node)
  }
  assert(
    [...family].every(({ graph }) => graph === tops[0]?.graph),
    'family-of-one-graph',
  )
  return [...family]
}

/** Whether the holder of an edge that is no node's lets the node go. */
function letsGo({ parent, permission }: BlockChild): boolean {
  return parent.node !== null || parent.restsWithNode === true || (permission & WRITING) === 0
}

/** Throws BlockError unless the node can be handed over. */
export function checkLeaving(node: BlockNode): void {
  if (!node.driver.handsOver) {
    throw new BlockError(`The ${node.driver.name} format used by node '${node.name}' does not support live migration`)
  }
  if (![...node.parents].every(letsGo)) {
    throw new BlockError('Failed to inactivate node: Operation not permitted', { errno: EPERM })
  }
}

/** Makes `top`, and all below it, active. Throws BlockError, also where another program has a lock. */
export function* activateNode(graph: BlockGraph, top: BlockNode): Co<void> {
  assert(graph.findNode(top.name) === top, 'activated-node-in-graph', () => top.name)
  const family = [top]
  for (const node of family) for (const child of node.children.values()) family.push(child.node)
  yield* activate(graph, [...new Set(family.reverse())])
}

/** Makes every node active. Throws BlockError at the first that cannot be. */
export function* activateAll(graph: BlockGraph): Co<void> {
  for (const node of graph.nodes.values()) yield* activateNode(graph, node)
}

/** Children come first. */
function* activate(graph: BlockGraph, nodes: readonly BlockNode[]): Co<void> {
  for (const node of nodes) {
    if (!node.isInactive) continue
    yield* graph.drainedBegin(node)
    node.isInactive = false
    try {
      graph.refreshPermissions(node)
      assert(node.inFlight === 0, 'activated-without-requests', () => node.name)
      yield* node.driver.activate()
      graph.refreshLimits(node)
    } catch (error) {
      node.isInactive = true
      loosenPermissions(node)
      throw error
    } finally {
      graph.drainedEnd(node)
    }
  }
}
