/**
 * Making new images, as `qemu-img create`, drive-mirror and blockdev-snapshot-sync do it: options are completed from the
 * image below, the file is made by its protocol, and the format writes what an empty image is.
 *
 * What may fail: everything, as BlockError with QEMU's texts. A file that was made is removed then.
 */
import { BlockError, type BlockNode, Permission } from '../block'
import { temporaryParent } from '../block/drivers/qcow2/open'
import { assert, type Co, EFBIG, ENOTSUP, OK, strerror } from '../co'
import { releaseNode } from './close'
import type { BlockdevContext } from './context'
import { type CreateOption, CreateOptions, wholeText } from './create_options'
import type { BlockdevDriver } from './driver'
import { isDevice } from './driver'
import { combinePaths, hasProtocol, protocolOf, stripPrefix } from './filename'
import { openImage } from './open'
import { Options } from './options'
import { findDriver, findProtocol } from './registry'

/** What every protocol takes that can be opened but not made. */
const SIMPLE_OPTIONS: readonly CreateOption[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off)' },
]

export interface CreateRequest {
  filename: string
  format: string
  /** `-o`: each a list of its own. */
  optionTexts?: readonly string[]
  /** null: by an option, or by the image below. */
  sizeBytes?: number | null
  backingFilename?: string | null
  backingFormat?: string | null
  /** The image below is not looked at. */
  isBackingUnchecked?: boolean
  /** Hears what is about to be made, before it is: `Formatting …`. */
  announce?(text: string): void
}

/** An error that programs print with a second line. */
export class HintedError extends BlockError {
  constructor(error: BlockError, hint: string) {
    super(error.message, { errno: error.errno, hint })
  }
}

/** The two drivers that make an image, and the options that they know together. Throws BlockError. */
export function creatorsOf(
  context: BlockdevContext,
  format: string,
  filename: string,
): { driver: BlockdevDriver; protocol: BlockdevDriver; options: CreateOptions } {
  const driver = findDriver(format)
  if (driver === null) throw new BlockError(`Unknown file format '${format}'`)
  const protocol = protocolFor(context, filename)
  if (driver.createOptions === undefined) throw new BlockError(`Format driver '${format}' does not support image creation`)
  const protocolOptions = protocolCreateOptions(protocol)
  if (protocolOptions === null) throw new BlockError(`Protocol driver '${protocol.name}' does not support image creation`)
  return { driver, protocol, options: new CreateOptions(driver.createOptions, protocolOptions) }
}

/** What a protocol knows of creation; null: nothing is made there. */
export function protocolCreateOptions(protocol: BlockdevDriver): readonly CreateOption[] | null {
  if (protocol.createOptions !== undefined) return protocol.createOptions
  return protocol.opensForCreation === true ? SIMPLE_OPTIONS : null
}

/** The driver of the protocol that `filename` belongs to. Throws BlockError. */
export function protocolFor(context: BlockdevContext, filename: string): BlockdevDriver {
  const name = isDevice(context.files, filename) ? 'host_device' : hasProtocol(filename) ? protocolOf(filename) : 'file'
  const driver = findProtocol(name)
  if (driver === null) throw new BlockError(`Unknown protocol '${name}'`)
  return driver
}

/** Makes an image. Throws BlockError. */
export function* createImage(context: BlockdevContext, request: CreateRequest): Co<void> {
  const { filename, format, sizeBytes = null } = request
  const { driver, options } = creatorsOf(context, format, filename)
  for (const text of request.optionTexts ?? []) options.parse(text)
  if (sizeBytes !== null) {
    if (options.has('size')) throw new BlockError('The image size must be specified only once')
    options.set('size', wholeText(sizeBytes))
  }
  setBacking(options, 'backing_file', request.backingFilename ?? null, `Backing file not supported for file format '${format}'`)
  setBacking(options, 'backing_fmt', request.backingFormat ?? null, `Backing format not supported for file format '${format}'`)
  yield* completeFromBacking(context, request, options)
  if (!options.has('size')) throw new BlockError('Image creation needs a size parameter')
  request.announce?.(`Formatting '${filename}', fmt=${format} ${options.print()}`)
  try {
    yield* createBy(context, driver, filename, options)
  } catch (error) {
    if (!(error instanceof BlockError) || error.errno !== EFBIG) throw error
    const hint = (options.size('cluster_size') ?? 0) > 0 ? ' (try using a larger cluster size)' : ''
    throw new BlockError(`The image size is too large for file format '${format}'${hint}`, { errno: EFBIG })
  }
}

/** Has a format make an image. What it has opened is closed then; what it has made is removed if it fails. */
export function* createBy(context: BlockdevContext, driver: BlockdevDriver, filename: string, options: CreateOptions): Co<void> {
  assert(driver.create !== undefined, 'format-creates', () => driver.name)
  const opened: BlockNode[] = []
  const made: string[] = []
  let isDone = false
  try {
    yield* driver.create({
      context,
      filename,
      options,
      *makeFile(name, sizeBytes) {
        yield* createProtocolFile(context, name, sizeBytes, options.without(driver.createOptions ?? []))
        made.push(name)
      },
      *openFile(name) {
        const node = yield* openImage(context, {
          filename: name,
          options: new Options([['driver', protocolFor(context, name).name]]),
        })
        opened.push(node)
        return node
      },
      *openBelow(name) {
        const node = yield* openBackingImage(context, combinePaths(filename, name), undefined)
        opened.push(node)
        return node
      },
    })
    isDone = true
  } finally {
    for (const node of opened.reverse()) yield* releaseNode(context, node)
    if (!isDone) for (const name of made) context.files.remove?.(stripPrefix(name, 'file:'))
  }
}

function setBacking(options: CreateOptions, name: string, value: string | null, refusal: string): void {
  if (value === null) return
  if (!options.knows(name)) throw new BlockError(refusal)
  options.set(name, value)
}

/** The image below must be there and be named with its format; it gives the size that nobody has said. */
function* completeFromBacking(context: BlockdevContext, request: CreateRequest, options: CreateOptions): Co<void> {
  const { filename } = request
  const backing = options.string('backing_file')
  const format = options.string('backing_fmt')
  if (backing !== undefined) {
    if (backing === filename) {
      throw new BlockError('Error: Trying to create an image with the same filename as the backing file')
    }
    if (backing === '') throw new BlockError('Expected backing file name, got empty string')
  }
  if (format !== undefined && findDriver(format) === null) throw new BlockError(`Unknown backing file format '${format}'`)
  if (backing === undefined) return
  if (request.isBackingUnchecked === true) {
    if (format === undefined) throw new BlockError('Backing file specified without backing format')
    return
  }
  const node = yield* openBackingImage(context, combinePaths(filename, backing), format)
  const { lengthBytes } = node
  const { name } = node.driver
  yield* releaseNode(context, node)
  if (format === undefined) {
    throw new HintedError(new BlockError('Backing file specified without backing format'), `Detected format of ${name}.`)
  }
  if (!options.has('size')) options.set('size', String(lengthBytes))
}

function* openBackingImage(context: BlockdevContext, filename: string, format: string | undefined): Co<BlockNode> {
  const options = new Options([
    ['read-only', true],
    ['force-share', true],
  ])
  if (format !== undefined) options.set('driver', format)
  try {
    // Its length is all that is wanted: no key is needed for that.
    return yield* openImage(context, { filename, options, isForInfo: true })
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    throw new HintedError(error, 'Could not open backing image.')
  }
}

/** Makes the file of an image by its protocol, `sizeBytes` long. Throws BlockError. */
export function* createProtocolFile(
  context: BlockdevContext,
  filename: string,
  sizeBytes: number,
  options: CreateOptions,
): Co<void> {
  const protocol = protocolFor(context, filename)
  if (protocol.createFile !== undefined) {
    yield* protocol.createFile(context, filename, sizeBytes, options)
    return
  }
  if (protocol.opensForCreation !== true) {
    throw new BlockError(`Protocol driver '${protocol.name}' does not support image creation`)
  }
  yield* reuseFile(context, protocol.name, filename, sizeBytes)
}

/** What is there already is taken as a new file, if it is long enough; its first sector is emptied. */
function* reuseFile(context: BlockdevContext, protocol: string, filename: string, sizeBytes: number): Co<void> {
  let node: BlockNode
  try {
    node = yield* openImage(context, { filename, options: new Options([['driver', protocol]]) })
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    const text = `Protocol driver '${protocol}' does not support image creation, and opening the image failed: ${error.message}`
    throw new BlockError(text, { errno: error.errno })
  }
  const { graph } = context
  const permission = Permission.Write | Permission.Resize | Permission.ConsistentRead
  const parent = temporaryParent('the creation of an image')
  try {
    const edge = graph.attach({ name: 'root', parent, node, permission, shared: Permission.All })
    let errno = yield* edge.truncate(sizeBytes, false, 'off')
    if (errno === ENOTSUP || node.lengthBytes >= sizeBytes) errno = OK
    const isShort = node.lengthBytes < sizeBytes
    const zeroBytes = Math.min(512, node.lengthBytes)
    if (errno === OK && !isShort && zeroBytes > 0) errno = yield* edge.pwriteZeroes(0, zeroBytes)
    graph.detach(edge)
    if (errno !== OK) throw new BlockError(`Could not resize file: ${strerror(errno)}`, { errno })
    if (isShort) throw new BlockError(`A ${protocol} image of ${node.lengthBytes} bytes cannot be made ${sizeBytes} bytes long`)
  } finally {
    yield* releaseNode(context, node)
  }
}
