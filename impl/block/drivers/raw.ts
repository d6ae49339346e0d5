/**
 * The `raw` format: the image is its file, or with `offset` and `size` a window of it. Everything is handed on to the
 * child as it is, without a frame of its own.
 *
 * What may fail: a window that does not fit its file (BlockError with QEMU's texts), a change of length of a window of
 * fixed size (ENOTSUP), a beginning that is not allowed (EPERM).
 */
import { assert, type Co, EINVAL, ENOTSUP, EPERM, type Errno } from '../../co'
import { BlockDriver, type BlockStatus, type DriverInfo, type PreallocationMode, type StatusMode } from '../driver'
import { BlockError } from '../error'
import { type BlockLimits, RequestFlag } from '../flags'
import type { BlockChild } from '../node'

const SECTOR_BYTES = 512

export interface RawOptions {
  /** Where the image starts in the file; 0 if absent. */
  offsetBytes?: number
  /** Length of the image; absent: all that follows the offset, whatever the file's length becomes. */
  sizeBytes?: number
  /**
   * For an image that is raw only because nobody said what it is: whether these may become its first bytes. A guest that
   * writes the header of a format there would have the image opened as one the next time.
   */
  mayBegin?: (head: Uint8Array) => boolean
}

export class RawDriver extends BlockDriver {
  readonly name = 'raw'
  override get handsOver(): boolean {
    return true
  }
  readonly offsetBytes: number
  readonly sizeBytes: number | null
  private readonly mayBegin: ((head: Uint8Array) => boolean) | null
  private file!: BlockChild

  /** `fileBytes` is the length of the file at present. Throws BlockError if the window does not fit. */
  constructor(options: RawOptions = {}, fileBytes = Number.MAX_SAFE_INTEGER) {
    super()
    const { offsetBytes = 0, sizeBytes } = options
    assert(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0, 'raw-offset', () => String(offsetBytes))
    assert(sizeBytes === undefined || (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0), 'raw-size', () => String(sizeBytes))
    if (offsetBytes > fileBytes) {
      throw new BlockError(`Offset (${offsetBytes}) cannot be greater than size of the containing file (${fileBytes})`)
    }
    if (sizeBytes !== undefined && fileBytes - offsetBytes < sizeBytes) {
      throw new BlockError(
        `The sum of offset (${offsetBytes}) and size (${sizeBytes}) has to be smaller or equal to the ` +
          ` actual size of the containing file (${fileBytes})`,
      )
    }
    if (sizeBytes !== undefined && sizeBytes % SECTOR_BYTES !== 0) {
      throw new BlockError(`Specified size is not multiple of ${SECTOR_BYTES}`)
    }
    this.offsetBytes = offsetBytes
    this.mayBegin = options.mayBegin ?? null
    this.sizeBytes = sizeBytes ?? null
  }

  lengthBytes(): number {
    return this.sizeBytes ?? Math.max(0, this.file.node.lengthBytes - this.offsetBytes)
  }

  override refreshLimits(limits: BlockLimits): void {
    const file = this.node.children.get('file')
    assert(file !== undefined, 'raw-has-file', () => this.node.name)
    this.file = file
    // A window that does not start at a block of the file has smaller blocks; the file's node pads what it must.
    while (this.offsetBytes % limits.requestAlignmentBytes !== 0) limits.requestAlignmentBytes /= 2
    if (this.offsetBytes % (limits.pwriteZeroesAlignmentBytes || 1) !== 0) limits.pwriteZeroesAlignmentBytes = 0
    if (this.offsetBytes % (limits.pdiscardAlignmentBytes || 1) !== 0) limits.pdiscardAlignmentBytes = 0
    if (this.mayBegin !== null) limits.requestAlignmentBytes = Math.max(limits.requestAlignmentBytes, SECTOR_BYTES)
    const below = file.node.driver
    this.supportedWriteFlags = RequestFlag.WriteUnchanged | (RequestFlag.Fua & below.supportedWriteFlags)
    const handedOn = RequestFlag.Fua | RequestFlag.MayUnmap
    this.supportedZeroFlags = RequestFlag.WriteUnchanged | RequestFlag.NoFallback | (handedOn & below.supportedZeroFlags)
  }
  override info(): DriverInfo {
    return this.file.node.driver.info()
  }
  override allocatedBytes(): number | null {
    return this.file.node.driver.allocatedBytes()
  }
  override hasZeroInit(): boolean {
    return this.file.node.driver.hasZeroInit()
  }

  pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const read = this.file.pread(this.offsetBytes + offsetBytes, buffer, flags)
    return this.file.node.hearsEvents ? this.announced('read_aio', read) : read
  }
  pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    if (offsetBytes === 0 && this.mayBegin?.(buffer.subarray(0, SECTOR_BYTES)) === false) return refused()
    const write = this.file.pwrite(this.offsetBytes + offsetBytes, buffer, flags)
    return this.file.node.hearsEvents ? this.announced('write_aio', write) : write
  }
  private *announced(event: string, request: Co<Errno>): Co<Errno> {
    yield* this.file.node.debugEvent(event)
    return yield* request
  }
  override pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    return this.file.pwriteZeroes(this.offsetBytes + offsetBytes, lengthBytes, flags)
  }
  override pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    return this.file.pdiscard(this.offsetBytes + offsetBytes, lengthBytes)
  }

  /** The file knows. Its length may round differently from the image's, so the range is inside both. */
  override blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    return this.file.node.blockStatus(mode, this.offsetBytes + offsetBytes, lengthBytes)
  }

  override *truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    if (this.sizeBytes !== null) return ENOTSUP
    if (lengthBytes > Number.MAX_SAFE_INTEGER - this.offsetBytes) return EINVAL
    return yield* this.file.truncate(lengthBytes + this.offsetBytes, exact, preallocation)
  }
}

function* refused(): Co<Errno> {
  return EPERM
}
