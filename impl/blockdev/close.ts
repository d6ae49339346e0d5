/**
 * Closing: a node goes when nothing stands on it and the monitor does not own it; then its children may go as well.
 *
 * What may fail: blockdev-del of a node that is in use, as BlockError with QEMU's texts.
 */
import { BlockError, type BlockNode } from '../block'
import { assert, type Co, EBUSY } from '../co'
import type { BlockdevContext } from './context'

/** Closes `node` and what is below it, as far as nobody else holds it. */
export function* releaseNode(context: BlockdevContext, node: BlockNode): Co<void> {
  const { graph } = context
  if (graph.findNode(node.name) !== node || node.parents.size > 0 || context.owned.has(node)) return
  const below = [...node.children.values()].map((child) => child.node)
  yield* graph.removeNode(node)
  assert(graph.findNode(node.name) !== node, 'released-node-gone', () => node.name)
  for (const child of below) yield* releaseNode(context, child)
}

/** blockdev-del. Throws BlockError. */
export function* deleteBlockdev(context: BlockdevContext, name: string): Co<void> {
  const node = context.graph.findNode(name)
  if (node === null) throw new BlockError(`Failed to find node with node-name='${name}'`)
  for (const edge of node.parents) {
    if (edge.gate !== null) throw new BlockError(`Node ${name} is in use`, { errno: EBUSY })
  }
  // An image is not taken away from below another, whoever owns it.
  for (const { role, parent } of node.parents) {
    if (role !== 'cow' || parent.node === null) continue
    throw new BlockError(`Node '${name}' is busy: node is used as backing hd of '${parent.node.name}'`, { errno: EBUSY })
  }
  for (const blocker of node.blockers) {
    if (!blocker.allows.has('drive-del')) throw new BlockError(`Node '${name}' is busy: ${blocker.reason}`, { errno: EBUSY })
  }
  if (!context.owned.has(node)) throw new BlockError(`Node ${name} is not owned by the monitor`)
  if (node.parents.size > 0) throw new BlockError(`Block device ${name} is in use`, { errno: EBUSY })
  context.owned.delete(node)
  yield* releaseNode(context, node)
}

/** Closes everything that nothing stands on, the monitor's nodes too: the end of a program. */
export function* closeAll(context: BlockdevContext): Co<void> {
  const owned = [...context.owned]
  context.owned.clear()
  for (const node of owned) yield* releaseNode(context, node)
}
