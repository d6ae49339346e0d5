import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ZeroBitmap } from './zero_bitmap'

const CHUNK = 4096

test('the next known and unknown places are those asked for, clipped to the range', () => {
  const zeroes = new ZeroBitmap(8 * CHUNK, CHUNK)
  assert.equal([zeroes.nextUnknown(0, CHUNK), zeroes.nextKnown(0, 8 * CHUNK)], [0, 8 * CHUNK])
  zeroes.setCovered(0, 2 * CHUNK)
  zeroes.setCovered(5 * CHUNK, CHUNK)
  assert.equal([zeroes.nextKnown(0, CHUNK), zeroes.nextKnown(512, CHUNK)], [0, 512])
  assert.equal([zeroes.nextUnknown(0, 8 * CHUNK), zeroes.nextUnknown(512, CHUNK)], [2 * CHUNK, CHUNK])
  assert.equal([zeroes.nextKnown(2 * CHUNK, 8 * CHUNK), zeroes.nextKnown(2 * CHUNK, 3 * CHUNK)], [5 * CHUNK, 3 * CHUNK])
  zeroes.setAll()
  assert.equal([zeroes.nextUnknown(0, 8 * CHUNK), zeroes.nextKnown(7 * CHUNK + 1, 8 * CHUNK)], [8 * CHUNK, 7 * CHUNK + 1])
})

test('a chunk is known when all of it is covered, and unknown when any of it is touched', () => {
  const zeroes = new ZeroBitmap(2 * CHUNK + 512, CHUNK)
  zeroes.setCovered(512, CHUNK)
  assert.is(zeroes.nextKnown(0, 2 * CHUNK), 2 * CHUNK, 'none is covered as a whole')
  zeroes.setCovered(CHUNK, CHUNK + 512)
  assert.is(zeroes.nextKnown(0, 2 * CHUNK), CHUNK, 'the short end counts')
  assert.is(zeroes.nextUnknown(CHUNK, 2 * CHUNK + 512), 2 * CHUNK + 512)
  zeroes.clearTouched(2 * CHUNK - 1, 2)
  assert.is(zeroes.nextKnown(0, 2 * CHUNK + 512), 2 * CHUNK + 512)
})

test.run()
