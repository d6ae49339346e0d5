/**
 * Named dirty bitmaps: what `block-dirty-bitmap-add` makes. Each belongs to one node and, while it records, takes in every
 * change of it. A persistent one is kept by the node's format when the node is closed.
 *
 * While an operation (a backup) uses a bitmap, it is busy: what changes meanwhile goes to a successor, which takes its place
 * if the operation works (`abdicate`), or is merged back into it if it does not (`reclaim`).
 *
 * What may fail: everything that a user can ask for wrongly, as BlockError with QEMU's text; storing and removing in an image.
 */
import { assert, type Co, EINVAL, ENOTSUP, type Errno, OK, strerror } from '../co'
import { DirtyBitmap } from './dirty_bitmap'
import { BlockError } from './error'
import type { BlockNode } from './node'

export const BITMAP_NAME_BYTES_MAX = 1023
const GRANULARITY_BYTES_MIN = 512
const DEFAULT_GRANULARITY_MIN_BYTES = 4096
const DEFAULT_GRANULARITY_MAX_BYTES = 65536

/** States in which a command may not touch a bitmap; a bit set. */
export const enum BitmapRefusal {
  Busy = 1,
  ReadOnly = 2,
  Inconsistent = 4,
  /** What most commands refuse. */
  Default = 7,
  AllowReadOnly = 5,
}

/** BlockDirtyInfo, by its names in QMP. */
export interface BitmapInfo {
  name: string
  /** Bytes, whole chunks. */
  count: number
  granularity: number
  recording: boolean
  busy: boolean
  persistent: boolean
  inconsistent?: true
}

export interface NewBitmap {
  name: string
  /** Absent: the node's cluster size, within 4 KiB and 64 KiB. */
  granularityBytes?: number
  persistent?: boolean
  /** It does not record until it is enabled. */
  disabled?: boolean
}

export class NamedBitmap {
  readonly node: BlockNode
  readonly name: string
  /** Replaced as a whole by `clear` and `restore`. */
  bits: DirtyBitmap
  isPersistent = false
  /** Kept in an image that was not closed properly: what it says means nothing. It can only be removed. */
  isInconsistent = false
  /** Kept in an image that is open for reading only. */
  isReadOnly = false
  private enabled = false
  private busy = false
  private successorBits: DirtyBitmap | null = null

  constructor(node: BlockNode, name: string, bits: DirtyBitmap) {
    this.node = node
    this.name = name
    this.bits = bits
  }

  /** Whether changes of the node are taken in, by the bitmap or its successor. */
  get isEnabled(): boolean {
    return this.enabled
  }
  get isBusy(): boolean {
    return this.busy
  }
  get hasSuccessor(): boolean {
    return this.successorBits !== null
  }
  get granularityBytes(): number {
    return this.bits.granularityBytes
  }
  /** Throws BlockError if the bitmap is in one of these states. */
  demand(refusals: number): void {
    const { name } = this
    if ((refusals & BitmapRefusal.Busy) !== 0 && this.busy) {
      throw new BlockError(`Bitmap '${name}' is currently in use by another operation and cannot be used`)
    }
    if ((refusals & BitmapRefusal.ReadOnly) !== 0 && this.isReadOnly) {
      throw new BlockError(`Bitmap '${name}' is readonly and cannot be modified`)
    }
    if ((refusals & BitmapRefusal.Inconsistent) !== 0 && this.isInconsistent) {
      throw new BlockError(`Bitmap '${name}' is inconsistent and cannot be used`)
    }
  }

  /** Starts or stops recording. */
  setEnabled(isEnabled: boolean): void {
    assert(this.successorBits === null, 'bitmap-without-successor', () => this.name)
    this.enabled = isEnabled
    this.listen(this.bits, isEnabled)
  }

  private listen(bits: DirtyBitmap, isListening: boolean): void {
    if (isListening) this.node.dirtyBitmaps.add(bits)
    else this.node.dirtyBitmaps.delete(bits)
  }

  /** Nothing is dirty any more. Gives what was, for `restore`. */
  clear(): DirtyBitmap {
    const { bits } = this
    this.restore(new DirtyBitmap(bits.lengthBytes, bits.granularityBytes))
    return bits
  }
  /** Takes other bits, of the same disk. */
  restore(bits: DirtyBitmap): void {
    assert(this.successorBits === null && bits.granularityBytes === this.granularityBytes, 'bitmap-restored')
    this.listen(this.bits, false)
    this.bits = bits
    this.listen(bits, this.enabled)
  }
  /** A copy of what is dirty now, for `restore`. */
  copyBits(): DirtyBitmap {
    const copy = new DirtyBitmap(this.bits.lengthBytes, this.bits.granularityBytes)
    copy.merge(this.bits)
    return copy
  }

  /** An operation uses the bitmap, which stays as it is; changes go to a successor from now on. Throws BlockError. */
  createSuccessor(): void {
    this.demand(BitmapRefusal.Busy)
    assert(this.successorBits === null, 'bitmap-one-successor', () => this.name)
    this.successorBits = new DirtyBitmap(this.bits.lengthBytes, this.bits.granularityBytes)
    this.listen(this.bits, false)
    this.listen(this.successorBits, this.enabled)
    this.busy = true
  }
  /** The operation has worked: the successor, with what has changed since it was made, is the bitmap. */
  abdicate(): void {
    const successor = this.takeSuccessor()
    this.bits = successor
    this.listen(successor, this.enabled)
  }
  /** The operation has not worked: what has changed meanwhile is dirty, too. */
  reclaim(): void {
    const successor = this.takeSuccessor()
    this.bits.merge(successor)
    this.listen(this.bits, this.enabled)
  }
  private takeSuccessor(): DirtyBitmap {
    const successor = this.successorBits
    assert(successor !== null && this.busy, 'bitmap-has-successor', () => this.name)
    this.listen(successor, false)
    this.successorBits = null
    this.busy = false
    return successor
  }

  /** For operations that only read it, or that keep it by other means. */
  setBusy(isBusy: boolean): void {
    assert(this.busy !== isBusy && this.successorBits === null, 'bitmap-busy', () => this.name)
    this.busy = isBusy
  }

  /** The node has another length. */
  truncate(lengthBytes: number): void {
    if (this.isInconsistent) return
    if (this.bits.lengthBytes !== lengthBytes) this.bits.truncate(lengthBytes)
    const successor = this.successorBits
    if (successor !== null && successor.lengthBytes !== lengthBytes) successor.truncate(lengthBytes)
  }

  /** The node forgets it. */
  release(): void {
    assert(!this.busy, 'bitmap-released', () => this.name)
    this.listen(this.bits, false)
    this.node.namedBitmaps.delete(this.name)
  }

  info(): BitmapInfo {
    const dirty = this.isInconsistent ? 0 : this.bits.countBytes
    const info: BitmapInfo = {
      name: this.name,
      count: dirty,
      granularity: this.granularityBytes,
      recording: this.enabled,
      busy: this.busy,
      persistent: this.isPersistent,
    }
    return this.isInconsistent ? { ...info, inconsistent: true } : info
  }
}

/** What a bitmap's granularity is where nobody has said it. */
export function defaultGranularity(node: BlockNode): number {
  const { clusterBytes } = node.driver.info()
  if (clusterBytes === 0) return DEFAULT_GRANULARITY_MAX_BYTES
  return Math.min(Math.max(clusterBytes, DEFAULT_GRANULARITY_MIN_BYTES), DEFAULT_GRANULARITY_MAX_BYTES)
}

/** Throws BlockError if there is none. */
export function findBitmap(node: BlockNode, name: string): NamedBitmap {
  const bitmap = node.namedBitmaps.get(name)
  if (bitmap === undefined) throw new BlockError(`Dirty bitmap '${name}' not found`)
  return bitmap
}

/** All of a node, the newest first, as queries list them. */
export function listBitmaps(node: BlockNode): BitmapInfo[] {
  return [...node.namedBitmaps.values()].reverse().map((bitmap) => bitmap.info())
}

/** Puts a bitmap with these bits into a node, disabled. Throws BlockError if the name is wrong or taken. */
export function adoptBitmap(node: BlockNode, name: string, bits: DirtyBitmap): NamedBitmap {
  if (node.namedBitmaps.has(name)) throw new BlockError(`Bitmap already exists: ${name}`)
  if (Buffer.byteLength(name) > BITMAP_NAME_BYTES_MAX) throw new BlockError(`Bitmap name too long: ${name}`)
  assert(name !== '', 'bitmap-named')
  const bitmap = new NamedBitmap(node, name, bits)
  node.namedBitmaps.set(name, bitmap)
  return bitmap
}

/** `block-dirty-bitmap-add`. Throws BlockError. */
export function* addBitmap(node: BlockNode, wanted: NewBitmap): Co<NamedBitmap> {
  const { name, persistent = false, disabled = false } = wanted
  if (name === '') throw new BlockError('Bitmap name cannot be empty')
  const granularityBytes = wanted.granularityBytes ?? defaultGranularity(node)
  if (granularityBytes < GRANULARITY_BYTES_MIN || !Number.isInteger(Math.log2(granularityBytes))) {
    throw new BlockError(`Granularity must be power of 2 and at least ${GRANULARITY_BYTES_MIN}`)
  }
  if (persistent) yield* node.driver.checkStorableBitmap(name, granularityBytes)
  const bitmap = adoptBitmap(node, name, new DirtyBitmap(node.lengthBytes, granularityBytes))
  bitmap.isPersistent = persistent
  bitmap.setEnabled(!disabled)
  assert(bitmap.isEnabled === !disabled, 'bitmap-added')
  return bitmap
}

/** `block-dirty-bitmap-remove`, from the image as well. Throws BlockError. */
export function* removeBitmap(node: BlockNode, name: string): Co<void> {
  const bitmap = findBitmap(node, name)
  bitmap.demand(BitmapRefusal.Busy | BitmapRefusal.ReadOnly)
  if (bitmap.isPersistent) {
    const errno = yield* node.driver.removeStoredBitmap(name)
    if (errno !== OK) throw new BlockError(`Failed to remove persistent bitmap '${name}': ${strerror(errno)}`, { errno })
  }
  assert(node.namedBitmaps.get(name) === bitmap, 'bitmap-removed-once')
  bitmap.release()
}

/** `block-dirty-bitmap-clear`. Gives what was dirty, for a transaction that takes it back. Throws BlockError. */
export function clearBitmap(node: BlockNode, name: string): DirtyBitmap {
  const bitmap = findBitmap(node, name)
  bitmap.demand(BitmapRefusal.Default)
  return bitmap.clear()
}

/** `block-dirty-bitmap-enable` and `-disable`. Throws BlockError. */
export function enableBitmap(node: BlockNode, name: string, isEnabled: boolean): void {
  const bitmap = findBitmap(node, name)
  bitmap.demand(BitmapRefusal.AllowReadOnly)
  bitmap.setEnabled(isEnabled)
}

/**
 * `block-dirty-bitmap-merge`: all of it or nothing. Sources may lie on other nodes of the same length. Gives what was dirty,
 * for a transaction that takes it back. Throws BlockError.
 */
export function mergeBitmaps(
  node: BlockNode,
  target: string,
  sources: ReadonlyArray<{ node: BlockNode; name: string }>,
): DirtyBitmap {
  const bitmap = findBitmap(node, target)
  bitmap.demand(BitmapRefusal.Default)
  const found = sources.map((source) => findBitmap(source.node, source.name))
  for (const source of found) {
    source.demand(BitmapRefusal.AllowReadOnly)
    const sizes = [bitmap.bits.lengthBytes, source.bits.lengthBytes]
    if (sizes[0] !== sizes[1]) {
      throw new BlockError(
        `Bitmaps are of different sizes (destination size is ${sizes[0]}, source size is ${sizes[1]}) and can't be merged`,
        { errno: EINVAL },
      )
    }
  }
  const before = bitmap.copyBits()
  for (const source of found) bitmap.bits.merge(source.bits)
  assert(bitmap.bits.count >= before.count, 'bitmap-merged')
  return before
}

/** The text of a node whose format keeps no bitmaps. */
export function refuseStorage(node: BlockNode): BlockError {
  const text = `Can't store persistent bitmaps to ${node.name}: ${strerror(ENOTSUP)}`
  return new BlockError(text, { errno: ENOTSUP satisfies Errno })
}
