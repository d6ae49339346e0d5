/**
 * What a node is called from outside: the name of its file where that says everything, else `json:{…}` with all options that
 * change what is read (`bdrv_refresh_filename`).
 */
import type { BlockNode } from '../block'
import { type JsonObject, type JsonValue, printedOrder, printJson } from '../json'
import { backingNameOf } from './backing'
import type { BlockdevContext, NodeOrigin } from './context'

interface Description {
  /** A name that alone opens the very node; '' if there is none. */
  exact: string
  /** All of it as options. */
  full: JsonObject
  name: string
}

/** Nested deeper than any graph. */
const DEPTH_MAX = 600

/** The name of a node as queries show it. */
export function describeNode(context: BlockdevContext, node: BlockNode): string {
  return describe(context, node, 0).name
}

function describe(context: BlockdevContext, node: BlockNode, depth: number): Description {
  const origin = context.origins.get(node)
  const filtered = node.filtered
  // Filters of jobs are not there for whoever asks.
  if (origin === undefined && filtered !== null && depth < DEPTH_MAX) return describe(context, filtered.node, depth + 1)
  const full: JsonObject = new Map<string, JsonValue>([['driver', node.driver.name]])
  const isStrong = addStrongOptions(full, origin)
  const isBackingOverridden = overridesBacking(context, node, origin)
  let isJson = isStrong || isBackingOverridden
  for (const child of node.children.values()) {
    if (child.role === 'cow' && !isBackingOverridden) continue
    if (child.name !== 'file' && child.role !== 'cow') isJson = true
    if (depth < DEPTH_MAX) addChild(full, child.name, describe(context, child.node, depth + 1).full)
  }
  if (isBackingOverridden && node.backing === null) full.set('backing', null)
  const exact = exactName(context, node, origin, isJson, depth)
  return { exact, full, name: exact === '' ? `json:${printJson(full)}` : exact }
}

/** Children whose names end with a number are a list. */
function addChild(full: JsonObject, name: string, child: JsonObject): void {
  const list = /^(.*)\.\d+$/.exec(name)?.[1]
  if (list === undefined) full.set(name, child)
  else full.set(list, [...((full.get(list) as JsonValue[] | undefined) ?? []), child])
}

/** Takes over the options that change what is read. True if there is one beyond the name of the file. */
function addStrongOptions(full: JsonObject, origin: NodeOrigin | undefined): boolean {
  let isStrong = false
  if (origin === undefined) return isStrong
  // Members that meet in a dictionary's bucket change places each time it is gone through.
  const options = new Map(origin.options.entries())
  for (const key of printedOrder(options)) {
    const value = options.get(key)!
    const isWanted = origin.driver.strongOptions.some((name) => (name.endsWith('.') ? key.startsWith(name) : key === name))
    if (!isWanted) continue
    full.set(key, value)
    if (key !== 'filename') isStrong = true
  }
  return isStrong
}

function overridesBacking(context: BlockdevContext, node: BlockNode, origin: NodeOrigin | undefined): boolean {
  if (origin === undefined || !node.driver.supportsBacking) return false
  const { backing } = node
  if (backing === null) return origin.backingName !== ''
  // What a user has put there is compared with the header's very words.
  if (origin.isBackingExplicit) return describe(context, backing.node, 1).name !== origin.backingName
  const file = node.children.get('file')?.node ?? node
  let expected: string
  try {
    expected = backingNameOf(context, file, origin.backingName)
  } catch {
    expected = origin.backingName
  }
  return describe(context, backing.node, 1).name !== expected
}

function exactName(
  context: BlockdevContext,
  node: BlockNode,
  origin: NodeOrigin | undefined,
  isJson: boolean,
  depth: number,
): string {
  if (node.driver.isProtocol) {
    const isFile = origin?.driver.needsFilename === true
    return isFile ? (origin?.filename ?? '') : isJson ? '' : (origin?.filename ?? '')
  }
  const file = node.children.get('file')
  if (file === undefined || node.filtered !== null || isJson || !file.node.driver.isProtocol || depth >= DEPTH_MAX) return ''
  return describe(context, file.node, depth + 1).exact
}
