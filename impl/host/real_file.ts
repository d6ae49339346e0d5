/**
 * A file or block device of the real machine, behind the interface that the `file` driver knows.
 *
 * What may fail: every call, as an errno; ENOTSUP where the file system or this build cannot do it.
 * What never may: a transfer that is only done in part and reported as done.
 */
import * as fs from 'node:fs'
import { type FileTraits, type HostExtent, type HostFile, readWhole, writeWhole } from '../block'
import { assert, type Co, EBADF, EINVAL, ENODEV, ENOTSUP, EOVERFLOW, EPERM, type Errno, ETXTBSY, EXDEV, OK } from '../co'
import { errnoOf } from './errors'
import type { HostLoop } from './loop'
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, type Native, SEEK_DATA, SEEK_END, SEEK_HOLE } from './native'
import { callBack, type Transfers } from './transfers'

const ENXIO = 6
const ENOSYS = 38
/** `st_blocks` counts in these, whatever the file system. */
const STAT_BLOCK_BYTES = 512

/** What copy_file_range says where it does not work between two files that can be read and written. */
const NO_COPY: ReadonlySet<Errno> = new Set([ENOTSUP, ENOSYS, EXDEV, EINVAL, EPERM, EBADF, ETXTBSY, EOVERFLOW])

export interface RealFileParts {
  loop: HostLoop
  native: Native | null
  transfers: Transfers
  path: string
  descriptor: number
  alignmentBytes: number
  isBlockDevice: boolean
  isReadOnly: boolean
  /** The system may copy to and from this file, in the loop's own thread. */
  copiesRanges: boolean
  /** Hears of the end of the descriptor. */
  onClosed?(): void
}

export class RealFile implements HostFile {
  readonly path: string
  private readonly loop: HostLoop
  private readonly native: Native | null
  private readonly transfers: Transfers
  private readonly descriptor: number
  private readonly alignmentBytes: number
  private readonly isBlockDevice: boolean
  private readonly isReadOnly: boolean
  private readonly canPunchHoles: boolean
  private readonly copiesRanges: boolean
  private readonly onClosed: () => void
  private isOpen = true

  constructor(parts: RealFileParts) {
    this.loop = parts.loop
    this.native = parts.native
    this.transfers = parts.transfers
    this.path = parts.path
    this.descriptor = parts.descriptor
    this.alignmentBytes = parts.alignmentBytes
    this.isBlockDevice = parts.isBlockDevice
    this.copiesRanges = parts.copiesRanges
    this.isReadOnly = parts.isReadOnly
    this.onClosed = parts.onClosed ?? (() => {})
    this.canPunchHoles = this.probeHoles()
  }

  /** A hole beyond the end of a file changes nothing, and tells whether the file system would make one. */
  private probeHoles(): boolean {
    if (this.native === null) return false
    if (this.isReadOnly || this.isBlockDevice) return true
    const beyondBytes = Number(fs.fstatSync(this.descriptor).size)
    const mode = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE
    const errno = this.native.fallocate(this.descriptor, mode, beyondBytes, 1)
    return errno !== ENOTSUP && errno !== ENOSYS
  }

  /** Throws what `fs` throws if the descriptor has become useless. */
  traits(): FileTraits {
    const stat = fs.fstatSync(this.descriptor, { bigint: true })
    return {
      lengthBytes: this.isBlockDevice ? deviceLength(this.descriptor, stat.rdev, this.native) : Number(stat.size),
      allocatedBytes: Number(stat.blocks) * STAT_BLOCK_BYTES,
      isBlockDevice: this.isBlockDevice,
      identity: fileIdentity(stat),
      holeUnitBytes: Number(stat.blksize),
      alignmentBytes: this.alignmentBytes,
      isReadOnly: this.isReadOnly,
      canPunchHoles: this.canPunchHoles,
    }
  }

  pread(offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    const { transfers, descriptor, alignmentBytes } = this
    return readWhole(buffer, alignmentBytes, (at) => transfers.read(descriptor, buffer, at, offsetBytes + at))
  }

  pwrite(offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    const { transfers, descriptor } = this
    return writeWhole(buffer.length, (at) => transfers.write(descriptor, buffer, at, offsetBytes + at))
  }

  private allocation(mode: number, offsetBytes: number, lengthBytes: number): Errno {
    if (this.native === null) return ENOTSUP
    const errno = this.native.fallocate(this.descriptor, mode, offsetBytes, lengthBytes)
    // Devices and old kernels say so in words of their own.
    return errno === ENOSYS || errno === ENODEV ? ENOTSUP : errno
  }
  *punchHole(offsetBytes: number, lengthBytes: number): Co<Errno> {
    return this.allocation(FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offsetBytes, lengthBytes)
  }
  *zeroRange(offsetBytes: number, lengthBytes: number, keepSize: boolean): Co<Errno> {
    return this.allocation(FALLOC_ZERO_RANGE | (keepSize ? FALLOC_KEEP_SIZE : 0), offsetBytes, lengthBytes)
  }
  *allocate(offsetBytes: number, lengthBytes: number): Co<Errno> {
    return this.allocation(0, offsetBytes, lengthBytes)
  }

  /** Not around the host's cache, and not while slow calls are to be made in threads. */
  copiesFrom(source: HostFile): boolean {
    if (!(source instanceof RealFile) || this.native === null) return false
    return this.copiesRanges && source.copiesRanges && !this.isBlockDevice && !source.isBlockDevice
  }

  *copyFrom(source: HostFile, offsetBytes: number, lengthBytes: number): Co<Errno> {
    assert(source instanceof RealFile && this.native !== null, 'copy-between-real-files')
    for (let at = 0; at < lengthBytes; ) {
      const count = this.native.copyRange(source.descriptor, this.descriptor, offsetBytes + at, lengthBytes - at)
      if (count < 0) return NO_COPY.has(-count) ? ENOTSUP : -count
      // File systems without content of their own say that there is nothing.
      if (count === 0) return ENOTSUP
      at += count
    }
    return OK
  }

  setLock(offsetBytes: number, isLocked: boolean): Errno {
    return this.native === null ? ENOTSUP : this.native.setLock(this.descriptor, offsetBytes, isLocked)
  }
  testLock(offsetBytes: number): Errno {
    return this.native === null ? ENOTSUP : this.native.testLock(this.descriptor, offsetBytes)
  }

  *extentAt(offsetBytes: number): Co<HostExtent> {
    if (this.native === null) return { errno: ENOTSUP, isData: true, endBytes: offsetBytes }
    const dataBytes = this.native.seek(this.descriptor, offsetBytes, SEEK_DATA)
    if (dataBytes === -ENXIO) return this.lastHole(offsetBytes)
    if (dataBytes < 0) return extentError(-dataBytes, offsetBytes)
    assert(dataBytes >= offsetBytes, 'seek-forward', () => `${offsetBytes} to ${dataBytes}`)
    if (dataBytes > offsetBytes) return { errno: OK, isData: false, endBytes: dataBytes }
    const holeBytes = this.native.seek(this.descriptor, offsetBytes, SEEK_HOLE)
    if (holeBytes < 0) return extentError(-holeBytes, offsetBytes)
    // The file has changed between the two questions; data is the answer that is never wrong.
    const endBytes = holeBytes === offsetBytes ? offsetBytes + 1 : holeBytes
    return { errno: OK, isData: true, endBytes }
  }

  /** There is no data any more: a hole up to the end of the file, or nothing at all. */
  private lastHole(offsetBytes: number): HostExtent {
    assert(this.native !== null, 'seek-available')
    const endBytes = this.native.seek(this.descriptor, 0, SEEK_END)
    if (endBytes < 0) return extentError(-endBytes, offsetBytes)
    return { errno: OK, isData: false, endBytes: Math.max(offsetBytes, endBytes) }
  }

  *truncate(lengthBytes: number): Co<Errno> {
    if (this.isBlockDevice) return ENOTSUP
    try {
      fs.ftruncateSync(this.descriptor, lengthBytes)
      return OK
    } catch (error) {
      return errnoOf(error)
    }
  }

  sync(): Co<Errno> {
    return this.transfers.sync(this.descriptor)
  }

  /** A file system may report here that earlier writes were lost. */
  *close(): Co<Errno> {
    assert(this.isOpen, 'close-once', () => this.path)
    this.isOpen = false
    const errno = yield* callBack(this.loop, (done) => fs.close(this.descriptor, (error) => done(error ? errnoOf(error) : OK)))
    this.onClosed()
    return errno
  }
}

function extentError(errno: Errno, offsetBytes: number): HostExtent {
  // File systems without the calls refuse the request as such.
  return { errno: errno === EINVAL ? ENOTSUP : errno, isData: true, endBytes: offsetBytes }
}

/** Equal for two names of one file, and for two special files of one device. */
export function fileIdentity(stat: fs.BigIntStats): string {
  return stat.isBlockDevice() ? `device ${stat.rdev}` : `${stat.dev}:${stat.ino}`
}

/** `stat` tells no length for devices. */
function deviceLength(descriptor: number, rdev: bigint, native: Native | null): number {
  if (native !== null) return native.seek(descriptor, 0, SEEK_END)
  const number = Number(rdev)
  const major = (number >>> 8) & 0xfff
  const minor = (number & 0xff) | ((number >>> 12) & 0xfff00)
  const sectors = Number(fs.readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8'))
  assert(Number.isSafeInteger(sectors), 'device-has-length')
  return sectors * STAT_BLOCK_BYTES
}
