/**
 * The copying of qemu-img convert: parts of the sources in order, one after another, so that clusters of the target lie in
 * the order of the disk.
 *
 * What may fail: reading and writing, as ToolExit after the complaint.
 * What never may: a part that is left out although the target reads something else there.
 */
import { type BlockBackend, RequestFlag } from '../../../block'
import { assert, type Co, type Errno, OK, strerror } from '../../../co'
import type { Tool } from '../tool'
import { type CopyPlan, type CopySource, type Part, splitAtZeroes } from './copy_plan'
import type { Progress } from './progress'

export interface CopyOptions {
  target: BlockBackend
  /** Reads zero where nothing is written. */
  isTargetZero: boolean
  isCompressed: boolean
  /** 0: everything is written, zeroes too. */
  minSparseBytes: number
  isSalvaging: boolean
  isQuiet: boolean
  /** Bytes a second; 0: no limit. */
  rateBytesPerSecond: number
  /** Flags of every write to the target. */
  writeFlags: number
}

const BUFFER_BYTES = 2 * 2 ** 20
const SECTOR_BYTES = 512
const NS_PER_S = 1e9

export class ConvertCopy {
  private readonly tool: Tool
  private readonly plan: CopyPlan
  private readonly options: CopyOptions
  private readonly progress: Progress
  private readonly buffer: Uint8Array
  private readonly clusterBytes: number
  private readonly unitBytes: number
  private allocatedBytes = 0
  private doneBytes = 0
  private copiedBytes = 0
  private startNs = 0

  constructor(tool: Tool, plan: CopyPlan, options: CopyOptions, progress: Progress) {
    this.tool = tool
    this.plan = plan
    this.options = options
    this.progress = progress
    const node = options.target.root!.node
    const { clusterBytes } = node.driver.info()
    this.clusterBytes = options.isCompressed ? Math.max(clusterBytes, SECTOR_BYTES) : SECTOR_BYTES
    const sparseBytes = options.minSparseBytes === 0 ? SECTOR_BYTES : 2 ** Math.floor(Math.log2(options.minSparseBytes))
    this.unitBytes = Math.max(sparseBytes, node.limits.pwriteZeroesAlignmentBytes, SECTOR_BYTES)
    this.buffer = tool.files.allocateBuffer(Math.max(BUFFER_BYTES, this.clusterBytes))
    assert(this.buffer.length % this.clusterBytes === 0, 'convert-buffer-of-clusters')
  }

  /** Copies everything. Throws ToolExit. */
  *run(): Co<void> {
    const { lengthBytes } = this.plan
    for (let at = 0; at < lengthBytes; ) {
      const part = yield* this.partAt(at)
      if (this.counts(part)) this.allocatedBytes += part.lengthBytes
      at += part.lengthBytes
    }
    this.startNs = this.tool.kernel.nowNs()
    for (let at = 0; at < lengthBytes; ) {
      const part = yield* this.partAt(at)
      yield* this.copy(at, part)
      at += part.lengthBytes
      if (!this.counts(part)) continue
      this.doneBytes += part.lengthBytes
      this.progress.set((this.doneBytes / this.allocatedBytes) * 100)
    }
  }

  /** Whether it is work. */
  private counts({ kind }: Part): boolean {
    return kind === 'data' || (kind === 'zero' && this.options.minSparseBytes === 0)
  }

  private *partAt(atBytes: number): Co<Part> {
    const part = yield* this.plan.partAt(atBytes)
    if (part.errno !== OK) {
      this.tool.fail(`error while reading block status at offset ${atBytes}: ${strerror(part.errno)}`)
    }
    const restBytes = this.plan.lengthBytes - atBytes
    if (this.options.isCompressed && this.clusterBytes > SECTOR_BYTES) {
      // Only whole clusters can be compressed: what is less counts as data with what follows.
      if (part.lengthBytes < this.clusterBytes) {
        return { ...part, kind: 'data', lengthBytes: Math.min(this.clusterBytes, restBytes) }
      }
      if (part.lengthBytes < restBytes) part.lengthBytes -= part.lengthBytes % this.clusterBytes
    }
    if (this.counts(part)) part.lengthBytes = Math.min(part.lengthBytes, this.buffer.length)
    return part
  }

  private *copy(atBytes: number, part: Part): Co<void> {
    if (part.kind === 'backing') return
    if (part.kind === 'zero' && this.options.minSparseBytes > 0) {
      yield* this.writeZeroes(atBytes, part.lengthBytes)
      return
    }
    const buffer = this.buffer.subarray(0, part.lengthBytes)
    if (part.kind === 'zero') buffer.fill(0)
    else yield* this.readAcross(atBytes, buffer)
    yield* this.write(atBytes, buffer)
    yield* this.hold(part.lengthBytes)
  }

  /** Fills the buffer, from as many sources as it touches. */
  private *readAcross(atBytes: number, buffer: Uint8Array): Co<void> {
    for (let done = 0; done < buffer.length; ) {
      const source = this.plan.sourceAt(atBytes + done)
      const insideBytes = atBytes + done - source.startBytes
      const piece = buffer.subarray(done, done + Math.min(buffer.length - done, source.lengthBytes - insideBytes))
      yield* this.read(source, insideBytes, piece)
      done += piece.length
    }
  }

  private *read(source: CopySource, insideBytes: number, buffer: Uint8Array): Co<void> {
    const errno = yield* source.backend.pread(insideBytes, buffer)
    if (errno === OK) return
    const where = source.startBytes + insideBytes
    if (!this.options.isSalvaging) {
      this.tool.fail(`error while reading at byte ${where}: ${strerror(errno)}`)
    }
    if (buffer.length > SECTOR_BYTES) {
      for (let at = 0; at < buffer.length; at += SECTOR_BYTES) {
        yield* this.read(source, insideBytes + at, buffer.subarray(at, at + SECTOR_BYTES))
      }
      return
    }
    if (!this.options.isQuiet) this.tool.complain(`warning: error while reading offset ${where}: ${strerror(errno)}`)
    buffer.fill(0)
  }

  private *write(atBytes: number, buffer: Uint8Array): Co<void> {
    const { minSparseBytes, isCompressed, target, writeFlags } = this.options
    if (isCompressed) {
      for (let at = 0; at < buffer.length; at += this.clusterBytes) {
        const cluster = buffer.subarray(at, at + this.clusterBytes)
        const runs = minSparseBytes === 0 ? [] : splitAtZeroes(cluster, 0, cluster.length, cluster.length)
        if (runs.length === 1 && runs[0]!.isZero) yield* this.writeZeroes(atBytes + at, cluster.length)
        else this.demand(yield* target.pwrite(atBytes + at, cluster, writeFlags | RequestFlag.Compressed), atBytes + at)
      }
      return
    }
    const runs =
      minSparseBytes === 0
        ? [{ isZero: false, startBytes: 0, endBytes: buffer.length }]
        : splitAtZeroes(buffer, atBytes, this.unitBytes, minSparseBytes)
    for (const { isZero, startBytes, endBytes } of runs) {
      if (isZero) yield* this.writeZeroes(atBytes + startBytes, endBytes - startBytes)
      else {
        const at = atBytes + startBytes
        this.demand(yield* target.pwrite(at, buffer.subarray(startBytes, endBytes), writeFlags), at)
      }
    }
  }

  private *writeZeroes(atBytes: number, lengthBytes: number): Co<void> {
    if (this.options.isTargetZero) return
    const flags = RequestFlag.MayUnmap | this.options.writeFlags
    this.demand(yield* this.options.target.pwriteZeroes(atBytes, lengthBytes, flags), atBytes)
  }

  private demand(errno: Errno, atBytes: number): void {
    if (errno !== OK) this.tool.fail(`error while writing at byte ${atBytes}: ${strerror(errno)}`)
  }

  /** Waits until what has been copied is no more than the limit allows. */
  private *hold(bytes: number): Co<void> {
    const { rateBytesPerSecond } = this.options
    this.copiedBytes += bytes
    if (rateBytesPerSecond === 0) return
    const dueNs = this.startNs + Math.floor((this.copiedBytes / rateBytesPerSecond) * NS_PER_S)
    const waitNs = dueNs - this.tool.kernel.nowNs()
    if (waitNs > 0) yield* this.tool.kernel.sleepNs(waitNs)
  }
}
