/**
 * Error numbers as the block layer passes them: 0 is success, a positive number is a Linux errno.
 * I/O never throws for a failing disk; it returns one of these. Text is glibc's `strerror`, because QEMU prints that.
 */

/** 0 for success, otherwise a positive Linux errno. */
export type Errno = number

export const OK = 0
export const EPERM = 1
export const ENOENT = 2
export const EIO = 5
export const EBADF = 9
export const EAGAIN = 11
export const ENOMEM = 12
export const EACCES = 13
export const EBUSY = 16
export const EEXIST = 17
export const EXDEV = 18
export const ENODEV = 19
export const ENOTDIR = 20
export const EISDIR = 21
export const EINVAL = 22
export const ENFILE = 23
export const EMFILE = 24
export const ENOTTY = 25
export const ETXTBSY = 26
export const EFBIG = 27
export const ENOSPC = 28
export const ESPIPE = 29
export const EROFS = 30
export const ERANGE = 34
export const ELOOP = 40
export const ENOMEDIUM = 123
export const EOVERFLOW = 75
export const EOPNOTSUPP = 95
export const ENOTSUP = EOPNOTSUPP
export const ETIMEDOUT = 110
export const ECONNREFUSED = 111
export const EADDRINUSE = 98
export const EADDRNOTAVAIL = 99
export const ENETUNREACH = 101
export const ECONNABORTED = 103
export const ECONNRESET = 104
export const ENOTCONN = 107
export const EHOSTUNREACH = 113
export const ESHUTDOWN = 108
export const EPIPE = 32
export const EDQUOT = 122
export const ECANCELED = 125

const TEXT = new Map<number, readonly [name: string, text: string]>([
  [OK, ['OK', 'Success']],
  [EPERM, ['EPERM', 'Operation not permitted']],
  [ENOENT, ['ENOENT', 'No such file or directory']],
  [EIO, ['EIO', 'Input/output error']],
  [EBADF, ['EBADF', 'Bad file descriptor']],
  [EAGAIN, ['EAGAIN', 'Resource temporarily unavailable']],
  [ENOMEM, ['ENOMEM', 'Cannot allocate memory']],
  [EACCES, ['EACCES', 'Permission denied']],
  [EBUSY, ['EBUSY', 'Device or resource busy']],
  [EEXIST, ['EEXIST', 'File exists']],
  [EXDEV, ['EXDEV', 'Invalid cross-device link']],
  [ENODEV, ['ENODEV', 'No such device']],
  [ENOTDIR, ['ENOTDIR', 'Not a directory']],
  [EISDIR, ['EISDIR', 'Is a directory']],
  [EINVAL, ['EINVAL', 'Invalid argument']],
  [ENFILE, ['ENFILE', 'Too many open files in system']],
  [EMFILE, ['EMFILE', 'Too many open files']],
  [ENOTTY, ['ENOTTY', 'Inappropriate ioctl for device']],
  [ETXTBSY, ['ETXTBSY', 'Text file busy']],
  [EFBIG, ['EFBIG', 'File too large']],
  [ENOSPC, ['ENOSPC', 'No space left on device']],
  [ESPIPE, ['ESPIPE', 'Illegal seek']],
  [EROFS, ['EROFS', 'Read-only file system']],
  [EPIPE, ['EPIPE', 'Broken pipe']],
  [ERANGE, ['ERANGE', 'Numerical result out of range']],
  [ELOOP, ['ELOOP', 'Too many levels of symbolic links']],
  [EOVERFLOW, ['EOVERFLOW', 'Value too large for defined data type']],
  [EOPNOTSUPP, ['EOPNOTSUPP', 'Operation not supported']],
  [EADDRINUSE, ['EADDRINUSE', 'Address already in use']],
  [EADDRNOTAVAIL, ['EADDRNOTAVAIL', 'Cannot assign requested address']],
  [ENETUNREACH, ['ENETUNREACH', 'Network is unreachable']],
  [ECONNABORTED, ['ECONNABORTED', 'Software caused connection abort']],
  [ENOTCONN, ['ENOTCONN', 'Transport endpoint is not connected']],
  [EHOSTUNREACH, ['EHOSTUNREACH', 'No route to host']],
  [ECONNRESET, ['ECONNRESET', 'Connection reset by peer']],
  [ESHUTDOWN, ['ESHUTDOWN', 'Cannot send after transport endpoint shutdown']],
  [ETIMEDOUT, ['ETIMEDOUT', 'Connection timed out']],
  [ECONNREFUSED, ['ECONNREFUSED', 'Connection refused']],
  [EDQUOT, ['EDQUOT', 'Disk quota exceeded']],
  [ENOMEDIUM, ['ENOMEDIUM', 'No medium found']],
  [ECANCELED, ['ECANCELED', 'Operation canceled']],
])

/** The text of an errno, as `strerror` of glibc gives it. */
export function strerror(errno: Errno): string {
  return TEXT.get(errno)?.[1] ?? `Unknown error ${errno}`
}

/** The symbolic name, for traces and reports: `EIO`. */
export function errnoName(errno: Errno): string {
  return TEXT.get(errno)?.[0] ?? `E${errno}`
}

/** The errno of a name such as `ENOSPC`, or undefined; Node reports system errors by name. */
export function errnoOfName(name: string): Errno | undefined {
  for (const [errno, [known]] of TEXT) if (known === name) return errno
  return undefined
}
