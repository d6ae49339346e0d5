import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeContentChecker } from './content'
import { CHUNK, FakeWorld, keyOf, op, stamped } from './testing'

const W1 = op('g1', 'write', 0, 1024)
const W2 = op('g2', 'write', 512, 512)
const GUEST = [W1, W2, op('g3', 'discard', 0, 1024)]

function world(parts: ConstructorParameters<typeof FakeWorld>[1] = {}): FakeWorld {
  return new FakeWorld(makeContentChecker, { guest: GUEST, ...parts })
}
/** The guest reads two sectors and gets what `bytes` holds. */
function read(made: FakeWorld, bytes: Uint8Array, id = 'r'): ReturnType<FakeWorld['end']> {
  const operation = op(id, 'read', 0, 1024)
  made.begin(operation)
  return made.end(operation, 0, bytes)
}
function write(made: FakeWorld, operation: typeof W1, status = 0): void {
  made.begin(operation)
  made.end(operation, status)
}

test('a guest that reads what it has written is content', () => {
  const made = world()
  write(made, W1)
  assert.is(read(made, stamped('g1', 0, 1024)), null)
})

test('a guest that reads something old is told whose it is', () => {
  const made = world()
  write(made, W1)
  write(made, W2)
  const found = read(made, stamped('g1', 0, 1024))
  assert.is(keyOf(found), 'content/guest-read')
  assert.is(found?.class, 'content')
  assert.is(found?.offsetBytes, 512)
  assert.is(found?.expected, 'data of g2')
  assert.is(found?.actual, 'data of g1')
})

test('the initial image is read before anything is written', () => {
  const made = world({ source: { initial: [{ id: 's1', offsetBytes: 0, lengthBytes: 1024, content: 'data' }] } })
  assert.is(read(made, stamped('s1', 0, 1024)), null)
  assert.is(keyOf(read(made, new Uint8Array(1024))), 'content/guest-read')
})

test('after a failed or aborted write either is legal, after a failed read nothing is asked', () => {
  const data = stamped('g1', 0, 1024)
  const outcomes = [data, data, new Uint8Array(1024), new Uint8Array(1024)]
  for (const end of ['fail', 'abort', 'fail', 'abort']) {
    const made = world()
    made.begin(W1)
    if (end === 'fail') made.end(W1, 1)
    else made.abort(W1)
    const outcome = outcomes.pop()!
    assert.is(read(made, outcome), null)
    assert.is(read(made, outcome, 'r2'), null)
    const failing = op('r3', 'read', 0, 1024)
    made.begin(failing)
    assert.is(made.end(failing, 1), null)
  }
})

test('a discard may be carried out or not, and counts for nothing where it is ignored', () => {
  const discard = GUEST[2]!
  for (const outcome of [stamped('g1', 0, 1024), new Uint8Array(1024)]) {
    const open = world()
    write(open, W1)
    write(open, discard)
    assert.is(read(open, outcome), null)
    assert.is(keyOf(read(open, stamped('g2', 0, 1024), 'r2')), 'content/guest-read')
  }
  const node = { discard: 'ignore', detectZeroes: 'off' } as const
  const closed = world({ source: { node }, destination: { node } })
  write(closed, W1)
  write(closed, discard)
  assert.is(keyOf(read(closed, new Uint8Array(1024))), 'content/guest-read')
})

test('where discards leave anything behind, anything may be read', () => {
  const made = world({ source: { discard: 'reads-garbage' } })
  write(made, W1)
  write(made, GUEST[2]!)
  assert.is(read(made, new Uint8Array(1024).fill(0xdb)), null)
})

test('a job that has done its work has made both disks equal', () => {
  const made = world().start()
  made.source.write('g1', CHUNK, 512)
  const found = made.status('pending')
  assert.is(keyOf(found), 'content/copy-differs')
  assert.is(found?.offsetBytes, CHUNK)
  assert.is(found?.expected, 'data of g1')
  assert.is(found?.actual, 'zeroes')
  made.destination.write('g1', CHUNK, 512)
  assert.is(made.status('pending'), null)
})

test('without a first copy only what was written meanwhile has to be equal', () => {
  const made = world({ mirror: { sync: 'none' } })
  made.source.write('g2', 0, 4096)
  made.start()
  assert.is(made.status('pending'), null)
  write(made, W1)
  assert.is(keyOf(made.status('pending')), 'content/copy-differs')
})

test('a discard counts from where it reached the source', () => {
  const made = world({ mirror: { sync: 'none' } })
  made.source.write('g2', 0, 4096)
  made.start()
  made.begin(GUEST[2]!)
  made.send('source', 'discard', [0, 512], 'g3')
  assert.is(keyOf(made.status('pending')), 'content/copy-differs')
})

test('nobody is blamed for a destination that the user has vouched for wrongly', () => {
  const made = world({ mirror: { targetIsZero: true } })
  made.destination.write('g2', 0, 512)
  made.start()
  assert.is(made.status('pending'), null)
})

test('at the end the disk of the guest holds what the guest wrote', () => {
  const made = world()
  write(made, W1)
  assert.is(keyOf(made.atEnd()), 'content/guest-disk-at-end')
  made.source.write('g1', 0, 1024)
  assert.is(made.atEnd(), null)
  assert.is(keyOf(made.atEnd(true)), 'content/guest-disk-at-end')
  made.destination.write('g1', 0, 1024)
  assert.is(made.atEnd(true), null)
})

test('after the switch without a first copy the guest lives with what is there', () => {
  const made = world({ mirror: { sync: 'none' } }).start()
  write(made, W1)
  made.source.write('g1', 0, 1024)
  made.destination.write('g1', 0, 1024)
  made.destination.write('g2', CHUNK, 512)
  made.guestDisk = 'destination'
  made.event('BLOCK_JOB_COMPLETED')
  assert.is(made.atEnd(true), null)
})

test('without a first copy, what was in flight when the mirror started may be left behind', () => {
  const made = world({ mirror: { sync: 'none' } })
  made.begin(W1)
  made.start()
  made.source.write('g1', 0, 1024)
  made.guestDisk = 'destination'
  made.event('BLOCK_JOB_COMPLETED')
  made.end(W1)
  assert.is(made.atEnd(true), null)
  write(made, W2)
  assert.is(keyOf(made.atEnd(true)), 'content/guest-disk-at-end')
})

test('an image that reads otherwise when it is opened afresh has lost something', () => {
  const made = world()
  const reopened = { source: made.source.bytes.slice(), destination: made.destination.bytes.slice() }
  reopened.destination[700] = 1
  const checker = makeContentChecker(made)
  const found =
    checker.atEnd?.({
      ...reopened,
      files: { source: null, destination: null },
      jobCompleted: false,
      jobCancelledAfterReady: false,
    }) ?? null
  assert.is(keyOf(found), 'content/lost-on-reopen')
  assert.is(found?.disk, 'destination')
})

test.run()
