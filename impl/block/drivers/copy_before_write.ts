/**
 * The `copy-before-write` filter: before a guest changes its child `file`, what the clusters held is copied to the child
 * `target`. So the two together keep the state of the moment in which the filter came; `snapshot-access` reads it.
 *
 * What may fail: the copy, and waiting too long for it. Then the guest's request fails, or the state is given up.
 * What never may: a change of a cluster that is neither copied nor given up, while somebody reads its old state.
 */
import { assert, type Co, EACCES, type Errno, ETIMEDOUT, type Kernel, OK, WaitQueue } from '../../co'
import { BlockCopy, type BlockCopyOptions, CopyCall } from '../block_copy'
import { DirtyBitmap } from '../dirty_bitmap'
import { type BlockStatus, type SnapshotSource, type StatusMode, statusError } from '../driver'
import { BlockError } from '../error'
import { Permission, RequestFlag, StatusFlag } from '../flags'
import type { BlockChild } from '../node'
import { FilterDriver } from './filter'

export type CopyError = 'break-guest-write' | 'break-snapshot'

export interface CopyBeforeWriteOptions extends Omit<BlockCopyOptions, 'source' | 'target'> {
  /** Absent: break-guest-write. */
  onError?: CopyError
  /** A copy that takes longer has failed; 0 or absent: it may take as long as it takes. */
  timeoutNs?: number
}

interface FrozenRead {
  readonly offsetBytes: number
  readonly endBytes: number
}

export class CopyBeforeWriteDriver extends FilterDriver implements SnapshotSource {
  readonly name = 'copy-before-write'
  override readonly snapshot = this
  readonly onError: CopyError
  /** Why the state has been given up, or OK. */
  snapshotErrno: Errno = OK
  /** Told when the state is given up. */
  onSnapshotError: (() => void) | null = null
  private readonly options: CopyBeforeWriteOptions
  private engine: BlockCopy | null = null
  /** Clusters that the target holds. */
  private done!: DirtyBitmap
  /** Clusters whose old state may be read. */
  private accessible!: DirtyBitmap
  /** Reads of the old state from the child itself: changes wait for them. */
  private readonly frozenReads: FrozenRead[] = []
  private readonly waiting: { queue: WaitQueue | null } = { queue: null }

  constructor(options: CopyBeforeWriteOptions = {}) {
    super()
    this.options = options
    this.onError = options.onError ?? 'break-guest-write'
  }

  /**
   * Begins to keep the state. Called once, when the node has its children and before it has parents. `bitmap`: what is
   * dirty there is kept, the rest is not; absent: everything. Throws BlockError.
   */
  start(bitmap: DirtyBitmap | null = null): void {
    assert(this.engine === null && this.node.parents.size === 0, 'copy-before-write-starts-once')
    const target = this.node.children.get('target')
    assert(target !== undefined, 'copy-before-write-has-target', () => this.node.name)
    const engine = new BlockCopy({ ...this.options, source: this.child, target })
    if (bitmap !== null && bitmap.lengthBytes !== engine.lengthBytes) {
      throw new BlockError(
        `Bitmaps are of different sizes (destination size is ${engine.lengthBytes}, source size is ${bitmap.lengthBytes}) ` +
          `and can't be merged`,
      )
    }
    this.done = new DirtyBitmap(engine.lengthBytes, engine.clusterBytes)
    this.accessible = new DirtyBitmap(engine.lengthBytes, engine.clusterBytes)
    this.accessible.setAll()
    engine.onLeftOut = (offsetBytes, lengthBytes) => this.accessible.reset(offsetBytes, lengthBytes)
    this.waiting.queue = new WaitQueue(this.node.kernel)
    this.engine = engine
    if (bitmap !== null) this.limitTo(bitmap)
  }

  /** Only what is dirty in `bits` is kept. */
  limitTo(bits: DirtyBitmap): void {
    this.copy.limitTo(bits)
    this.accessible.resetAll()
    this.accessible.merge(bits)
    assert(this.done.count === 0, 'copy-before-write-limited-at-start')
  }

  get copy(): BlockCopy {
    assert(this.engine !== null, 'copy-before-write-started', () => this.node.name)
    return this.engine
  }

  /** Guests of the child go through here; the target may lie above the child, so writing to it is shared. */
  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    if (child.role !== 'filtered') return { permission: Permission.Write, shared: Permission.All & ~Permission.Resize }
    const { permission, shared } = super.childPermissions(child, parentPermission, parentShared)
    const own = this.options.discardsSource === true ? Permission.Write : Permission.None
    // Before it has parents, those of the child still write there.
    const excluded = this.node.parents.size > 0 ? Permission.Write | Permission.Resize : Permission.None
    return { permission: permission | own, shared: shared & ~excluded }
  }

  override flushes(child: BlockChild): boolean {
    return child.role === 'filtered'
  }

  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const errno = yield* this.guard(offsetBytes, buffer.length, flags)
    return errno === OK ? yield* this.child.pwrite(offsetBytes, buffer, flags) : errno
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const errno = yield* this.guard(offsetBytes, lengthBytes, flags)
    return errno === OK ? yield* this.child.pwriteZeroes(offsetBytes, lengthBytes, flags) : errno
  }
  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const errno = yield* this.guard(offsetBytes, lengthBytes, 0)
    return errno === OK ? yield* this.child.pdiscard(offsetBytes, lengthBytes) : errno
  }

  /** Copies what a change is about to overwrite. An errno fails the change. */
  private *guard(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const { copy } = this
    if ((flags & RequestFlag.WriteUnchanged) !== 0 || this.snapshotErrno !== OK) return OK
    const startBytes = copy.clusterFloor(offsetBytes)
    const endBytes = Math.min(copy.clusterCeiling(offsetBytes + lengthBytes), copy.lengthBytes)
    assert(startBytes < endBytes, 'guard-not-empty')
    const errno = yield* this.copyInTime(new CopyCall(startBytes, endBytes))
    if (errno !== OK && this.onError === 'break-guest-write') return errno
    if (errno === OK) this.done.set(startBytes, endBytes - startBytes)
    else if (this.snapshotErrno === OK) {
      this.snapshotErrno = errno
      this.onSnapshotError?.()
    }
    while (this.isFrozen(startBytes, endBytes)) {
      yield* this.waiting.queue!.wait({ describe: () => `waits for reads of the state in ${startBytes}..${endBytes}` })
    }
    return OK
  }

  private *copyInTime(call: CopyCall): Co<Errno> {
    const { timeoutNs = 0 } = this.options
    if (timeoutNs === 0) {
      yield* this.copy.run(call)
      return call.errno
    }
    const { kernel } = this.node
    const caller = kernel.current
    assert(caller !== null, 'guard-inside-coroutine')
    let isWaiting = true
    // The node is busy until the copy has ended, however long somebody waited for it.
    this.node.enter()
    kernel.spawn(this.copyBeside(call, () => isWaiting && kernel.wake(caller)))
    const deadlineNs = kernel.nowNs() + timeoutNs
    while (!call.isFinished && kernel.nowNs() < deadlineNs) yield* parkUntil(kernel, deadlineNs)
    isWaiting = false
    if (call.isFinished) return call.errno
    call.isCancelled = true
    return ETIMEDOUT
  }

  private *copyBeside(call: CopyCall, finished: () => void): Co<void> {
    yield* this.copy.run(call)
    finished()
    this.node.leave()
  }

  private isFrozen(startBytes: number, endBytes: number): boolean {
    return this.frozenReads.some((read) => read.offsetBytes < endBytes && startBytes < read.endBytes)
  }

  /** Where the old state of the start of a range is to be read. Null: nowhere. `unlock` what is locked. */
  private lock(offsetBytes: number, lengthBytes: number): { child: BlockChild; bytes: number; read: FrozenRead | null } | null {
    const endBytes = offsetBytes + lengthBytes
    if (this.snapshotErrno !== OK || !this.accessible.isAllSet(offsetBytes, lengthBytes)) return null
    if (this.done.get(offsetBytes)) {
      const clean = this.done.nextClean(offsetBytes)
      const target = this.node.children.get('target')
      assert(target !== undefined, 'copy-before-write-has-target')
      return { child: target, bytes: (clean < 0 ? endBytes : Math.min(clean, endBytes)) - offsetBytes, read: null }
    }
    const dirty = this.done.nextDirty(offsetBytes)
    const bytes = (dirty < 0 ? endBytes : Math.min(dirty, endBytes)) - offsetBytes
    const read = { offsetBytes, endBytes: offsetBytes + bytes }
    this.frozenReads.push(read)
    return { child: this.child, bytes, read }
  }
  private unlock(read: FrozenRead | null): void {
    if (read === null) return
    const index = this.frozenReads.indexOf(read)
    assert(index >= 0, 'frozen-read-known')
    this.frozenReads.splice(index, 1)
    this.waiting.queue!.wakeAll()
  }

  *readSnapshot(offsetBytes: number, buffer: Uint8Array): Co<Errno> {
    const insideBytes = Math.min(buffer.length, this.copy.lengthBytes - offsetBytes)
    // The last block may reach beyond the last byte.
    buffer.fill(0, insideBytes)
    for (let at = 0; at < insideBytes; ) {
      const locked = this.lock(offsetBytes + at, insideBytes - at)
      if (locked === null) return EACCES
      const errno = yield* locked.child.pread(offsetBytes + at, buffer.subarray(at, at + locked.bytes))
      this.unlock(locked.read)
      if (errno !== OK) return errno
      at += locked.bytes
    }
    return OK
  }

  *snapshotStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const locked = this.lock(offsetBytes, lengthBytes)
    if (locked === null) return statusError(EACCES)
    const status = yield* locked.child.node.blockStatusAbove(null, mode, offsetBytes, locked.bytes)
    this.unlock(locked.read)
    // Nothing lies below the state: what no layer holds reads zero.
    if (status.errno === OK && (status.flags & StatusFlag.Allocated) === 0) status.flags |= StatusFlag.Zero
    return status
  }

  *discardSnapshot(offsetBytes: number, lengthBytes: number): Co<Errno> {
    const { copy } = this
    const startBytes = copy.clusterCeiling(offsetBytes)
    const endBytes = offsetBytes + lengthBytes
    const stopBytes = endBytes === copy.lengthBytes ? endBytes : copy.clusterFloor(endBytes)
    if (startBytes >= stopBytes) return OK
    this.accessible.reset(startBytes, stopBytes - startBytes)
    copy.reset(startBytes, stopBytes - startBytes)
    return yield* copy.target.pdiscard(startBytes, stopBytes - startBytes)
  }
}

function* parkUntil(kernel: Kernel, atNs: number): Co<void> {
  kernel.wakeAt(kernel.willPark({ describe: () => 'waits for a copy, but not for ever' }), atNs)
  yield
}
