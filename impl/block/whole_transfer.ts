/**
 * Transfers that go on until everything is moved: whoever moves bytes may move fewer than it is asked to.
 *
 * What may fail: a part, as a negative errno. What never may: a transfer that is only done in part and reported as done.
 */
import { assert, type Co, EIO, type Errno, OK } from '../co'

/** Moves bytes from `at` on, as many as it likes: their number, 0 at the end of the file, or a negative errno. */
export type PartialTransfer = (at: number) => Co<number>

/** Fills the whole buffer; what lies beyond the end of the file reads zero. */
export function* readWhole(buffer: Uint8Array, alignmentBytes: number, part: PartialTransfer): Co<Errno> {
  for (let at = 0; at < buffer.length; ) {
    const count = yield* part(at)
    if (count < 0) return -count
    at += count
    assert(at <= buffer.length, 'read-inside-buffer')
    // Direct I/O ends a transfer before the unit that the file ends in; nothing follows it.
    if (count === 0 || at % alignmentBytes !== 0) {
      buffer.fill(0, at)
      return OK
    }
  }
  return OK
}

export function* writeWhole(lengthBytes: number, part: PartialTransfer): Co<Errno> {
  for (let at = 0; at < lengthBytes; ) {
    const count = yield* part(at)
    if (count < 0) return -count
    if (count === 0) return EIO
    at += count
    assert(at <= lengthBytes, 'write-inside-buffer')
  }
  return OK
}
