import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DiskFrame, Film, Frame, MirrorFrame } from '../../sim/film_frames'
import { sampleReport } from '../testing'
import { ChunkState, chunkState, firstDifference, firstWrongFrame, frameIndexAt, isEqualChunk, storyOf } from './story'

const CHUNK_BYTES = 1024

function disk(...sectors: number[]): DiskFrame {
  return { sectors: Uint32Array.from(sectors), allocated: new Uint8Array(sectors.length) }
}

function mirror(changes: Partial<MirrorFrame>): MirrorFrame {
  return {
    phase: 'copying',
    copyMode: 'background',
    activelySynced: false,
    wasReady: false,
    granularityBytes: CHUNK_BYTES,
    chunkCount: 2,
    dirty: new Uint32Array(1),
    zero: null,
    inFlight: new Uint32Array(1),
    cow: null,
    copiedBytes: 0,
    skippedZeroBytes: 0,
    zeroedBytes: 0,
    discardedBytes: 0,
    ...changes,
  }
}

function frame(step: number, source: DiskFrame, destination: DiskFrame, view: MirrorFrame | null): Frame {
  const rest = { timeNs: step * 10, jobStatus: 'running', jobOffsetBytes: 0, jobLengthBytes: 0, guestDisk: 'source' as const }
  return { step, source, destination, layers: [], mirror: view, waits: [], ...rest }
}

function film(frames: Frame[], changes: Partial<Film> = {}): Film {
  const { failure, plan } = sampleReport
  const result = { failure: { ...failure, step: 7, offsetBytes: 1024 } } as Film['result']
  const units = { source: 512, destination: 512 }
  return {
    kind: 'mirror',
    names: { source: 'source', destination: 'destination' },
    lanes: ['guest', 'device', 'mirror', 'source', 'destination'],
    layers: [],
    chunkBytes: CHUNK_BYTES,
    lengthBytes: 2 * CHUNK_BYTES,
    plan,
    result,
    frames,
    spans: [],
    situations: [],
    lines: [],
    allocationUnitBytes: units,
    writers: new Map(),
    ...changes,
  }
}

const dirtySecond = Uint32Array.of(2)
/** The second chunk is dirty, in flight, then clean and different from event 5 on. */
const frames = [
  frame(1, disk(1, 1, 9, 9), disk(1, 1, 0, 0), mirror({ dirty: dirtySecond })),
  frame(3, disk(1, 1, 9, 9), disk(1, 1, 0, 0), mirror({ inFlight: dirtySecond })),
  frame(5, disk(1, 1, 9, 9), disk(1, 1, 9, 0), mirror({})),
  frame(7, disk(1, 1, 9, 9), disk(1, 1, 9, 0), mirror({})),
]

test('a chunk that is neither dirty nor in flight is right, or wrong', () => {
  const states = frames.map((one) => [
    chunkState(film(frames), one, 0, CHUNK_BYTES),
    chunkState(film(frames), one, 1, CHUNK_BYTES),
  ])
  const { Equal, Dirty, InFlight, Wrong } = ChunkState
  assert.equal(states, [
    [Equal, Dirty],
    [Equal, InFlight],
    [Equal, Wrong],
    [Equal, Wrong],
  ])
  assert.is(chunkState(film([]), { ...frames[2]!, mirror: null }, 1, CHUNK_BYTES), ChunkState.Outside)
  assert.ok(isEqualChunk(frames[3]!, 0, CHUNK_BYTES))
  assert.not.ok(isEqualChunk(frames[3]!, 1, CHUNK_BYTES))
})

test('it went wrong where the failing chunk was wrong from then on', () => {
  assert.is(firstWrongFrame(film(frames)), 2)
  const healed = [...frames.slice(0, 3), frame(7, disk(1, 1, 9, 9), disk(1, 1, 9, 9), mirror({}))]
  assert.is(firstWrongFrame(film(healed)), -1)
})

test('an event without a frame has that of the one before it', () => {
  assert.equal(
    [0, 1, 2, 3, 6, 7, 99].map((step) => frameIndexAt(film(frames), step)),
    [0, 0, 0, 1, 2, 3, 3],
  )
})

test('two worlds differ first where a line does, or where one has no more', () => {
  const line = (step: number, text: string): Film['lines'][number] => ({ step, timeNs: step, lane: 'guest', text })
  const one = film([], { lines: [line(1, 'a'), line(2, 'b')] })
  assert.is(firstDifference(one, one), null)
  assert.equal(firstDifference(one, film([], { lines: [line(1, 'a'), line(3, 'c')] })), { lineIndex: 1, step: 2, otherStep: 3 })
  assert.equal(firstDifference(film([], { lines: [line(1, 'a')] }), one), { lineIndex: 1, step: 2, otherStep: 2 })
})

test('the story of a chunk has its requests and its bits, in order, and nothing of its neighbours', () => {
  const span = { lane: 'guest' as const, kind: 'write', lengthBytes: 512, fromStep: 2, toStep: 6, isBad: false }
  const spans = [
    { ...span, id: 'g1', offsetBytes: 1536 },
    { ...span, id: 'g2', offsetBytes: 512 },
  ]
  assert.equal(
    storyOf(film(frames, { spans }), 1, 3).map(({ step, text }) => `${step} ${text}`),
    [
      '2 the guest’s write g1 1536+512 begins',
      '3 chunk 1 is not dirty any more',
      '3 chunk 1 is in flight now',
      '5 chunk 1 is not in flight any more',
      '6 the guest’s write g1 1536+512 ends',
    ],
  )
})

test.run()
