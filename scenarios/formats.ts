/** Images: what a mirror meets when its disks lie in files that have a format, above other images or not. */
import type { BackingPlan, FormatPlan, InitialExtent } from '../sim/plan'
import {
  AFTER_READY_NS,
  CHUNK,
  data,
  discard,
  fault,
  flush,
  KiB,
  MICRO,
  many,
  on,
  read,
  type Scenario,
  SLOW,
  scenario,
  write,
  zero,
} from './build'

const QCOW2: FormatPlan = {
  kind: 'qcow2',
  version: 3,
  clusterBytes: 4 * KiB,
  extendedL2: false,
  refcountBits: 16,
  lazyRefcounts: false,
  discardNoUnref: false,
  preallocation: 'off',
  dataFile: 'none',
}

function qcow2(options: Partial<FormatPlan> = {}): FormatPlan {
  return { ...QCOW2, ...options }
}
function below(initial: InitialExtent[], options: Partial<BackingPlan> = {}): BackingPlan {
  return { format: 'raw', lengthBytes: 8 * CHUNK, initial, isDetached: false, ...options }
}

export const FORMATS: readonly Scenario[] = [
  scenario({
    name: 'zeroing-at-the-start-fails',
    bug: 'the destination cannot be zeroed at the start, and what it held stays where the source has nothing',
    source: { initial: [data('s1', CHUNK, CHUNK)], format: qcow2() },
    destination: { initial: [data('d1', 0, 8 * CHUNK)] },
    faults: [fault('f1', 'destination', 'write-zeroes')],
    expected: { allFaultsFire: true },
  }),
  scenario({
    name: 'a-part-zeroed-before-its-cluster-is-copied',
    bug: 'a guest zeroes a part of a cluster that has not been copied: all of it is copied as data, and takes space',
    source: { initial: [], latency: SLOW },
    destination: { initial: [], format: qcow2({ clusterBytes: 16 * KiB, backing: below([], { isDetached: true }) }) },
    mirror: { granularityBytes: 4 * KiB, bufferBytes: 16 * KiB },
    guest: many(1, 24, (id, index) => zero(id, (index % 8) * CHUNK + 4 * KiB, 4 * KiB, { lane: index })),
    expected: { guestOperationsDone: 24, destinationAllocatedBytesMax: 0 },
  }),
  scenario({
    name: 'guests-race-at-an-image-while-the-scan-ends',
    bug: 'requests overlap, one from before the end of the first scan; the image keeps the other one, and nobody copies it',
    seed: 'fm.1092',
    lengthBytes: 32 * KiB,
    source: {
      initial: [],
      format: qcow2({ version: 2, clusterBytes: 8 * KiB }),
      latency: { minNs: 10 * MICRO, stepNs: 2_000 * MICRO, steps: 3 },
    },
    mirror: { granularityBytes: 512, bufferBytes: 1 * KiB },
    start: on({ operationDone: 'g7' }, 576 * MICRO),
    guest: [
      write('g7', 24 * KiB, 512),
      write('g17', 12 * KiB, 12 * KiB + 512, { lane: 3 }),
      write('g19', 24 * KiB, 512, { lane: 2 }),
      read('g30', 0, 8 * KiB + 512, { lane: 3 }),
      zero('g33', 8 * KiB, 24 * KiB, { lane: 3, thinkNs: 74 * MICRO }),
      write('g38', 4 * KiB, 4 * KiB + 512, { lane: 2 }),
    ],
    expected: { guestOperationsDone: 6 },
  }),
  scenario({
    name: 'a-hole-that-two-layers-share',
    bug: 'an image ends a little before the one above it: the last chunk is a hole in two parts, and is copied as data',
    lengthBytes: 8 * CHUNK,
    source: {
      initial: [data('s1', 0, CHUNK)],
      format: qcow2({ backing: below([data('sb1', CHUNK, CHUNK)], { format: 'qcow2', lengthBytes: 8 * CHUNK - 512 }) }),
    },
    destination: { format: qcow2({ clusterBytes: 32 * KiB }) },
    // The image below tells of clusters of 64 KiB.
    expected: { destinationAllocatedBytesMax: 4 * CHUNK },
  }),
  scenario({
    name: 'a-part-of-a-cluster-above-an-image-that-comes-later',
    bug: 'a guest writes a part of a cluster of a chunk that is not copied; the rest of the cluster hides the image below',
    source: { initial: [], format: qcow2({ backing: below([data('b1', 0, 8 * CHUNK)]) }) },
    destination: { format: qcow2({ backing: below([data('b1', 0, 8 * CHUNK)], { isDetached: true }) }) },
    mirror: { sync: 'top' },
    guest: [write('g1', CHUNK + 512, 512, { thinkNs: AFTER_READY_NS }), zero('g2', 3 * CHUNK + 1 * KiB, 6 * KiB)],
    expected: { destinationAllocatedBytesMax: 4 * 4 * KiB },
  }),
  scenario({
    name: 'the-base-is-replaced-before-the-scan',
    bug: 'the mirror keeps in mind which image is the base, it is replaced by another, and that one is copied too',
    source: {
      initial: [data('s1', CHUNK, CHUNK)],
      format: qcow2({ backing: below([data('b1', 0, 8 * CHUNK)]) }),
    },
    destination: { format: qcow2({ backing: below([data('b1', 0, 8 * CHUNK)]) }), latency: SLOW },
    mirror: { sync: 'top' },
    control: [{ id: 'c2', when: on('mirror-started', 10 * MICRO), kind: 'link-backing', disk: 'source' }],
    expected: { destinationAllocatedBytesMax: CHUNK },
  }),
  scenario({
    name: 'the-image-below-comes-while-the-mirror-runs',
    bug: 'clusters that are copied in part show zeroes, or old data, once the image below the destination is attached',
    source: { initial: [data('s1', CHUNK, CHUNK)], format: qcow2({ backing: below([data('b1', 0, 8 * CHUNK)]) }) },
    destination: { format: qcow2({ backing: below([data('b1', 0, 8 * CHUNK)], { isDetached: true }) }) },
    mirror: { sync: 'top' },
    guest: [
      write('g1', 2 * CHUNK + 512, 512, { thinkNs: AFTER_READY_NS }),
      zero('g2', 3 * CHUNK + 1 * KiB, 6 * KiB),
      write('g3', 4 * CHUNK + 512, 512, { thinkNs: AFTER_READY_NS }),
      read('g4', 0, 8 * CHUNK, { thinkNs: AFTER_READY_NS }),
    ],
    control: [
      { id: 'c2', when: on({ operationDone: 'g2' }), kind: 'link-backing', disk: 'destination' },
      { id: 'c3', when: on({ operationDone: 'g3' }), kind: 'complete' },
    ],
    expected: { guestOperationsDone: 4 },
  }),
  scenario({
    name: 'a-copy-hides-what-lies-below-it',
    bug: 'holes of the source are left out because the new image is empty, and the old one shows through them',
    source: { initial: [data('s1', 2 * CHUNK, CHUNK)] },
    destination: { format: qcow2({ backing: below([data('db1', 0, 8 * CHUNK)]) }) },
    expected: { destinationAllocatedBytesMax: CHUNK },
  }),
  scenario({
    name: 'a-version-that-has-no-zeroes',
    bug: 'an image of version 2 cannot say that a cluster reads zero where an image below has data',
    source: { initial: [data('s1', 2 * CHUNK, CHUNK)] },
    destination: { format: qcow2({ version: 2, backing: below([data('db1', 4 * CHUNK, CHUNK)]) }) },
    guest: [discard('g1', 2 * CHUNK, CHUNK, { thinkNs: AFTER_READY_NS }), zero('g2', 0, 3 * KiB)],
  }),
  scenario({
    name: 'a-data-file-is-discarded-under-a-reader',
    bug: 'a discard goes to the data file after the lock is free: who writes or reads there meanwhile finds other bytes',
    source: { format: qcow2({ dataFile: 'external' }), discard: 'reads-garbage', latency: SLOW },
    start: on('guest-done'),
    guest: [
      discard('g1', 0, 4 * CHUNK),
      write('g2', 4 * KiB, 4 * KiB, { lane: 1, thinkNs: 10 * MICRO }),
      read('g3', 0, 4 * CHUNK, { lane: 2, thinkNs: 20 * MICRO }),
      read('g4', 0, 4 * CHUNK, { lane: 1 }),
    ],
    expected: { guestOperationsDone: 4 },
  }),
  scenario({
    name: 'power-cut-after-an-image-was-flushed',
    bug: 'a flush leaves tables in memory: the data is in the file, and nobody finds it',
    source: { initial: [], format: qcow2({ lazyRefcounts: true }) },
    guest: [write('g1', 0, 6 * KiB), flush('g2'), discard('g3', 0, 4 * KiB), write('g4', 2 * CHUNK, CHUNK)],
    control: [{ id: 'c2', when: on({ operationDone: 'g4' }, 5 * MICRO), kind: 'power-cut' }],
    expected: { guestOperationsDone: 4 },
  }),
  scenario({
    name: 'an-image-whose-file-fails',
    bug: 'an error below an image is lost on its way up, or makes the image another one',
    destination: { format: qcow2() },
    mirror: { onTargetError: 'ignore' },
    guest: [write('g1', 0, 3 * KiB, { thinkNs: AFTER_READY_NS }), zero('g2', CHUNK, CHUNK), flush('g3')],
    faults: [fault('f1', 'destination', 'write', { skip: 4, times: 2 }), fault('f2', 'destination', 'flush')],
    expected: { allFaultsFire: true, guestOperationsDone: 3 },
  }),
]
