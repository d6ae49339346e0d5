/**
 * The zero bitmap tells the truth: a chunk whose bit is set and in which nothing is in flight reads zero on the destination,
 * and no data is sent to a chunk while its bit is set. A bit that lies makes the mirror leave out a zero write later, and
 * old data stays. There is a bitmap exactly if there was a first copy.
 */
import type { Checker, DiskRequestView, JobEventView, MirrorView, WorldView } from '../../sim/observer'
import type { DiskName } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import { bitMap, bufferOn, hasBit, isChange, isZeroRange, markRange, setAll } from './shared'

const FULL_CHECK_EVENTS = 256

export function makeZeroBitChecker(world: WorldView): Checker {
  return new ZeroBitChecker(world)
}

class ZeroBitChecker implements Checker {
  readonly name = 'zero-bits'
  private readonly world: WorldView
  private readonly destination: Buffer
  private mirror: MirrorView | null = null
  private isVouchedFor = false
  private events = 0
  private pending: Uint32Array = new Uint32Array(0)
  private lastZero: Uint32Array = new Uint32Array(0)
  private lastInFlight: Uint32Array = new Uint32Array(0)

  constructor(world: WorldView) {
    this.world = world
    this.destination = bufferOn(world.destination.bytes)
  }

  jobEvent(event: JobEventView): Finding | null {
    if (event.event !== 'JOB_STATUS_CHANGE' || event.data['status'] !== 'created') return null
    const { mirror, plan } = this.world
    this.mirror = mirror
    if (mirror === null) return null
    // Whoever vouches for a destination that does not read zero gets what was asked for.
    this.isVouchedFor = plan.mirror.targetIsZero && !isZeroRange(this.destination, 0, this.destination.length)
    this.pending = bitMap(mirror.chunkCount, true)
    this.lastZero = bitMap(mirror.chunkCount, false)
    this.lastInFlight = bitMap(mirror.chunkCount, false)
    return null
  }

  diskSubmitted(disk: DiskName, request: DiskRequestView): Finding | null {
    const { mirror } = this
    if (disk !== 'destination' || mirror === null || request.operation !== 'write' || mirror.zeroWords === null) return null
    const { zeroWords, granularityBytes, lengthBytes } = mirror
    const endBytes = Math.min(request.offsetBytes + request.lengthBytes, lengthBytes)
    for (let at = request.offsetBytes; at < endBytes; ) {
      const chunkIndex = Math.floor(at / granularityBytes)
      const end = Math.min((chunkIndex + 1) * granularityBytes, endBytes)
      if (hasBit(zeroWords, chunkIndex) && !this.isVouchedFor && hasData(request, at, end)) {
        const text = `data is sent to chunk ${chunkIndex} of the destination while it counts as reading zero`
        return this.finding('data-into-known-zero', text, chunkIndex, at, request.origin)
      }
      at = end
    }
    return null
  }

  diskCompleted(disk: DiskName, request: DiskRequestView, _errno: number): Finding | null {
    const { mirror } = this
    if (disk !== 'destination' || mirror === null || !isChange(request.operation)) return null
    const endBytes = Math.min(request.offsetBytes + request.lengthBytes, mirror.lengthBytes)
    if (request.offsetBytes < endBytes) markRange(this.pending, mirror.granularityBytes, request.offsetBytes, endBytes)
    return null
  }

  afterEvent(): Finding | null {
    const { mirror } = this
    if (mirror === null) return null
    const { phase, zeroWords, inFlightWords } = mirror
    if (phase === 'finished' || inFlightWords === null) {
      this.mirror = null
      return null
    }
    if (phase === 'copying' || phase === 'completing') {
      const finding = this.checkPresence(mirror)
      if (finding !== null) return finding
    }
    if (zeroWords === null) return null
    if (++this.events % FULL_CHECK_EVENTS === 0) setAll(this.pending, mirror.chunkCount)
    return this.checkPending(mirror, zeroWords, inFlightWords)
  }

  private checkPresence(mirror: MirrorView): Finding | null {
    const isWanted = this.world.plan.mirror.sync !== 'none' && mirror.lengthBytes > 0
    if ((mirror.zeroWords !== null) === isWanted) return null
    const text = isWanted
      ? 'a mirror of the whole disk works without a zero bitmap'
      : 'a mirror without a first copy keeps a zero bitmap: it cannot know anything of the destination'
    return { class: 'invariant', key: isWanted ? 'zero-bits/missing' : 'zero-bits/without-first-copy', text }
  }

  private checkPending(mirror: MirrorView, zeroWords: Uint32Array, inFlightWords: Uint32Array): Finding | null {
    const pending = this.pending
    const lastZero = this.lastZero
    const lastInFlight = this.lastInFlight
    for (let word = 0; word < pending.length; word++) {
      const zero = zeroWords[word]!
      const inFlight = inFlightWords[word]!
      let waiting = pending[word]! | (zero ^ lastZero[word]!) | (inFlight ^ lastInFlight[word]!)
      lastZero[word] = zero
      lastInFlight[word] = inFlight
      pending[word] = 0
      // A chunk that stops being in flight comes back.
      waiting &= zero & ~inFlight
      while (waiting !== 0) {
        const bit = waiting & -waiting
        waiting ^= bit
        const finding = this.checkChunk(mirror, word * 32 + (31 - Math.clz32(bit)))
        if (finding !== null) return finding
      }
    }
    return null
  }

  private checkChunk(mirror: MirrorView, chunkIndex: number): Finding | null {
    const startBytes = chunkIndex * mirror.granularityBytes
    const endBytes = Math.min(startBytes + mirror.granularityBytes, mirror.lengthBytes)
    if (isZeroRange(this.destination, startBytes, endBytes) || this.isVouchedFor) return null
    const { corruption } = this.world
    let at = startBytes
    while (at < endBytes && (this.destination[at] === 0 || corruption?.isHit(at) === true)) at++
    if (at === endBytes) return null
    const text = `chunk ${chunkIndex} counts as reading zero on the destination, and it holds data: a later zero would be left out`
    return this.finding('bit-lies', text, chunkIndex, at)
  }

  private finding(what: string, text: string, chunkIndex: number, offsetBytes: number, operationId?: string): Finding {
    const origin = operationId === undefined ? {} : { operationId }
    return { class: 'content', key: `zero-bits/${what}`, text, disk: 'destination', offsetBytes, chunkIndex, ...origin }
  }
}

function hasData(request: DiskRequestView, startBytes: number, endBytes: number): boolean {
  if (request.data === null) return false
  const from = startBytes - request.offsetBytes
  return !isZeroRange(bufferOn(request.data), from, from + endBytes - startBytes)
}
