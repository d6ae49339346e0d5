/**
 * The `null-co` protocol: a disk of any size that stores nothing. Writes succeed; reads give zeroes with `read-zeroes`,
 * and leave the buffer as it was otherwise. For measuring everything but a disk.
 */
import { type Co, type Errno, OK } from '../../co'
import { BlockDriver, type BlockStatus, type StatusMode, statusOf } from '../driver'
import { BlockError } from '../error'
import { RequestFlag, StatusFlag } from '../flags'

const DEFAULT_SIZE_BYTES = 1 << 30

export interface NullOptions {
  /** 1 GiB if absent. */
  sizeBytes?: number
  /** What every request takes; 0 if absent. */
  latencyNs?: number
  readZeroes?: boolean
}

export class NullDriver extends BlockDriver {
  readonly name: string
  override readonly isProtocol = true
  private readonly sizeBytes: number
  private readonly latencyNs: number
  private readonly readZeroes: boolean

  /** Throws BlockError for a negative size or latency. */
  constructor(options: NullOptions = {}, name = 'null-co') {
    super()
    this.name = name
    this.sizeBytes = options.sizeBytes ?? DEFAULT_SIZE_BYTES
    this.latencyNs = options.latencyNs ?? 0
    this.readZeroes = options.readZeroes ?? false
    if (!Number.isSafeInteger(this.sizeBytes) || this.sizeBytes < 0) throw new BlockError('size is invalid')
    if (!Number.isSafeInteger(this.latencyNs) || this.latencyNs < 0) throw new BlockError('latency-ns is invalid')
    this.supportedWriteFlags = RequestFlag.Fua | RequestFlag.WriteUnchanged
    this.supportedZeroFlags = this.supportedWriteFlags | RequestFlag.MayUnmap | RequestFlag.NoFallback
  }

  lengthBytes(): number {
    return this.sizeBytes
  }
  private *take(): Co<Errno> {
    if (this.latencyNs > 0) yield* this.node.kernel.sleepNs(this.latencyNs)
    return OK
  }

  pread(_offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    if (this.readZeroes) buffer.fill(0)
    return this.take()
  }
  pwrite(_offsetBytes: number, _buffer: Uint8Array, _flags: number): Co<Errno> {
    return this.take()
  }
  override pwriteZeroes(_offsetBytes: number, _lengthBytes: number, _flags: number): Co<Errno> {
    return this.take()
  }
  override pdiscard(_offsetBytes: number, _lengthBytes: number): Co<Errno> {
    return this.take()
  }
  override flush(): Co<Errno> {
    return this.take()
  }
  /** There is no data, and without `read-zeroes` nobody knows what reading gives. */
  override *blockStatus(_mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const zero = this.readZeroes ? StatusFlag.Zero : StatusFlag.None
    return statusOf(StatusFlag.OffsetValid | zero, lengthBytes, offsetBytes, this.node)
  }
}
