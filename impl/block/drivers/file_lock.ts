/**
 * Locks by which programs that use one image file tell each other what they do with it, byte for byte those of QEMU
 * (file-posix.c, `RAW_LOCK_PERM_BASE`): a shared lock on byte 100 + n says that permission n is in use, one on byte 200 + n
 * that nobody else may use it. Locks are shared so that any number can hold one; who comes later looks for the opposite.
 *
 * What may fail: taking a permission that somebody else excludes, or excluding one that is in use: LockError, with the
 * locks as they were. Giving locks up never fails.
 */
import { assert, EAGAIN, type Errno, OK, strerror } from '../../co'
import { BlockError } from '../error'
import { Permission } from '../flags'
import type { HostFile } from '../hostfile'
import { permissionNames } from '../permissions'

const IN_USE_AT_BYTES = 100
const EXCLUDED_AT_BYTES = 200
const PERMISSION_BITS = 4

/** The text is QEMU's; it follows with the hint `Is another process using the image [PATH]?`. */
export class LockError extends BlockError {
  readonly path: string
  constructor(path: string, text: string, errno: Errno) {
    super(text, { errno, hint: `Is another process using the image [${path}]?` })
    this.name = 'LockError'
    this.path = path
  }
}

/** Whether the file's system has such locks. */
export function canLock(file: HostFile): boolean {
  if (file.setLock === undefined || file.testLock === undefined) return false
  const errno = file.testLock(IN_USE_AT_BYTES)
  return errno === OK || errno === EAGAIN
}

export class ImageLock {
  private file: HostFile
  private permission: number = Permission.None
  private shared: number = Permission.All

  /** Nothing is locked at first; closing the file gives everything up. */
  constructor(file: HostFile) {
    assert(file.setLock !== undefined && file.testLock !== undefined, 'file-has-locks')
    this.file = file
  }

  /**
   * Says that `permission` is in use, and that others may use `shared` only. Throws LockError. Gives what takes the change
   * back.
   */
  set(permission: number, shared: number): () => void {
    const { permission: oldPermission, shared: oldShared } = this
    const using = permission & ~oldPermission
    const excluding = oldShared & ~shared
    // Both sides lock before they look: of two that come together, one at least sees the other.
    const failure =
      this.lock(IN_USE_AT_BYTES, using, true) ??
      this.lock(EXCLUDED_AT_BYTES, excluding, true) ??
      this.check(EXCLUDED_AT_BYTES, using, '') ??
      this.check(IN_USE_AT_BYTES, excluding, 'shared ')
    if (failure !== null) {
      this.lock(IN_USE_AT_BYTES, using, false)
      this.lock(EXCLUDED_AT_BYTES, excluding, false)
      throw failure
    }
    this.change(permission, shared)
    return () => {
      this.lock(IN_USE_AT_BYTES, oldPermission & ~permission, true)
      this.lock(EXCLUDED_AT_BYTES, shared & ~oldShared, true)
      this.change(oldPermission, oldShared)
    }
  }

  /** Takes the same locks on another descriptor of the same file; nothing has changed if that fails. */
  moveTo(file: HostFile): Errno {
    assert(file.setLock !== undefined, 'file-has-locks')
    for (let bit = 0; bit < PERMISSION_BITS; bit++) {
      const isUsed = (this.permission & (1 << bit)) !== 0
      const isExcluded = (this.shared & (1 << bit)) === 0
      const usedErrno = isUsed ? file.setLock(IN_USE_AT_BYTES + bit, true) : OK
      const errno = usedErrno === OK && isExcluded ? file.setLock(EXCLUDED_AT_BYTES + bit, true) : usedErrno
      if (errno !== OK) return errno
    }
    this.file = file
    return OK
  }

  /** Gives up what is not needed any more. */
  private change(permission: number, shared: number): void {
    assert(((permission | shared) & ~Permission.All) === 0, 'permission-bits')
    this.lock(IN_USE_AT_BYTES, this.permission & ~permission, false)
    this.lock(EXCLUDED_AT_BYTES, shared & ~this.shared, false)
    this.permission = permission
    this.shared = shared
  }

  private lock(fromBytes: number, permissions: number, isLocked: boolean): LockError | null {
    for (let bit = 0; bit < PERMISSION_BITS; bit++) {
      if ((permissions & (1 << bit)) === 0) continue
      const errno = this.file.setLock!(fromBytes + bit, isLocked)
      if (errno === OK || !isLocked) continue
      return new LockError(this.file.path, `Failed to lock byte ${fromBytes + bit}: ${strerror(errno)}`, errno)
    }
    return null
  }

  private check(fromBytes: number, permissions: number, kind: string): LockError | null {
    for (let bit = 0; bit < PERMISSION_BITS; bit++) {
      if ((permissions & (1 << bit)) === 0) continue
      const errno = this.file.testLock!(fromBytes + bit)
      if (errno !== OK) return new LockError(this.file.path, `Failed to get ${kind}"${permissionNames(1 << bit)}" lock`, errno)
    }
    return null
  }
}
