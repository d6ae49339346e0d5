/**
 * Opening files of the real machine. Regular files and block devices only: anything else has no place to seek to.
 *
 * What may fail: opening, as a BlockError with QEMU's text `Could not open 'PATH': …`.
 */
import * as fs from 'node:fs'
import { BlockError, type HostFile, type HostFiles, type OpenFileOptions, Permission } from '../block'
import { canLock, ImageLock } from '../block/drivers/file_lock'
import { type Co, EFBIG, EINVAL, EISDIR, type Errno, OK, strerror } from '../co'
import { alignedBuffer, DirectTransfers } from './direct'
import { errnoOf } from './errors'
import { FdSets, isFdSetName } from './fd_sets'
import type { HostLoop } from './loop'
import { loadNative, type Native } from './native'
import { fileIdentity, RealFile } from './real_file'
import { NativeTransfers, ThreadTransfers } from './transfers'

const NO_DIRECT = 'filesystem does not support O_DIRECT'
const FILE_MODE = 0o644
const DIRECT_ALIGNMENTS_BYTES = [512, 1024, 2048]
const DIRECT_ALIGNMENT_MAX_BYTES = 4096

export class RealFiles implements HostFiles {
  private readonly loop: HostLoop
  private readonly native: Native | null
  /** What names of the form `/dev/fdset/N` mean. */
  readonly fdSets: FdSets

  constructor(loop: HostLoop, native: Native | null = loadNative()) {
    this.loop = loop
    this.native = native
    this.fdSets = new FdSets(native)
  }

  /** Memory that starts at a page, which the system copies to and from a third faster. */
  allocateBuffer(bytes: number): Uint8Array {
    return this.native === null || bytes === 0 ? new Uint8Array(bytes) : alignedBuffer(this.native, bytes)
  }

  /** False: holes cannot be made, nor told from data. */
  get knowsHoles(): boolean {
    return this.native !== null
  }

  remove(path: string): void {
    fs.rmSync(path, { force: true })
  }

  isDevice(path: string): boolean {
    if (isFdSetName(path)) return this.fdSets.isDevice(path)
    try {
      return fs.statSync(path, { throwIfNoEntry: false })?.isBlockDevice() === true
    } catch {
      return false
    }
  }

  *open(path: string, options: OpenFileOptions): Co<HostFile> {
    return this.openNow(path, options.readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR, options)
  }

  *create(path: string, lengthBytes: number): Co<HostFile> {
    const { O_RDWR, O_CREAT } = fs.constants
    const file = this.openNow(path, O_RDWR | O_CREAT, { direct: false }, 'create')
    try {
      // Emptying a file that others use is what must not happen.
      if (canLock(file)) new ImageLock(file).set(Permission.Write | Permission.Resize, Permission.All & ~Permission.Resize)()
    } catch (error) {
      yield* file.close()
      throw error
    }
    let errno = yield* file.truncate(0)
    if (errno === OK && lengthBytes > 0) errno = yield* file.truncate(lengthBytes)
    if (errno === OK) return file
    yield* file.close()
    throw new BlockError(`Could not resize file: ${strerror(errno)}`, { errno })
  }

  private openNow(
    path: string,
    flags: number,
    { direct, aio }: Omit<OpenFileOptions, 'readOnly'>,
    verb: 'open' | 'create' = 'open',
  ): RealFile {
    const loop = this.loop
    const native = this.native
    if (direct && native === null) throw cannotOpen(path, NO_DIRECT, EINVAL)
    const isReadOnly = (flags & fs.constants.O_RDWR) === 0
    const opened = isFdSetName(path)
      ? this.fdSets.open(path, isReadOnly)
      : { descriptor: openDescriptor(path, flags, direct, verb), closed: () => {} }
    const { descriptor } = opened
    try {
      const stat = fs.fstatSync(descriptor)
      if (!Number.isSafeInteger(stat.size)) throw cannotOpen(path, strerror(EFBIG), EFBIG)
      const plain = aio === 'threads' ? new ThreadTransfers(loop) : new NativeTransfers(loop)
      return new RealFile({
        loop,
        native,
        transfers: direct && native !== null ? new DirectTransfers(plain, native) : plain,
        path,
        descriptor,
        alignmentBytes: direct && native !== null ? directAlignment(descriptor, native) : 1,
        isBlockDevice: stat.isBlockDevice(),
        copiesRanges: !direct && aio !== 'threads',
        isReadOnly,
        onClosed: opened.closed,
      })
    } catch (error) {
      fs.closeSync(descriptor)
      opened.closed()
      throw error
    }
  }
}

function openDescriptor(path: string, flags: number, direct: boolean, verb: 'open' | 'create'): number {
  try {
    // Asking first: to open a pipe would mean to wait for whoever is at its other end.
    refuseStrangers(path, verb)
    return fs.openSync(path, flags | (direct ? fs.constants.O_DIRECT : 0), FILE_MODE)
  } catch (error) {
    if (error instanceof BlockError) throw error
    const errno = errnoOf(error)
    throw cannotOpen(path, direct && errno === EINVAL ? NO_DIRECT : strerror(errno), errno, verb)
  }
}

function cannotOpen(path: string, reason: string, errno: Errno, verb: 'open' | 'create' = 'open'): BlockError {
  return new BlockError(`Could not ${verb} '${path}': ${reason}`, { errno })
}

function refuseStrangers(path: string, verb: 'open' | 'create'): void {
  const stat = fs.statSync(path, { throwIfNoEntry: false })
  if (stat === undefined || stat.isFile() || stat.isBlockDevice()) return
  if (stat.isDirectory()) throw cannotOpen(path, strerror(EISDIR), EISDIR, verb)
  throw cannotOpen(path, 'neither a regular file nor a block device', EINVAL, verb)
}

/** The least length that a direct read takes. An empty file tells nothing: the largest is right everywhere. */
function directAlignment(descriptor: number, native: Native): number {
  const buffer = alignedBuffer(native, DIRECT_ALIGNMENT_MAX_BYTES)
  for (const alignmentBytes of DIRECT_ALIGNMENTS_BYTES) {
    try {
      if (fs.readSync(descriptor, buffer, 0, alignmentBytes, 0) === 0) return DIRECT_ALIGNMENT_MAX_BYTES
      return alignmentBytes
    } catch (error) {
      if (errnoOf(error) !== EINVAL) return DIRECT_ALIGNMENT_MAX_BYTES
    }
  }
  return DIRECT_ALIGNMENT_MAX_BYTES
}

/** What `FileTraits.identity` will be for the file of this name, or null if there is none. */
export function identityOf(path: string): string | null {
  const stat = fs.statSync(path, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? null : fileIdentity(stat)
}
