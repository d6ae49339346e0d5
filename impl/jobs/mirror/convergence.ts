/**
 * Whether the background keeps up with the guests, and what the copy mode `auto` does about it.
 *
 * Copying is seen in rounds: one round is over when as much has been copied as was left at its beginning. A round that
 * leaves more than half of that behind is slow. After SLOW_ROUNDS_MAX of them in a row guests had better wait for their
 * copies. They need not any more when for CALM_NS they have changed less than a quarter of what the background copied in
 * the same time; between a half and a quarter nothing changes, so that the mode does not swing.
 *
 * Nothing here waits or keeps a timer: it looks at the clock when something has been copied or written. No guest that
 * writes nothing has its mode changed; for it the modes are the same.
 */
import { assert } from '../../co'
import type { CopyMode } from './options'

/** Slow rounds in a row before guests wait for their copies. */
export const SLOW_ROUNDS_MAX = 2
/** For so long guests have to be slow before they need not wait any more. */
export const CALM_NS = 50_000_000
const CALM_SHARE = 4
const NS_PER_SECOND = 1_000_000_000

export class Convergence {
  /** The mode follows what happens here. */
  isAutomatic: boolean
  /** Marked dirty by guests and by failed copies since the first scan, as far as it was clean. */
  redirtiedBytes = 0
  /** Of the last round, in bytes per second; 0 before the first one has ended. */
  copyBytesPerSecond = 0
  dirtyBytesPerSecond = 0
  private roundStartNs = 0
  /** What was left at the beginning of the round; 0: no round is open. */
  private roundBytes = 0
  private roundCopiedBytes = 0
  private roundDirtiedBytes = 0
  private slowRounds = 0
  private calmStartNs = 0
  private calmBytes = 0

  constructor(isAutomatic: boolean) {
    this.isAutomatic = isAutomatic
  }

  /** Clean chunks of `bytes` are dirty again; 0 if they were dirty before. */
  dirtied(bytes: number): void {
    assert(bytes >= 0, 'dirtied-bytes')
    this.redirtiedBytes += bytes
    this.roundDirtiedBytes += bytes
  }

  /** The background has copied `bytes`, and `remainingBytes` are dirty or on their way. Returns the mode for guests. */
  copied(nowNs: number, bytes: number, remainingBytes: number, mode: CopyMode): CopyMode {
    assert(bytes > 0 && remainingBytes >= 0, 'copied-bytes')
    if (this.roundBytes === 0) this.beginRound(nowNs, remainingBytes + bytes)
    this.roundCopiedBytes += bytes
    if (remainingBytes > 0 && this.roundCopiedBytes < this.roundBytes) return mode
    this.slowRounds = 2 * remainingBytes > this.roundBytes ? this.slowRounds + 1 : 0
    this.measure(nowNs)
    this.beginRound(nowNs, remainingBytes)
    return this.isAutomatic && this.slowRounds >= SLOW_ROUNDS_MAX ? 'write-blocking' : mode
  }

  /** A guest that waited for its copy has changed `bytes`. Returns the mode for guests from now on. */
  followed(nowNs: number, bytes: number, mode: CopyMode): CopyMode {
    assert(bytes > 0, 'followed-bytes')
    this.calmBytes += bytes
    const elapsedNs = nowNs - this.calmStartNs
    if (elapsedNs < CALM_NS) return mode
    const rate = perSecond(this.calmBytes, elapsedNs)
    this.calmStartNs = nowNs
    this.calmBytes = 0
    return this.isAutomatic && CALM_SHARE * rate < this.copyBytesPerSecond ? 'background' : mode
  }

  /** Guests are served in another mode: what was measured of the old one says nothing about the new one. */
  modeChanged(nowNs: number): void {
    this.slowRounds = 0
    this.calmStartNs = nowNs
    this.calmBytes = 0
    assert(this.calmStartNs >= this.roundStartNs, 'convergence-forward')
  }

  /** Seconds until `remainingBytes` are copied, if things go on as in the last round; null: nobody knows, or never. */
  secondsLeft(remainingBytes: number): number | null {
    if (remainingBytes === 0) return 0
    const gain = this.copyBytesPerSecond - this.dirtyBytesPerSecond
    return gain > 0 ? Math.ceil(remainingBytes / gain) : null
  }

  private beginRound(nowNs: number, remainingBytes: number): void {
    this.roundStartNs = nowNs
    this.roundBytes = remainingBytes
    this.roundCopiedBytes = 0
    this.roundDirtiedBytes = 0
  }

  private measure(nowNs: number): void {
    const elapsedNs = nowNs - this.roundStartNs
    assert(elapsedNs >= 0, 'round-forward')
    if (elapsedNs === 0) return
    this.copyBytesPerSecond = perSecond(this.roundCopiedBytes, elapsedNs)
    this.dirtyBytesPerSecond = perSecond(this.roundDirtiedBytes, elapsedNs)
  }
}

function perSecond(bytes: number, elapsedNs: number): number {
  return Math.round((bytes / elapsedNs) * NS_PER_SECOND)
}
