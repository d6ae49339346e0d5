/** What Node throws for a failed system call, as the errno that the block layer passes on. */
import { EIO, type Errno, errnoOfName } from '../co'

/** The positive errno of an error of `fs`; EIO for anything else. */
export function errnoOf(error: unknown): Errno {
  const { errno, code } = (error ?? {}) as { errno?: unknown; code?: unknown }
  if (typeof code === 'string') {
    const known = errnoOfName(code)
    if (known !== undefined) return known
  }
  // Names beyond our table: the number is the system's own on Linux.
  return typeof errno === 'number' && errno < 0 ? -errno : EIO
}
