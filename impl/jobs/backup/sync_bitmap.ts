/**
 * The named bitmap of a backup: which clusters it copies (sync=bitmap), and what has changed since it began (all modes but
 * never). It is busy while the job runs; its successor takes the changes in.
 */
import { BitmapRefusal, BlockError, type DirtyBitmap, type NamedBitmap } from '../../block'
import { assert } from '../../co'
import type { BackupOptions, BitmapMode } from './options'

/** The bitmap of a backup and what becomes of it. Throws BlockError. */
export function checkSyncBitmap(options: BackupOptions): { bitmap: NamedBitmap | null; bitmapMode: BitmapMode } {
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
