import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CHUNK, FakeWorld, keyOf } from './testing'
import { makeZeroBitChecker } from './zero_bits'

function world(parts: ConstructorParameters<typeof FakeWorld>[1] = {}): FakeWorld {
  return new FakeWorld(makeZeroBitChecker, parts).start()
}

test('a bit may be set where the destination reads zero', () => {
  const made = world()
  made.fake.zeroWords![0] = 0xf
  assert.is(made.after(), null)
})

test('a bit that is set over data lies', () => {
  const made = world()
  made.destination.write('g1', CHUNK + 512, 512)
  assert.is(made.after(), null)
  made.fake.zeroWords![0] = 2
  const found = made.after()
  assert.is(keyOf(found), 'zero-bits/bit-lies')
  assert.is(found?.chunkIndex, 1)
  assert.is(found?.offsetBytes, CHUNK + 512)
})

test('a bit that stays set over data lies from the end of the write on', () => {
  const made = world()
  made.fake.zeroWords![0] = 1
  made.fake.inFlightWords![0] = 1
  made.after()
  made.destination.write('g1', 0, 512)
  made.send('destination', 'discard', [0, 512], 'b0')
  assert.is(made.after(), null)
  made.fake.inFlightWords![0] = 0
  assert.is(keyOf(made.after()), 'zero-bits/bit-lies')
})

test('a silent change under a set bit is found by the look at all chunks', () => {
  const made = world()
  made.fake.zeroWords![0] = 8
  made.after()
  made.destination.write('g1', 3 * CHUNK, 512)
  let found = null
  for (let event = 0; event < 300 && found === null; event++) found = made.after()
  assert.is(found?.chunkIndex, 3)
})

test('no data is sent to a chunk while its bit is set', () => {
  const made = world()
  made.fake.zeroWords![0] = 4
  assert.is(made.submit('destination', 'write', [0, CHUNK], 'b0').finding, null)
  assert.is(made.submit('source', 'write', [2 * CHUNK, 512], 'g1').finding, null)
  const found = made.submit('destination', 'write', [CHUNK, 2 * CHUNK], 'b1').finding
  assert.is(keyOf(found), 'zero-bits/data-into-known-zero')
  assert.is(found?.chunkIndex, 2)
  assert.is(found?.offsetBytes, 2 * CHUNK)
})

test('zeroes that come as data do no harm to a bit', () => {
  const made = world()
  made.fake.zeroWords![0] = 1
  assert.is(made.submit('destination', 'write', [0, 512], 'g1', { data: new Uint8Array(512) }).finding, null)
})

test('there is a bitmap exactly if there was a first copy', () => {
  const made = world()
  made.fake.zeroWords = null
  assert.is(keyOf(made.after()), 'zero-bits/missing')
  made.fake.phase = 'scanning'
  assert.is(made.after(), null)
  const none = world({ mirror: { sync: 'none' } })
  assert.is(keyOf(none.after()), 'zero-bits/without-first-copy')
  none.fake.zeroWords = null
  assert.is(none.after(), null)
})

test('what the user has vouched for is not held against the mirror', () => {
  const made = new FakeWorld(makeZeroBitChecker, { mirror: { targetIsZero: true } })
  made.destination.write('g1', 0, 512)
  made.start()
  made.fake.zeroWords![0] = 1
  assert.is(made.after(), null)
  assert.is(made.submit('destination', 'write', [0, 512], 'g1').finding, null)
})

test('after the end of the mirror nothing is asked', () => {
  const made = world()
  made.fake.phase = 'finished'
  made.fake.zeroWords = null
  assert.is(made.after(), null)
})

test.run()
