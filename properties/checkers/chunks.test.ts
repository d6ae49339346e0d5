import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeChunkChecker } from './chunks'
import { CHUNK, FakeWorld, keyOf, op } from './testing'

function world(parts: ConstructorParameters<typeof FakeWorld>[1] = {}): FakeWorld {
  return new FakeWorld(makeChunkChecker, parts).start()
}

test('equal disks are fine, at every step', () => {
  const made = world()
  assert.is(made.after(), null)
  assert.is(made.after(), null)
})

test('a clean chunk that differs is found when the first scan ends', () => {
  const made = world()
  made.source.write('g1', CHUNK, 512)
  made.fake.phase = 'scanning'
  assert.is(made.after(), null)
  made.fake.phase = 'copying'
  const found = made.after()
  assert.is(keyOf(found), 'chunks/clean-chunk-differs')
  assert.is(found?.class, 'content')
  assert.is(found?.chunkIndex, 1)
  assert.is(found?.offsetBytes, CHUNK)
})

test('a chunk that differs may be dirty or in flight', () => {
  for (const map of ['dirtyWords', 'inFlightWords'] as const) {
    const made = world()
    made.source.write('g1', 0, 512)
    made.fake[map]![0] = 1
    assert.is(made.after(), null)
    made.fake[map]![0] = 0
    assert.is(keyOf(made.after()), 'chunks/clean-chunk-differs')
  }
})

test('a change of either disk brings its chunk back', () => {
  for (const disk of ['source', 'destination'] as const) {
    const made = world()
    made.after()
    const sent = made.submit(disk, 'write', [2 * CHUNK, 512], 'g1')
    made[disk].write('g1', 2 * CHUNK, 512)
    assert.is(made.after(), null)
    sent.end()
    assert.is(keyOf(made.after()), 'chunks/clean-chunk-differs')
  }
})

test('where a request of the guest is on its way the disks may differ, and not any longer', () => {
  const made = world()
  made.fake.filterRequests.push({ kind: 'write', offsetBytes: 100, lengthBytes: 512 })
  made.send('source', 'write', [0, 512], 'g1')
  made.source.write('g1', 0, 512)
  assert.is(made.after(), null)
  made.fake.filterRequests.pop()
  assert.is(keyOf(made.after()), 'chunks/clean-chunk-differs')
})

test('the short chunk at the end counts like the others', () => {
  const made = world()
  made.after()
  made.send('destination', 'write', [3 * CHUNK, 2048], 'b3')
  made.destination.write('g1', 3 * CHUNK + 1536, 512)
  assert.is(made.after()?.offsetBytes, 3 * CHUNK + 1536)
})

test('a silent change is found by the look at all chunks', () => {
  const made = world()
  made.after()
  made.destination.write('g1', 0, 512)
  let found = null
  for (let event = 0; event < 300 && found === null; event++) found = made.after()
  assert.is(keyOf(found), 'chunks/clean-chunk-differs')
})

test('after the end of the mirror the disks may part', () => {
  const made = world()
  made.after()
  made.fake.phase = 'finished'
  made.source.write('g1', 0, 512)
  made.send('source', 'write', [0, 512], 'g1')
  assert.is(made.after(), null)
})

test('without a first copy only changed sectors count', () => {
  const made = world({ mirror: { sync: 'none' } })
  made.source.write('g9', 0, 1024)
  assert.is(made.after(), null)
  const operation = op('g1', 'write', 512, 512)
  made.begin(operation)
  made.send('source', 'write', [512, 512], 'g1')
  assert.is(made.after(), null)
  made.end(operation)
  made.fake.dirtyWords[0] = 1
  assert.is(made.after(), null)
  made.fake.dirtyWords[0] = 0
  assert.is(made.after()?.offsetBytes, 512)
})

test('a mirror that calls itself synced has nothing dirty while nothing is on its way', () => {
  const made = world()
  made.fake.activelySynced = true
  assert.is(made.after(), null)
  made.fake.dirtyWords[0] = 2
  made.fake.filterRequests.push({ kind: 'write', offsetBytes: 0, lengthBytes: 512 })
  assert.is(made.after(), null)
  made.fake.filterRequests.pop()
  made.fake.operations.push({ kind: 'active-write', offsetBytes: 0, lengthBytes: 512, isInFlight: true })
  assert.is(made.after(), null)
  made.fake.operations.pop()
  assert.is(keyOf(made.after()), 'chunks/synced-but-dirty')
})

test('a job with nothing left to do calls itself synced before time goes by', () => {
  const made = world()
  made.jobStatus = 'ready'
  assert.is(made.after(), null)
  made.timeNs = 1_000_000
  assert.is(made.after(), null)
  made.fake.dirtyWords[0] = 2
  made.timeNs = 3_000_000
  assert.is(made.after(), null, 'there is something to do')
  made.fake.dirtyWords[0] = 0
  assert.is(made.after(), null, 'since now only')
  made.timeNs = 5_000_000
  assert.is(keyOf(made.after()), 'chunks/never-synced')
  made.fake.activelySynced = true
  assert.is(made.after(), null)
})

test('an error at the end of a job takes it out of step for as long as it may wait', () => {
  const made = world()
  made.jobStatus = 'ready'
  for (let round = 0; round < 4; round++) {
    made.timeNs = round * 1_000_000
    made.fake.activelySynced = true
    assert.is(made.after(), null)
    made.fake.activelySynced = false
    assert.is(made.after(), null, String(round))
  }
})

test('in background mode nobody can call himself synced', () => {
  const made = world()
  made.fake.copyMode = 'background'
  assert.is(made.after(), null)
  made.fake.activelySynced = true
  assert.is(keyOf(made.after()), 'chunks/synced-in-background')
})

test.run()
