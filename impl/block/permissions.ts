/**
 * Permissions flow down the graph: what a node needs from its children follows from what its own parents need from it.
 * `refreshPermissions` computes that again below the given nodes and checks every edge against every other one at the
 * same node, both ways.
 *
 * What may fail: two users that exclude each other, or a writer on a read-only node: BlockError with QEMU's text. The
 * edges may have changed by then; the journal that is handed in knows how to put them back.
 */
import { assert, EPERM } from '../co'
import { BlockError } from './error'
import { Permission } from './flags'
import type { BlockChild, BlockNode } from './node'

/** What a change has done so far, to be undone in reverse order if it fails. */
export class Journal {
  private readonly undoing: Array<() => void> = []

  did(undo: () => void): void {
    this.undoing.push(undo)
  }
  rollBack(): void {
    while (this.undoing.length > 0) this.undoing.pop()!()
  }
}

const NAMES: ReadonlyArray<readonly [bit: number, name: string]> = [
  [Permission.ConsistentRead, 'consistent read'],
  [Permission.Write, 'write'],
  [Permission.WriteUnchanged, 'write unchanged'],
  [Permission.Resize, 'resize'],
]

/** The bits of a permission set in words, as QEMU joins them. */
export function permissionNames(permissions: number): string {
  return NAMES.filter(([bit]) => (permissions & bit) !== 0)
    .map(([, name]) => name)
    .join(', ')
}

/** Of a file that holds an image's tables: nobody else may write there, and a writable image always may. */
export function tableFilePermissions(
  image: BlockNode,
  parentPermission: number,
  parentShared: number,
): { permission: number; shared: number } {
  const own = image.options.readOnly ? Permission.None : Permission.Write | Permission.Resize
  const shared = parentShared & ~(Permission.Write | Permission.Resize)
  assert((shared & Permission.Write) === 0, 'tables-have-one-writer')
  return { permission: parentPermission | Permission.ConsistentRead | own, shared }
}

/** Everything that any parent of `node` needs. */
export function neededOf(node: BlockNode): number {
  let needed = 0
  for (const edge of node.parents) needed |= edge.permission
  return needed
}

/** What all parents of `node` leave to others. */
export function sharedOf(node: BlockNode): number {
  let shared: number = Permission.All
  for (const edge of node.parents) shared &= edge.shared
  return shared
}

/** `refreshPermissions` after a user has gone: what the others may do has been allowed before, so nothing can fail. */
export function loosenPermissions(node: BlockNode): void {
  refresh([node], new Journal(), () => {})
}

/** Brings all edges below `nodes` up to date. Throws BlockError; roll `journal` back then. */
export function refreshPermissions(nodes: Iterable<BlockNode>, journal: Journal): void {
  refresh(nodes, journal, checkNode)
}

/** An inactive node asks for nothing below it. */
const NOTHING = { permission: Permission.None, shared: Permission.All } as const

function refresh(nodes: Iterable<BlockNode>, journal: Journal, check: (node: BlockNode) => void): void {
  const order: BlockNode[] = []
  const seen = new Set<BlockNode>()
  for (const node of nodes) orderBelow(node, seen, order)
  assert(order.length === seen.size, 'permission-order')
  // Children were put first: a node is looked at when all its parents are final.
  for (let index = order.length - 1; index >= 0; index--) {
    const node = order[index]!
    check(node)
    const needed = node.isInactive ? Permission.None : neededOf(node)
    const shared = node.isInactive ? Permission.All : sharedOf(node)
    const undo = node.driver.setPermissions(needed, shared)
    if (undo !== null) journal.did(undo)
    for (const child of node.children.values()) {
      const wanted = node.isInactive ? NOTHING : node.driver.childPermissions(child, needed, shared)
      const sharedNow = child.node.options.forceShare === true ? Permission.All : wanted.shared
      setPermissions(child, wanted.permission, sharedNow, journal)
    }
  }
}

export function setPermissions(edge: BlockChild, permission: number, shared: number, journal: Journal): void {
  assert((permission & ~Permission.All) === 0 && (shared & ~Permission.All) === 0, 'permission-bits')
  const { permission: oldPermission, shared: oldShared } = edge
  if (permission === oldPermission && shared === oldShared) return
  journal.did(() => {
    edge.permission = oldPermission
    edge.shared = oldShared
  })
  edge.permission = permission
  edge.shared = shared
}

function orderBelow(node: BlockNode, seen: Set<BlockNode>, order: BlockNode[]): void {
  if (seen.has(node)) return
  seen.add(node)
  for (const child of node.children.values()) orderBelow(child.node, seen, order)
  order.push(node)
}

function checkNode(node: BlockNode): void {
  const needed = node.isInactive ? Permission.None : neededOf(node)
  if ((needed & (Permission.Write | Permission.WriteUnchanged)) !== 0 && node.options.readOnly) {
    throw new BlockError('Block node is read-only', { errno: EPERM })
  }
  // Without Resize nothing can be written beyond the end, where padding of the last block would have to go.
  if (
    (needed & Permission.Write) !== 0 &&
    (needed & Permission.Resize) === 0 &&
    node.lengthBytes % node.limits.requestAlignmentBytes !== 0
  ) {
    throw new BlockError("Cannot get 'write' permission without 'resize': Image size is not a multiple of request alignment", {
      errno: EPERM,
    })
  }
  for (const holder of node.parents) {
    for (const other of node.parents) {
      if (holder !== other && (other.permission & ~holder.shared) !== 0) throw firstConflict(node)
    }
  }
}

/** Of several, that which QEMU finds first: it looks at the newest parents first. */
function firstConflict(node: BlockNode): BlockError {
  const parents = [...node.parents].reverse()
  for (const holder of parents) {
    for (const other of parents) {
      if (holder !== other && (other.permission & ~holder.shared) !== 0) return conflict(holder, other)
    }
  }
  assert(false, 'conflict-found-twice', () => node.name)
}

function conflict(holder: BlockChild, other: BlockChild): BlockError {
  const node = holder.node.name
  return new BlockError(
    `Permission conflict on node '${node}': permissions '${permissionNames(other.permission & ~holder.shared)}' are ` +
      `both required by ${other.parent.describe()} (uses node '${node}' as '${other.name}' child) and ` +
      `unshared by ${holder.parent.describe()} (uses node '${node}' as '${holder.name}' child).`,
    { errno: EPERM },
  )
}
