/**
 * blockdev-reopen: other options for a node that is there. What may change: whether it may be written to, the image below it,
 * the throttle group of a filter, `detect-zeroes` and `discard`. Everything else must be as it was.
 *
 * Several nodes change together or not at all: all of them are drained and checked first, and a change that fails takes
 * back those before it.
 *
 * What may fail: a change that is not possible, as BlockError with QEMU's texts; nothing has changed then, except that an
 * image that cannot be opened for writing any more stays read-only.
 */
import { BlockError, type BlockNode } from '../block'
import { ThrottleDriver } from '../block/drivers/throttle'
import { assert, type Co } from '../co'
import type { JsonObject, JsonValue } from '../json'
import { releaseNode } from './close'
import { AUTO_READ_ONLY, CACHE_DIRECT, CACHE_NO_FLUSH, READ_ONLY } from './common_options'
import type { BlockdevContext } from './context'
import { Options } from './options'

/** What has a value although nobody gives one. */
const DEFAULTS: Readonly<Record<string, JsonValue>> = {
  [CACHE_DIRECT]: false,
  [CACHE_NO_FLUSH]: false,
  [READ_ONLY]: false,
  [AUTO_READ_ONLY]: false,
  discard: 'ignore',
  'detect-zeroes': 'off',
  'force-share': false,
}
const NODE_OPTIONS: ReadonlySet<string> = new Set([READ_ONLY, 'discard', 'detect-zeroes', 'backing', 'throttle-group'])

/** A change that was checked and is yet to be made. */
interface Change {
  readonly node: BlockNode
  readonly wanted: Options
  /** undefined: nothing is said about it; null: none. */
  readonly backing: BlockNode | null | undefined
}

/** What takes back the changes that were made, and the images that go once all are made. */
interface Progress {
  readonly undo: Array<() => Co<void>>
  readonly dropped: BlockNode[]
}

/** `trees` are checked BlockdevOptions, one a node. All of them change, or none does. Throws BlockError. */
export function* reopenBlockdevs(context: BlockdevContext, trees: readonly JsonObject[]): Co<void> {
  const { graph } = context
  const changes = trees.map((tree) => changeOf(context, tree))
  const progress: Progress = { undo: [], dropped: [] }
  for (const { node } of changes) yield* graph.drainedBegin(node)
  try {
    for (const change of changes) yield* apply(context, change, progress)
  } catch (error) {
    for (const undo of progress.undo.reverse()) yield* undo()
    throw error
  } finally {
    for (const { node } of changes) graph.drainedEnd(node)
  }
  for (const { node } of changes) assert(graph.findNode(node.name) === node, 'reopened-node-stays')
  // Only now: an image that has been closed could not come back.
  for (const node of progress.dropped) yield* releaseNode(context, node)
}

/** Checks what can be checked without changing anything. */
function changeOf(context: BlockdevContext, tree: JsonObject): Change {
  const name = tree.get('node-name')
  if (typeof name !== 'string') throw new BlockError('node-name not specified')
  const node = context.graph.findNode(name)
  if (node === null) throw new BlockError(`Failed to find node with node-name='${name}'`)
  const wanted = Options.ofJson(tree)
  wanted.delete('node-name')
  for (const [key, value] of Object.entries(DEFAULTS)) wanted.setDefault(key, value)
  checkUnchanged(context, node, wanted)
  return { node, wanted, backing: backingOf(context, node, tree) }
}

/** Everything that the node cannot change must be as it was. */
function checkUnchanged(context: BlockdevContext, node: BlockNode, wanted: Options): void {
  const origin = context.origins.get(node)
  if (origin === undefined) throw new BlockError(`Node '${node.name}' cannot be reopened`)
  for (const [key, value] of wanted.entries()) {
    if (NODE_OPTIONS.has(key)) continue
    const child = node.children.get(key)
    if (child !== undefined && value === child.node.name) continue
    // An option of a child that was opened inline is the child's own.
    if (key.includes('.') && node.children.has(key.slice(0, key.indexOf('.')))) continue
    const old = origin.options.get(key) ?? DEFAULTS[key]
    if (text(old) !== text(value)) throw new BlockError(`Cannot change the option '${key}'`)
  }
  for (const [key] of origin.explicit.entries()) {
    if (wanted.has(key) || NODE_OPTIONS.has(key) || key === 'node-name' || key === 'driver') continue
    if (key.includes('.') && node.children.has(key.slice(0, key.indexOf('.')))) continue
    if (node.children.has(key)) throw new BlockError(`Option '${key}' cannot be reset to its default value`)
  }
}

function text(value: JsonValue | undefined): string {
  if (value === true) return 'on'
  if (value === false) return 'off'
  return value === undefined || value === null ? '' : String(value)
}

/** undefined: nothing is said about it; null: none. */
function backingOf({ graph }: BlockdevContext, node: BlockNode, tree: JsonObject): BlockNode | null | undefined {
  if (!tree.has('backing')) {
    if (node.backing !== null && node.driver.supportsBacking) return undefined
    return undefined
  }
  const wanted = tree.get('backing')
  if (wanted === null || wanted === '') return null
  if (typeof wanted === 'string') return graph.lookup(wanted)
  return undefined
}

function* apply(context: BlockdevContext, { node, wanted, backing }: Change, { undo, dropped }: Progress): Co<void> {
  const { graph } = context
  const isReadOnly = text(wanted.get(READ_ONLY)) === 'on'
  if (isReadOnly !== node.options.readOnly) {
    const before = modesBelow(node)
    yield* graph.setReadOnly(node, isReadOnly)
    undo.push(() => restoreModes(context, before))
  }
  const old = node.backing?.node ?? null
  if (backing !== undefined && backing !== old) {
    yield* replaceBacking(context, node, backing)
    undo.push(() => replaceBacking(context, node, old))
    if (old !== null) dropped.push(old)
  }
  const { driver, options } = node
  const groupName = wanted.get('throttle-group')
  if (driver instanceof ThrottleDriver && typeof groupName === 'string' && groupName !== driver.group.name) {
    const { group } = driver
    driver.setGroup(context.throttleGroups.lookup(groupName))
    undo.push(function* () {
      driver.setGroup(group)
    })
  }
  const { discard, detectZeroes } = options
  const origin = context.origins.get(node)?.options
  const originReadOnly = origin?.get(READ_ONLY)
  undo.push(function* () {
    Object.assign(options, { discard, detectZeroes })
    if (originReadOnly === undefined) origin?.delete(READ_ONLY)
    else origin?.set(READ_ONLY, originReadOnly)
  })
  const detect = wanted.get('detect-zeroes')
  options.discard = wanted.get('discard') === 'unmap' ? 'unmap' : 'ignore'
  if (detect === 'off' || detect === 'on' || detect === 'unmap') options.detectZeroes = detect
  origin?.set(READ_ONLY, isReadOnly)
}

function* replaceBacking({ graph }: BlockdevContext, node: BlockNode, backing: BlockNode | null): Co<void> {
  if (backing !== null) yield* graph.drainedBegin(backing)
  try {
    graph.setBacking(node, backing)
  } finally {
    if (backing !== null) graph.drainedEnd(backing)
  }
}

/** `node` and all below it, parents first, with whether they are read-only. */
function modesBelow(node: BlockNode, found = new Map<BlockNode, boolean>()): Map<BlockNode, boolean> {
  found.set(node, node.options.readOnly)
  for (const { node: child } of node.children.values()) if (!found.has(child)) modesBelow(child, found)
  return found
}

/** A change of a format takes its file along, in whatever state that was: so each is put back by itself. */
function* restoreModes({ graph }: BlockdevContext, modes: ReadonlyMap<BlockNode, boolean>): Co<void> {
  for (const [node, wasReadOnly] of modes) {
    if (node.options.readOnly === wasReadOnly) continue
    yield* graph.drainedBegin(node)
    yield* graph.trySetReadOnly(node, wasReadOnly)
    graph.drainedEnd(node)
  }
}
