/**
 * Our side of an image pair: creates, changes, reads and maps images in real files by the same block layer that everything
 * else uses. Throws what the block layer throws; an errno becomes an exception.
 */
import * as path from 'node:path'
import {
  addBitmap,
  BlockBackend,
  BlockError,
  BlockGraph,
  type BlockNode,
  type CheckFix,
  type CheckResult,
  Permission,
  RequestFlag,
  removeBitmap,
  StatusFlag,
} from '../impl/block'
import type { Codecs } from '../impl/block/codec'
import { createFile, openFile } from '../impl/block/drivers/file'
import {
  createQcow2,
  openQcow2,
  type Qcow2AmendOptions,
  type Qcow2Driver,
  type Qcow2OpenOptions,
} from '../impl/block/drivers/qcow2'
import { RawDriver } from '../impl/block/drivers/raw'
import { type Co, type Errno, OK, strerror } from '../impl/co'
import { HostLoop, RealFiles } from '../impl/host'
import type { CheckVerdict } from './interop_damaged'
import type { InteropImage, InteropOperation } from './interop_plan'

export const NAMES = { top: 'top.qcow2', data: 'top.data', backing: 'backing.img' } as const

/** One extent as `qemu-img map --output=json` tells it, of what we can tell. */
export interface MapEntry {
  start: number
  length: number
  depth: number
  present: boolean
  zero: boolean
  data: boolean
  offset?: number
}

const PIECE_BYTES = 1024 * 1024

/** Snapshots and bitmaps as both sides list them. */
export interface Listed {
  snapshots: Array<{ id: string; name: string }>
  bitmaps: Array<{ name: string; granularity: number; flags: string[] }>
}

function must(errno: Errno, what: string): void {
  if (errno !== OK) throw new Error(`${what}: ${strerror(errno)}`)
}

/** Works on the files of one folder; a graph lives as long as one call. */
export class OurImages {
  private readonly folder: string
  private readonly codecs: Codecs

  constructor(folder: string, codecs: Codecs) {
    this.folder = folder
    this.codecs = codecs
  }

  private run<T>(body: (graph: BlockGraph, files: RealFiles) => Co<T>): Promise<T> {
    const loop = new HostLoop()
    return loop.run(body(new BlockGraph(loop.kernel), new RealFiles(loop)))
  }

  private file(name: string): string {
    return path.join(this.folder, name)
  }

  private *openFileNode(graph: BlockGraph, files: RealFiles, name: string, readOnly: boolean): Co<BlockNode> {
    const driver = yield* openFile(files, { filename: this.file(name), readOnly })
    return graph.addNode({ driver, options: { readOnly, discard: 'unmap' } })
  }

  /** Creates the image below, with what is written to it, and the image. */
  create(image: InteropImage): Promise<void> {
    const self = this
    return this.run(function* (graph, files) {
      if (image.backing !== null) yield* self.createBacking(graph, files, image)
      yield* createFile(graph.kernel, files, { filename: self.file(NAMES.top), sizeBytes: 0 })
      const file = yield* self.openFileNode(graph, files, NAMES.top, false)
      let dataFile: BlockNode | null = null
      if (image.dataFile !== 'none') {
        yield* createFile(graph.kernel, files, { filename: self.file(NAMES.data), sizeBytes: 0 })
        dataFile = yield* self.openFileNode(graph, files, NAMES.data, false)
      }
      const { lengthBytes: sizeBytes, version, clusterBytes, refcountBits, lazyRefcounts, extendedL2, compressionType } = image
      yield* createQcow2(file, {
        ...{ sizeBytes, version, clusterBytes, refcountBits, lazyRefcounts, extendedL2, compressionType },
        preallocation: image.preallocation,
        ...(image.backing === null ? {} : { backingName: NAMES.backing, backingFormat: image.backing.format }),
        ...(dataFile === null ? {} : { dataFile, dataFileName: NAMES.data, dataFileRaw: image.dataFile === 'raw' }),
      })
      yield* graph.removeNode(file)
      if (dataFile !== null) yield* graph.removeNode(dataFile)
    })
  }

  private *createBacking(graph: BlockGraph, files: RealFiles, { backing }: InteropImage): Co<void> {
    const { format, lengthBytes, operations } = backing!
    const isRaw = format === 'raw'
    yield* createFile(graph.kernel, files, { filename: this.file(NAMES.backing), sizeBytes: isRaw ? lengthBytes : 0 })
    if (!isRaw) {
      const file = yield* this.openFileNode(graph, files, NAMES.backing, false)
      yield* createQcow2(file, { sizeBytes: lengthBytes })
      yield* graph.removeNode(file)
    }
    const nodes = yield* this.openBacking(graph, files, format, false)
    yield* this.apply(graph, nodes[0]!, operations)
    for (const node of nodes) yield* graph.removeNode(node)
  }

  /** The image below and the file under it, the upper one first. */
  private *openBacking(graph: BlockGraph, files: RealFiles, format: 'raw' | 'qcow2', readOnly: boolean): Co<BlockNode[]> {
    const file = yield* this.openFileNode(graph, files, NAMES.backing, readOnly)
    const driver = format === 'raw' ? new RawDriver() : yield* openQcow2(file, { readOnly, codecs: this.codecs })
    const node = graph.addNode({
      driver,
      children: [{ name: 'file', role: 'image', node: file }],
      options: { readOnly, discard: 'unmap' },
    })
    if (driver instanceof RawDriver) return [node, file]
    yield* driver.start(null)
    return [node, file]
  }

  /** All nodes of the image, the top first. */
  private *open(graph: BlockGraph, files: RealFiles, image: InteropImage, readOnly: boolean): Co<BlockNode[]> {
    const file = yield* this.openFileNode(graph, files, NAMES.top, readOnly)
    const driver = yield* openQcow2(file, { readOnly, codecs: this.codecs })
    const below = [file]
    const children: Array<{ name: string; role: 'image' | 'cow'; node: BlockNode }> = [
      { name: 'file', role: 'image', node: file },
    ]
    if (image.dataFile !== 'none') {
      const data = yield* this.openFileNode(graph, files, NAMES.data, readOnly)
      children.push({ name: 'data-file', role: 'image', node: data })
      below.push(data)
    }
    if (image.backing !== null) {
      const nodes = yield* this.openBacking(graph, files, image.backing.format, true)
      children.push({ name: 'backing', role: 'cow', node: nodes[0]! })
      below.push(...nodes)
    }
    const node = graph.addNode({ name: 'top', driver, children, options: { readOnly, discard: 'unmap' } })
    yield* driver.start(null)
    return [node, ...below]
  }

  private *apply(graph: BlockGraph, node: BlockNode, operations: readonly InteropOperation[]): Co<void> {
    const backend = new BlockBackend(graph, 'interop')
    backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
    for (const operation of operations) must(yield* execute(backend, operation), `${operation.kind} ${operation.offsetBytes}`)
    must(yield* backend.flush(), 'flush')
    backend.dispose()
  }

  change(image: InteropImage): Promise<void> {
    const self = this
    return this.run(function* (graph, files) {
      const nodes = yield* self.open(graph, files, image, false)
      yield* self.apply(graph, nodes[0]!, image.operations)
      for (const node of nodes) yield* graph.removeNode(node)
    })
  }

  /** Opens the image alone, without anything below it. Gives null where that is refused in words. */
  private withTop<T>(
    wanted: { name?: string; readOnly: boolean; open?: Partial<Qcow2OpenOptions> },
    body: (driver: Qcow2Driver, graph: BlockGraph) => Co<T>,
    lines: string[] = [],
  ): Promise<T | null> {
    const self = this
    const { name = NAMES.top, readOnly } = wanted
    return this.run(function* (graph, files) {
      const file = yield* self.openFileNode(graph, files, name, readOnly)
      const nodes = [file]
      let result: T | null = null
      try {
        const driver = yield* openQcow2(file, { readOnly, codecs: self.codecs, ...wanted.open })
        driver.image.onCorruption = ({ text }) => lines.push(text)
        const children = [{ name: 'file', role: 'image' as const, node: file }]
        nodes.push(graph.addNode({ name: 'top', driver, children, options: { readOnly, discard: 'unmap' } }))
        yield* driver.start(null)
        result = yield* body(driver, graph)
      } catch (error) {
        if (!(error instanceof BlockError) || wanted.open?.forCheck !== true) throw error
        lines.push(error.message)
      }
      for (const node of nodes.reverse()) yield* graph.removeNode(node)
      return result
    })
  }

  /** As `qemu-img check` does it: after a repair it looks again. */
  async checkTwice(name: string, fix: CheckFix): Promise<CheckVerdict> {
    const lines: string[] = []
    const check = (wanted: CheckFix): Promise<CheckResult | null> =>
      this.withTop(
        { name, readOnly: wanted === 'none', open: { forCheck: true } },
        (driver) => driver.checkImage(wanted, (line) => lines.push(line)),
        lines,
      )
    const first = await check(fix)
    if (first === null) return { exitCode: 1, counts: [], lines }
    const hasFixed = first.corruptionsFixed + first.leaksFixed > 0
    const last = hasFixed ? await check('none') : first
    if (last === null || last.errno !== OK) return { exitCode: 1, counts: [], lines }
    const counts = [
      ...[last.corruptions, last.leaks, last.checkErrors, first.corruptionsFixed, first.leaksFixed, last.imageEndOffsetBytes],
      ...[last.totalClusters, last.allocatedClusters, last.fragmentedClusters, last.compressedClusters],
    ]
    return { exitCode: last.checkErrors > 0 ? 1 : last.corruptions > 0 ? 2 : last.leaks > 0 ? 3 : 0, counts, lines }
  }

  async write(image: InteropImage, index: number): Promise<void> {
    const operation = image.operations[index % Math.max(1, image.operations.length)]
    if (operation === undefined) return
    const apply = this.apply.bind(this)
    await this.withTop({ readOnly: false }, (driver, graph) => apply(graph, driver.node, [operation]))
  }

  async snapshot(kind: 'create' | 'apply' | 'delete', name: string): Promise<void> {
    const wanted = { name, dateSeconds: 1_700_000_000, dateNanoseconds: 0, vmClockNs: 0n, vmStateBytes: 0, icount: 0n }
    await this.withTop({ readOnly: false }, function* (driver) {
      if (kind === 'create') must(yield* driver.snapshotCreate(wanted), 'snapshot')
      if (kind === 'apply') must(yield* driver.snapshotApply(name), 'snapshot')
      if (kind === 'delete') must(yield* driver.snapshotDelete(null, name), 'snapshot')
    })
  }

  async bitmap(kind: 'add' | 'remove', name: string): Promise<void> {
    await this.withTop({ readOnly: false }, function* ({ node }) {
      if (kind === 'add') yield* addBitmap(node, { name, persistent: true })
      else yield* removeBitmap(node, name)
    })
  }

  async amend(options: Qcow2AmendOptions): Promise<void> {
    await this.withTop({ readOnly: false }, (driver) => driver.amend(options))
  }

  async list(): Promise<Listed> {
    const listed = await this.withTop({ readOnly: true }, function* (driver): Co<Listed> {
      const snapshots = driver.snapshots().map(({ id, name }) => ({ id, name }))
      return { snapshots, bitmaps: driver.specificInfo().bitmaps ?? [] }
    })
    return listed!
  }

  /** What the disk, or a snapshot of it, reads. */
  async readSnapshot(name: string | null): Promise<Uint8Array> {
    const open = name === null ? {} : { snapshot: { name } }
    const bytes = await this.withTop({ readOnly: true, open }, function* ({ node }, graph) {
      const backend = new BlockBackend(graph, 'interop')
      backend.attach(node, Permission.ConsistentRead, Permission.All)
      const content = new Uint8Array(node.lengthBytes)
      must(yield* backend.pread(0, content), 'read')
      backend.dispose()
      return content
    })
    return bytes!
  }

  /** What a guest reads, and the map of the chain. */
  read(image: InteropImage): Promise<{ bytes: Uint8Array; map: MapEntry[] }> {
    const self = this
    return this.run(function* (graph, files) {
      const nodes = yield* self.open(graph, files, image, true)
      const backend = new BlockBackend(graph, 'interop')
      backend.attach(nodes[0]!, Permission.ConsistentRead, Permission.All)
      const bytes = new Uint8Array(image.lengthBytes)
      for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
        must(yield* backend.pread(at, bytes.subarray(at, Math.min(at + PIECE_BYTES, bytes.length))), `read ${at}`)
      }
      const map = yield* mapOf(nodes[0]!)
      backend.dispose()
      for (const node of nodes) yield* graph.removeNode(node)
      return { bytes, map }
    })
  }
}

function* execute(backend: BlockBackend, { kind, offsetBytes, lengthBytes, pattern }: InteropOperation): Co<Errno> {
  if (kind === 'discard') return yield* backend.pdiscard(offsetBytes, lengthBytes)
  if (kind === 'write-zeroes') return yield* backend.pwriteZeroes(offsetBytes, lengthBytes)
  if (kind === 'unmap') return yield* backend.pwriteZeroes(offsetBytes, lengthBytes, RequestFlag.MayUnmap)
  const flags = kind === 'compressed' ? RequestFlag.Compressed : RequestFlag.None
  return yield* backend.pwrite(offsetBytes, new Uint8Array(lengthBytes).fill(pattern), flags)
}

/** Extents of the chain as `qemu-img map` joins them. */
function* mapOf(top: BlockNode): Co<MapEntry[]> {
  const entries: MapEntry[] = []
  for (let at = 0; at < top.lengthBytes; ) {
    const entry = yield* extentAt(top, at)
    const last = entries[entries.length - 1]
    const isSame =
      last !== undefined &&
      last.depth === entry.depth &&
      last.present === entry.present &&
      last.zero === entry.zero &&
      last.data === entry.data &&
      (last.offset === undefined) === (entry.offset === undefined) &&
      (last.offset === undefined || last.offset + last.length === entry.offset)
    if (isSame) last.length += entry.length
    else entries.push(entry)
    at += entry.length
  }
  return entries
}

/** The first layer that tells something about `at`, and how far it does. */
function* extentAt(top: BlockNode, at: number): Co<MapEntry> {
  let lengthBytes = top.lengthBytes - at
  let node = top
  for (let depth = 0; ; depth++) {
    const status = yield* node.blockStatus('want-zero', at, lengthBytes)
    must(status.errno, `status ${at}`)
    lengthBytes = Math.min(lengthBytes, status.bytes === 0 ? lengthBytes : status.bytes)
    const { flags } = status
    const below = node.below()
    if ((flags & (StatusFlag.Data | StatusFlag.Zero)) === 0 && below !== null) {
      node = below
      continue
    }
    const entry: MapEntry = {
      start: at,
      length: lengthBytes,
      depth,
      present: (flags & StatusFlag.Allocated) !== 0,
      zero: (flags & StatusFlag.Zero) !== 0,
      data: (flags & StatusFlag.Data) !== 0,
    }
    if ((flags & StatusFlag.OffsetValid) !== 0) entry.offset = status.mapOffsetBytes
    return entry
  }
}
