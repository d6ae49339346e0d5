/**
 * The block graph: all nodes by name, and every change of edges. Changes are atomic: permissions of all edges concerned
 * are checked first, and a change that would break one throws BlockError and leaves the graph as it was.
 *
 * What never may happen: a cycle; an edge whose parent does not know that its node is quiesced; requests in flight at a
 * node whose parents are being moved.
 */
import { assert, type Co, EBUSY, EEXIST, ENOENT, EPERM, type Errno, type Kernel, OK, WaitQueue } from '../co'
import type { BlockBackend } from './backend'
import { quiesce, settleEdge, unquiesce, waitDrained } from './drain'
import type { BlockDriver } from './driver'
import { BlockError } from './error'
import { defaultLimits, Permission } from './flags'
import { flushNode } from './io_flush'
import { mergeLimits } from './limits'
import { BlockChild, BlockNode, type BlockParent, type ChildRole, type NodeOptions, type RequestGate } from './node'
import { checkUnblocked } from './op_blockers'
import { Journal, loosenPermissions, permissionNames, refreshPermissions, setPermissions } from './permissions'

export interface NewNode {
  /** Absent: a name is made up, `#block000`. */
  name?: string
  driver: BlockDriver
  children?: ReadonlyArray<{ name: string; role: ChildRole; node: BlockNode }>
  options?: Partial<NodeOptions>
  /** Its place among all nodes, from `takeSerial`; absent: the last one. */
  serial?: number
  /** See activation.ts. */
  isInactive?: boolean
}

/** What a parent that is no node holds on a node: a backend's root, or a job's claim. */
export interface NewEdge {
  name: string
  parent: BlockParent
  node: BlockNode
  permission: number
  shared: number
  gate?: RequestGate
}

const NODE_NAME_MAX = 31
/** QEMU's rule for all identifiers that users choose. */
const WELL_FORMED = /^[A-Za-z][A-Za-z0-9._-]*$/

export class BlockGraph {
  readonly kernel: Kernel
  readonly nodes = new Map<string, BlockNode>()
  /** Backends with a name that users see; a backend puts itself in. */
  readonly backends = new Map<string, BlockBackend>()
  /** Coroutines that wait for a drained section to begin. */
  readonly drainQueue: WaitQueue
  /** Memory for transfers. A host may give some that its system copies to and from faster. */
  allocateBuffer: (bytes: number) => Uint8Array = plainBuffer
  /** Asked before a request of a node takes memory for its data; false: it ends with ENOMEM. */
  mayAllocate: (node: BlockNode, offsetBytes: number, lengthBytes: number, isWrite: boolean) => boolean = always
  /** What a node had only in memory could not be written when it was closed, persistent bitmaps above all. */
  onCloseError: (node: BlockNode, errno: Errno) => void = () => {}
  /** How an image is called by those that name it as their backing file. Whoever opens nodes by options knows better. */
  filenameOf: (node: BlockNode) => string = plainFilename
  /** A job stands on `node` no longer. Whoever opens nodes closes those that nobody needs; it looks for itself. */
  release: (node: BlockNode) => Co<void> = keep
  private nextAutomaticName = 0
  private nextSerial = 0

  constructor(kernel: Kernel) {
    this.kernel = kernel
    this.drainQueue = new WaitQueue(kernel)
  }

  /** Memory for a request that is not made of whole blocks of `node`, and goes through as such; null: there is none. */
  bounceBuffer(node: BlockNode, offsetBytes: number, lengthBytes: number, isWrite: boolean): Uint8Array | null {
    return this.mayAllocate(node, offsetBytes, lengthBytes, isWrite) ? allocateOrNull(plainBuffer, lengthBytes) : null
  }

  /** Memory for what somebody moves to or from `node` at that place; null: there is none. It may serve other places later. */
  transferBuffer(node: BlockNode, offsetBytes: number, lengthBytes: number, isWrite: boolean): Uint8Array | null {
    return this.mayAllocate(node, offsetBytes, lengthBytes, isWrite) ? allocateOrNull(this.allocateBuffer, lengthBytes) : null
  }

  /** Makes a node, attaches its children and checks permissions. Throws BlockError (duplicate or malformed name, …). */
  addNode(wanted: NewNode): BlockNode {
    const name = this.nameFor(wanted.name)
    const options: NodeOptions = { readOnly: false, discard: 'ignore', detectZeroes: 'off', ...wanted.options }
    if (options.detectZeroes === 'unmap' && options.discard !== 'unmap') {
      throw new BlockError('setting detect-zeroes to unmap is not allowed without setting discard operation to unmap')
    }
    const node = new BlockNode(this, name, wanted.driver, options, wanted.serial ?? this.takeSerial())
    assert(wanted.driver.node === undefined, 'driver-serves-one-node', () => name)
    wanted.driver.node = node
    node.isInactive = wanted.isInactive ?? false
    for (const child of wanted.children ?? []) checkActive(child.node, child.name, node)
    for (const { name: childName, role, node: childNode } of wanted.children ?? []) {
      assert(!node.children.has(childName), 'child-name-unique', () => childName)
      assert(this.nodes.get(childNode.name) === childNode, 'child-in-graph', () => childNode.name)
      const edge = new BlockChild(childName, role, node, childNode, Permission.None, Permission.All)
      node.children.set(childName, edge)
      childNode.parents.add(edge)
      edge.isAttached = true
      if (role === 'filtered' && wanted.driver.isFilter) node.filtered = edge
    }
    assert(wanted.driver.isFilter === (node.filtered !== null), 'filter-has-filtered-child', () => name)
    const journal = new Journal()
    try {
      this.refreshLimits(node)
      refreshPermissions([node], journal)
    } catch (error) {
      journal.rollBack()
      this.cutChildren(node)
      throw error
    }
    this.nodes.set(name, node)
    for (const edge of node.children.values()) settleEdge(edge)
    return node
  }

  /** A place among all nodes for one that is made later than others that come after it. */
  takeSerial(): number {
    return this.nextSerial++
  }

  private nameFor(wanted: string | undefined): string {
    if (wanted === undefined) {
      let name: string
      do name = `#block${String(this.nextAutomaticName++).padStart(3, '0')}`
      while (this.nodes.has(name))
      return name
    }
    if (!WELL_FORMED.test(wanted)) throw new BlockError(`Invalid node-name: '${wanted}'`)
    if (this.backends.has(wanted)) throw new BlockError(`node-name=${wanted} is conflicting with a device id`)
    if (this.nodes.has(wanted)) throw new BlockError(`Duplicate nodes with node-name='${wanted}'`, { errno: EEXIST })
    if (wanted.length > NODE_NAME_MAX) throw new BlockError('Node name too long')
    return wanted
  }

  findNode(name: string): BlockNode | null {
    return this.nodes.get(name) ?? null
  }

  /** The name of the device that stands on `node`, or ''. */
  deviceNameOf(node: BlockNode): string {
    for (const backend of this.backends.values()) if (backend.root?.node === node) return backend.name
    return ''
  }

  /** The node that a command means by the name of a device or of a node. Throws BlockError. */
  lookup(name: string): BlockNode {
    const backend = this.backends.get(name)
    if (backend !== undefined) {
      if (backend.root === null) throw new BlockError(`Device '${name}' has no medium`)
      return backend.root.node
    }
    const node = this.nodes.get(name)
    if (node === undefined) throw new BlockError(`Cannot find device='${name}' nor node-name='${name}'`, { errno: ENOENT })
    return node
  }

  /** Drains, detaches and closes a node without parents. Throws BlockError if it is in use. */
  *removeNode(node: BlockNode): Co<void> {
    assert(this.nodes.get(node.name) === node, 'node-in-graph', () => node.name)
    for (const edge of node.parents) {
      if (edge.gate !== null) throw new BlockError(`Node ${node.name} is in use`, { errno: EBUSY })
    }
    checkUnblocked(node.name, node.blockers, 'drive-del')
    if (node.parents.size > 0) throw new BlockError(`Block device ${node.name} is in use`, { errno: EBUSY })
    yield* this.drainedBegin(node)
    // Whoever cares for an error has flushed before. The children are named here because a node without users has given
    // its write permissions up, and a flush follows those.
    yield* flushNode(node)
    for (const edge of node.children.values()) yield* flushNode(edge.node)
    const errno = yield* node.driver.close()
    if (errno !== OK) this.onCloseError(node, errno)
    assert(node.parents.size === 0 && node.quiesceCount > 0, 'removed-node-unused', () => node.name)
    this.nodes.delete(node.name)
    this.cutChildren(node)
    this.drainedEnd(node)
  }

  /**
   * Reopens a node, and those below that were opened for it: forbids their users to write to them, or allows that. Call
   * drained. Throws BlockError, and changes nothing, if somebody does write or a driver cannot.
   */
  *setReadOnly(node: BlockNode, isReadOnly: boolean): Co<void> {
    const family = heirsOf(node, isReadOnly)
    // A file is writable before its format is, and as long as that one is.
    if (!isReadOnly) family.reverse()
    const changed: BlockNode[] = []
    for (const member of family) if (member !== node) yield* this.drainedBegin(member)
    try {
      for (const member of family) if (yield* this.reopen(member, isReadOnly)) changed.push(member)
    } catch (error) {
      for (const member of changed.reverse()) yield* this.reopen(member, !isReadOnly)
      throw error
    } finally {
      for (const member of family) if (member !== node) this.drainedEnd(member)
    }
  }

  /** `setReadOnly` for those who can go on without it: gives the errno. */
  *trySetReadOnly(node: BlockNode, isReadOnly: boolean): Co<Errno> {
    try {
      yield* this.setReadOnly(node, isReadOnly)
      return OK
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      return error.errno
    }
  }

  /** One node. True if that has changed anything. */
  private *reopen(node: BlockNode, isReadOnly: boolean): Co<boolean> {
    assert(node.quiesceCount > 0 && node.inFlight === 0, 'reopen-drained', () => node.name)
    const { options } = node
    if (options.readOnly === isReadOnly) return false
    // What the driver has in memory is written while it may.
    if (isReadOnly) yield* node.driver.setReadOnly(true)
    const journal = new Journal()
    options.readOnly = isReadOnly
    journal.did(() => {
      options.readOnly = !isReadOnly
    })
    try {
      // A format that may be written to asks for more than one that may not, whoever stands on it.
      this.commit(journal, [node])
      if (!isReadOnly) yield* node.driver.setReadOnly(false)
    } catch (error) {
      if (options.readOnly === isReadOnly) {
        options.readOnly = !isReadOnly
        loosenPermissions(node)
      }
      if (isReadOnly) yield* node.driver.setReadOnly(false)
      throw error
    }
    return true
  }

  private cutChildren(node: BlockNode): void {
    for (const edge of node.children.values()) {
      edge.isAttached = false
      settleEdge(edge)
      edge.node.parents.delete(edge)
      loosenPermissions(edge.node)
    }
    node.children.clear()
    node.filtered = null
  }

  /** Lets a parent that is no node hold `node`. Throws BlockError if somebody excludes what it wants. */
  attach(wanted: NewEdge): BlockChild {
    const { name, parent, node, permission, shared, gate } = wanted
    assert(this.nodes.get(node.name) === node, 'node-in-graph', () => node.name)
    const changing = permission & ~Permission.ConsistentRead
    if (node.isInactive && changing !== 0 && parent.restsWithNode !== true) {
      throw new BlockError(`Permission '${permissionNames(changing)}' unavailable on inactive node`, { errno: EPERM })
    }
    const edge = new BlockChild(name, 'root', parent, node, permission, shared, gate ?? null)
    node.parents.add(edge)
    const journal = new Journal()
    journal.did(() => node.parents.delete(edge))
    this.commit(journal, [node])
    edge.isAttached = true
    settleEdge(edge)
    return edge
  }

  detach(edge: BlockChild): void {
    assert(edge.isAttached && edge.role === 'root', 'detach-attached', () => edge.name)
    edge.isAttached = false
    settleEdge(edge)
    edge.node.parents.delete(edge)
    loosenPermissions(edge.node)
  }

  /** Changes what a root edge holds. Throws BlockError and changes nothing if that is excluded. */
  setPermissions(edge: BlockChild, permission: number, shared: number): void {
    assert(edge.isAttached && edge.role === 'root', 'permissions-of-root-edge', () => edge.name)
    const journal = new Journal()
    setPermissions(edge, permission, shared, journal)
    this.commit(journal, [edge.node])
  }

  /**
   * Asks `node`'s driver again what it wants of its children, after its own state has changed that. Throws BlockError and
   * changes nothing if that is excluded.
   */
  refreshPermissions(node: BlockNode): void {
    this.commit(new Journal(), [node])
  }

  private commit(journal: Journal, nodes: Iterable<BlockNode>): void {
    try {
      refreshPermissions(nodes, journal)
    } catch (error) {
      journal.rollBack()
      throw error
    }
  }

  /** Puts `filter` (whose child is `below` already) between `below` and all its other parents. Call drained. */
  insertFilter(filter: BlockNode, below: BlockNode): void {
    assert(filter.filtered?.node === below, 'filter-above-node', () => filter.name)
    assert(filter.parents.size === 0, 'filter-unused', () => filter.name)
    this.moveParents(below, filter)
  }

  /** Takes `filter` out: its parents get its child. Call drained. The filter node is left without parents. */
  removeFilter(filter: BlockNode): void {
    const filtered = filter.filtered
    assert(filtered !== null, 'filter-is-filter', () => filter.name)
    this.moveParents(filter, filtered.node)
    assert(filter.parents.size === 0, 'filter-unused', () => filter.name)
  }

  /** Moves all parents of `from`, except those below `to`, to `to`. Call drained. */
  replaceNode(from: BlockNode, to: BlockNode): void {
    assert(from !== to, 'replace-by-another', () => from.name)
    this.moveParents(from, to)
  }

  private moveParents(from: BlockNode, to: BlockNode): void {
    assert(from.quiesceCount > 0 && from.inFlight === 0, 'replace-drained', () => from.name)
    // An edge that starts at `to` or below it would close a cycle.
    const moved = [...from.parents].filter((edge) => edge.parent.node === null || !to.reaches(edge.parent.node))
    for (const edge of moved) if (edge.isFrozen) throw new BlockError(`Cannot change '${edge.name}' link to '${from.name}'`)
    const journal = new Journal()
    for (const edge of moved) {
      from.parents.delete(edge)
      to.parents.add(edge)
      edge.node = to
    }
    journal.did(() => {
      // The order of parents is part of the state: decisions may follow it.
      const stayed = [...from.parents]
      for (const edge of stayed) from.parents.delete(edge)
      for (const edge of [...moved, ...stayed]) from.parents.add(edge)
      for (const edge of moved) {
        to.parents.delete(edge)
        edge.node = from
      }
    })
    this.commit(journal, [to, from])
    for (const edge of moved) {
      settleEdge(edge)
      if (edge.parent.node !== null) this.refreshLimits(edge.parent.node)
    }
  }

  /**
   * Links `node` to another backing image, or to none. Call drained, and with the new image drained too. Throws BlockError
   * and changes nothing.
   */
  setBacking(node: BlockNode, backing: BlockNode | null): void {
    assert(node.quiesceCount > 0 && node.inFlight === 0, 'backing-changes-drained', () => node.name)
    const old = node.backing
    if (old?.isFrozen === true) throw frozenLink(old)
    if (old?.node === backing || (old === null && backing === null)) return
    if (backing?.reaches(node) === true) {
      throw new BlockError(`Making '${backing.name}' a backing child of '${node.name}' would create a cycle`)
    }
    if (backing !== null && !node.driver.supportsBacking) {
      throw new BlockError(`Driver '${node.driver.name}' of node '${node.name}' does not support backing files`)
    }
    if (backing !== null) checkActive(backing, 'backing', node)
    const edge = backing === null ? null : new BlockChild('backing', 'cow', node, backing, Permission.None, Permission.All)
    const journal = new Journal()
    if (old !== null) {
      node.children.delete('backing')
      old.node.parents.delete(old)
      journal.did(() => {
        node.children.set('backing', old)
        old.node.parents.add(old)
      })
    }
    if (edge !== null) {
      node.children.set('backing', edge)
      edge.node.parents.add(edge)
      journal.did(() => {
        node.children.delete('backing')
        edge.node.parents.delete(edge)
      })
    }
    this.commit(journal, [node, ...(old === null ? [] : [old.node])])
    if (edge !== null) {
      edge.isAttached = true
      settleEdge(edge)
    }
    if (old !== null) {
      old.isAttached = false
      settleEdge(old)
    }
    this.refreshLimits(node)
  }

  /** Gives `node` another child, of a kind that its driver takes. Call with both drained. Throws BlockError, and changes nothing. */
  addChild(node: BlockNode, child: BlockNode): void {
    assert(node.quiesceCount > 0 && child.quiesceCount > 0, 'child-added-drained', () => node.name)
    const name = node.driver.nextChildName(child)
    assert(!node.children.has(name), 'child-name-unique', () => name)
    if (child.reaches(node)) throw new BlockError(`Making '${child.name}' a ${name} child of '${node.name}' would create a cycle`)
    const edge = new BlockChild(name, 'image', node, child, Permission.None, Permission.All)
    const journal = new Journal()
    node.children.set(name, edge)
    child.parents.add(edge)
    journal.did(() => {
      node.children.delete(name)
      child.parents.delete(edge)
    })
    this.commit(journal, [node])
    edge.isAttached = true
    settleEdge(edge)
    node.driver.childAdded(edge)
    this.refreshLimits(node)
  }

  /** Takes a child that its parent's driver can do without away. Call drained. Throws BlockError, and changes nothing. */
  removeChild(edge: BlockChild): void {
    const node = edge.parent.node
    assert(node !== null && node.quiesceCount > 0 && node.inFlight === 0, 'child-removed-drained', () => edge.name)
    node.driver.checkChildRemoval(edge)
    if (edge.isFrozen) throw frozenLink(edge)
    node.children.delete(edge.name)
    edge.isAttached = false
    settleEdge(edge)
    edge.node.parents.delete(edge)
    loosenPermissions(edge.node)
    node.driver.childRemoved(edge)
    this.refreshLimits(node)
  }

  /** Puts `overlay`, which has nothing below it, above `below`: its parents move to the overlay. Call drained. Throws BlockError. */
  append(overlay: BlockNode, below: BlockNode): void {
    assert(overlay.backing === null, 'append-bare-overlay', () => overlay.name)
    this.setBacking(overlay, below)
    try {
      this.moveParents(below, overlay)
    } catch (error) {
      this.setBacking(overlay, null)
      throw error
    }
  }

  /** Undoes `append`. Call drained. */
  unappend(overlay: BlockNode): void {
    const below = overlay.backing?.node
    assert(below !== undefined, 'unappend-appended', () => overlay.name)
    this.moveParents(overlay, below)
    this.setBacking(overlay, null)
  }

  /** Nobody changes the links from `top` down to `base` until `thawChain`. Throws BlockError if somebody counts on one. */
  freezeChain(top: BlockNode, base: BlockNode | null): void {
    const links = linksAbove(top, base)
    for (const edge of links) if (edge.isFrozen) throw frozenLink(edge)
    for (const edge of links) {
      if (edge.node.neverFrozen) throw new BlockError(`Cannot freeze '${edge.name}' link to '${edge.node.name}'`)
    }
    for (const edge of links) edge.isFrozen = true
  }
  thawChain(top: BlockNode, base: BlockNode | null): void {
    for (const edge of linksAbove(top, base)) {
      assert(edge.isFrozen, 'thaw-frozen', () => edge.node.name)
      edge.isFrozen = false
    }
  }

  /** Works the limits of `node` and of everything above it out again, after its children or its driver have changed. */
  refreshLimits(node: BlockNode): void {
    const limits = defaultLimits()
    for (const child of node.children.values()) mergeLimits(limits, child.node.limits, child.role)
    node.driver.refreshLimits(limits)
    assert(limits.requestAlignmentBytes >= 1 && 2 ** 30 % limits.requestAlignmentBytes === 0, 'request-alignment-power-of-two')
    Object.assign(node.limits, limits)
    node.hearsEvents = node.driver.hearsEvents || node.filtered?.node.hearsEvents === true
    for (const edge of node.parents) if (edge.parent.node !== null) this.refreshLimits(edge.parent.node)
  }

  /**
   * Begins a drained section of `node`: its parents (recursively) stop sending, and this waits until no request is in
   * flight at the node or its parents. Nested sections count. Every begin has exactly one `drainedEnd`.
   */
  *drainedBegin(node: BlockNode): Co<void> {
    quiesce(node)
    yield* waitDrained(node)
  }
  drainedEnd(node: BlockNode): void {
    unquiesce(node)
  }

  /** Something that a drained section may wait for has ended; owners call it when their `drainBusy` becomes false. */
  drainProgress(): void {
    if (!this.drainQueue.isEmpty()) this.drainQueue.wakeAll()
  }
}

/** `node`, and the nodes below it that have to follow where it becomes (or is no longer) read-only, from top to bottom. */
function heirsOf(node: BlockNode, isReadOnly: boolean): BlockNode[] {
  const heirs = [node]
  for (const { node: child, role } of node.children.values()) {
    // Images below others stay as they are.
    const follows = child.inheritsFrom === node || (!isReadOnly && child.driver.becomesWritable && child.options.readOnly)
    if (follows && role !== 'cow') heirs.push(...heirsOf(child, isReadOnly))
  }
  return heirs
}

/** The links that lead from `top` to `base`, filters included; null: to the end of the chain. */
function linksAbove(top: BlockNode, base: BlockNode | null): BlockChild[] {
  const links: BlockChild[] = []
  for (let node = top; node !== base; ) {
    const edge: BlockChild | null = node.filtered ?? node.backing
    if (edge === null) break
    links.push(edge)
    node = edge.node
  }
  assert(base === null || (links.at(-1)?.node ?? top) === base, 'base-in-chain', () => top.name)
  return links
}

/** Throws BlockError where an active node is to stand on one that is handed over. */
function checkActive(child: BlockNode, name: string, parent: BlockNode): void {
  if (!child.isInactive || parent.isInactive) return
  throw new BlockError(`Inactive '${child.name}' can't be a ${name} child of active '${parent.name}'`)
}

function frozenLink(edge: BlockChild): BlockError {
  const parent = edge.parent.node?.name ?? edge.parent.describe()
  return new BlockError(`Cannot change '${edge.name}' link from '${parent}' to '${edge.node.name}'`, { errno: EPERM })
}

/** The name of the file at the bottom of a node's own layer. */
function plainFilename(node: BlockNode): string {
  for (let at: BlockNode | undefined = node; at !== undefined; at = (at.filtered ?? at.children.get('file'))?.node) {
    const filename = at.driver.filename()
    if (filename !== null) return filename
  }
  return ''
}

function* keep(): Co<void> {}

function always(): boolean {
  return true
}

/** The engine says by an exception that there is no memory. */
function allocateOrNull(allocate: (bytes: number) => Uint8Array, lengthBytes: number): Uint8Array | null {
  assert(lengthBytes > 0, 'buffer-not-empty')
  try {
    return allocate(lengthBytes)
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

function plainBuffer(bytes: number): Uint8Array {
  return new Uint8Array(bytes)
}
