/**
 * Before the first copy: what is known of the target's zeroes, and which chunks have to be copied.
 *
 * A target that reads zero needs nothing where the source has nothing. One that does not, but can deallocate, is zeroed
 * in whole first. One that looks for zeroes to deallocate them gets every chunk, so that it finds them.
 *
 * What may fail: block status of the source or reading the target's head, which ends the job; zeroing the target, which
 * only makes the range dirty.
 * What never may: a bit of the dirty map that is cleared here. Guests write already, and mark what they have written.
 */
import { type BlockNode, isAllocatedAbove, probeAllZero, REQUEST_MAX_BYTES } from '../../block'
import { assert, type Co, type Errno, OK } from '../../co'
import { MirrorOperation } from './operations'
import type { MirrorState } from './state'
import { zeroTarget } from './target_writes'
import { ZeroBitmap } from './zero_bitmap'

/** Status queries before others get their turn. */
const SCAN_STEPS_MAX = 64

/** Fills the dirty map and the zero bitmap. Returns early, with OK, when the job is cancelled by force. */
export function* initialise(state: MirrorState, pausePoint: () => Co<void>): Co<Errno> {
  assert(state.zeroes === null && !state.isPublished, 'initialise-once')
  const { sync } = state.options
  if (sync === 'none' || state.lengthBytes === 0) return OK
  const known = yield* knowsZero(state)
  if (known.errno !== OK) return known.errno
  const zeroes = new ZeroBitmap(state.lengthBytes, state.granularityBytes)
  state.zeroes = zeroes
  // The target has everything else already: what is not dirty is left alone.
  if (state.copiesBitmap) {
    if (known.isZero) zeroes.setAll()
    assert(state.isDirtyComplete, 'bitmap-taken')
    return OK
  }
  const punches = state.target.options.detectZeroes === 'unmap' && state.canUnmapTarget
  if (known.isZero && !punches) zeroes.setAll()
  // Layers above a base: nothing else is copied, whatever the target holds there.
  if (baseOf(state) === null) {
    const isZeroedFirst = !known.isZero && !punches && state.canUnmapTarget && state.zeroFlags !== 0
    if (isZeroedFirst) yield* zeroFirst(state, pausePoint)
    else if (!known.isZero || punches) {
      state.dirty.setAll()
      return OK
    }
  }
  state.phase = 'scanning'
  return yield* scan(state, pausePoint)
}

/** Below it nothing is copied; null: everything is. Users may replace it by another image that shows the same. */
function baseOf({ options, source, target }: MirrorState): BlockNode | null {
  if (options.sync !== 'top') return null
  return options.commit === undefined ? (source.skipFilters().backing?.node ?? null) : target
}

/** Whether the whole target reads zero, in the chain that it will have when the job is over. */
function* knowsZero(state: MirrorState): Co<{ errno: Errno; isZero: boolean }> {
  if (state.options.targetHasDetachedBacking === true) return { errno: OK, isZero: false }
  if (state.options.targetIsZero) return { errno: OK, isZero: true }
  const root = state.targetBackend.root
  assert(root !== null, 'target-attached')
  return yield* probeAllZero(root)
}

function* zeroFirst(state: MirrorState, pausePoint: () => Co<void>): Co<void> {
  state.phase = 'zeroing'
  const { lengthBytes, operationsInFlight } = state
  const stepBytes = REQUEST_MAX_BYTES - (REQUEST_MAX_BYTES % state.granularityBytes)
  assert(stepBytes > 0, 'zero-step')
  for (let at = 0; at < lengthBytes; at += stepBytes) {
    yield* pausePoint()
    if (state.control.isForceCancelled) return
    const endBytes = Math.min(at + stepBytes, lengthBytes)
    const operation = new MirrorOperation(operationsInFlight, 'zero', at, endBytes - at, at, endBytes)
    const isClaimed = operationsInFlight.tryClaim(operation)
    assert(isClaimed, 'zero-first-alone')
    const errno = yield* zeroTarget(state, at, endBytes, state.zeroFlags)
    if (errno !== OK) state.dirty.set(at, endBytes - at)
    operationsInFlight.release(operation)
  }
}

function* scan(state: MirrorState, pausePoint: () => Co<void>): Co<Errno> {
  const { lengthBytes } = state
  let steps = 0
  for (let at = 0; at < lengthBytes; ) {
    yield* pausePoint()
    if (state.control.isForceCancelled) return OK
    const { errno, isAllocated, bytes } = yield* isAllocatedAbove(state.source, baseOf(state), at, lengthBytes - at)
    if (errno !== OK) return errno
    assert(bytes > 0 && at + bytes <= lengthBytes, 'scan-progress', () => `${at}+${bytes}`)
    if (isAllocated) state.dirty.set(at, bytes)
    at += bytes
    if (++steps % SCAN_STEPS_MAX === 0) yield* state.kernel.sleepNs(0)
  }
  return OK
}
