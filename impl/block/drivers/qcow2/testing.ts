/** For tests only: an image over a file in memory that grows, with the codecs of the machine. */
import * as zlib from 'node:zlib'
import { type Co, ENOSPC, type Errno, OK } from '../../../co'
import { BlockBackend } from '../../backend'
import type { Codecs } from '../../codec'
import { PORTABLE_CODECS } from '../../codec_portable'
import type { PreallocationMode } from '../../driver'
import { Permission } from '../../flags'
import type { BlockNode, NodeOptions } from '../../node'
import { MemoryDriver, type TestBench, testBench } from '../../testing'
import { decodeHeader } from './header'
import { createQcow2, openQcow2, type Qcow2CreateOptions, type Qcow2Driver, type Qcow2OpenOptions } from './index'
import { compressedBytes, compressedOffset, entryOffset, getRefcount, readU32, readU64 } from './layout'

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
  zlib: PORTABLE_CODECS.zlib,
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

const SECTOR_BYTES = 512

/** What reached a file, in order. */
export type FileEvent = { at: number; data: Uint8Array } | 'flush' | 'end'

/** Records in the order of completion, which is the order of issue here: nothing takes any time. */
export class RecordingFile extends GrowingFile {
  readonly events: FileEvent[] = []
  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    this.events.push({ at: offsetBytes, data: new Uint8Array(buffer) })
    return yield* super.pwrite(offsetBytes, buffer, flags)
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    this.events.push({ at: offsetBytes, data: new Uint8Array(lengthBytes) })
    return yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
  }
  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    this.events.push({ at: offsetBytes, data: new Uint8Array(lengthBytes) })
    return yield* super.pdiscard(offsetBytes, lengthBytes)
  }
  override *flush(): Co<Errno> {
    this.events.push('flush')
    return OK
  }
}

/** Whether a sector of an event stays. */
export type Keeps = (event: number, sector: number) => boolean

/** Writes before `cut` that have not been flushed. */
export function openWrites(events: readonly FileEvent[], cut: number): number[] {
  const open: number[] = []
  const stable = events.slice(0, cut).lastIndexOf('flush')
  for (let index = Math.max(0, stable); index < cut; index++) if (typeof events[index] !== 'string') open.push(index)
  return open
}

/** Nothing, everything, all but one write, one write alone, and random sectors of what was not flushed. */
export function someChoices(events: readonly FileEvent[], cut: number, random: (below: number) => number): Keeps[] {
  const open = openWrites(events, cut)
  const choices: Keeps[] = [() => true]
  if (open.length > 0) choices.push(() => false)
  const chosen = open[random(Math.max(1, open.length))]
  if (open.length > 1) {
    choices.push(
      (event) => event !== chosen,
      (event) => event === chosen,
    )
  }
  const salt = random(1000)
  if (open.length > 0) {
    choices.push((event, sector) => ((Math.imul(event * 31 + sector * 7 + salt, 0x9e3779b1) >>> 16) & 1) === 1)
  }
  return choices
}

/** The file after a cut before event `cut`: of what was not flushed, `keeps` says for each sector written whether it stays. */
export function stateAt({ start, events }: { start: Uint8Array; events: FileEvent[] }, cut: number, keeps: Keeps): Uint8Array {
  let lengthBytes = start.length
  for (let index = 0; index < cut; index++) {
    const event = events[index]!
    if (typeof event !== 'string') lengthBytes = Math.max(lengthBytes, event.at + event.data.length)
  }
  const state = new Uint8Array(Math.ceil(lengthBytes / SECTOR_BYTES) * SECTOR_BYTES)
  state.set(start)
  const stable = events.slice(0, cut).lastIndexOf('flush')
  for (let index = 0; index < cut; index++) {
    const event = events[index]!
    if (typeof event === 'string') continue
    for (let from = event.at; from < event.at + event.data.length; ) {
      const to = Math.min(Math.floor(from / SECTOR_BYTES + 1) * SECTOR_BYTES, event.at + event.data.length)
      if (index < stable || keeps(index, from / SECTOR_BYTES))
        state.set(event.data.subarray(from - event.at, to - event.at), from)
      from = to
    }
  }
  return state
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

/** Integers below a bound, the same everywhere for one seed. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return Math.floor(((state >>> 8) / 2 ** 24) * below)
  }
}

/**
 * A check that shares nothing with the driver but the layout: every cluster that is referred to has its refcount. `isExact`:
 * and no other has one. Throws what is wrong.
 */
export function checkRefcounts(bytes: Uint8Array, isExact = false): void {
  const first = new Uint8Array(2 ** 21)
  first.set(bytes.subarray(0, first.length))
  const header = decodeHeader(first, { isWritable: true, isForCheck: false })
  const cluster = 2 ** header.clusterBits
  const entryBytes = (header.incompatible & 16n) !== 0n ? 16 : 8
  const references = new Map<number, number>()
  const use = (offset: number, length: number): void => {
    for (let at = Math.floor(offset / cluster); at * cluster < offset + length; at++)
      references.set(at, (references.get(at) ?? 0) + 1)
  }
  const padded = (offset: number, length: number): Uint8Array => {
    const part = new Uint8Array(length)
    part.set(bytes.subarray(offset, offset + length))
    return part
  }
  use(0, cluster)
  use(header.l1OffsetBytes, header.l1Entries * 8)
  if (header.cryptoHeader !== null) use(header.cryptoHeader.offsetBytes, header.cryptoHeader.lengthBytes)
  use(header.refcountTableOffsetBytes, header.refcountTableClusters * cluster)
  const table = padded(header.refcountTableOffsetBytes, header.refcountTableClusters * cluster)
  const perBlock = (cluster * 8) >>> header.refcountOrder
  for (let at = 0; at < table.length; at += 8) if (readU64(table, at) !== 0) use(readU64(table, at), cluster)
  const l1 = padded(header.l1OffsetBytes, header.l1Entries * 8)
  for (let index = 0; index < l1.length; index += 8) {
    const l2Offset = entryOffset(readU32(l1, index), readU32(l1, index + 4))
    if (l2Offset === 0) continue
    use(l2Offset, cluster)
    const l2 = padded(l2Offset, cluster)
    for (let at = 0; at < cluster; at += entryBytes) {
      const high = readU32(l2, at)
      const low = readU32(l2, at + 4)
      if ((high & 0x40000000) !== 0) {
        use(compressedOffset(header.clusterBits, high, low), compressedBytes(header.clusterBits, high, low))
      } else if (entryOffset(high, low) !== 0) use(entryOffset(high, low), cluster)
    }
  }
  // The dirty bit says that refcounts will be put right before the image is used.
  if ((header.incompatible & 1n) !== 0n) return
  const clusters = Math.max(Math.ceil(bytes.length / cluster), ...references.keys()) + 1
  for (let index = 0; index < clusters; index++) {
    const count = references.get(index) ?? 0
    const blockOffset = readU64(table, Math.floor(index / perBlock) * 8)
    const block = blockOffset === 0 ? null : padded(blockOffset, cluster)
    const refcount = block === null ? 0 : getRefcount(block, header.refcountOrder, index % perBlock)
    if (refcount < count || (isExact && refcount > count)) {
      throw new Error(`refcount ${refcount} of cluster ${index}, which is used ${count} times`)
    }
  }
}
