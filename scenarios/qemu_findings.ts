/** What our plans brought out in QEMU (docs/qemu-findings.md), where no older scenario has it: ours must come through. */
import type { FormatPlan, GuestOperation, NbdPlan } from '../sim/plan'
import {
  AFTER_READY_NS,
  CHUNK,
  discard,
  KiB,
  MICRO,
  MILLI,
  many,
  on,
  read,
  type Scenario,
  type ScenarioParts,
  SLOW,
  SPREAD,
  scenario,
  write,
  zero,
} from './build'

/** When lane 1 calls: the first lane has kept the job from being finalized since before that. */
const LATE_NS = 60 * MILLI

/** Of two clients the second comes while the job is pending: nothing that it asked for before has reached the server. */
function lateClient(): NbdPlan {
  const client = { headers: 'structured', allocation: false, depth: 2, fua: false, fastZero: false, oddities: [] } as const
  return {
    clients: [0, 1].map((lane) => ({ ...client, oddities: [], lane })),
    link: { capacityBytes: 64 * KiB, stepNs: 0, steps: 1, isCut: false },
    cuts: [{ id: 'k1', link: 1, afterNs: LATE_NS - 10 * MILLI, downNs: 5 * MILLI }],
    reconnectDelaySeconds: 60,
  }
}

function clientWhilePending(name: string, bug: string, mirror: ScenarioParts['mirror']): Scenario {
  return scenario({
    name,
    bug,
    mirror: { ...mirror, autoFinalize: false },
    nbd: lateClient(),
    guest: [
      write('g1', 0, 4 * KiB),
      write('g2', CHUNK, 4 * KiB, { lane: 1 }),
      ...many(3, 8, (id, index) => write(id, (index % 4) * CHUNK, 4 * KiB, { lane: 1, thinkNs: index === 0 ? LATE_NS : 0 })),
      read('g11', 0, 4 * CHUNK, { lane: 1 }),
    ],
    control: [
      { id: 'c2', when: on('ready'), kind: 'complete' },
      { id: 'c3', when: on('ending', 2 * LATE_NS), kind: 'finalize' },
    ],
    expected: { guestOperationsDone: 11 },
  })
}

/** Runs of so many chunks of 512 bytes, with clean ones between them; the buffer of the mirror has room for four. */
function waitingRuns(): GuestOperation[] {
  const runs = [1, 1, 1, 4, 1, 1, 2, 1, 1, 4]
  let offsetBytes = 0
  return runs.map((chunks, index) => {
    const operation = write(`g${index + 1}`, offsetBytes, chunks * 512, { lane: index, thinkNs: AFTER_READY_NS })
    offsetBytes += chunks * 512 + 1024
    return operation
  })
}

function copiesThatWait(name: string, bug: string, end: ScenarioParts['control']): Scenario {
  return scenario({
    name,
    bug,
    source: { initial: [], latency: SLOW },
    mirror: { sync: 'none', copyMode: 'background', granularityBytes: 512, bufferBytes: 2048 },
    guest: waitingRuns(),
    start: on('start'),
    control: [{ id: 'c2', when: on('ready'), kind: 'pause' }, ...(end ?? [])],
    expected: { jobError: 'any', guestOperationsDone: 10 },
  })
}

const SUBCLUSTERS: FormatPlan = {
  kind: 'qcow2',
  version: 3,
  clusterBytes: 32 * KiB,
  extendedL2: true,
  refcountBits: 16,
  lazyRefcounts: false,
  discardNoUnref: false,
  preallocation: 'off',
  dataFile: 'none',
}

export const QEMU_FINDINGS: readonly Scenario[] = [
  clientWhilePending(
    'client-that-comes-while-the-job-is-pending',
    'the source is drained, but a client that connects now is served: its writes go to the source and are lost with it',
    { copyMode: 'background' },
  ),
  clientWhilePending(
    'client-that-comes-while-the-job-is-pending/write-blocking',
    'a write of a client that connects while the source is drained looks for its chunks in a map that is released',
    { copyMode: 'write-blocking', granularityBytes: 512 },
  ),
  copiesThatWait(
    'copies-that-wait-for-room-in-the-buffer',
    'a copy that waits for room is not dirty and not in flight either: the job takes itself for clean, and ends without it',
    [
      { id: 'c3', when: on('guest-done'), kind: 'complete' },
      { id: 'c4', when: on({ controlDone: 'c3' }), kind: 'resume' },
    ],
  ),
  ...[1, 3, 5, 7, 9].map((delay) =>
    copiesThatWait(
      `copies-that-wait-for-room-when-the-job-is-cancelled/${delay}-ms`,
      'a copy that waits for room when the job is cancelled by force goes on with a buffer that has been released',
      [
        { id: 'c3', when: on('guest-done'), kind: 'resume' },
        { id: 'c4', when: on({ controlDone: 'c3' }, delay * MILLI), kind: 'cancel', force: true },
      ],
    ),
  ),
  scenario({
    name: 'forced-cancel-beside-active-writes',
    bug: 'the job waits for its own operations only, and releases the map that writes of the guest are still entered in',
    destination: { latency: SLOW },
    guest: many(1, 32, (id, index) =>
      index % 2 === 0
        ? write(id, (index % 8) * CHUNK + 512, 1024, { lane: index % 8, thinkNs: AFTER_READY_NS })
        : zero(id, (index % 8) * CHUNK, CHUNK, { lane: index % 8, thinkNs: AFTER_READY_NS, unmap: false }),
    ),
    control: [{ id: 'c2', when: on({ operationDone: 'g1' }, 20_500 * MICRO), kind: 'cancel', force: true }],
    expected: { jobError: 'any', guestOperationsDone: 32 },
  }),
  scenario({
    name: 'completion-beside-discards-and-zero-writes',
    bug: 'small discards and zero writes go on while the job completes, with maps that are gone',
    source: { latency: SPREAD },
    destination: { initial: [], latency: SPREAD, format: { ...SUBCLUSTERS, extendedL2: false } },
    mirror: { granularityBytes: 512, bufferBytes: 0 },
    guest: many(1, 96, (id, index) =>
      (index % 2 === 0 ? zero : discard)(id, (index % 60) * 512, 512, { lane: index % 6, thinkNs: 20 * MICRO }),
    ),
    control: [{ id: 'c2', when: on('ready', 300 * MICRO), kind: 'complete' }],
    expected: { guestOperationsDone: 96 },
  }),
  scenario({
    name: 'discards-beside-first-writes-to-subclusters',
    bug: 'a discard of a cluster that a first write is about to enter leaves an entry to a cluster that nobody counts (b8bfb1478d)',
    lengthBytes: 64 * KiB,
    source: { initial: [], latency: SPREAD, format: SUBCLUSTERS },
    guest: many(1, 90, (id, index) => {
      const more = { lane: index % 6 }
      if (index % 3 === 2) return discard(id, 0, 64 * KiB, more)
      return (index % 3 === 0 ? write : zero)(id, ((index * 7) % 24) * 512, ((index * 5) % 32) * 512 + 512, more)
    }),
    expected: { guestOperationsDone: 90 },
  }),
  scenario({
    name: 'discards-below-the-alignment',
    bug: 'a discard shorter than what the disk can align to divides by a preferred size that is not known',
    source: { requestAlignmentBytes: 4 * KiB, discardAlignmentBytes: 0 },
    guest: many(1, 16, (id, index) => discard(id, index * 4 * KiB + 512, 512, { lane: index % 2 })),
    expected: { guestOperationsDone: 16 },
  }),
]
