/**
 * The case that the zero bitmap was made for: a disk that is mostly hole is mirrored onto a destination that reads zero
 * already, and must come out as thin as it was. 20 MiB with 2 MiB of data at 8 MiB, onto destinations that are sparse or
 * preallocated, that keep or drop discards, that look for zeroes in what is written or not; alone and under a guest that
 * writes, zeroes, discards and writes again.
 */
import { data, discard, type Expectation, KiB, MICRO, MiB, type Scenario, scenario, write, zero, zeroes } from './build'

const LENGTH_BYTES = 20 * MiB
const DATA_AT_BYTES = 8 * MiB
const DATA_BYTES = 2 * MiB
const GRANULARITY_BYTES = 64 * KiB
/** What the guest leaves behind: one block where there was a hole. */
const GUEST_DATA_BYTES = 64 * KiB
/** Where it has written, whatever it has done there since. */
const GUEST_TOUCHED_BYTES = 384 * KiB

type Preallocation = 'off' | 'full'
type Discard = 'ignore' | 'unmap'
type DetectZeroes = 'off' | 'on' | 'unmap'

const GUEST = [
  write('g1', 4 * MiB, 256 * KiB, { thinkNs: 50 * MICRO }),
  zero('g2', 4 * MiB, 256 * KiB),
  discard('g3', DATA_AT_BYTES, 64 * KiB, { lane: 1, thinkNs: 200 * MICRO }),
  write('g4', DATA_AT_BYTES, 64 * KiB, { lane: 1 }),
  write('g5', 4 * MiB, GUEST_DATA_BYTES, { thinkNs: 100 * MICRO }),
  write('g6', 12 * MiB, 128 * KiB, { lane: 1, zeroData: true }),
  zero('g7', 12 * MiB, 128 * KiB, { lane: 1 }),
]

/** What was allocated once stays so where nothing may deallocate: at first, or because the guest went there. */
function expected(preallocation: Preallocation, option: Discard, hasGuest: boolean): Expectation {
  if (option === 'unmap') return { destinationAllocatedBytesMax: DATA_BYTES + (hasGuest ? GUEST_DATA_BYTES : 0) }
  if (preallocation === 'full') return { destinationAllocatedBytesMax: LENGTH_BYTES }
  return { destinationAllocatedBytesMax: DATA_BYTES + (hasGuest ? GUEST_TOUCHED_BYTES : 0) }
}

function variant(preallocation: Preallocation, option: Discard, detectZeroes: DetectZeroes, hasGuest: boolean): Scenario {
  return scenario({
    name: `origin/${preallocation === 'off' ? 'sparse' : 'preallocated'}/discard-${option}/detect-zeroes-${detectZeroes}/${hasGuest ? 'guest' : 'alone'}`,
    bug: 'a mirror of a thin disk comes out thick',
    lengthBytes: LENGTH_BYTES,
    source: { initial: [data('s1', DATA_AT_BYTES, DATA_BYTES)] },
    destination: {
      initial: preallocation === 'full' ? [zeroes('d1', 0, LENGTH_BYTES)] : [],
      node: { discard: option, detectZeroes },
    },
    mirror: { granularityBytes: GRANULARITY_BYTES, bufferBytes: 1 * MiB },
    guest: hasGuest ? GUEST : [],
    expected: expected(preallocation, option, hasGuest),
  })
}

/** detect-zeroes=unmap is refused where discards are ignored. */
const OPTIONS: ReadonlyArray<readonly [Discard, DetectZeroes]> = [
  ['ignore', 'off'],
  ['ignore', 'on'],
  ['unmap', 'off'],
  ['unmap', 'on'],
  ['unmap', 'unmap'],
]

export const ORIGIN: readonly Scenario[] = (['off', 'full'] as const).flatMap((preallocation) =>
  OPTIONS.flatMap(([option, detectZeroes]) =>
    [false, true].map((hasGuest) => variant(preallocation, option, detectZeroes, hasGuest)),
  ),
)
