import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeGuestChecker } from './guest'
import { FakeWorld, keyOf, op, type PlanParts } from './testing'

const WRITE = op('g1', 'write', 0, 512)
const FLUSH = op('g2', 'flush')
const DISCARD = op('g3', 'discard', 0, 512)
const EIO = 5

function world(parts: PlanParts = {}): FakeWorld {
  return new FakeWorld(makeGuestChecker, parts)
}

test('each request is answered once', () => {
  const made = world()
  assert.is(made.begin(WRITE), null)
  assert.is(keyOf(made.begin(WRITE)), 'guest/submitted-twice')
  assert.is(made.end(WRITE), null)
  assert.is(keyOf(made.end(WRITE)), 'guest/answered-twice')
  assert.is(keyOf(made.begin(WRITE)), 'guest/submitted-twice')
  assert.is(made.atEnd(), null)
})

test('a request without an answer is missed at the end, unless a reset has ended it', () => {
  const made = world()
  made.begin(WRITE)
  assert.is(keyOf(made.atEnd()), 'guest/never-answered')
  assert.is(made.abort(WRITE), null)
  assert.is(made.atEnd(), null)
  assert.is(keyOf(made.abort(WRITE)), 'guest/aborted-twice')
  assert.is(keyOf(made.end(WRITE)), 'guest/answered-twice')
})

test('a failure of the disk reaches the guest', () => {
  const made = world()
  made.begin(WRITE)
  made.send('source', 'write', [0, 512], 'g1', { errno: EIO })
  const found = made.end(WRITE, 0)
  assert.is(keyOf(found), 'guest/error-hidden')
  assert.is(found?.operationId, 'g1')
})

test('an error that the guest’s disk did not have is made up', () => {
  const made = world()
  made.begin(WRITE)
  made.send('destination', 'write', [0, 512], 'g1', { errno: EIO })
  made.send('source', 'write', [0, 512], 'b0', { errno: EIO })
  assert.is(keyOf(made.end(WRITE, 1)), 'guest/error-made-up')
})

test('an honest error is fine, on whichever disk the guest is', () => {
  for (const disk of ['source', 'destination'] as const) {
    const made = world()
    made.guestDisk = disk
    made.begin(WRITE)
    made.send(disk, 'write', [0, 512], 'g1', { errno: EIO })
    assert.is(made.end(WRITE, 1), null)
  }
})

test('requests may share a flush and its failure', () => {
  const made = world()
  made.begin(FLUSH)
  made.send('source', 'flush', [0, 0], 'g9', { errno: EIO })
  assert.is(made.end(FLUSH, 1), null)
  made.begin(WRITE)
  assert.is(keyOf(made.end(WRITE, 1)), 'guest/error-made-up')
})

test('a discard may be made up for in another form', () => {
  for (const status of [0, 1]) {
    const made = world()
    made.begin(DISCARD)
    made.send('source', 'write-zeroes', [0, 512], 'g3', { errno: EIO })
    assert.is(made.end(DISCARD, status), null)
  }
  const made = world()
  made.begin(DISCARD)
  made.send('source', 'discard', [0, 512], 'g3', { errno: EIO })
  assert.is(keyOf(made.end(DISCARD, 0)), 'guest/error-hidden')
})

test('a read-only disk refuses', () => {
  const made = world({ source: { node: { discard: 'unmap', detectZeroes: 'off', readOnly: true } } })
  made.begin(WRITE)
  assert.is(made.end(WRITE, 1), null)
})

test('no request of these guests is unsupported', () => {
  const made = world()
  made.begin(WRITE)
  assert.is(keyOf(made.end(WRITE, 2)), 'guest/unsupported')
})

test.run()
