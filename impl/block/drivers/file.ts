/**
 * The `file` protocol: a regular file or a block device of the host, which is an interface here (hostfile.ts), so that
 * the driver runs on simulated files just as well.
 *
 * What may fail: the file, as an errno. What a file system cannot do is remembered and not tried again: ranges are zeroed
 * by the next best way, down to ENOTSUP, and everything is data where holes cannot be told from it.
 * What never may: a file that grows because a node is whole sectors long; a flush that succeeds after one has failed, for
 * the host may have dropped what could not be written.
 *
 * Programs that use one file hear of each other by locks (file_lock.ts), where the host has them.
 */
import { assert, type Co, EACCES, EINVAL, ENOTSUP, EPERM, EROFS, type Errno, type Kernel, OK, strerror } from '../../co'
import { BlockDriver, type BlockStatus, type DriverInfo, type PreallocationMode, type StatusMode, statusOf } from '../driver'
import { BlockError } from '../error'
import { type BlockLimits, RequestFlag, StatusFlag } from '../flags'
import type { FileTraits, HostFile, HostFiles, OpenFileOptions } from '../hostfile'
import { isZero, ZERO_PIECE_BYTES, zeroBytes } from '../zero_detect'
import { canLock, ImageLock } from './file_lock'

const SECTOR_BYTES = 512
const FIRST_BLOCK_BYTES = 4096

/** The options of blockdev-add that concern the file; `discard`, `detect-zeroes` and `read-only` are the node's. */
export interface FileOptions {
  filename: string
  readOnly?: boolean
  /** cache.direct: around the host's cache, with the alignment that it asks for. */
  direct?: boolean
  /** cache.no-flush: flushes do nothing. */
  noFlush?: boolean
  aio?: 'threads' | 'native' | 'io_uring'
  /** Opens for reading what may not be written to; `FileDriver.isReadOnly` tells. */
  autoReadOnly?: boolean
  /** auto: if the host has locks. */
  locking?: 'auto' | 'on' | 'off'
  /** As users see it; `file` if absent. */
  driverName?: 'file' | 'host_device'
}

/** Opens an image file. Throws BlockError with QEMU's texts. */
export function* openFile(files: HostFiles, options: FileOptions): Co<FileDriver> {
  const { aio, readOnly = false, direct = false } = options
  if (aio === 'native' && !direct) {
    throw new BlockError('aio=native was specified, but it requires cache.direct=on, which was not specified.')
  }
  if (aio === 'io_uring') throw new BlockError('aio=io_uring was specified, but is not supported in this build.')
  const { locking = 'auto', noFlush = false } = options
  const how: OpenFileOptions = { readOnly, direct, ...(aio === undefined ? {} : { aio }) }
  const file = yield* openPermitted(files, options, how)
  const hasLocks = locking !== 'off' && canLock(file)
  if (locking === 'on' && !hasLocks) {
    yield* file.close()
    throw new BlockError('File locks are not supported: use locking=auto or locking=off')
  }
  const driver = new FileDriver(file, noFlush, hasLocks ? new ImageLock(file) : null, options.driverName)
  driver.becomesWritable = options.autoReadOnly === true && !readOnly
  driver.openAgain = (isReadOnly) => files.open(options.filename, { ...how, readOnly: isReadOnly })
  return driver
}

function* openPermitted(files: HostFiles, { filename, autoReadOnly }: FileOptions, how: OpenFileOptions): Co<HostFile> {
  try {
    return yield* files.open(filename, how)
  } catch (error) {
    const isForbidden = error instanceof BlockError && [EACCES, EPERM, EROFS].includes(error.errno)
    if (autoReadOnly !== true || how.readOnly || !isForbidden) throw error
    return yield* files.open(filename, { ...how, readOnly: true })
  }
}

/** Creates an image file, or empties the one that is there. Throws BlockError; the file is left empty then. */
export function* createFile(
  kernel: Kernel,
  files: HostFiles,
  options: { filename: string; sizeBytes: number; preallocation?: PreallocationMode; allocatesFirstBlock?: boolean },
): Co<void> {
  assert(Number.isSafeInteger(options.sizeBytes) && options.sizeBytes >= 0, 'image-size', () => String(options.sizeBytes))
  const file = yield* files.create(options.filename, 0)
  let errno = yield* resize(kernel, file, 0, options.sizeBytes, options.preallocation ?? 'off')
  // As QEMU does, so that whoever opens the file can find its alignment out by reading: a hole takes any.
  if (errno === OK && options.allocatesFirstBlock === true && options.sizeBytes > 0) {
    const bytes = options.sizeBytes < FIRST_BLOCK_BYTES ? SECTOR_BYTES : FIRST_BLOCK_BYTES
    errno = yield* file.pwrite(0, zeroBytes(bytes))
  }
  const closeErrno = yield* file.close()
  const failure = errno === OK ? closeErrno : errno
  if (failure !== OK) throw new BlockError(`Could not resize file: ${strerror(failure)}`, { errno: failure })
}

/** Changes the length of a file; what it gains reads zero. The old length is put back if that fails. */
function* resize(
  kernel: Kernel,
  file: HostFile,
  oldBytes: number,
  newBytes: number,
  preallocation: PreallocationMode,
): Co<Errno> {
  if (preallocation === 'metadata') return ENOTSUP
  if (preallocation !== 'off' && newBytes < oldBytes) return EINVAL
  if (preallocation === 'off' || newBytes === oldBytes) return yield* file.truncate(newBytes)
  let errno = preallocation === 'falloc' ? yield* file.allocate(oldBytes, newBytes - oldBytes) : ENOTSUP
  // Writing zeroes allocates everywhere.
  if (errno === ENOTSUP) errno = yield* file.truncate(newBytes)
  else if (errno === OK) return OK
  for (let at = oldBytes; at < newBytes && errno === OK; at += ZERO_PIECE_BYTES) {
    errno = yield* file.pwrite(at, zeroBytes(Math.min(ZERO_PIECE_BYTES, newBytes - at)))
    yield* kernel.sleepNs(0)
  }
  // The error that is reported is the first one.
  if (errno !== OK) yield* file.truncate(oldBytes)
  return errno
}

export class FileDriver extends BlockDriver {
  readonly name: string
  override readonly isProtocol = true
  override becomesWritable = false
  file: HostFile
  /** As the file was when it was opened; its length is `lengthBytes()`. */
  traits: FileTraits
  /** Opens the file once more; null: it stays as it is. Throws BlockError. */
  openAgain: ((isReadOnly: boolean) => Co<HostFile>) | null = null
  private readonly noFlush: boolean
  private readonly lock: ImageLock | null
  /** To the byte, while the node is whole sectors long. */
  private fileBytes: number
  private canPunch: boolean
  private canZeroRange = true
  private canAllocate = true
  private canSeek = true
  private canCopy = true
  /** The extent of data that was asked for last: files of many extents are slow to search. */
  private extentStartBytes = 0
  private extentEndBytes = 0
  private extentIsData = false
  /** Raised by what makes data of holes, and the other way round: an answer that was overtaken by it is not kept. */
  private writes = 0
  private removals = 0
  private flushErrno: Errno = OK

  constructor(file: HostFile, noFlush = false, lock: ImageLock | null = null, name = 'file') {
    super()
    this.name = name
    this.file = file
    this.traits = file.traits()
    this.noFlush = noFlush
    this.lock = lock
    this.fileBytes = this.traits.lengthBytes
    this.canPunch = this.traits.canPunchHoles !== false
    this.supportedZeroFlags = RequestFlag.NoFallback | (this.canPunch ? RequestFlag.MayUnmap : 0)
    assert(Number.isSafeInteger(this.fileBytes) && this.fileBytes >= 0, 'file-length', () => String(this.fileBytes))
  }

  override filename(): string {
    return this.file.path
  }
  lengthBytes(): number {
    return this.fileBytes
  }
  /** The node has to be so too. */
  get isReadOnly(): boolean {
    return this.traits.isReadOnly === true
  }
  override refreshLimits(limits: BlockLimits): void {
    limits.requestAlignmentBytes = this.traits.alignmentBytes
    limits.memoryAlignmentBytes = this.traits.alignmentBytes
  }
  override info(): DriverInfo {
    return { clusterBytes: 0, subclusterBytes: this.traits.holeUnitBytes }
  }
  override allocatedBytes(): number | null {
    return this.traits.isBlockDevice ? null : this.file.traits().allocatedBytes
  }
  override hasZeroInit(): boolean {
    return !this.traits.isBlockDevice
  }

  pread(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    return this.file.pread(offsetBytes, buffer)
  }

  *pwrite(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    const data = offsetBytes + buffer.length <= this.fileBytes ? buffer : this.clip(offsetBytes, buffer)
    if (data.length === 0) return OK
    const errno = yield* this.file.pwrite(offsetBytes, data)
    this.noteWrite()
    if (errno === OK) this.fileBytes = Math.max(this.fileBytes, offsetBytes + data.length)
    return errno
  }

  /**
   * Zeroes after the last byte of the file are there already. Anything else makes the file longer, to its last sector; direct
   * I/O does so to the end of the block in which the file ends.
   */
  private clip(offsetBytes: number, buffer: Uint8Array): Uint8Array {
    const { alignmentBytes } = this.traits
    const insideBytes = Math.max(0, this.fileBytes - offsetBytes)
    assert(insideBytes < buffer.length, 'clip-beyond-end')
    if (this.isGrowing(offsetBytes + buffer.length) || !isZero(buffer.subarray(insideBytes))) return buffer
    return buffer.subarray(0, Math.ceil(insideBytes / alignmentBytes) * alignmentBytes)
  }

  /**
   * Whether a change up to `endBytes` goes beyond the last sector, or with direct I/O the last block: only a format does
   * that, whose file grows by it even where what it writes is zero.
   */
  private isGrowing(endBytes: number): boolean {
    const { alignmentBytes, isBlockDevice } = this.traits
    const blockEndBytes = Math.ceil(this.fileBytes / alignmentBytes) * alignmentBytes
    return !isBlockDevice && endBytes > Math.max(this.node.lengthBytes, blockEndBytes)
  }

  /** Holes may have become data; data stays what it is. */
  private noteWrite(): void {
    this.writes++
  }
  /** Nothing is known any more. */
  private noteRemoval(): void {
    this.removals++
    this.extentEndBytes = this.extentStartBytes
  }

  override copiesFrom(source: BlockDriver): boolean {
    return this.canCopy && source instanceof FileDriver && this.file.copiesFrom?.(source.file) === true
  }

  /** Not for a range that reaches beyond the last byte of either file, as a last sector may. */
  override *copyFrom(source: BlockDriver, offsetBytes: number, lengthBytes: number): Co<Errno> {
    assert(source instanceof FileDriver && source !== this, 'copy-between-files')
    if (offsetBytes + lengthBytes > Math.min(this.fileBytes, source.fileBytes)) return ENOTSUP
    assert(this.file.copyFrom !== undefined, 'host-copies-ranges')
    const errno = yield* this.file.copyFrom(source.file, offsetBytes, lengthBytes)
    this.noteWrite()
    if (errno === ENOTSUP) this.canCopy = false
    return errno
  }

  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const endBytes = offsetBytes + lengthBytes
    const insideBytes = Math.min(lengthBytes, this.fileBytes - offsetBytes)
    const isGrowing = this.isGrowing(endBytes)
    const errno = insideBytes > 0 ? yield* this.zero(offsetBytes, insideBytes, (flags & RequestFlag.MayUnmap) !== 0) : OK
    this.noteRemoval()
    if (errno !== OK || !isGrowing) return errno
    const growErrno = yield* this.grow(offsetBytes, endBytes, (flags & RequestFlag.MayUnmap) !== 0)
    if (growErrno === OK) this.fileBytes = Math.max(this.fileBytes, endBytes)
    return growErrno
  }

  /**
   * Makes the file longer by what reads zero. Never by a change of length: a write further behind that is on its way would be
   * cut off by it. With `isHole` no more than the last block is allocated.
   */
  private *grow(offsetBytes: number, endBytes: number, isHole: boolean): Co<Errno> {
    const unitBytes = Math.max(SECTOR_BYTES, this.traits.alignmentBytes)
    const lastBytes = Math.max(offsetBytes, endBytes - unitBytes)
    const from = isHole ? lastBytes : Math.max(offsetBytes, this.fileBytes)
    // Somebody else has made it longer meanwhile; this part of it has been left alone and reads zero.
    if (from >= endBytes) return OK
    assert(from >= offsetBytes && lastBytes >= offsetBytes, 'grow-inside-request')
    if (this.canAllocate) {
      const errno = yield* this.file.allocate(from, endBytes - from)
      if (errno !== ENOTSUP) return errno
      this.canAllocate = false
    }
    return yield* this.file.pwrite(lastBytes, zeroBytes(endBytes - lastBytes))
  }

  private *zero(offsetBytes: number, lengthBytes: number, mayUnmap: boolean): Co<Errno> {
    if (mayUnmap) {
      const errno = yield* this.punch(offsetBytes, lengthBytes)
      if (errno !== ENOTSUP) return errno
    }
    if (this.canZeroRange) {
      const errno = yield* this.file.zeroRange(offsetBytes, lengthBytes, true)
      if (errno === ENOTSUP) this.canZeroRange = false
      else if (errno !== EINVAL) return errno
    }
    // What has been deallocated reads zero when it is allocated again.
    if (!this.canAllocate) return ENOTSUP
    const errno = yield* this.punch(offsetBytes, lengthBytes)
    if (errno !== OK) return errno
    const allocateErrno = yield* this.file.allocate(offsetBytes, lengthBytes)
    if (allocateErrno === ENOTSUP) this.canAllocate = false
    return allocateErrno
  }

  /** ENOTSUP also for a range that the medium does not deallocate as it stands. */
  private *punch(offsetBytes: number, lengthBytes: number): Co<Errno> {
    if (!this.canPunch) return ENOTSUP
    assert(lengthBytes > 0 && offsetBytes + lengthBytes <= this.fileBytes, 'punch-inside')
    const errno = yield* this.file.punchHole(offsetBytes, lengthBytes)
    if (errno === ENOTSUP) this.canPunch = false
    return errno === EINVAL ? ENOTSUP : errno
  }

  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const insideBytes = Math.min(lengthBytes, this.fileBytes - offsetBytes)
    if (insideBytes <= 0) return OK
    const errno = yield* this.punch(offsetBytes, insideBytes)
    this.noteRemoval()
    return errno
  }

  override *flush(): Co<Errno> {
    if (this.noFlush) return OK
    if (this.flushErrno === OK) this.flushErrno = yield* this.file.sync()
    return this.flushErrno
  }

  /** Everything is allocated here, holes included: there is no layer below that could show through. */
  override *blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    if (mode === 'allocation-only') return this.dataFor(offsetBytes, lengthBytes)
    if (offsetBytes >= this.fileBytes) return this.zeroFor(offsetBytes, lengthBytes)
    const isKnown = offsetBytes >= this.extentStartBytes && offsetBytes < this.extentEndBytes
    // No answer means that there may be data, and reading will say what is wrong.
    if (!isKnown && !(yield* this.learn(offsetBytes))) return this.dataFor(offsetBytes, lengthBytes)
    const status = this.alignedStatus(offsetBytes, lengthBytes)
    // Others may fill a hole, of whom nobody tells us; data that they remove is data to us, and no harm is done.
    if (!this.extentIsData) this.extentEndBytes = this.extentStartBytes
    return status
  }

  private *learn(offsetBytes: number): Co<boolean> {
    if (!this.canSeek) return false
    const { writes, removals } = this
    const extent = yield* this.file.extentAt(offsetBytes)
    if (extent.errno === ENOTSUP) this.canSeek = false
    if (extent.errno !== OK || extent.endBytes <= offsetBytes) return false
    if (removals !== this.removals || (writes !== this.writes && !extent.isData)) return false
    this.extentStartBytes = offsetBytes
    this.extentEndBytes = extent.endBytes
    this.extentIsData = extent.isData
    return true
  }

  /** The known extent, cut to the range: whole blocks, and the last block of the file belongs to its last extent. */
  private alignedStatus(offsetBytes: number, lengthBytes: number): BlockStatus {
    const { extentEndBytes, fileBytes } = this
    const extentIsData = this.extentIsData
    const isLast = extentEndBytes >= fileBytes
    if (isLast && !extentIsData) return this.zeroFor(offsetBytes, lengthBytes)
    const unitBytes = Math.max(this.traits.alignmentBytes, isLast ? SECTOR_BYTES : 1)
    const overBytes = extentEndBytes % unitBytes
    if (extentIsData) {
      const roundedBytes = overBytes === 0 ? extentEndBytes : extentEndBytes + unitBytes - overBytes
      return this.dataFor(offsetBytes, Math.min(roundedBytes - offsetBytes, lengthBytes))
    }
    const wholeBytes = extentEndBytes - overBytes - offsetBytes
    if (wholeBytes <= 0) return this.dataFor(offsetBytes, Math.min(unitBytes, lengthBytes))
    return this.zeroFor(offsetBytes, Math.min(wholeBytes, lengthBytes))
  }

  private dataFor(offsetBytes: number, bytes: number): BlockStatus {
    assert(bytes > 0, 'status-not-empty')
    return statusOf(StatusFlag.Allocated | StatusFlag.Data | StatusFlag.OffsetValid, bytes, offsetBytes, this.node)
  }
  private zeroFor(offsetBytes: number, bytes: number): BlockStatus {
    assert(bytes > 0, 'status-not-empty')
    return statusOf(StatusFlag.Allocated | StatusFlag.Zero | StatusFlag.OffsetValid, bytes, offsetBytes, this.node)
  }

  /** Devices stay as they are; one that is longer than asked for will do, unless `exact`. */
  override *truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    const { fileBytes } = this
    if (this.traits.isBlockDevice) {
      if (lengthBytes > fileBytes) return EINVAL
      return exact && lengthBytes !== fileBytes ? ENOTSUP : OK
    }
    const errno = yield* resize(this.node.kernel, this.file, fileBytes, lengthBytes, preallocation)
    this.noteRemoval()
    if (errno === OK) this.fileBytes = lengthBytes
    return errno
  }

  /** The file is opened in the other way, and takes the place of what was open. */
  override *setReadOnly(isReadOnly: boolean): Co<void> {
    if (this.isReadOnly === isReadOnly || this.openAgain === null) return
    const file = yield* this.openAgain(isReadOnly)
    const traits = file.traits()
    if (traits.identity !== this.traits.identity) {
      yield* file.close()
      throw new BlockError(`Could not reopen '${this.file.path}': it is another file now`)
    }
    const errno = this.lock?.moveTo(file) ?? OK
    if (errno !== OK) {
      yield* file.close()
      throw new BlockError(`Could not lock '${this.file.path}' again: ${strerror(errno)}`, { errno })
    }
    const old = this.file
    this.file = file
    this.traits = traits
    this.fileBytes = traits.lengthBytes
    this.noteRemoval()
    yield* old.close()
  }

  /** Others may have changed all of it. */
  override *activate(): Co<void> {
    this.traits = this.file.traits()
    this.fileBytes = this.traits.lengthBytes
    this.noteRemoval()
  }

  override setPermissions(permission: number, shared: number): (() => void) | null {
    return this.lock === null ? null : this.lock.set(permission, shared)
  }

  override close(): Co<Errno> {
    return this.file.close()
  }
}
