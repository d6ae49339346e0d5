/** Power cuts: the moments at which something that was promised is easiest to lose. */
import { AFTER_READY_NS, CHUNK, data, discard, flush, KiB, MICRO, on, type Scenario, SLOW, scenario, write, zero } from './build'

export const POWER: readonly Scenario[] = [
  scenario({
    name: 'power-cut-after-a-flush-through-the-mirror',
    bug: 'the guest flushes, and the flush ends at the filter of the mirror: the data is gone after a power cut',
    guest: [write('g1', 0, 4 * KiB, { thinkNs: AFTER_READY_NS }), flush('g2')],
    control: [{ id: 'c2', when: on({ operationDone: 'g2' }), kind: 'power-cut' }],
    expected: { guestOperationsDone: 2 },
  }),
  scenario({
    name: 'power-cut-after-a-flush-beside-another',
    bug: 'two flushes are one, and the write between their beginnings is covered by neither',
    source: { initial: [], latency: SLOW },
    start: on('guest-done'),
    guest: [
      write('g1', 0, 4 * KiB),
      flush('g2'),
      write('g3', CHUNK, 4 * KiB, { lane: 1, thinkNs: 1_000 * MICRO }),
      flush('g4', { lane: 1 }),
    ],
    control: [{ id: 'c2', when: on({ operationDone: 'g4' }), kind: 'power-cut' }],
    expected: { guestOperationsDone: 4 },
  }),
  scenario({
    name: 'power-cut-without-a-write-cache',
    bug: 'a device without a cache ends writes that are in the cache of its disk',
    seed: 'lost.3',
    device: { writeCache: false },
    guest: [write('g1', 0, 4 * KiB), write('g2', 2 * CHUNK, 4 * KiB)],
    control: [{ id: 'c2', when: on({ operationDone: 'g2' }), kind: 'power-cut' }],
    expected: { guestOperationsDone: 2 },
  }),
  scenario({
    name: 'power-cut-after-zeroes-without-a-write-cache',
    bug: 'a device without a cache ends zero writes that are in the cache of its disk',
    seed: 'lost.3',
    device: { writeCache: false },
    guest: [write('g1', 0, 4 * KiB), zero('g2', 2 * CHUNK, CHUNK)],
    control: [{ id: 'c2', when: on({ operationDone: 'g2' }), kind: 'power-cut' }],
    expected: { guestOperationsDone: 2 },
  }),
  scenario({
    name: 'power-cut-right-after-the-switch-over',
    bug: 'the job is COMPLETED before the destination has been flushed: what the guest wrote long ago is gone',
    guest: [write('g1', 0, 4 * KiB), discard('g2', 2 * CHUNK, CHUNK), flush('g3')],
    control: [
      { id: 'c2', when: on('ready'), kind: 'complete' },
      { id: 'c3', when: on({ controlDone: 'c2' }, 50 * MICRO), kind: 'power-cut' },
    ],
    expected: { guestOperationsDone: 3 },
  }),
  scenario({
    name: 'power-cut-after-a-point-in-time',
    bug: 'a job that was to leave a copy is over, and the copy was not flushed',
    source: { initial: [data('s1', 0, 6 * CHUNK)] },
    control: [
      { id: 'c2', when: on('ready'), kind: 'cancel', force: false },
      { id: 'c3', when: on({ controlDone: 'c2' }, 100 * MICRO), kind: 'power-cut' },
    ],
  }),
  scenario({
    name: 'power-cut-in-the-middle-of-a-copy',
    bug: 'a mirror that has not ended changes its source',
    destination: { latency: SLOW },
    guest: [write('g1', 0, 8 * CHUNK), flush('g2'), discard('g3', CHUNK, 2 * CHUNK), zero('g4', 5 * CHUNK, CHUNK)],
    control: [{ id: 'c2', when: on({ operationDone: 'g2' }, 15 * MICRO), kind: 'power-cut' }],
  }),
]
