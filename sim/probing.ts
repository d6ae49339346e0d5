/** Notices, when the guest submits a request, what that request meets. Looks only; nothing depends on it. */
import type { WorldView } from './observer'
import type { GuestOperation } from './plan'
import type { ProbeName } from './probes'

interface Counter {
  hit(probe: ProbeName): void
}

const OVER_COPY = {
  write: 'guest/write-over-copy',
  'write-zeroes': 'guest/zero-over-copy',
  discard: 'guest/discard-over-copy',
} as const satisfies Record<string, ProbeName>

export function probeChange(world: WorldView, operation: GuestOperation, counter: Counter): void {
  const { kind, offsetBytes, lengthBytes } = operation
  const { mirror, jobStatus } = world
  if (mirror === null) return
  const isOver = jobStatus === 'concluded' || jobStatus === 'null'
  if (kind === 'read' && !isOver) counter.hit('guest/read-in-job')
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
      else if (other !== 'pseudo' && other !== 'zero' && kind === 'write') counter.hit('guest/write-over-active')
    }
  }
}
