/**
 * What the command lines of QEMU's shape have in common: a name that stands before every complaint, a block graph over the
 * machine's files, images that are opened as their options say.
 *
 * What may fail: everything, as ToolExit after it has been said what is wrong. BlockError leaves a command only by
 * `Tool.run`, which prints it.
 */
import * as fs from 'node:fs'
import { BlockBackend, BlockError, BlockGraph, type BlockNode, Permission } from '../../block'
import type { Codecs } from '../../block/codec'
import type { Cryptography } from '../../block/crypto/cryptography'
import { BlockdevContext, Options, openImage, parseJsonOrKeyval, parseQemuOpts, releaseNode } from '../../blockdev'
import { assert, type Co, type Errno, OK, type StreamHost, strerror, type TlsCredentials } from '../../co'
import { errnoOf, HOST_CODECS, HostLoop, loadCodecs, RealFiles } from '../../host'
import type { Terminals } from './terminal'
import { ToolObjects } from './tool_objects'

/** Ends the program with an exit code; everything has been said. */
export class ToolExit extends Error {
  readonly code: number
  constructor(code: number) {
    super(`exit ${code}`)
    this.code = code
  }
}

/** What `-t` and `-T` mean for a node. */
export interface CacheMode {
  direct: boolean
  noFlush: boolean
  writethrough: boolean
}

const CACHE_MODES: Readonly<Record<string, CacheMode>> = {
  none: { direct: true, noFlush: false, writethrough: false },
  off: { direct: true, noFlush: false, writethrough: false },
  directsync: { direct: true, noFlush: false, writethrough: true },
  writeback: { direct: false, noFlush: false, writethrough: false },
  unsafe: { direct: false, noFlush: true, writethrough: false },
  writethrough: { direct: false, noFlush: false, writethrough: true },
}

/** null: there is no such mode. */
export function parseCacheMode(text: string): CacheMode | null {
  return Object.hasOwn(CACHE_MODES, text) ? CACHE_MODES[text]! : null
}

export interface ImageRequest {
  filename: string
  /** The name is a list of options. */
  isOptions?: boolean
  format?: string | null
  isWritable?: boolean
  mayResize?: boolean
  forceShare?: boolean
  /** Nobody may write to it meanwhile, whatever its format. */
  excludesWriters?: boolean
  noBacking?: boolean
  isForCheck?: boolean
  isForInfo?: boolean
  cache?: CacheMode
  /** Further options of the node. */
  extra?: ReadonlyArray<readonly [string, boolean | string]>
}

export interface OpenImage {
  backend: BlockBackend
  node: BlockNode
}

export class Tool {
  /** The base of the name by which the program was called. */
  readonly name: string
  readonly terminals: Terminals
  readonly loop = new HostLoop()
  readonly files = new RealFiles(this.loop)
  readonly graph = new BlockGraph(this.loop.kernel)
  readonly context: BlockdevContext
  /** Filled in before anything runs: compressed images need it. */
  private readonly codecs: Codecs = { ...HOST_CODECS }
  readonly objects: ToolObjects
  private crypto: Cryptography | null = null
  private sockets: StreamHost | null = null
  /** Whether an image is being closed by `close`, and what went wrong then. */
  private isClosing = false
  private closeErrno: Errno = OK
  /** What stands before every complaint. */
  messagePrefix: () => string = () => ''
  /** Where an NBD client looks for keys; programs with a monitor have objects of their own. */
  findCredentials: (id: string) => TlsCredentials | null = (id) => this.objects.tlsCredentials(id)

  constructor(name: string, terminals: Terminals) {
    this.name = name
    this.terminals = terminals
    this.graph.onCloseError = (node, errno) => {
      if (this.isClosing) this.closeErrno = errno
      else this.complain(`Could not write all of node '${node.name}': ${strerror(errno)}`)
    }
    this.graph.allocateBuffer = (bytes) => this.files.allocateBuffer(bytes)
    this.context = new BlockdevContext({
      graph: this.graph,
      files: this.files,
      codecs: this.codecs,
      cryptography: () => this.cryptography,
      readSecretFile,
      streams: { connect: (address) => this.streams.connect(address), listen: (address) => this.streams.listen(address) },
      tlsCredentials: (id) => this.findCredentials(id),
      // Those that come in several lines are printed as they are.
      warn: (text) => {
        if (text.startsWith('WARNING: ')) terminals.err.write(`${text}\n`)
        else this.complain(`warning: ${text}`)
      },
      say: (line) => this.print(`${line}\n`),
      corrupted: (_node, { text }) => terminals.err.write(`${text}\n`),
    })
    this.objects = new ToolObjects(this.loop, this.context.secrets)
  }

  /** Most images are files: sockets are loaded when one is wanted. */
  get streams(): StreamHost {
    if (this.sockets !== null) return this.sockets
    const { Sockets }: typeof import('../../host/sockets') = require('../../host/sockets')
    this.sockets = new Sockets(this.loop)
    return this.sockets
  }
  /** Few images are encrypted. */
  private get cryptography(): Cryptography {
    if (this.crypto !== null) return this.crypto
    const { HostCryptography }: typeof import('../../host/cryptography') = require('../../host/cryptography')
    this.crypto = new HostCryptography(this.loop)
    return this.crypto
  }
  get kernel() {
    return this.loop.kernel
  }
  print(text: string): void {
    this.terminals.out.write(text)
  }
  /** One line on standard error, with the program's name in front. */
  complain(text: string): void {
    this.terminals.err.write(`${this.messagePrefix()}${this.name}: ${text}\n`)
  }
  /** An error, with what was being done in front, and its hint below. */
  complainOf(error: BlockError, prefix = ''): void {
    this.complain(`${prefix}${error.message}`)
    const { hint } = error
    if (hint === '') return
    // QEMU ends every hint's line but this one.
    this.terminals.err.write(hint.startsWith('Detected format of') || hint.endsWith('\n') ? hint : `${hint}\n`)
  }
  /** Says what is wrong and ends the program. */
  fail(text: string, code = 1): never {
    this.complain(text)
    throw new ToolExit(code)
  }
  failWith(error: unknown, prefix = '', code = 1): never {
    if (!(error instanceof BlockError)) throw error
    this.complainOf(error, prefix)
    throw new ToolExit(code)
  }

  /** Runs a program to its exit code. */
  async run(body: () => Co<number>): Promise<number> {
    Object.assign(this.codecs, await loadCodecs())
    let code: number
    try {
      code = await this.loop.run(this.guarded(body))
    } finally {
      this.terminals.out.flush()
    }
    return code
  }

  private *guarded(body: () => Co<number>): Co<number> {
    try {
      return yield* body()
    } catch (error) {
      if (error instanceof ToolExit) return error.code
      if (!(error instanceof BlockError)) throw error
      this.complainOf(error)
      return 1
    }
  }

  /** `--object`. Throws ToolExit. */
  addObject(text: string): void {
    try {
      this.objects.add(parseJsonOrKeyval(text, 'qom-type').tree)
    } catch (error) {
      this.failWith(error)
    }
  }

  /** The options that a list on the command line means. Throws BlockError. */
  imageOptions(text: string): Options {
    const { options } = parseQemuOpts(text, 'file', (warning) => this.complainOfForm(warning))
    return options
  }
  private complainOfForm(text: string): void {
    this.complain(`warning: ${text}`)
    const flag = /'(.*)'/.exec(text)?.[1] ?? ''
    this.terminals.err.write(`Please use ${flag}=on instead\n`)
  }

  /** Opens an image. Throws BlockError. */
  *open(request: ImageRequest): Co<OpenImage> {
    const { filename, isOptions = false, format = null, isWritable = false, forceShare = false } = request
    const options = isOptions ? this.imageOptions(filename) : new Options()
    if (format !== null) options.set('driver', format)
    if (forceShare) {
      if (isOptions && options.has('force-share') && options.get('force-share') !== 'on') {
        throw new BlockError('--force-share/-U conflicts with image options')
      }
      options.set('force-share', true)
    }
    const { direct = false, noFlush = false } = request.cache ?? {}
    options.setDefault('cache.direct', direct)
    options.setDefault('cache.no-flush', noFlush)
    options.setDefault('read-only', !isWritable)
    for (const [key, value] of request.extra ?? []) options.setDefault(key, value)
    const node = yield* this.openNode(isOptions ? null : filename, options, request)
    return yield* this.hold(node, request)
  }

  private openNode(filename: string | null, options: Options, request: ImageRequest): Co<BlockNode> {
    const { noBacking = false, isForCheck = false, isForInfo = false } = request
    const reference = filename === null && options.size > 0 ? options.get('file') : undefined
    const isReference = typeof reference === 'string' && !options.has('driver')
    if (isReference && this.graph.findNode(reference) === null) this.graph.lookup(reference)
    return openImage(this.context, { filename, options, noBacking, isForCheck, isForInfo })
  }

  /** Takes a node in the way in which programs use it. */
  *hold(node: BlockNode, request: Pick<ImageRequest, 'isWritable' | 'mayResize' | 'excludesWriters'>): Co<OpenImage> {
    const backend = new BlockBackend(this.graph, '')
    let permission: number = Permission.ConsistentRead
    const shared = request.excludesWriters === true ? Permission.ConsistentRead | Permission.WriteUnchanged : Permission.All
    if (request.isWritable === true && !node.options.readOnly) permission |= Permission.Write
    if (request.mayResize === true) permission |= Permission.Resize
    try {
      backend.attach(node, permission, shared)
    } catch (error) {
      yield* releaseNode(this.context, node)
      throw error
    }
    assert(backend.root !== null, 'tool-image-held')
    return { backend, node }
  }

  /** Opens an image, or says why not and ends the program. */
  *demandImage(request: ImageRequest, code = 1): Co<OpenImage> {
    try {
      return yield* this.open(request)
    } catch (error) {
      return this.failWith(error, `Could not open '${request.filename}': `, code)
    }
  }

  /** Writes what is left to be written, and closes. Gives the errno of what could not be written. */
  *close({ backend }: OpenImage): Co<number> {
    const node = backend.root?.node ?? null
    const errno = node === null || node.options.readOnly ? 0 : yield* backend.flush()
    backend.dispose()
    assert(!this.isClosing, 'one-closes')
    this.isClosing = true
    this.closeErrno = OK
    try {
      if (node !== null) yield* releaseNode(this.context, node)
    } finally {
      this.isClosing = false
    }
    return errno === OK ? this.closeErrno : errno
  }

  /** The same, with a line where not all could be written. */
  *closeTelling(image: OpenImage): Co<number> {
    const errno = yield* this.close(image)
    if (errno !== 0) this.complain(`Could not flush the image: ${strerror(errno)}`)
    return errno
  }
  /** Closes at the end of a command: its exit code, which is no success where not all could be written. */
  *closeWith(image: OpenImage, code: number): Co<number> {
    const errno = yield* this.closeTelling(image)
    return errno !== 0 && code === 0 ? 1 : code
  }

  errorText(errno: number): string {
    return strerror(errno)
  }
}

/** What a secret says that lies in a file. Throws BlockError. */
function readSecretFile(path: string): Uint8Array {
  try {
    return fs.readFileSync(path)
  } catch (error) {
    throw new BlockError(`Unable to read ${path}: Failed to open file “${path}”: ${strerror(errnoOf(error))}`)
  }
}
