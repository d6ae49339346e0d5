/** Disks that go wrong in other ways than by an error: what can be seen is told, and what cannot stays where it has hit. */
import { AFTER_READY_NS, CHUNK, flush, KiB, MICRO, on, read, type Scenario, scenario, trouble, write, zero } from './build'

export const FAULTS: readonly Scenario[] = [
  scenario({
    name: 'short-transfers-of-both-disks',
    bug: 'a transfer that has moved its first part is taken for a whole one',
    guest: [write('g1', CHUNK, 2 * CHUNK), read('g2', CHUNK, 2 * CHUNK)],
    faults: [
      trouble('x1', 'short-transfer', 'source', 'read', { times: 100 }),
      trouble('x2', 'short-transfer', 'source', 'write', { times: 100 }),
      trouble('x3', 'short-transfer', 'destination', 'write', { times: 100 }),
    ],
    expected: { allFaultsFire: true, guestOperationsDone: 2 },
  }),
  scenario({
    name: 'no-memory-for-the-mirror',
    bug: 'a read of the mirror that gets no bounce buffer is taken for done, or ends the job without a reason',
    source: { requestAlignmentBytes: 4 * KiB },
    mirror: { granularityBytes: 512, bufferBytes: 512 },
    faults: [trouble('x1', 'memory-pressure', 'source', 'read')],
    expected: { jobError: 'Cannot allocate memory', allFaultsFire: true },
  }),
  scenario({
    name: 'no-memory-for-a-guest',
    bug: 'a guest’s write that got no bounce buffer succeeds',
    source: { requestAlignmentBytes: 4 * KiB },
    guest: [write('g1', CHUNK + 512, 512, { thinkNs: AFTER_READY_NS }), read('g2', CHUNK, CHUNK)],
    faults: [trouble('x1', 'memory-pressure', 'source', 'write')],
    expected: { allFaultsFire: true, guestOperationsDone: 2 },
  }),
  scenario({
    name: 'write-lost-by-the-destination',
    bug: 'bytes beside those of a lost write are excused with it',
    guest: [write('g1', CHUNK, CHUNK, { thinkNs: AFTER_READY_NS }), read('g2', 0, 4 * CHUNK)],
    faults: [trouble('x1', 'lost-write', 'destination', 'write', { skip: 1 })],
    expected: { allFaultsFire: true, guestOperationsDone: 2 },
  }),
  scenario({
    name: 'zeroes-lost-by-the-destination',
    bug: 'a chunk whose zeroes were lost is trusted beyond what was lost',
    source: { initial: [] },
    destination: { initial: [{ id: 'd1', offsetBytes: 0, lengthBytes: 8 * CHUNK, content: 'data' }] },
    guest: [write('g1', CHUNK, 512, { thinkNs: AFTER_READY_NS }), zero('g2', CHUNK, CHUNK)],
    faults: [trouble('x1', 'lost-write', 'destination', 'write-zeroes', { offsetBytes: 2 * CHUNK, lengthBytes: CHUNK })],
    expected: { allFaultsFire: true, guestOperationsDone: 2 },
  }),
  scenario({
    name: 'write-gone-astray-at-the-source',
    bug: 'the place where a write has gone is not marked, or the one where it should have gone',
    guest: [write('g1', CHUNK, 4 * KiB), read('g2', 0, 8 * CHUNK)],
    faults: [{ ...trouble('x1', 'lost-write', 'source', 'write'), kind: 'misdirected-write', byBytes: 3 * CHUNK + 512 }],
    expected: { allFaultsFire: true, guestOperationsDone: 2 },
  }),
  scenario({
    name: 'old-data-read-from-the-source',
    bug: 'what the mirror has copied of a stale read spreads beyond it',
    guest: [write('g1', CHUNK, 2 * KiB), write('g2', 5 * CHUNK, 2 * KiB), read('g3', CHUNK, CHUNK)],
    start: on({ operationDone: 'g2' }),
    faults: [trouble('x1', 'stale-read', 'source', 'read', { times: 3 })],
    expected: { allFaultsFire: true, guestOperationsDone: 3 },
  }),
  scenario({
    name: 'bit-rotten-at-the-source',
    bug: 'the sector of a rotten bit is excused, and not the byte alone',
    guest: [read('g1', CHUNK, CHUNK, { thinkNs: AFTER_READY_NS }), write('g2', 3 * CHUNK, CHUNK)],
    faults: [trouble('x1', 'bit-rot', 'source', 'read', { skip: 2 })],
    expected: { allFaultsFire: true, guestOperationsDone: 2 },
  }),
  scenario({
    name: 'flush-that-lies-before-a-power-cut',
    bug: 'what a lying flush has lost takes with it what an honest one had made safe',
    guest: [write('g1', 0, 4 * KiB), flush('g2'), write('g3', 2 * CHUNK, 4 * KiB), flush('g4')],
    start: on('guest-done'),
    control: [{ id: 'c2', when: on({ operationDone: 'g4' }, 5 * MICRO), kind: 'power-cut' }],
    faults: [trouble('x1', 'lying-flush', 'source', 'flush', { skip: 1 })],
    expected: { allFaultsFire: true, guestOperationsDone: 4 },
  }),
]
