import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { MirrorOperationView } from '../../sim/observer'
import { makeOperationChecker } from './operations'
import { CHUNK, FakeWorld, keyOf, op } from './testing'

const GUEST = [op('g1', 'write', 0, 512), op('g2', 'write', 512, 512)]

function world(): FakeWorld {
  const control = [{ id: 'c1', when: { on: 'start', afterNs: 0 }, kind: 'cancel', force: true }] as const
  return new FakeWorld(makeOperationChecker, { guest: GUEST, control: [...control] }).start()
}
function at(kind: MirrorOperationView['kind'], offsetBytes: number, lengthBytes: number, isInFlight = true): MirrorOperationView {
  return { kind, offsetBytes, lengthBytes, isInFlight }
}
/** The operations are at work, with these in-flight bits. */
function claims(bits: number, ...operations: MirrorOperationView[]): string | null {
  const made = world()
  made.fake.operations.push(...operations)
  made.fake.inFlightWords![0] = bits
  return keyOf(made.after())
}

test('in-flight bits are the chunks of the operations at work', () => {
  assert.is(claims(0b0111, at('copy', 0, 2 * CHUNK), at('active-write', 2 * CHUNK + 512, 512)), null)
  assert.is(claims(0b1000, at('zero', 3 * CHUNK, 2048), at('active-zero', 3 * CHUNK, 512, false)), null)
  assert.is(claims(0b0011, at('copy', 0, CHUNK)), 'operations/claim-forgotten')
  assert.is(claims(0b0001), 'operations/claim-forgotten')
  assert.is(claims(0b0001, at('copy', 0, 2 * CHUNK)), 'operations/unclaimed')
  assert.is(claims(0b0001, at('copy', 0, CHUNK), at('active-write', 512, 512)), 'operations/overlapping-operations')
})

test('a guest’s request tells what its operation has claimed beyond its work', () => {
  const made = world()
  made.fake.operations.push(at('active-discard', CHUNK, CHUNK))
  made.fake.filterRequests.push({ kind: 'discard', offsetBytes: 512, lengthBytes: 2 * CHUNK })
  made.fake.inFlightWords![0] = 0b0111
  assert.is(made.after(), null)
})

test('there are at most 16 background operations', () => {
  const made = world()
  made.fake.operations.push(...Array.from({ length: 16 }, () => at('copy', 0, 0)))
  made.fake.operations.push(at('active-write', 0, 512))
  made.fake.inFlightWords![0] = 1
  assert.is(made.after(), null)
  made.fake.operations.push(at('zero', CHUNK, CHUNK))
  made.fake.inFlightWords![0] = 3
  assert.is(keyOf(made.after()), 'operations/too-many')
})

test('no two changes of a chunk of the destination are in flight together', () => {
  const made = world()
  const first = made.submit('destination', 'write', [0, 512], 'g1')
  assert.is(first.finding, null)
  assert.is(made.submit('destination', 'read', [512, 512], 'b0').finding, null)
  assert.is(made.submit('destination', 'write-zeroes', [CHUNK, CHUNK], 'b1').finding, null)
  assert.is(keyOf(made.submit('destination', 'write', [512, 512], 'g2').finding), 'operations/overlapping-writes')
  const other = world()
  other.submit('destination', 'write', [0, 512], 'g1').end()
  assert.is(other.submit('destination', 'write', [512, 512], 'g2').finding, null)
})

test('a job that stands still does not work, while guests do', () => {
  for (const status of ['paused', 'standby']) {
    const made = world()
    made.status(status)
    assert.is(made.send('destination', 'write', [0, 512], 'g1'), null)
    assert.is(keyOf(made.send('source', 'read', [0, 512], 'b0')), 'operations/works-while-paused')
    assert.is(keyOf(made.send('destination', 'flush', [0, 0], 'job-mirror')), 'operations/works-while-paused')
  }
})

test('a job that is over does not write, and guests’ copies may end', () => {
  const made = world()
  made.status('aborting')
  assert.is(made.send('destination', 'write', [0, 512], 'g1'), null)
  assert.is(keyOf(made.send('destination', 'write', [0, 512], 'b0')), 'operations/writes-after-the-end')
  made.fake.phase = 'finished'
  assert.is(keyOf(made.send('destination', 'write', [0, 512], 'g1')), 'operations/writes-after-the-end')
  made.guestDisk = 'destination'
  assert.is(made.send('destination', 'write', [0, 512], 'g1'), null)
})

test('after a forced cancel only those write who had begun', () => {
  const made = world()
  const begun = made.submit('destination', 'write', [0, 512], 'b0')
  made.after()
  made.isCancelledByForce = true
  made.after()
  begun.end()
  assert.is(made.send('destination', 'write', [512, 512], 'b0'), null)
  assert.is(keyOf(made.send('destination', 'write', [CHUNK, 512], 'b1')), 'operations/writes-after-cancel')
})

test('what a throttle held back may come after a forced cancel', () => {
  const limits = { bytesPerSecond: 0, requestsPerSecond: 5, burstBytesPerSecond: 0, burstRequestsPerSecond: 0 }
  const throttle = { at: 'top', ...limits, joinsSource: false } as const
  const made = new FakeWorld(makeOperationChecker, { guest: GUEST, destination: { throttle } }).start()
  made.isCancelledByForce = true
  made.after()
  assert.is(made.send('destination', 'write', [CHUNK, 512], 'b1'), null)
})

test('before the mirror nothing is asked', () => {
  const made = new FakeWorld(makeOperationChecker, { guest: GUEST })
  assert.is(made.send('destination', 'write', [0, 512], 'b0'), null)
  assert.is(made.after(), null)
})

test.run()
