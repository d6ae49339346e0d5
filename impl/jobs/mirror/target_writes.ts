/**
 * The only places where the mirror writes to its target. They keep the zero bitmap true: a chunk's bit is cleared before
 * data is submitted and set after a zero write that covered it, and no zero write is sent where the bit is set.
 *
 * What may fail: the target, as an errno; ECANCELED when the job has been cancelled by force, after which nothing more
 * is sent.
 */
import { isZero } from '../../block'
import { copyThrough } from '../../block/io_copy'
import { assert, type Co, ECANCELED, ENOMEDIUM, type Errno, OK } from '../../co'
import type { MirrorState } from './state'

/** Zeroes a range, without what is known to read zero already. Not empty. */
export function* zeroTarget(state: MirrorState, offsetBytes: number, endBytes: number, flags: number): Co<Errno> {
  assert(offsetBytes < endBytes && endBytes <= state.lengthBytes, 'zero-range', () => `${offsetBytes}..${endBytes}`)
  const zeroes = state.zeroes
  for (let at = offsetBytes; at < endBytes; ) {
    const startBytes = zeroes === null ? at : zeroes.nextUnknown(at, endBytes)
    state.statistics.skippedZeroBytes += startBytes - at
    if (startBytes === endBytes) break
    if (state.control.isForceCancelled) return ECANCELED
    const stopBytes = zeroes === null ? endBytes : zeroes.nextKnown(startBytes, endBytes)
    assert(stopBytes > startBytes, 'zero-progress')
    const errno = yield* state.targetBackend.pwriteZeroes(startBytes, stopBytes - startBytes, flags)
    if (errno !== OK) return errno
    if (zeroes !== null) zeroes.setCovered(startBytes, stopBytes - startBytes)
    state.statistics.zeroedBytes += stopBytes - startBytes
    at = stopBytes
  }
  return OK
}

/**
 * Has the system copy data from the source, where it can: not empty. Whatever the error, the range is to be read and
 * written then.
 */
export function* copyToTarget(state: MirrorState, offsetBytes: number, lengthBytes: number): Co<Errno> {
  const { root } = state.targetBackend
  assert(lengthBytes > 0 && offsetBytes + lengthBytes <= state.lengthBytes, 'copy-range')
  if (root === null) return ENOMEDIUM
  state.zeroes?.clearTouched(offsetBytes, lengthBytes)
  const errno = yield* copyThrough(state.sourceChild, root, offsetBytes, lengthBytes)
  if (errno === OK) state.statistics.copiedBytes += lengthBytes
  return errno
}

/** Writes data. Not empty. */
export function writeTarget(state: MirrorState, offsetBytes: number, data: Uint8Array): Co<Errno> {
  assert(data.length > 0 && offsetBytes + data.length <= state.lengthBytes, 'write-range')
  return state.detectsZeroes ? writeDetecting(state, offsetBytes, data) : writeData(state, offsetBytes, data)
}

function* writeData(state: MirrorState, offsetBytes: number, data: Uint8Array): Co<Errno> {
  if (state.control.isForceCancelled) return ECANCELED
  state.zeroes?.clearTouched(offsetBytes, data.length)
  const errno = yield* state.targetBackend.pwrite(offsetBytes, data)
  if (errno === OK) state.statistics.copiedBytes += data.length
  return errno
}

/**
 * Writes clusters that are copied whole: those of zeroes need no space in the target, whoever has asked for the copy. Starts
 * at a cluster and ends at one, or at the end of the disk.
 */
export function* writeClusters(state: MirrorState, offsetBytes: number, data: Uint8Array): Co<Errno> {
  const clusterBytes = state.filledBytes > 1 ? state.filledBytes : state.unitBytes
  assert(offsetBytes % clusterBytes === 0 && data.length > 0, 'write-clusters')
  for (let at = 0; at < data.length; ) {
    const stop = runEnd(data, at, (from) => Math.min(from + clusterBytes, data.length))
    const errno = isZero(data.subarray(at, Math.min(at + clusterBytes, stop)))
      ? yield* zeroTarget(state, offsetBytes + at, offsetBytes + stop, state.zeroFlags)
      : yield* writeTarget(state, offsetBytes + at, data.subarray(at, stop))
    if (errno !== OK) return errno
    at = stop
  }
  return OK
}

/** Where a run of pieces ends that are all of zeroes, or all of them not. */
function runEnd(data: Uint8Array, at: number, pieceEnd: (at: number) => number): number {
  let stop = pieceEnd(at)
  const isZeroRun = isZero(data.subarray(at, stop))
  for (let next = stop; next < data.length; stop = next) {
    next = pieceEnd(stop)
    if (isZero(data.subarray(stop, next)) !== isZeroRun) break
  }
  assert(stop > at && stop <= data.length, 'run-end')
  return stop
}

/**
 * The target's node would turn a buffer of zeroes into a zero write anyhow. Doing it here, chunk by chunk, finds more of
 * them and leaves chunks alone that read zero already.
 */
function* writeDetecting(state: MirrorState, offsetBytes: number, data: Uint8Array): Co<Errno> {
  const chunkEnd = (at: number): number => Math.min(state.chunkCeiling(offsetBytes + at + 1) - offsetBytes, data.length)
  for (let at = 0; at < data.length; ) {
    const stop = runEnd(data, at, chunkEnd)
    const errno = isZero(data.subarray(at, chunkEnd(at)))
      ? yield* zeroTarget(state, offsetBytes + at, offsetBytes + stop, state.detectedZeroFlags)
      : yield* writeData(state, offsetBytes + at, data.subarray(at, stop))
    if (errno !== OK) return errno
    at = stop
  }
  return OK
}
