import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeDurabilityChecker } from './durability'
import { FakeWorld, keyOf, op } from './testing'

function world(): FakeWorld {
  return new FakeWorld(makeDurabilityChecker).start()
}
function ready(made: FakeWorld): string | null {
  return keyOf(made.event('BLOCK_JOB_READY'))
}
function write(made: FakeWorld): void {
  made.send('destination', 'write', [0, 512], 'b0')
}
function flush(made: FakeWorld, errno = 0): void {
  made.send('destination', 'flush', [0, 0], 'job-mirror', { errno })
}

test('READY comes after a flush that followed the last copy', () => {
  const made = world()
  write(made)
  made.after()
  assert.is(ready(made), 'durability/not-flushed-at-ready')
  flush(made, 5)
  assert.is(ready(made), 'durability/not-flushed-at-ready')
  flush(made)
  assert.is(ready(made), null)
})

test('where nothing was copied nothing has to be flushed', () => {
  const made = world()
  assert.is(ready(made), null)
})

test('a flush does not cover what ends while it runs', () => {
  const made = world()
  const running = made.submit('destination', 'flush', [0, 0], 'job-mirror')
  write(made)
  running.end()
  made.after()
  assert.is(ready(made), 'durability/not-flushed-at-ready')
})

test('what guests change after everything was copied does not put READY off', () => {
  const made = world()
  write(made)
  made.after()
  made.fake.dirtyWords[0] = 1
  write(made)
  made.after()
  const running = made.submit('destination', 'flush', [0, 0], 'job-mirror')
  write(made)
  running.end()
  assert.is(ready(made), null)
})

test('parts of a request that is still in flight need no flush before READY', () => {
  const made = world()
  const guest = op('g1', 'write', 0, 1024)
  made.begin(guest)
  made.send('destination', 'write', [0, 512], 'g1')
  made.after()
  assert.is(ready(made), null)
  made.end(guest)
  assert.is(ready(made), 'durability/not-flushed-at-ready')
})

test('READY needs a moment without dirty chunks and background copies', () => {
  const made = world()
  made.fake.dirtyWords[0] = 1
  assert.is(ready(made), 'durability/never-copied')
  made.fake.dirtyWords[0] = 0
  made.fake.operations.push({ kind: 'copy', offsetBytes: 0, lengthBytes: 512, isInFlight: true })
  assert.is(ready(made), 'durability/never-copied')
  made.fake.operations[0] = { kind: 'active-write', offsetBytes: 0, lengthBytes: 512, isInFlight: true }
  assert.is(ready(made), null)
})

test('a job that has done its work has flushed everything', () => {
  const made = world()
  write(made)
  const found = made.status('pending')
  assert.is(keyOf(found), 'durability/not-flushed-at-end')
  assert.is(found?.class, 'durability')
  flush(made)
  assert.is(made.status('pending'), null)
  made.send('source', 'write', [0, 512], 'g1')
  assert.is(made.status('pending'), null)
})

test.run()
