import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, ENOSPC, errnoName, errnoOfName, OK, strerror } from './errno'
import { hashText, makeLabel, mix32, numberedLabel } from './label'

test('a label’s hash depends on its text alone and spreads over the low bits', () => {
  assert.is(makeLabel('g1').hash, hashText('g1'))
  const buckets = new Array<number>(16).fill(0)
  for (let index = 0; index < 1600; index++) buckets[hashText(`g${index}`) & 15]!++
  assert.ok(Math.min(...buckets) > 60 && Math.max(...buckets) < 140, buckets.join(' '))
})

test('mix32 loses nothing: different values stay different', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer(), (left, right) => (left | 0) === (right | 0) || mix32(left) !== mix32(right)),
    { seed: 7 },
  )
})

test('numbered labels are made once, and large numbers are not kept', () => {
  assert.is(numberedLabel('b', 12), numberedLabel('b', 12))
  assert.equal(numberedLabel('b', 12), makeLabel('b12'))
  assert.equal(numberedLabel('b', 1e6), makeLabel('b1000000'))
  assert.is.not(numberedLabel('b', 1e6), numberedLabel('b', 1e6))
})

test('errno values have glibc’s text, their name, and a way back', () => {
  assert.is(strerror(ENOSPC), 'No space left on device')
  assert.is(strerror(OK), 'Success')
  assert.is(strerror(9999), 'Unknown error 9999')
  assert.is(errnoName(EIO), 'EIO')
  assert.is(errnoName(9999), 'E9999')
  assert.is(errnoOfName('ENOSPC'), ENOSPC)
  assert.is(errnoOfName('ENOTHING'), undefined)
})

test.run()
