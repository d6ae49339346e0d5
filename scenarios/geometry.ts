/** Sizes that do not fit into one another. */
import { CHUNK, discard, KiB, many, read, type Scenario, SPREAD, scenario, stripes, write, zero } from './build'

export const GEOMETRY: readonly Scenario[] = [
  scenario({
    name: 'short-last-chunk',
    bug: 'the last, short chunk is copied in full: past the end of the destination (4150ae60eb)',
    lengthBytes: 3 * 64 * KiB + 512,
    mirror: { granularityBytes: 64 * KiB, bufferBytes: 64 * KiB },
    guest: [write('g1', 3 * 64 * KiB, 512), write('g2', 3 * 64 * KiB - 512, 1 * KiB), read('g3', 2 * 64 * KiB, 64 * KiB + 512)],
  }),
  scenario({
    name: 'disk-shorter-than-a-chunk',
    bug: 'no whole chunk, no work to do: the mirror is READY at once with an empty destination',
    lengthBytes: 1 * KiB,
    mirror: { granularityBytes: 0, bufferBytes: 0 },
    guest: [write('g1', 512, 512), zero('g2', 0, 512), discard('g3', 0, 1 * KiB), write('g4', 0, 1 * KiB)],
  }),
  scenario({
    name: 'odd-limits',
    bug: 'what is left over when a zero write or discard is cut at limits and alignments is dropped',
    source: {
      maxDiscardBytes: 12 * KiB,
      discardAlignmentBytes: 4 * KiB,
      maxWriteZeroesBytes: 12 * KiB,
      writeZeroesAlignmentBytes: 4 * KiB,
      latency: SPREAD,
    },
    destination: {
      maxWriteZeroesBytes: 20 * KiB,
      writeZeroesAlignmentBytes: 4 * KiB,
      maxTransferBytes: 12 * KiB,
      latency: SPREAD,
    },
    guest: many(1, 18, (id, index) => {
      const make = [zero, discard, write][index % 3]!
      return make(id, index * 6 * KiB + 512, 27 * KiB, { lane: index % 3 })
    }).filter(({ offsetBytes, lengthBytes }) => offsetBytes + lengthBytes <= 8 * CHUNK),
  }),
  scenario({
    name: 'granularity-below-the-alignment-of-the-destination',
    bug: 'a destination that takes whole 4 KiB only is written in sectors: neighbours are overwritten with what they were',
    lengthBytes: 32 * KiB,
    destination: { requestAlignmentBytes: 4 * KiB, latency: SPREAD },
    mirror: { granularityBytes: 512, bufferBytes: 1 * KiB },
    source: {
      initial: stripes(16, 2 * KiB, 512),
    },
    guest: many(1, 32, (id, index) => write(id, ((index * 5) % 64) * 512, 512, { lane: index % 8 })),
  }),
  scenario({
    name: 'buffer-below-the-zero-alignment-of-the-destination',
    bug: 'runs end at the size of the buffer: a hole is zeroed in parts too small to be zeroed as such, and is filled instead',
    lengthBytes: 16 * KiB,
    source: { initial: [] },
    destination: {
      writeZeroesAlignmentBytes: 4 * KiB,
      allocationUnitBytes: 512,
      node: { discard: 'unmap', detectZeroes: 'unmap' },
      initial: stripes(2, 4 * KiB, 4 * KiB),
    },
    mirror: { granularityBytes: 512, bufferBytes: 2 * KiB, copyMode: 'background' },
    expected: { destinationAllocatedBytesMax: 0, copiedBytesMax: 0 },
  }),
  scenario({
    name: 'buffers-of-one-chunk',
    bug: 'an operation waits for a second buffer while it holds the only one',
    mirror: { bufferBytes: CHUNK },
    destination: { latency: SPREAD },
    guest: many(1, 16, (id, index) => write(id, (index % 7) * CHUNK + 512, CHUNK, { lane: index % 4 })),
  }),
  scenario({
    name: 'rings-of-eight',
    bug: 'a full ring loses the request that did not fit',
    device: { queueSize: 8, indirect: false, segmentsMax: 4, eventIndex: true },
    source: { latency: SPREAD },
    guest: many(1, 48, (id, index) => write(id, (index % 8) * CHUNK, CHUNK, { lane: index % 16 })),
    expected: { guestOperationsDone: 48 },
  }),
]
