/**
 * Opening: from the description of a node (a file name, options, a reference, or all of them) to nodes of the graph, with
 * everything below them.
 *
 * What may fail: everything, as BlockError with QEMU's texts; the graph is as it was then, but for numbers of automatic names.
 * What never may: an image below that is opened without end; a child that stays behind a failure.
 */
import { BlockError, type BlockNode } from '../block'
import { assert, type Co, EINVAL } from '../co'
import { JsonError, type JsonObject, parseJson } from '../json'
import { openBacking } from './backing'
import { releaseNode } from './close'
import { AUTO_READ_ONLY, CACHE_DIRECT, CACHE_NO_FLUSH, inheritOptions, READ_ONLY, takeCommonOptions } from './common_options'
import type { BlockdevContext } from './context'
import {
  type BlockdevDriver,
  isDevice,
  type Opened,
  type OpenedChild,
  type Opening,
  type OpenPlace,
  type WantedChild,
} from './driver'
import { hasProtocol, protocolOf } from './filename'
import { Options } from './options'
import { probeFormat } from './probe'
import { findDriver, findProtocol } from './registry'

/** The deepest tree that is opened: a bound for chains of images and for nested descriptions. */
const DEPTH_MAX = 256

export interface OpenRequest {
  filename?: string | null
  /** The name of a node that is there. */
  reference?: string | null
  options?: Options
  /** The image is not opened, though its header has the name of one. */
  noBacking?: boolean
  isForCheck?: boolean
  /** The image is only to tell about itself: encrypted ones need no key. */
  isForInfo?: boolean
}

/**
 * Opens an image as programs do (`bdrv_open`). Without `read-only` in the options it is opened for writing. Nobody owns the
 * node: attach something to it, or let `releaseNode` have it.
 */
export function openImage(context: BlockdevContext, request: OpenRequest): Co<BlockNode> {
  const { noBacking = false, isForCheck = false, isForInfo = false } = request
  const options = request.options ?? new Options()
  const place = { depth: 0, isProtocol: false, noBacking, isForCheck, isForInfo, chain: [] }
  return openNode(context, request.filename ?? null, request.reference ?? null, options, place)
}

/** blockdev-add: opens a node for the monitor, which owns it then. `tree` is a checked BlockdevOptions. */
export function* addBlockdev(context: BlockdevContext, tree: JsonObject): Co<BlockNode> {
  const options = Options.ofJson(tree)
  if (!options.has('node-name')) throw new BlockError("'node-name' must be specified for the root node")
  for (const key of [CACHE_DIRECT, CACHE_NO_FLUSH, READ_ONLY, AUTO_READ_ONLY]) options.setDefault(key, false)
  const node = yield* openImage(context, { options })
  context.owned.add(node)
  return node
}

/** Opens a node. `options` are used up. */
export function* openNode(
  context: BlockdevContext,
  filename: string | null,
  reference: string | null,
  options: Options,
  place: OpenPlace,
): Co<BlockNode> {
  if (place.depth > DEPTH_MAX) throw new BlockError(`Images are nested more than ${DEPTH_MAX} deep`)
  if (reference !== null) {
    if (options.size > 0 || filename !== null) {
      throw new BlockError('Cannot reference an existing block device with additional options or a new filename')
    }
    return lookup(context, reference)
  }
  const name = joinJsonFilename(filename, options)
  const explicit = options.copy()
  const { driver, filename: fullName, isProtocol } = fillOptions(context, name, options, place.isProtocol)
  const building = new NodeBuilder(context, options, explicit, { ...place, isProtocol })
  try {
    return yield* building.build(driver, fullName)
  } catch (error) {
    yield* building.abandon()
    throw error
  }
}

function lookup(context: BlockdevContext, name: string): BlockNode {
  const { graph } = context
  const node = graph.findNode(name)
  if (node !== null) return node
  return graph.lookup(name)
}

/** Merges what a name `json:{…}` says into the options; gives the name that is left. */
function joinJsonFilename(filename: string | null, options: Options): string | null {
  if (filename === null || !filename.startsWith('json:')) return filename
  let value: ReturnType<typeof parseJson>
  try {
    value = parseJson(filename.slice('json:'.length))
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw new BlockError(`Could not parse the JSON options: ${error.message}`)
  }
  if (!(value instanceof Map)) throw new BlockError('Invalid JSON object given')
  options.join(Options.ofJson(value))
  return null
}

interface Filled {
  /** null: to be found by probing. */
  driver: BlockdevDriver | null
  filename: string | null
  isProtocol: boolean
}

/** Finds the driver as far as names tell, and puts what a file name means into the options. */
function fillOptions(context: BlockdevContext, given: string | null, options: Options, wantsProtocol: boolean): Filled {
  const driverName = options.takeString('driver')
  let driver: BlockdevDriver | null = null
  let isProtocol = wantsProtocol
  if (driverName !== undefined) {
    driver = findDriver(driverName)
    if (driver === null) throw new BlockError(`Unknown driver '${driverName}'`, { errno: EINVAL })
    isProtocol = driver.protocol !== null
  }
  if (!isProtocol) return { driver, filename: given, isProtocol }
  let mustParse = false
  if (given !== null) {
    if (options.has('filename')) {
      throw new BlockError("Can't specify 'file' and 'filename' options at the same time", { errno: EINVAL })
    }
    options.set('filename', given)
    mustParse = true
  }
  const wanted = options.get('filename')
  const filename = typeof wanted === 'string' ? wanted : null
  if (driver === null) {
    if (filename === null) throw new BlockError('Must specify either driver or file', { errno: EINVAL })
    driver = protocolDriver(context, filename, mustParse)
  }
  if (driver.needsFilename === true && filename === null) {
    throw new BlockError(`The '${driver.name}' block driver requires a file name`, { errno: EINVAL })
  }
  if (mustParse && filename !== null && driver.parseFilename !== undefined) {
    driver.parseFilename(filename, options)
    if (driver.needsFilename !== true) options.delete('filename')
  }
  const parsed = options.get('filename')
  return { driver, filename: typeof parsed === 'string' ? parsed : given, isProtocol }
}

function protocolDriver(context: BlockdevContext, filename: string, allowsPrefix: boolean): BlockdevDriver {
  const file = findDriver('file')
  const device = findDriver('host_device')
  assert(file !== null && device !== null, 'file-drivers-exist')
  if (isDevice(context.files, filename)) return device
  if (!allowsPrefix || !hasProtocol(filename)) return file
  const protocol = protocolOf(filename)
  const driver = findProtocol(protocol)
  if (driver === null) throw new BlockError(`Unknown protocol '${protocol}'`, { errno: EINVAL })
  return driver
}

/** One node on its way: what has been opened for it already, to be given up if something fails. */
class NodeBuilder {
  private readonly context: BlockdevContext
  private readonly options: Options
  private readonly explicit: Options
  private readonly place: OpenPlace
  private readonly children: BlockNode[] = []
  /** Those of the children whose `read-only` follows that of the node to be. */
  private readonly heirs: BlockNode[] = []
  private opened: Opened | null = null

  constructor(context: BlockdevContext, options: Options, explicit: Options, place: OpenPlace) {
    this.context = context
    this.options = options
    this.explicit = explicit
    this.place = place
  }

  *build(known: BlockdevDriver | null, filename: string | null): Co<BlockNode> {
    const { context, options, place } = this
    const noBacking = this.takeNoBacking() || place.noBacking
    const full = options.copy()
    let file: BlockNode | null = null
    let driver = known
    // The file of a format is opened before anybody asks for it: it may have to tell what the format is.
    const hasFile = !place.isProtocol && (filename !== null || options.has('file') || options.hasBelow('file.'))
    if (hasFile) {
      const isProbed = driver?.isFilter === true
      file = yield* this.openChild({ name: 'file', role: isProbed ? 'filtered' : 'image', isProbed }, filename)
    }
    if (driver === null) {
      if (file === null) throw new BlockError('Must specify either driver or file', { errno: EINVAL })
      driver = yield* probeFormat(file)
    }
    full.set('driver', driver.name)
    const imageName = file === null ? filename : nameOf(context, file)
    const common = takeCommonOptions(options)
    const nodeOptions = { ...common.node }
    const opening: Opening = {
      context,
      options,
      nodeOptions,
      noFlush: common.noFlush,
      direct: common.direct,
      autoReadOnly: common.autoReadOnly,
      filename: imageName,
      isProbed: known === null,
      isForCheck: place.isForCheck,
      isForInfo: place.isForInfo,
      child: (wanted) => this.demandChild(wanted, file),
      childIfThere: (wanted) => this.childIfThere(wanted, file),
    }
    // A node has its name before what its driver opens, and before the image below it.
    const serial = context.graph.takeSerial()
    const opened = yield* driver.open(opening)
    this.opened = opened
    const isBackingExplicit = noBacking || options.has('backing') || options.hasBelow('backing.')
    const backing = driver.supportsBacking === true && !noBacking ? yield* this.backing(driver, opened, full) : null
    if (backing !== null) opened.children.push({ name: 'backing', role: 'cow', node: backing })
    this.refuseLeftOver(driver)
    const { nodeName } = common
    const node = context.graph.addNode({
      ...(nodeName === null ? {} : { name: nodeName }),
      driver: opened.driver,
      children: opened.children,
      options: nodeOptions,
      serial,
      isInactive: !(common.isActive ?? !context.opensInactive),
    })
    context.origins.set(node, {
      driver,
      filename: imageName ?? '',
      explicit: this.explicit,
      options: full,
      isBackingExplicit,
      backingName: opened.backing?.name ?? '',
      backingFormat: opened.backing?.format ?? '',
    })
    for (const heir of this.heirs) heir.inheritsFrom = node
    this.opened = null
    this.children.length = 0
    if (opened.start !== undefined) yield* this.start(node, opened)
    return node
  }

  private *start(node: BlockNode, opened: Opened): Co<void> {
    try {
      yield* opened.start!(node)
    } catch (error) {
      yield* releaseNode(this.context, node)
      throw error
    }
  }

  /** Whether the user wants no image below. */
  private takeNoBacking(): boolean {
    const { options } = this
    const backing = options.get('backing')
    if (backing === '') {
      this.context.warn('Use of "backing": "" is deprecated; use "backing": null instead')
    } else if (backing !== null) return false
    options.delete('backing')
    return true
  }

  private refuseLeftOver(driver: BlockdevDriver): void {
    const left = this.options.firstLeft()
    if (left === null) return
    const text = this.place.isProtocol
      ? `Block protocol '${driver.name}' doesn't support the option '${left}'`
      : `Block format '${driver.name}' does not support the option '${left}'`
    throw new BlockError(text, { errno: EINVAL })
  }

  private *demandChild(wanted: WantedChild, file: BlockNode | null): Co<BlockNode> {
    const child = yield* this.childIfThere(wanted, file)
    if (child === null) throw new BlockError(`A block device must be specified for "${wanted.name}"`)
    return child
  }

  private *childIfThere(wanted: WantedChild, file: BlockNode | null): Co<BlockNode | null> {
    const { options } = this
    if (wanted.name === 'file' && file !== null) return file
    const isDescribed = options.has(wanted.name) || options.hasBelow(`${wanted.name}.`)
    if (!isDescribed && wanted.filename === undefined) return null
    // What the user says of a data file takes the place of its name in the header.
    const filename = isDescribed && wanted.name === 'data-file' ? null : (wanted.filename ?? null)
    return yield* this.openChild(wanted, filename)
  }

  private *openChild(wanted: WantedChild, filename: string | null): Co<BlockNode> {
    const { options, place, context } = this
    const below = options.takeBelow(`${wanted.name}.`)
    const reference = options.takeString(wanted.name) ?? null
    const isHeir = reference === null && !below.has(READ_ONLY)
    if (reference === null) inheritOptions(this.options, below, wanted.role)
    const node = yield* openNode(context, filename, reference, below, {
      depth: place.depth + 1,
      isProtocol: !wanted.isProbed,
      noBacking: false,
      isForCheck: false,
      isForInfo: place.isForInfo,
      chain: place.chain,
    })
    this.children.push(node)
    if (isHeir) this.heirs.push(node)
    return node
  }

  private *backing(driver: BlockdevDriver, opened: Opened, parentOptions: Options): Co<BlockNode | null> {
    const { context, options, place } = this
    assert(driver.supportsBacking === true, 'backing-supported')
    const file = opened.children.find((child: OpenedChild) => child.name === 'file')?.node ?? null
    const node = yield* openBacking(context, {
      header: opened.backing ?? null,
      file,
      options,
      parentOptions,
      place,
      open: (filename, reference, below, at) => openNode(context, filename, reference, below, at),
    })
    if (node !== null) this.children.push(node)
    return node
  }

  /** Gives up what has been opened. */
  *abandon(): Co<void> {
    if (this.opened?.abandon !== undefined) yield* this.opened.abandon()
    this.opened = null
    for (const child of this.children.splice(0).reverse()) yield* releaseNode(this.context, child)
  }
}

function nameOf(context: BlockdevContext, node: BlockNode): string {
  return context.origins.get(node)?.filename ?? ''
}
