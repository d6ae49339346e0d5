/**
 * The image below an overlay: by options of the user, else by the name in the overlay's header, which may be relative to the
 * overlay or a description of its own (`json:{…}`).
 *
 * What may fail: opening, as BlockError that begins `Could not open backing file: `; a chain that comes back to itself.
 */
import { BlockError, type BlockNode } from '../block'
import { assert, type Co } from '../co'
import { inheritOptions } from './common_options'
import type { BlockdevContext } from './context'
import type { OpenPlace } from './driver'
import { combinePaths, isFullName } from './filename'
import type { Options } from './options'

export interface BackingRequest {
  /** What the header says; null: nothing. */
  header: { name: string; format: string | null } | null
  /** Where the overlay is stored: relative names start there. */
  file: BlockNode | null
  /** Those of the overlay: what concerns the image below is taken out. */
  options: Options
  parentOptions: Options
  place: OpenPlace
  open(filename: string | null, reference: string | null, options: Options, place: OpenPlace): Co<BlockNode>
}

/** Opens the image below, or gives null where there is none. */
export function* openBacking(context: BlockdevContext, request: BackingRequest): Co<BlockNode | null> {
  const { header, options, place, parentOptions } = request
  const reference = options.takeString('backing') ?? null
  const below = options.takeBelow('backing.')
  const isNamed = below.has('file.filename') || reference !== null
  let filename: string | null = null
  if (!isNamed) {
    if (header === null && below.size === 0) return null
    // A file that the user describes himself takes the place of the name in the header.
    const hasFile = below.has('driver') && below.hasBelow('file.')
    if (header !== null && !hasFile && !below.has('file')) filename = fullName(context, request.file, header.name)
    if (header?.format != null && !below.has('driver')) below.set('driver', header.format)
  }
  if (filename !== null && place.chain.includes(filename)) {
    throw new BlockError(`Backing file '${filename}' creates an infinite loop.`)
  }
  if (reference === null) inheritOptions(parentOptions, below, 'cow')
  try {
    return yield* request.open(filename, reference, below, {
      depth: place.depth + 1,
      isProtocol: false,
      noBacking: false,
      isForCheck: false,
      isForInfo: place.isForInfo,
      chain: filename === null ? place.chain : [...place.chain, filename],
    })
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    throw new BlockError(`Could not open backing file: ${error.message}`, { errno: error.errno })
  }
}

function fullName(context: BlockdevContext, file: BlockNode | null, name: string): string {
  return file === null || isFullName(name) ? name : backingNameOf(context, file, name)
}

/** `name` as it is written in the image that is stored in `file`, seen from the current folder. Throws BlockError. */
export function backingNameOf(context: BlockdevContext, file: BlockNode, name: string): string {
  if (isFullName(name)) return name
  // Filters and formats lie where their data lies.
  let node = file
  for (;;) {
    const child = node.filtered ?? node.children.get('file')
    if (child === undefined) break
    if (node.children.has('test')) throw new BlockError(`Cannot generate a base directory for ${node.driver.name} nodes`)
    node = child.node
  }
  const base = context.origins.get(node)?.filename ?? ''
  if (!node.driver.isProtocol || base === '') {
    throw new BlockError(`Cannot generate a base directory for ${node.driver.name} nodes`)
  }
  assert(!name.startsWith('/'), 'relative-name')
  return combinePaths(base, name)
}
