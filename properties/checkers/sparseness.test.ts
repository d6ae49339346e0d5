import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { BackingPlan, FormatPlan } from '../../sim/plan'
import { makeSparsenessChecker } from './sparseness'
import { CHUNK, DISK_BYTES, FakeWorld, keyOf, op, type PlanParts, UNIT } from './testing'

const DATA = { id: 's1', offsetBytes: CHUNK, lengthBytes: CHUNK, content: 'data' } as const
const ALL = [0, DISK_BYTES] as const

function world(parts: PlanParts = {}): FakeWorld {
  return new FakeWorld(makeSparsenessChecker, parts).start()
}
function zero(made: FakeWorld, offsetBytes: number, lengthBytes: number, more = {}): string | null {
  return keyOf(made.send('destination', 'write-zeroes', [offsetBytes, lengthBytes], 'b0', { mayUnmap: true, ...more }))
}
/** A destination of which nothing is known at the start. */
const UNKNOWN: PlanParts = { destination: { reportsHoles: false } }

test('an empty destination gets no zero write at all', () => {
  const made = world()
  const found = made.send('destination', 'write-zeroes', [CHUNK, 512], 'g1')
  assert.is(keyOf(found), 'sparseness/redundant-zero-write')
  assert.is(found?.class, 'sparseness')
  assert.is(found?.chunkIndex, 1)
})

test('a destination that does not tell may be zeroed once, and is known then', () => {
  const made = world(UNKNOWN)
  assert.is(zero(made, 0, 2 * CHUNK), null)
  assert.is(zero(made, CHUNK, 512), 'sparseness/redundant-zero-write')
  assert.is(zero(made, 2 * CHUNK, CHUNK), null)
})

test('zeroing a part of a chunk makes nothing known', () => {
  const made = world(UNKNOWN)
  assert.is(zero(made, 512, CHUNK), null)
  assert.is(zero(made, 512, CHUNK), null)
  assert.is(zero(made, 512, 2 * CHUNK), null)
  assert.is(zero(made, CHUNK, 512), 'sparseness/redundant-zero-write')
})

test('the short chunk at the end is covered by what reaches the end', () => {
  const made = world(UNKNOWN)
  assert.is(zero(made, 3 * CHUNK, 2048), null)
  assert.is(zero(made, 3 * CHUNK + 512, 512), 'sparseness/redundant-zero-write')
})

test('data ends what is known, from the moment it is sent', () => {
  const made = world(UNKNOWN)
  zero(made, 0, CHUNK)
  made.submit('destination', 'write', [0, 512], 'b0')
  assert.is(zero(made, 0, 512), null)
})

test('a zero write that was sent before data proves nothing', () => {
  const made = world(UNKNOWN)
  const slow = made.submit('destination', 'write-zeroes', [0, CHUNK], 'b0', { mayUnmap: true })
  made.send('destination', 'write', [512, 512], 'g1')
  slow.end()
  assert.is(zero(made, 0, CHUNK), null)
})

test('a discard ends what is known', () => {
  const made = world()
  made.send('destination', 'discard', [0, 512], 'g1')
  assert.is(zero(made, 0, CHUNK), null)
})

test('after an error nothing is known, and what failed may be sent again', () => {
  const made = world(UNKNOWN)
  zero(made, 0, CHUNK)
  assert.is(zero(made, CHUNK, CHUNK, { errno: 5 }), null)
  assert.is(zero(made, 0, 2 * CHUNK), null)
})

test('a destination that the user vouches for is known, one that is punched is not', () => {
  assert.is(zero(world({ ...UNKNOWN, mirror: { targetIsZero: true } }), 0, CHUNK), 'sparseness/redundant-zero-write')
  const node = { discard: 'unmap', detectZeroes: 'unmap' } as const
  assert.is(zero(world({ destination: { node } }), 0, CHUNK), null)
  assert.is(zero(world({ mirror: { sync: 'none' } }), 0, CHUNK), null)
})

test('a block that the node has made of less proves nothing of its chunk', () => {
  const made = world({ destination: { reportsHoles: false, requestAlignmentBytes: CHUNK } })
  assert.is(zero(made, 0, CHUNK), null)
  assert.is(zero(made, 0, CHUNK), null)
  assert.is(zero(made, 0, 2 * CHUNK), null)
  assert.is(zero(made, 0, CHUNK), 'sparseness/redundant-zero-write')
})

test('what the guest does after the switch is its own affair', () => {
  const made = world()
  made.guestDisk = 'destination'
  assert.is(zero(made, 0, CHUNK), null)
  made.guestDisk = 'source'
  made.fake.phase = 'finished'
  assert.is(zero(made, 0, CHUNK), null)
})

test('the destination may allocate where the source has data, and nowhere else', () => {
  const made = world({ source: { initial: [DATA] } })
  made.destination.write('s1', CHUNK, CHUNK)
  assert.is(made.status('ready'), null)
  made.destination.write('', 2 * CHUNK, 512)
  const found = made.status('ready')
  assert.is(keyOf(found), 'sparseness/allocation')
  assert.is(found?.offsetBytes, 2 * CHUNK)
  assert.is(keyOf(made.status('aborting')), 'sparseness/allocation')
  assert.is(made.status('running'), null)
})

test('what the source has had, or a guest was to write, may be allocated', () => {
  const made = world()
  made.source.write('g1', 0, 512)
  made.send('source', 'write', [0, 512], 'g1')
  made.source.free(0, UNIT)
  made.begin(op('g2', 'write', CHUNK, 512))
  made.destination.write('g1', 0, 512)
  made.destination.write('g2', CHUNK, 512)
  assert.is(made.status('aborting'), null)
})

test('what shares a block with data may be allocated', () => {
  const made = world({ source: { initial: [{ ...DATA, lengthBytes: 512 }] }, destination: { requestAlignmentBytes: CHUNK } })
  made.destination.write('s1', CHUNK, CHUNK)
  assert.is(made.status('ready'), null)
  made.destination.write('s1', 2 * CHUNK, 512)
  assert.is(keyOf(made.status('ready')), 'sparseness/allocation')
})

test('what a zero write had to allocate may be allocated', () => {
  const made = world({ destination: { reportsHoles: false, writeZeroes: 'allocating' } })
  zero(made, 0, CHUNK)
  made.destination.write('', 0, CHUNK)
  assert.is(made.status('ready'), null)
  const unmapped = world(UNKNOWN)
  zero(unmapped, 0, CHUNK)
  unmapped.destination.write('', 0, CHUNK)
  assert.is(keyOf(unmapped.status('ready')), 'sparseness/allocation')
  const forbidden = world(UNKNOWN)
  zero(forbidden, 0, CHUNK, { mayUnmap: false })
  forbidden.destination.write('', 0, CHUNK)
  assert.is(forbidden.status('ready'), null)
})

test('zeroes come as data where there is no other way, and only where nothing was known', () => {
  const data = new Uint8Array(CHUNK)
  const made = world({ destination: { reportsHoles: false, writeZeroes: 'none' } })
  made.send('destination', 'write', [0, CHUNK], 'b0', { data })
  made.destination.write('', 0, CHUNK)
  assert.is(made.status('ready'), null)
  const known = world({ destination: { writeZeroes: 'none' } })
  known.send('destination', 'write', [0, CHUNK], 'b0', { data })
  known.destination.write('', 0, CHUNK)
  assert.is(keyOf(known.status('ready')), 'sparseness/allocation')
})

test('where holes of the source are unknown everything may be allocated', () => {
  for (const source of [{ reportsHoles: false }, { holesReadZero: false }]) {
    const made = world({ source })
    made.destination.write('', ...ALL)
    assert.is(made.status('ready'), null)
  }
  const failing = world()
  failing.send('source', 'status', ALL, 'job-mirror', { errno: 5 })
  failing.destination.write('', ...ALL)
  assert.is(failing.status('ready'), null)
})

test('what the destination held before may stay, but not where all is to be given back', () => {
  const initial = [{ id: 'd1', offsetBytes: 0, lengthBytes: CHUNK, content: 'data' }] as const
  const made = world({ destination: { initial: [...initial] }, mirror: { unmap: false } })
  assert.is(made.status('pending'), null)
  const capable = world({ destination: { initial: [...initial] } })
  assert.is(keyOf(capable.status('pending')), 'sparseness/not-reclaimed')
  capable.destination.free(0, CHUNK)
  assert.is(capable.status('pending'), null)
})

test('zeroes that were there before are not looked for', () => {
  const made = new FakeWorld(makeSparsenessChecker)
  made.destination.write('', 0, CHUNK)
  made.start()
  assert.is(made.status('pending'), null)
})

test('a unit that the guest has freed in the source is free in the destination', () => {
  const made = world()
  made.source.write('g1', 0, CHUNK)
  made.send('source', 'write', [0, CHUNK], 'g1')
  made.destination.write('g1', 0, CHUNK)
  assert.is(made.status('pending'), null)
  made.source.free(UNIT, UNIT)
  const found = made.status('pending')
  assert.is(keyOf(found), 'sparseness/not-reclaimed')
  assert.is(found?.offsetBytes, UNIT)
})

const IMAGE: FormatPlan = {
  kind: 'qcow2',
  version: 3,
  clusterBytes: UNIT,
  extendedL2: false,
  refcountBits: 16,
  lazyRefcounts: false,
  discardNoUnref: false,
  preallocation: 'off',
  dataFile: 'none',
}
const BELOW: BackingPlan = { format: 'raw', lengthBytes: CHUNK, initial: [], isDetached: false }

test('nothing is to be given back by those who cannot, or after errors', () => {
  const cases: PlanParts[] = [
    { mirror: { unmap: false } },
    { mirror: { sync: 'none' } },
    { mirror: { targetIsZero: true } },
    { destination: { writeZeroes: 'allocating' } },
    { destination: { node: { discard: 'ignore', detectZeroes: 'off' } } },
    { destination: { node: { discard: 'unmap', detectZeroes: 'on' } } },
    { destination: { allocationUnitBytes: 4 * UNIT } },
    { destination: { maxWriteZeroesBytes: UNIT } },
    { destination: { writeZeroesAlignmentBytes: UNIT } },
    { source: { discard: 'reads-old' } },
    { source: { allocationUnitBytes: 512 } },
    { source: { node: { discard: 'unmap', detectZeroes: 'unmap' } } },
    { source: { writeZeroesAlignmentBytes: UNIT, format: { ...IMAGE, backing: BELOW } } },
    {
      mirror: { sync: 'top' },
      source: { format: { ...IMAGE, backing: BELOW } },
      destination: { format: { ...IMAGE, extendedL2: true, preallocation: 'falloc', backing: BELOW } },
    },
  ]
  const build = (parts: PlanParts = {}): FakeWorld => {
    const made = world(parts)
    made.begin(op('g1', 'write', 0, CHUNK))
    made.destination.write('g1', 0, CHUNK)
    return made
  }
  assert.is(keyOf(build().status('pending')), 'sparseness/not-reclaimed')
  for (const parts of cases) assert.is(build(parts).status('pending'), null, JSON.stringify(parts))
  const failing = build()
  failing.send('source', 'read', [0, 512], 'b0', { errno: 5 })
  assert.is(failing.status('pending'), null)
})

test('the short unit at the end is not to be given back where it is zeroed in two parts', () => {
  const lengthBytes = 3 * CHUNK + 512
  const made = world({ source: { lengthBytes }, destination: { lengthBytes, requestAlignmentBytes: UNIT } })
  made.begin(op('g1', 'write', 3 * CHUNK, 512))
  made.destination.write('g1', 3 * CHUNK, 512)
  assert.is(made.status('pending'), null)
  made.begin(op('g2', 'write', 0, 512))
  made.destination.write('g2', 0, 512)
  assert.is(keyOf(made.status('pending')), 'sparseness/not-reclaimed')
})

test.run()
