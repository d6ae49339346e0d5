/**
 * System calls that Node does not have: allocation and deallocation of ranges, holes and data, and the address of memory
 * for O_DIRECT. They come through koffi, which is optional: without it, or with MIRRORSIM_NO_NATIVE=1, or elsewhere than
 * on Linux, there are none, and files are copied correctly but less sparsely.
 *
 * Every call returns an errno as a value; an interrupted call is repeated.
 */
import { assert, EAGAIN, EIO, type Errno, OK } from '../co'

export const FALLOC_KEEP_SIZE = 1
export const FALLOC_PUNCH_HOLE = 2
export const FALLOC_ZERO_RANGE = 16

export const SEEK_END = 2
export const SEEK_DATA = 3
export const SEEK_HOLE = 4

const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2
const F_OFD_GETLK = 36
const F_OFD_SETLK = 37

const F_DUPFD_CLOEXEC = 1030

const EINTR = 4
const INTERRUPTIONS_MAX = 1000

export interface Native {
  fallocate(descriptor: number, mode: number, offsetBytes: number, lengthBytes: number): Errno
  /** The new position, or a negative errno. Nothing else uses the position of a descriptor. */
  seek(descriptor: number, offsetBytes: number, whence: number): number
  /** copy_file_range between the same places of two files: the number of bytes, or a negative errno. */
  copyRange(source: number, target: number, offsetBytes: number, lengthBytes: number): number
  /** F_OFD_SETLK of one byte: a shared lock, or none. */
  setLock(descriptor: number, offsetBytes: number, isLocked: boolean): Errno
  /** F_OFD_GETLK of one byte: EAGAIN if another open file has a lock there. */
  testLock(descriptor: number, offsetBytes: number): Errno
  /** F_DUPFD_CLOEXEC: another descriptor of the same open file, or a negative errno. */
  duplicate(descriptor: number): number
  /** Where a buffer lies in memory, modulo `alignmentBytes` (a power of two). */
  misalignment(buffer: Uint8Array, alignmentBytes: number): number
}

/** The part of koffi that is used. */
interface Koffi {
  /** null: the symbols of this process. */
  load(path: null): { func(prototype: string): (...args: Array<number | string | ArrayBufferView>) => number | bigint }
  errno(): number
  address(memory: Uint8Array): bigint
}

let loaded: Native | null | undefined

/** The native calls, or null where there are none. Asked for once; koffi takes some milliseconds to load. */
export function loadNative(): Native | null {
  if (process.env['MIRRORSIM_NO_NATIVE'] === '1' || process.platform !== 'linux') return null
  if (loaded === undefined) loaded = bind()
  return loaded
}

function bind(): Native | null {
  let koffi: Koffi
  try {
    koffi = require('koffi')
  } catch {
    return null
  }
  // The process itself: whichever C library Node runs on.
  const library = koffi.load(null)
  const fallocate = library.func('int fallocate(int fd, int mode, int64_t offset, int64_t len)')
  const lseek = library.func('int64_t lseek(int fd, int64_t offset, int whence)')
  const copyFileRange = library.func(
    'int64_t copy_file_range(int in, int64_t *from, int out, int64_t *to, size_t len, uint flags)',
  )
  const fcntl = library.func('int fcntl(int fd, int command, ...)')
  // struct flock: type and whence, then start and length, then a process number, which must be 0.
  const flock = new BigInt64Array(4)
  const flockTypes = new Int16Array(flock.buffer)

  function lockCall(descriptor: number, command: number, type: number, offsetBytes: number): Errno {
    assert(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0, 'lock-offset', () => String(offsetBytes))
    flock.fill(0n)
    flockTypes[0] = type
    flock[1] = BigInt(offsetBytes)
    flock[2] = 1n
    return fcntl(descriptor, command, 'void *', flock) === 0 ? OK : koffi.errno()
  }
  const answer = (value: number | bigint): number => (value >= 0 ? Number(value) : -koffi.errno())
  const from = new BigInt64Array(1)
  const to = new BigInt64Array(1)

  return {
    copyRange(source, target, offsetBytes, lengthBytes) {
      assert(offsetBytes >= 0 && lengthBytes > 0, 'copy-range', () => `${offsetBytes}+${lengthBytes}`)
      for (let attempt = 0; attempt < INTERRUPTIONS_MAX; attempt++) {
        from[0] = to[0] = BigInt(offsetBytes)
        const count = Number(copyFileRange(source, from, target, to, lengthBytes, 0))
        if (count >= 0) return count
        const errno = koffi.errno()
        if (errno !== EINTR) return -errno
      }
      return -EIO
    },
    fallocate(descriptor, mode, offsetBytes, lengthBytes) {
      assert(offsetBytes >= 0 && lengthBytes > 0, 'fallocate-range', () => `${offsetBytes}+${lengthBytes}`)
      for (let attempt = 0; attempt < INTERRUPTIONS_MAX; attempt++) {
        if (fallocate(descriptor, mode, offsetBytes, lengthBytes) === 0) return OK
        const errno = koffi.errno()
        if (errno !== EINTR) return errno
      }
      return EIO
    },
    setLock(descriptor, offsetBytes, isLocked) {
      return lockCall(descriptor, F_OFD_SETLK, isLocked ? F_RDLCK : F_UNLCK, offsetBytes)
    },
    testLock(descriptor, offsetBytes) {
      const errno = lockCall(descriptor, F_OFD_GETLK, F_WRLCK, offsetBytes)
      if (errno !== OK) return errno
      return flockTypes[0] === F_UNLCK ? OK : EAGAIN
    },
    seek: (descriptor, offsetBytes, whence) => answer(lseek(descriptor, offsetBytes, whence)),
    duplicate: (descriptor) => answer(fcntl(descriptor, F_DUPFD_CLOEXEC, 'int', 0)),
    misalignment(buffer, alignmentBytes) {
      assert(buffer.length > 0, 'buffer-has-address')
      return Number(koffi.address(buffer) & BigInt(alignmentBytes - 1))
    },
  }
}
