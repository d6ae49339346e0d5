/** For tests only: an image over a file in memory that grows, with the codecs of the machine. */
import * as zlib from 'node:zlib'
import { type Co, ENOSPC, type Errno, OK } from '../../../co'
import { BlockBackend } from '../../backend'
import type { Codecs } from '../../codec'
import type { PreallocationMode } from '../../driver'
import { Permission } from '../../flags'
import type { BlockNode, NodeOptions } from '../../node'
import { MemoryDriver, type TestBench, testBench } from '../../testing'
import { createQcow2, openQcow2, type Qcow2CreateOptions, type Qcow2Driver, type Qcow2OpenOptions } from './index'

export const TEST_CODECS: Codecs = {
  deflate: {
    compress(input, output) {
      const packed = zlib.deflateRawSync(input, { windowBits: 12 })
      if (packed.length > output.length) return -1
      output.set(packed)
      return packed.length
    },
    decompress(input, output) {
      try {
        const plain = zlib.inflateRawSync(input, { finishFlush: zlib.constants.Z_SYNC_FLUSH, maxOutputLength: output.length })
        output.set(plain)
        return plain.length === output.length
      } catch {
        return false
      }
    },
  },
  zstd: null,
}

/** The medium is full then. */
const FILE_BYTES_MAX = 2 ** 26

/** A file: what is written behind its end makes it longer. */
export class GrowingFile extends MemoryDriver {
  constructor(content: Uint8Array = new Uint8Array(0), unitBytes = 512) {
    super(content.length, unitBytes)
    this.data.set(content)
    this.allocated.fill(1)
  }
  override hasZeroInit(): boolean {
    return true
  }
  override *truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    return lengthBytes > FILE_BYTES_MAX ? ENOSPC : yield* super.truncate(lengthBytes, exact, preallocation)
  }
  private grow(endBytes: number): void {
    if (endBytes <= this.data.length) return
    const data = new Uint8Array(endBytes)
    data.set(this.data)
    this.data = data
    const allocated = new Uint8Array(Math.ceil(endBytes / this.unitBytes))
    allocated.set(this.allocated)
    this.allocated = allocated
  }
  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    if (offsetBytes + buffer.length > FILE_BYTES_MAX) return ENOSPC
    this.grow(offsetBytes + buffer.length)
    return yield* super.pwrite(offsetBytes, buffer, flags)
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const insideBytes = Math.min(lengthBytes, this.data.length - offsetBytes)
    return insideBytes <= 0 ? OK : yield* super.pwriteZeroes(offsetBytes, insideBytes, flags)
  }
  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const insideBytes = Math.min(lengthBytes, this.data.length - offsetBytes)
    return insideBytes <= 0 ? OK : yield* super.pdiscard(offsetBytes, insideBytes)
  }
}

export interface ImageStack extends TestBench {
  file: GrowingFile
  fileNode: BlockNode
  node: BlockNode
  driver: Qcow2Driver
  backend: BlockBackend
  /** Closes the image and gives its file. */
  close(): Uint8Array
}

export interface StackOptions {
  open?: Partial<Qcow2OpenOptions>
  node?: Partial<NodeOptions>
  backing?: (bench: TestBench) => BlockNode
  bench?: TestBench
  /** Instead of a file made from the content. */
  file?: GrowingFile
}

/** Opens the image in `content`. */
export function openStack(content: Uint8Array, options: StackOptions = {}): ImageStack {
  const bench = options.bench ?? testBench()
  const file = options.file ?? new GrowingFile(content)
  const fileNode = bench.graph.addNode({ driver: file, options: { discard: 'unmap' } })
  const readOnly = options.open?.readOnly ?? false
  const driver = bench.run(openQcow2(fileNode, { codecs: TEST_CODECS, passDiscardRequest: true, ...options.open }))
  const children: Array<{ name: string; role: 'image' | 'cow'; node: BlockNode }> = [
    { name: 'file', role: 'image', node: fileNode },
  ]
  if (options.backing !== undefined) children.push({ name: 'backing', role: 'cow', node: options.backing(bench) })
  const node = bench.graph.addNode({ driver, children, options: { readOnly, discard: 'unmap', ...options.node } })
  bench.run(driver.start(null))
  const backend = new BlockBackend(bench.graph, '')
  const permission = Permission.ConsistentRead | (readOnly ? 0 : Permission.Write | Permission.Resize)
  backend.attach(node, permission, Permission.All)
  const close = (): Uint8Array => {
    backend.dispose()
    bench.run(bench.graph.removeNode(node))
    return file.data
  }
  return { ...bench, file, fileNode, node, driver, backend, close }
}

/** A new image as bytes. */
export function newImage(options: Qcow2CreateOptions): Uint8Array {
  const bench = testBench()
  const file = new GrowingFile()
  const node = bench.graph.addNode({ driver: file })
  bench.run(createQcow2(node, options))
  return file.data
}

export function newStack(create: Qcow2CreateOptions, options: StackOptions = {}): ImageStack {
  return openStack(newImage(create), options)
}
