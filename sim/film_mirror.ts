/** Pictures of a mirror. */
import { shared } from './film_disk'
import type { MirrorFrame } from './film_frames'
import type { MirrorView } from './observer'

/** Gives `old` where nothing has changed since. */
export function frameOfMirror(mirror: MirrorView, old: MirrorFrame | null): MirrorFrame {
  const { dirtyWords, zeroWords, inFlightWords, cowWords, statistics } = mirror
  const kept = (words: Uint32Array | null, before: Uint32Array | null | undefined): Uint32Array | null => {
    if (words === null) return null
    const same = shared(words, before)
    return same === words ? words.slice() : same
  }
  const fresh: MirrorFrame = {
    phase: mirror.phase,
    copyMode: mirror.copyMode,
    activelySynced: mirror.activelySynced,
    wasReady: mirror.wasReady,
    granularityBytes: mirror.granularityBytes,
    chunkCount: mirror.chunkCount,
    dirty: kept(dirtyWords, old?.dirty)!,
    zero: kept(zeroWords, old?.zero),
    inFlight: kept(inFlightWords, old?.inFlight),
    cow: kept(cowWords, old?.cow),
    copiedBytes: statistics.copiedBytes,
    skippedZeroBytes: statistics.skippedZeroBytes,
    zeroedBytes: statistics.zeroedBytes,
    discardedBytes: statistics.discardedBytes,
  }
  if (old === null) return fresh
  for (const name of Object.keys(fresh) as Array<keyof MirrorFrame>) if (fresh[name] !== old[name]) return fresh
  return old
}
