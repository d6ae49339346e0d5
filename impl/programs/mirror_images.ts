/**
 * Images of a mirror that have a format: opened with all that lies below them, created, and read for the comparison. A raw
 * image needs none of this: its file is its node.
 *
 * What may fail: everything, as a ProgramFailure with the text of the block layer.
 * What never may: a format that is guessed, of an image or of one below it, unless the user has asked for that. A guest can
 * write the header of any format into a raw disk.
 */
import * as fs from 'node:fs'
import {
  BlockBackend,
  BlockError,
  type BlockGraph,
  type BlockNode,
  type HostExtent,
  type NodeOptions,
  Permission,
  StatusFlag,
} from '../block'
import { FileDriver } from '../block/drivers/file'
import { LockError } from '../block/drivers/file_lock'
import type { Qcow2CreateOptions } from '../block/drivers/qcow2'
import type { BlockdevContext } from '../blockdev'
import { assert, type Co, type Errno, OK } from '../co'
import { loadCodecs, type RealFiles } from '../host'
import { EXIT_USAGE, openFailure, ProgramFailure } from './mirror_failure'
import type { Comparable } from './mirror_verify'

export type ImageFormat = 'raw' | 'qcow2'
/** null: the user has not said, which is raw for what does not look like something else. */
export type WantedFormat = ImageFormat | 'probe' | null

/** What raw copies have no use for is loaded when it is needed. */
const blockdev = (): typeof import('../blockdev') => require('../blockdev')
const qcow2 = (): typeof import('../block/drivers/qcow2') => require('../block/drivers/qcow2')

const HEAD_BYTES = 2048
const QCOW2_MAGIC = Buffer.from([0x51, 0x46, 0x49, 0xfb])

/** The format of an existing image. Throws ProgramFailure where it would have to be guessed. */
export function formatOf(path: string, wanted: WantedFormat, option: string): ImageFormat {
  if (wanted === 'raw' || wanted === 'qcow2') return wanted
  const looksLikeQcow2 = headOf(path).subarray(0, QCOW2_MAGIC.length).equals(QCOW2_MAGIC)
  if (wanted === 'probe') return looksLikeQcow2 ? 'qcow2' : 'raw'
  if (!looksLikeQcow2) return 'raw'
  const advice = `say ${option} qcow2, or ${option} raw if its bytes are meant as they are`
  throw new ProgramFailure(path, 'it looks like a qcow2 image', advice, EXIT_USAGE)
}

/** The beginning of a file, or nothing of one that cannot be read: whoever opens it will say why. */
function headOf(path: string): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  try {
    // Opening a pipe would wait for its other end.
    const stat = fs.statSync(path)
    if (!stat.isFile() && !stat.isBlockDevice()) return Buffer.alloc(0)
    const descriptor = fs.openSync(path, 'r')
    try {
      return head.subarray(0, fs.readSync(descriptor, head, 0, HEAD_BYTES, 0))
    } finally {
      fs.closeSync(descriptor)
    }
  } catch {
    return Buffer.alloc(0)
  }
}

export interface ImageOpening {
  readOnly: boolean
  /** The format of an image below may be guessed. */
  mayProbe: boolean
  discard: NodeOptions['discard']
  detectZeroes: NodeOptions['detectZeroes']
}

/** How images are opened for reading. */
export function forReading(mayProbe: boolean): ImageOpening {
  return { readOnly: true, mayProbe, discard: 'unmap', detectZeroes: 'off' }
}

/** One graph's images. */
export class FormattedImages {
  private constructor(private readonly context: BlockdevContext) {}

  static async over(graph: BlockGraph, files: RealFiles): Promise<FormattedImages> {
    const { BlockdevContext: Context } = blockdev()
    return new FormattedImages(new Context({ graph, files, codecs: await loadCodecs() }))
  }

  /** Opens an image with those below it. `name` is the node's. Throws ProgramFailure and LockError. */
  *open(path: string, name: string, opening: ImageOpening): Co<BlockNode> {
    const { openImage, Options, releaseNode } = blockdev()
    const storage = this.context.files.isDevice?.(path) === true ? 'host_device' : 'file'
    const options = new Options([
      ['driver', 'qcow2'],
      ['node-name', name],
      ['read-only', opening.readOnly],
      ['discard', opening.discard],
      ['detect-zeroes', opening.detectZeroes],
      ['file.driver', storage],
      ['file.filename', path],
    ])
    let node: BlockNode
    try {
      node = yield* openImage(this.context, { options })
    } catch (error) {
      throw failureOf(path, error)
    }
    const guessed = opening.mayProbe ? null : this.guessedBelow(node)
    if (guessed === null) return node
    yield* releaseNode(this.context, node)
    const what = `it does not say which format its backing image '${guessed}' has`
    throw new ProgramFailure(path, what, 'say --source-format probe if that may be guessed', EXIT_USAGE)
  }

  /** The name of the first image of a chain whose format stands nowhere, or null. */
  private guessedBelow(top: BlockNode): string | null {
    for (let node: BlockNode | null = top; node !== null; node = node.backing?.node ?? null) {
      const origin = this.context.origins.get(node)
      assert(origin !== undefined, 'opened-here', () => node?.name ?? '')
      if (node.backing !== null && origin.backingName !== '' && origin.backingFormat === '') return origin.backingName
    }
    return null
  }

  /** Makes an image of an empty file. Throws ProgramFailure. */
  *create(path: string, options: Qcow2CreateOptions): Co<void> {
    const { openImage, Options, releaseNode } = blockdev()
    try {
      const file = yield* openImage(this.context, {
        options: new Options([
          ['driver', 'file'],
          ['filename', path],
        ]),
      })
      yield* qcow2().createQcow2(file, options)
      yield* releaseNode(this.context, file)
    } catch (error) {
      throw failureOf(path, error)
    }
  }

  /** A job that ends gives up what nobody owns. */
  keep(node: BlockNode): void {
    this.context.owned.add(node)
  }

  /** Closes a node and what is below it. */
  close(node: BlockNode): Co<void> {
    this.context.owned.delete(node)
    return blockdev().releaseNode(this.context, node)
  }
}

/** What ends the program for an error of the block layer; locks are told by whoever knows the files. */
function failureOf(path: string, error: unknown): unknown {
  if (!(error instanceof BlockError) || error instanceof LockError) return error
  const reason = error.message.replace(`Could not open '${path}': `, '')
  if (reason !== error.message) return openFailure(path, error.errno, reason)
  return new ProgramFailure(path, reason, 'give an image of that format, or say another one', EXIT_USAGE)
}

/** The file in which a node keeps its data. */
export function fileOf(top: BlockNode): FileDriver {
  let node = top
  for (;;) {
    const child = node.filtered ?? node.children.get('file')
    if (child === undefined) break
    node = child.node
  }
  assert(node.driver instanceof FileDriver, 'image-in-file', () => node.name)
  return node.driver
}

/** An image as a guest sees it, for the comparison. */
export class ImageContent implements Comparable {
  private readonly backend: BlockBackend

  constructor(
    graph: BlockGraph,
    private readonly node: BlockNode,
  ) {
    this.backend = new BlockBackend(graph, '')
    this.backend.attach(node, Permission.ConsistentRead, Permission.All)
  }

  pread(offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    return this.backend.pread(offsetBytes, buffer)
  }

  *extentAt(offsetBytes: number): Co<HostExtent> {
    const lengthBytes = this.node.lengthBytes - offsetBytes
    const { errno, flags, bytes } = yield* this.node.blockStatusAbove(null, 'want-zero', offsetBytes, lengthBytes)
    const isData = (flags & StatusFlag.Zero) === 0
    return { errno, isData, endBytes: offsetBytes + (errno === OK ? bytes : 0) }
  }

  detach(): void {
    this.backend.dispose()
  }
}
