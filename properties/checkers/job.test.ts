import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeJobChecker } from './job'
import { FakeWorld, keyOf } from './testing'

const FACTS = { type: 'mirror', device: 'mirror', len: 8, offset: 8, speed: 0 }

function world(): FakeWorld {
  return new FakeWorld(makeJobChecker).start()
}
/** Until the job says how it ended. */
function finish(made: FakeWorld): void {
  made.status('ready')
  made.event('BLOCK_JOB_READY', FACTS)
  made.status('waiting')
  made.status('pending')
}

test('events in their order are fine, others are not', () => {
  const made = world()
  assert.is(made.status('paused'), null)
  const found = made.status('aborting')
  assert.is(keyOf(found), 'job/event-order')
  assert.is(found?.class, 'protocol')
})

test('a status is told before it is shown', () => {
  const made = world()
  assert.is(made.after(), null)
  made.jobStatus = 'paused'
  assert.is(keyOf(made.after()), 'job/status-untold')
})

test('progress goes forward, up to its end', () => {
  const made = world()
  made.jobOffsetBytes = 512
  made.jobLengthBytes = 512
  assert.is(made.after(), null)
  made.jobOffsetBytes = 1024
  assert.is(keyOf(made.after()), 'job/progress-beyond-end')
  made.jobOffsetBytes = 0
  assert.is(keyOf(made.after()), 'job/progress-goes-back')
})

test('a completed job leaves the guest on the destination', () => {
  const made = world()
  finish(made)
  made.guestDisk = 'destination'
  assert.is(made.event('BLOCK_JOB_COMPLETED', FACTS), null)
  assert.is(made.atEnd(true), null)
  assert.is(keyOf(made.atEnd(false, true)), 'job/pivot-after-cancel')
})

test('a job that was cancelled after READY leaves it on the source', () => {
  const made = world()
  finish(made)
  assert.is(made.event('BLOCK_JOB_COMPLETED', FACTS), null)
  assert.is(made.atEnd(false, true), null)
  assert.is(keyOf(made.atEnd(true)), 'job/no-pivot')
})

test('a job that failed or was cancelled by force does not move the guest', () => {
  for (const [event, data] of [
    ['BLOCK_JOB_CANCELLED', FACTS],
    ['BLOCK_JOB_COMPLETED', { ...FACTS, error: 'Input/output error' }],
  ] as const) {
    const made = world()
    made.status('aborting')
    made.isForcedToEnd = true
    made.guestDisk = 'destination'
    assert.is(keyOf(made.event(event, data)), 'job/pivot-without-success')
  }
})

test('a job is cancelled only when somebody has asked for that by force, or before it was READY', () => {
  for (const isForcedToEnd of [false, true]) {
    const made = world()
    made.status('aborting')
    made.isForcedToEnd = isForcedToEnd
    const finding = made.event('BLOCK_JOB_CANCELLED', FACTS)
    assert.is(finding === null ? null : keyOf(finding), isForcedToEnd ? null : 'job/cancelled-unasked')
  }
})

test('a second job begins from nothing', () => {
  const made = world()
  made.jobOffsetBytes = 512
  made.jobLengthBytes = 512
  made.after()
  made.status('aborting')
  made.isForcedToEnd = true
  made.event('BLOCK_JOB_CANCELLED', FACTS)
  made.status('concluded')
  made.status('null')
  made.jobOffsetBytes = 0
  assert.is(made.status('created'), null)
  assert.is(made.after(), null)
})

test.run()
