/**
 * blockdev-reopen: other options for a node that is there. What may change: whether it may be written to, the image below it,
 * the throttle group of a filter, `detect-zeroes` and `discard`. Everything else must be as it was.
 *
 * What may fail: a change that is not possible, as BlockError with QEMU's texts; nothing has changed then.
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

/** `tree` is a checked BlockdevOptions. Throws BlockError. */
export function* reopenBlockdev(context: BlockdevContext, tree: JsonObject): Co<void> {
  const { graph } = context
  const name = tree.get('node-name')
  if (typeof name !== 'string') throw new BlockError('node-name not specified')
  const node = graph.findNode(name)
  if (node === null) throw new BlockError(`Failed to find node with node-name='${name}'`)
  const wanted = Options.ofJson(tree)
  wanted.delete('node-name')
  for (const [key, value] of Object.entries(DEFAULTS)) wanted.setDefault(key, value)
  checkUnchanged(context, node, wanted)
  const backing = backingOf(context, node, tree)
  yield* graph.drainedBegin(node)
  try {
    yield* apply(context, node, wanted, backing)
  } finally {
    graph.drainedEnd(node)
  }
  assert(graph.findNode(name) === node, 'reopened-node-stays')
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

function* apply(context: BlockdevContext, node: BlockNode, wanted: Options, backing: BlockNode | null | undefined): Co<void> {
  const { graph } = context
  const isReadOnly = text(wanted.get(READ_ONLY)) === 'on'
  const old = node.backing?.node ?? null
  if (isReadOnly !== node.options.readOnly) yield* graph.setReadOnly(node, isReadOnly)
  if (backing !== undefined && backing !== old) {
    if (backing !== null) yield* graph.drainedBegin(backing)
    try {
      graph.setBacking(node, backing)
    } finally {
      if (backing !== null) graph.drainedEnd(backing)
    }
    if (old !== null) yield* releaseNode(context, old)
  }
  const group = wanted.get('throttle-group')
  if (node.driver instanceof ThrottleDriver && typeof group === 'string' && group !== node.driver.group.name) {
    node.driver.setGroup(context.throttleGroups.lookup(group))
  }
  const { options } = node
  const detect = wanted.get('detect-zeroes')
  options.discard = wanted.get('discard') === 'unmap' ? 'unmap' : 'ignore'
  if (detect === 'off' || detect === 'on' || detect === 'unmap') options.detectZeroes = detect
  context.origins.get(node)?.options.set(READ_ONLY, isReadOnly)
}
