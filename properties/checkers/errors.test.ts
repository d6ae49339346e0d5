import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ErrorPolicy } from '../../sim/plan'
import { makeErrorChecker } from './errors'
import { FakeWorld, keyOf, op } from './testing'

const EIO = 5
const ENOSPC = 28

function world(policy: ErrorPolicy = 'report', otherPolicy: ErrorPolicy = 'ignore'): FakeWorld {
  const mirror = { onTargetError: policy, onSourceError: otherPolicy }
  return new FakeWorld(makeErrorChecker, { mirror, guest: [op('g1', 'write', 0, 512)] }).start()
}
function fail(made: FakeWorld, errno: number, origin = 'b0', disk: 'source' | 'destination' = 'destination'): void {
  made.send(disk, disk === 'source' ? 'read' : 'write', [0, 512], origin, { errno })
}
function tell(made: FakeWorld, action: string, operation = 'write'): string | null {
  return keyOf(made.event('BLOCK_JOB_ERROR', { device: 'mirror', operation, action }))
}
function succeed(made: FakeWorld): string | null {
  return keyOf(made.event('BLOCK_JOB_COMPLETED', {}))
}
function failJob(made: FakeWorld, error: string): string | null {
  return keyOf(made.event('BLOCK_JOB_COMPLETED', { error }))
}

test('each failure is told once, with the action of its policy', () => {
  for (const policy of ['report', 'ignore', 'stop'] as const) {
    const made = world(policy)
    fail(made, EIO)
    assert.is(tell(made, policy), null)
    assert.is(tell(made, policy), 'errors/made-up')
  }
})

test('enospc stops for want of space and reports the rest', () => {
  const made = world('enospc')
  fail(made, ENOSPC)
  assert.is(tell(made, 'stop'), null)
  fail(made, EIO)
  assert.is(tell(made, 'stop'), 'errors/wrong-action')
})

test('reads of the source have a policy of their own', () => {
  const made = world('report', 'stop')
  fail(made, EIO, 'b0', 'source')
  assert.is(tell(made, 'stop', 'read'), null)
  fail(made, EIO)
  assert.is(tell(made, 'stop'), 'errors/wrong-action')
})

test('an error that no disk had is made up', () => {
  const made = world()
  fail(made, EIO, 'b0', 'source')
  assert.is(tell(made, 'report'), 'errors/made-up')
})

test('what fails for a guest at the source is not the job’s affair, at the destination it is', () => {
  const made = world('ignore')
  fail(made, EIO, 'g1', 'source')
  assert.is(succeed(made), null)
  fail(made, EIO, 'g1')
  assert.is(succeed(made), 'errors/hidden')
  assert.is(tell(made, 'ignore'), null)
  assert.is(succeed(made), null)
})

test('a job does not succeed after an error that it was to report', () => {
  const made = world()
  fail(made, EIO)
  tell(made, 'report')
  assert.is(succeed(made), 'errors/report-ignored')
})

test('a job fails for a reason that a disk gave', () => {
  const made = world()
  assert.is(failJob(made, 'Input/output error'), 'errors/failure-without-reason')
  fail(made, EIO)
  tell(made, 'report')
  assert.is(failJob(made, 'Input/output error'), null)
  assert.is(failJob(made, 'No space left on device'), 'errors/failure-without-reason')
})

test('what fails while a job is broken off concerns no job that comes after it', () => {
  const made = world()
  fail(made, EIO)
  made.event('BLOCK_JOB_CANCELLED')
  made.event('JOB_STATUS_CHANGE', { id: 'mirror', status: 'created' })
  assert.is(succeed(made), null)
  fail(made, EIO)
  assert.is(succeed(made), 'errors/hidden')
})

test('the first looks at the disks may end a job without an event of their own', () => {
  const made = world()
  made.send('source', 'status', [0, 512], 'job-mirror', { errno: EIO })
  assert.is(failJob(made, 'Input/output error'), null)
})

test('a failed flush of the destination has to be told, one of the source at the end not', () => {
  const made = world()
  made.send('source', 'flush', [0, 0], 'job-mirror', { errno: EIO })
  assert.is(succeed(made), null)
  made.send('destination', 'flush', [0, 0], 'job-mirror', { errno: EIO })
  assert.is(succeed(made), 'errors/hidden')
})

test('disks of different length are a reason, and a refused switch is one', () => {
  const made = new FakeWorld(makeErrorChecker, { destination: { lengthBytes: 4096 } }).start()
  assert.is(failJob(made, 'Source and target image have different sizes'), null)
  assert.is(failJob(made, 'Operation not permitted'), null)
  assert.is(failJob(world(), 'Source and target image have different sizes'), 'errors/failure-without-reason')
})

test('after the switch errors are the guest’s', () => {
  const made = world()
  made.guestDisk = 'destination'
  fail(made, EIO, 'g1')
  assert.is(succeed(made), null)
})

test.run()
