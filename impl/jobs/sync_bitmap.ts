/**
 * The named bitmap of a backup or a mirror: what it copies (sync=bitmap), and what is still to be copied when it has ended
 * (all modes but never). It is busy while the job runs; its successor takes the changes in.
 *
 * A backup keeps what the disk was when it began, a mirror what it is at the end: after a mirror that worked nothing is dirty.
 */
import { BitmapRefusal, BlockError, type BlockNode, type DirtyBitmap, type NamedBitmap } from '../block'
import { assert } from '../co'

/** What becomes of the bitmap: it starts anew if the job works, it stays as it is, or it starts anew in any case. */
export type BitmapMode = 'on-success' | 'never' | 'always'

/** What a job has been asked for. */
export interface SyncBitmapOptions {
  source: BlockNode
  sync: 'full' | 'top' | 'none' | 'bitmap' | 'incremental'
  /** The name of a bitmap of the source. */
  bitmap?: string
  bitmapMode?: BitmapMode
}

/** Null: none. */
export interface SyncBitmap {
  readonly bitmap: NamedBitmap | null
  readonly bitmapMode: BitmapMode
}

/** The bitmap of a job and what becomes of it. Throws BlockError. */
export function checkSyncBitmap(options: SyncBitmapOptions): SyncBitmap {
  const { sync, source, bitmap: name } = options
  let { bitmapMode } = options
  if ((sync === 'bitmap' || sync === 'incremental') && name === undefined) {
    throw new BlockError(`must provide a valid bitmap name for '${sync}' sync mode`)
  }
  if (sync === 'incremental') {
    if (bitmapMode !== undefined && bitmapMode !== 'on-success') {
      throw new BlockError("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'")
    }
    bitmapMode = 'on-success'
  }
  if (name === undefined) {
    if (bitmapMode !== undefined) throw new BlockError('Cannot specify bitmap sync mode without a bitmap')
    return { bitmap: null, bitmapMode: 'never' }
  }
  const bitmap = source.namedBitmaps.get(name)
  if (bitmap === undefined) throw new BlockError(`Bitmap '${name}' could not be found`)
  if (bitmapMode === undefined) throw new BlockError('Bitmap sync mode must be given when providing a bitmap')
  bitmap.demand(BitmapRefusal.AllowReadOnly)
  if (sync === 'none') throw new BlockError("sync mode 'none' does not produce meaningful bitmap outputs")
  if (bitmapMode === 'never' && sync !== 'bitmap' && sync !== 'incremental') {
    throw new BlockError(`Bitmap sync mode 'never' has no meaningful effect when combined with sync mode '${sync}'`)
  }
  if (bitmapMode !== 'never') bitmap.demand(BitmapRefusal.Default)
  return { bitmap, bitmapMode }
}

/** The end of a backup. `left`: what has not been copied. */
export function finishBitmap(bitmap: NamedBitmap, mode: BitmapMode, isDone: boolean, left: DirtyBitmap): void {
  if (mode === 'never' || (mode === 'on-success' && !isDone)) {
    bitmap.reclaim()
    return
  }
  bitmap.abdicate()
  if (!isDone) bitmap.bits.merge(left)
  assert(isDone || bitmap.bits.count > 0 || left.count === 0, 'bitmap-keeps-what-is-left')
}

/**
 * The end of a mirror, with the source drained. `left`: where the target may differ, or lose what it has been given; null:
 * nobody knows. `isDone`: nowhere, and the job has worked.
 */
export function finishMirrored(kept: SyncBitmap, copiesBitmap: boolean, isDone: boolean, left: DirtyBitmap | null): void {
  const { bitmap, bitmapMode } = kept
  if (bitmap === null) return
  assert(!isDone || left?.count === 0, 'mirror-done-is-clean')
  const isKept = bitmapMode === 'never' || (bitmapMode === 'on-success' && !isDone)
  if (isKept || (left === null && copiesBitmap)) {
    bitmap.reclaim()
    return
  }
  bitmap.abdicate()
  // What has changed meanwhile is copied, or among what is left.
  bitmap.clear()
  if (left === null) bitmap.bits.setAll()
  else bitmap.bits.merge(left)
  assert(!bitmap.isBusy && bitmap.bits.count >= Math.sign(left?.count ?? 0), 'bitmap-keeps-what-is-left')
}
