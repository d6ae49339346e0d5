/** What the names in commands mean. All throw BlockError with QEMU's texts. */
import { BlockError, type BlockGraph, type BlockNode } from '../block'
import { ENOENT } from '../co'

/** A node by its own name. */
export function findNode(graph: BlockGraph, name: string): BlockNode {
  const node = graph.findNode(name)
  if (node === null) throw new BlockError(`Cannot find device='' nor node-name='${name}'`, { errno: ENOENT })
  return node
}

/** The node of a job: of a device, or a node that is nobody's child. */
export function rootNode(graph: BlockGraph, name: string): BlockNode {
  const node = graph.lookup(name)
  for (const edge of node.parents) if (edge.parent.node !== null) throw new BlockError('Need a root block node')
  return node
}

/** A device or a node, whichever of the two names is given. */
export function deviceOrNode(graph: BlockGraph, device: string | undefined, nodeName: string | undefined): BlockNode {
  if (device !== undefined) {
    const backend = graph.backends.get(device)
    if (backend !== undefined) {
      if (backend.root === null) throw new BlockError(`Device '${device}' has no medium`)
      return backend.root.node
    }
  }
  const node = nodeName === undefined ? null : graph.findNode(nodeName)
  if (node === null) {
    const text = `Cannot find device='${device ?? ''}' nor node-name='${nodeName ?? ''}'`
    throw new BlockError(text, { errno: ENOENT })
  }
  return node
}

/** The name of the device that shows `node`; empty if there is none. */
export function deviceName(node: BlockNode): string {
  for (const edge of node.parents) {
    const { gate } = edge
    if (gate !== null && 'name' in gate && typeof gate.name === 'string' && gate.name !== '') return gate.name
  }
  return ''
}
