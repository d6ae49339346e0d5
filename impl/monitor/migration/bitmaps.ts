/**
 * Dirty bitmaps on their way: which of them move, under which names, and what becomes of them on the other side. Without a
 * mapping (`block-bitmap-mapping`) nodes are called as their devices are, or by their own names.
 *
 * What may fail: nodes and bitmaps that cannot be named, as BlockError with QEMU's texts.
 */
import { BitmapRefusal, BlockError, type BlockGraph, type BlockNode } from '../../block'
import { adoptBitmap } from '../../block/named_bitmap'
import type { Co } from '../../co'
import type { JsonObject, JsonValue } from '../../json'
import { Arguments } from '../arguments'
import { deviceName } from '../lookup'
import type { SentBitmap } from './wire'

interface BitmapAlias {
  readonly name: string
  readonly alias: string
  /** What becomes of it in the image of the other side; undefined: what it was. */
  readonly isPersistent: boolean | undefined
}
export interface NodeAlias {
  readonly nodeName: string
  readonly alias: string
  readonly bitmaps: readonly BitmapAlias[]
}

const WELL_FORMED = /^[A-Za-z][A-Za-z0-9._-]*$/
const ALIAS_BYTES_MAX = 255

/** Checks a mapping. Throws BlockError. */
export function parseMapping(list: readonly JsonValue[]): NodeAlias[] {
  const aliases = new Set<string>()
  const names = new Set<string>()
  return list.map((item) => {
    const args = new Arguments(item as JsonObject)
    const nodeName = args.string('node-name')
    const alias = args.string('alias')
    if (!WELL_FORMED.test(alias)) throw new BlockError(`The node alias '${alias}' is not well-formed`)
    checkLength('node alias', alias)
    if (aliases.has(alias)) throw new BlockError(`The node alias '${alias}' is used twice`)
    if (names.has(nodeName)) throw new BlockError(`The node name '${nodeName}' is mapped twice`)
    aliases.add(alias)
    names.add(nodeName)
    return { nodeName, alias, bitmaps: parseBitmaps(args.list('bitmaps'), nodeName, alias) }
  })
}

function parseBitmaps(list: readonly JsonValue[], nodeName: string, nodeAlias: string): BitmapAlias[] {
  const aliases = new Set<string>()
  const names = new Set<string>()
  return list.map((item) => {
    const args = new Arguments(item as JsonObject)
    const name = args.string('name')
    const alias = args.string('alias')
    checkLength('bitmap alias', alias)
    if (aliases.has(alias)) throw new BlockError(`The bitmap alias '${nodeAlias}'/'${alias}' is used twice`)
    if (names.has(name)) throw new BlockError(`The bitmap '${nodeName}'/'${name}' is mapped twice`)
    aliases.add(alias)
    names.add(name)
    const isPersistent = args.has('transform') ? args.below('transform').optionalFlag('persistent') : undefined
    return { name, alias, isPersistent }
  })
}

function checkLength(what: string, text: string): void {
  if (Buffer.byteLength(text) > ALIAS_BYTES_MAX) {
    throw new BlockError(`The ${what} '${text}' is longer than ${ALIAS_BYTES_MAX} bytes`)
  }
}

/** Copies of the bitmaps that move. Throws BlockError where one that would cannot. */
export function collectBitmaps(graph: BlockGraph, mapping: readonly NodeAlias[] | null): SentBitmap[] {
  const sent: SentBitmap[] = []
  for (const node of graph.nodes.values()) {
    if (node.namedBitmaps.size === 0) continue
    const mapped = mapping?.find(({ nodeName }) => nodeName === node.name)
    if (mapping !== null && mapped === undefined) continue
    const nodeAlias = mapped?.alias ?? aliasOf(node)
    for (const bitmap of node.namedBitmaps.values()) {
      const alias = mapped === undefined ? bitmap.name : mapped.bitmaps.find(({ name }) => name === bitmap.name)?.alias
      if (alias === undefined) continue
      if (mapped === undefined && nodeAlias.startsWith('#')) {
        throw new BlockError(`Bitmap '${bitmap.name}' in unnamed node can't be migrated`)
      }
      bitmap.demand(BitmapRefusal.Busy | BitmapRefusal.Inconsistent)
      const { isEnabled, isPersistent } = bitmap
      sent.push({ node: nodeAlias, name: alias, isEnabled, isPersistent, bits: bitmap.copyBits() })
    }
  }
  return sent
}

/** How the other side may know the node: as its device is called, or the one above filters of jobs. */
function aliasOf(node: BlockNode): string {
  const device = deviceName(node)
  if (device !== '') return device
  for (const { parent } of node.parents) {
    const above = parent.node?.filtered?.node === node ? parent.node : null
    if (above?.isImplicit === true) return aliasOf(above)
  }
  return node.name
}

/** Puts what has come into the nodes. Those that nobody here has are left out, which `warn` is told. */
export function* applyBitmaps(
  graph: BlockGraph,
  mapping: readonly NodeAlias[] | null,
  sent: readonly SentBitmap[],
  warn: (text: string) => void,
): Co<void> {
  for (const bitmap of sent) {
    try {
      yield* applyBitmap(graph, mapping, bitmap)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      warn(error.message)
    }
  }
}

function* applyBitmap(graph: BlockGraph, mapping: readonly NodeAlias[] | null, sent: SentBitmap): Co<void> {
  const mapped = mapping?.find(({ alias }) => alias === sent.node)
  if (mapping !== null && mapped === undefined) throw new BlockError(`Unknown node alias '${sent.node}'`)
  const alias = mapped?.bitmaps.find((each) => each.alias === sent.name)
  if (mapped !== undefined && alias === undefined) {
    throw new BlockError(`Unknown bitmap alias '${sent.name}' on node '${mapped.nodeName}' (alias '${sent.node}')`)
  }
  const node = graph.lookup(mapped?.nodeName ?? sent.node)
  const name = alias?.name ?? sent.name
  const isPersistent = alias?.isPersistent ?? sent.isPersistent
  if (sent.bits.lengthBytes !== node.lengthBytes) {
    throw new BlockError(`Bitmap '${name}' is not of the length of node '${node.name}'`)
  }
  // One that has come with the image says the same; who sends knows better.
  const known = node.namedBitmaps.get(name)
  if (known !== undefined) {
    if (known.granularityBytes !== sent.bits.granularityBytes) {
      throw new BlockError(`Bitmap '${name}' is there with another granularity`)
    }
    known.restore(sent.bits)
    known.setEnabled(sent.isEnabled)
    return
  }
  if (isPersistent) yield* node.driver.checkStorableBitmap(name, sent.bits.granularityBytes)
  const bitmap = adoptBitmap(node, name, sent.bits)
  bitmap.isPersistent = isPersistent
  bitmap.setEnabled(sent.isEnabled)
}
