/**
 * The `preallocate` filter, between a format and its file: where a write makes the file longer, the file is allocated far
 * beyond that at once, in aligned steps, so that it is in few pieces and the next writes need not wait for the file system.
 * Users see the length that they have written; what is too much goes when the node is closed, or when its users give up
 * writing and resizing.
 *
 * What may fail: a file that cannot be allocated without writing zeroes is left to grow as ever, and never tried again.
 * What never may: zeroes that come after data. All that reaches beyond the allocated part waits until it has been
 * zeroed, and nobody else may write to the file or resize it.
 */
import { assert, type Co, type Errno, Mutex, makeLabel, OK } from '../../co'
import type { PreallocationMode } from '../driver'
import { BlockError } from '../error'
import { type BlockLimits, Permission, RequestFlag } from '../flags'
import type { BlockChild } from '../node'
import { FilterDriver } from './filter'

const MiB = 1 << 20
const DEFAULT_SIZE_BYTES = 128 * MiB
const DEFAULT_ALIGN_BYTES = MiB
const SECTOR_BYTES = 512
const GROWING = Permission.Write | Permission.Resize

export interface PreallocateOptions {
  /** How much is allocated beyond the end; 128 MiB if absent. */
  preallocSize?: number
  /** What the end of the allocated part is a multiple of; 1 MiB if absent. */
  preallocAlign?: number
}

/** What is known of a file that has been written to. dataEnd <= fileEnd; all of [zeroStart, fileEnd) reads zero. */
interface Growth {
  dataEndBytes: number
  zeroStartBytes: number
  fileEndBytes: number
}

export class PreallocateDriver extends FilterDriver {
  readonly name = 'preallocate'
  private readonly sizeBytes: number
  private readonly alignBytes: number
  /** null until the first write by somebody who may make the file longer. */
  private growth: Growth | null = null
  private mutex: Mutex | null = null
  /** Set when the file has refused: it is not asked again. */
  private isRefused = false
  private isDropping = false

  /** Throws BlockError. */
  constructor(options: PreallocateOptions = {}) {
    super()
    this.sizeBytes = options.preallocSize ?? DEFAULT_SIZE_BYTES
    this.alignBytes = options.preallocAlign ?? DEFAULT_ALIGN_BYTES
    if (!Number.isSafeInteger(this.alignBytes) || this.alignBytes <= 0 || this.alignBytes % SECTOR_BYTES !== 0) {
      throw new BlockError(`prealloc-align parameter of preallocate filter is not aligned to ${SECTOR_BYTES}`)
    }
    if (!Number.isSafeInteger(this.sizeBytes) || this.sizeBytes < 0) {
      throw new BlockError("Parameter 'prealloc-size' expects a non-negative number below 2^64")
    }
  }

  override lengthBytes(): number {
    return this.growth?.dataEndBytes ?? this.child.node.lengthBytes
  }
  override refreshLimits(limits: BlockLimits): void {
    super.refreshLimits(limits)
    if (this.alignBytes % limits.requestAlignmentBytes !== 0) {
      throw new BlockError(
        `prealloc-align parameter of preallocate filter is not aligned to underlying node request alignment (${limits.requestAlignmentBytes})`,
      )
    }
    this.mutex ??= new Mutex(this.node.kernel, `preallocation of ${this.node.name}`)
  }

  /** As long as there is too much, it must be possible to take it away. */
  override childPermissions(
    child: BlockChild,
    parentPermission: number,
    parentShared: number,
  ): { permission: number; shared: number } {
    const { permission, shared } = super.childPermissions(child, parentPermission, parentShared)
    const isGrowing = (parentPermission & GROWING) === GROWING || this.growth !== null
    return isGrowing ? { permission: permission | GROWING, shared: shared & ~GROWING } : { permission, shared }
  }
  override setPermissions(permission: number, _shared: number): (() => void) | null {
    if (this.growth !== null && (permission & GROWING) !== GROWING && !this.isDropping) {
      this.isDropping = true
      this.node.enter()
      this.node.kernel.spawn(this.dropLater(), makeLabel(`preallocate.${this.node.name}`))
    }
    return null
  }

  /** Takes away what is too much after users have given their permissions up, unless they have got them back. */
  private *dropLater(): Co<void> {
    const { node } = this
    this.isDropping = false
    let permission = 0
    for (const edge of node.parents) permission |= edge.permission
    if ((permission & GROWING) !== GROWING && node.children.size > 0) {
      yield* this.drop()
      if (this.growth === null && node.children.size > 0) node.graph.refreshPermissions(node)
    }
    node.leave()
  }

  /** Cuts the file to what was written. Growth starts afresh after that. */
  private *drop(): Co<Errno> {
    yield* this.mutex!.lock()
    let errno = OK
    const { growth } = this
    if (growth !== null && growth.fileEndBytes > growth.dataEndBytes) {
      errno = yield* this.child.truncate(growth.dataEndBytes, true, 'off')
    }
    if (errno === OK) this.growth = null
    this.mutex!.unlock()
    return errno
  }

  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    assert(offsetBytes >= 0 && buffer.length > 0, 'preallocate-range')
    yield* this.prepare(offsetBytes, buffer.length, false)
    return yield* super.pwrite(offsetBytes, buffer, flags)
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    assert(offsetBytes >= 0 && lengthBytes > 0, 'preallocate-range')
    const isPlain = (flags & ~(RequestFlag.NoFallback | RequestFlag.WriteUnchanged)) === 0
    const isZeroed = yield* this.prepare(offsetBytes, lengthBytes, isPlain)
    return isZeroed ? OK : yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
  }

  /** Makes room for a write. True if the range reads zero now and is allocated, so that zeroing it is done already. */
  private *prepare(offsetBytes: number, lengthBytes: number, isZeroing: boolean): Co<boolean> {
    const endBytes = offsetBytes + lengthBytes
    const file = this.child
    if ((file.permission & GROWING) !== GROWING) return false
    assert((file.shared & GROWING) === 0, 'preallocate-alone', () => this.node.name)
    if (endBytes > this.known().fileEndBytes && !this.isRefused) yield* this.allocate(endBytes)
    const growth = this.known()
    growth.dataEndBytes = Math.max(growth.dataEndBytes, endBytes)
    growth.fileEndBytes = Math.max(growth.fileEndBytes, endBytes)
    if (isZeroing && offsetBytes >= growth.zeroStartBytes && !this.isRefused) return true
    growth.zeroStartBytes = Math.max(growth.zeroStartBytes, endBytes)
    return false
  }

  private known(): Growth {
    const fileBytes = this.child.node.lengthBytes
    this.growth ??= { dataEndBytes: fileBytes, zeroStartBytes: fileBytes, fileEndBytes: fileBytes }
    return this.growth
  }

  /** Allocates beyond `endBytes`, unless somebody else has while this waited. */
  private *allocate(endBytes: number): Co<void> {
    const mutex = this.mutex!
    yield* mutex.lock()
    const growth = this.known()
    if (endBytes > growth.fileEndBytes && !this.isRefused) {
      const wantedBytes = endBytes + this.sizeBytes
      const rest = wantedBytes % this.alignBytes
      const newEndBytes = rest === 0 ? wantedBytes : wantedBytes + this.alignBytes - rest
      const from = growth.fileEndBytes
      const errno = yield* this.child.pwriteZeroes(from, newEndBytes - from, RequestFlag.NoFallback)
      if (errno === OK) growth.fileEndBytes = newEndBytes
      else this.isRefused = true
      assert(growth.fileEndBytes >= growth.dataEndBytes, 'preallocated-beyond-data')
    }
    mutex.unlock()
  }

  /** Starts from what was written, so that the file's own ways of preallocation mean what they say. */
  override *truncate(lengthBytes: number, exact: boolean, preallocation: PreallocationMode): Co<Errno> {
    const dropErrno = this.growth === null ? OK : yield* this.drop()
    if (dropErrno !== OK) return dropErrno
    return yield* this.child.truncate(lengthBytes, exact, preallocation)
  }

  override *close(): Co<Errno> {
    return this.growth === null ? OK : yield* this.drop()
  }
}
