/**
 * Notices what a guest's request, an operator's order and a disk's error meet at the mirror. Looks only; nothing depends on it.
 */
import type { WatchedRequest } from './disk'
import type { MirrorView, WorldView } from './observer'
import type { ControlOperation, GuestOperation } from './plan'
import { orderOverProbe, type ProbeName } from './probes'

interface Counter {
  hit(probe: ProbeName): void
  count(probe: string): void
}

const OVER_COPY = {
  write: 'guest/write-over-copy',
  'write-zeroes': 'guest/zero-over-copy',
  discard: 'guest/discard-over-copy',
} as const satisfies Record<string, ProbeName>
const OVER_ACTIVE = {
  write: 'guest/write-over-active',
  'write-zeroes': 'guest/zero-over-active',
  discard: 'guest/discard-over-active',
} as const satisfies Record<string, ProbeName>

export function probeChange(world: WorldView, operation: GuestOperation, counter: Counter): void {
  const { kind, offsetBytes, lengthBytes } = operation
  const { mirror, jobStatus } = world
  if (mirror === null) return
  const isOver = jobStatus === 'concluded' || jobStatus === 'null'
  if (kind === 'read' && !isOver) counter.hit('guest/read-in-job')
  probeOthers(mirror, operation, counter)
  if (kind === 'read' || kind === 'flush' || kind === 'get-id') return
  if (isOver) {
    counter.hit('guest/change-after-job')
    return
  }
  if (jobStatus === 'paused' || jobStatus === 'standby') counter.hit('guest/change-in-pause')
  if (mirror.wasReady) counter.hit('guest/change-in-ready')
  if (mirror.activelySynced) counter.hit('guest/change-when-synced')
  if (mirror.phase === 'starting' || mirror.phase === 'zeroing' || mirror.phase === 'scanning') counter.hit('guest/during-scan')

  const { granularityBytes, chunkCount } = mirror
  const endBytes = offsetBytes + lengthBytes
  const endsInside = endBytes % granularityBytes !== 0 && endBytes !== mirror.lengthBytes
  if (offsetBytes % granularityBytes !== 0 || endsInside) counter.hit('guest/unaligned-to-chunks')
  const hasShortTail = mirror.lengthBytes % granularityBytes !== 0
  if (hasShortTail && endBytes > (chunkCount - 1) * granularityBytes) counter.hit('guest/short-tail')
  const zeroWords = mirror.zeroWords
  const chunkIndex = Math.floor(offsetBytes / granularityBytes)
  if (zeroWords !== null && ((zeroWords[chunkIndex >> 5] ?? 0) & (1 << (chunkIndex & 31))) !== 0)
    counter.hit(kind === 'write' ? 'guest/data-on-known-zero' : 'guest/zero-on-known-zero')

  for (const { kind: other, isInFlight, offsetBytes: otherBytes, lengthBytes: otherLength } of mirror.operations) {
    if (!isInFlight) counter.hit('mirror/operations-wait')
    else if (otherBytes < endBytes && offsetBytes < otherBytes + otherLength) {
      if (other === 'copy') counter.hit(OVER_COPY[kind])
      else if (other !== 'pseudo' && other !== 'zero') counter.hit(OVER_ACTIVE[kind])
      const isTail = hasShortTail && endBytes === mirror.lengthBytes && otherBytes + otherLength === endBytes
      if (isTail && kind === 'write-zeroes' && offsetBytes % granularityBytes !== 0) counter.hit('guest/tail-zeroed-in-flight')
    }
  }
}

const OVER_CHANGE: Readonly<Record<Exclude<GuestOperation['kind'], 'get-id'>, ProbeName>> = {
  read: 'guest/read-over-change',
  write: 'guest/change-over-change',
  'write-zeroes': 'guest/change-over-change',
  discard: 'guest/change-over-change',
  flush: 'guest/flush-over-change',
}

/** What a request meets of other requests of guests, between source and destination. */
function probeOthers(mirror: MirrorView, { kind, offsetBytes, lengthBytes }: GuestOperation, counter: Counter): void {
  if (kind === 'get-id') return
  for (const other of mirror.filterRequests) {
    const overlaps = other.offsetBytes < offsetBytes + lengthBytes && offsetBytes < other.offsetBytes + other.lengthBytes
    if (overlaps || kind === 'flush') counter.hit(OVER_CHANGE[kind])
  }
}

/** An order is about to be given. */
export function probeOrder({ mirror }: WorldView, kind: ControlOperation['kind'], counter: Counter): void {
  if (mirror === null) return
  let isCopying = false
  let isActive = false
  for (const { kind: other, isInFlight } of mirror.operations) {
    if (!isInFlight || other === 'pseudo') continue
    if (other.startsWith('active')) isActive = true
    else isCopying = true
  }
  if (isCopying) counter.count(orderOverProbe(kind, 'copy'))
  if (isActive) counter.count(orderOverProbe(kind, 'active'))
  if (kind !== 'change-copy-mode') return
  for (const _request of mirror.filterRequests) {
    counter.hit('mirror/mode-changed-mid-request')
    return
  }
}

/** A disk has failed a request. */
export function probeFailure(world: WorldView, { disk, operation, label }: WatchedRequest, counter: Counter): void {
  const { mirror, guestDisk, plan } = world
  if (mirror === null || guestDisk !== 'source' || mirror.phase === 'finished') return
  if (mirror.phase === 'completing') counter.hit('mirror/fails-while-completing')
  if (mirror.phase === 'scanning' || mirror.phase === 'zeroing') counter.hit('mirror/fails-in-scan')
  if (operation === 'status') counter.hit('mirror/status-fails')
  const isGuest = plan.guest.some(({ id }) => id === label.id)
  if (disk === 'source') {
    if (!isGuest && operation === 'read') counter.hit('mirror/read-fails')
    return
  }
  if (operation === 'flush') counter.hit('mirror/flush-fails')
  if (operation !== 'write' && operation !== 'write-zeroes' && operation !== 'discard') return
  if (isGuest) counter.hit(mirror.wasReady ? 'mirror/active-fails-at-ready' : 'mirror/active-fails')
  else counter.hit(mirror.wasReady ? 'mirror/copy-fails-at-ready' : 'mirror/copy-fails')
}
