import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isZero, ZERO_PIECE_BYTES, zeroBytes } from './zero_detect'

test('one byte that is not zero is found wherever it stands', () => {
  for (const length of [1, 2, 511, 4096, ZERO_PIECE_BYTES, 2 * ZERO_PIECE_BYTES + 3]) {
    const bytes = new Uint8Array(length)
    assert.is(isZero(bytes), true)
    for (const at of [0, length >> 1, Math.max(0, length - 2), length - 1, Math.min(length - 1, ZERO_PIECE_BYTES)]) {
      bytes[at] = 1
      assert.is(isZero(bytes), false, `${at} of ${length}`)
      bytes[at] = 0
    }
  }
})

test('a view is judged by itself, and nothing is zero', () => {
  const bytes = new Uint8Array(16).fill(1)
  bytes.fill(0, 4, 8)
  assert.is(isZero(bytes.subarray(4, 8)), true)
  assert.is(isZero(bytes.subarray(4, 9)), false)
  assert.is(isZero(new Uint8Array(0)), true)
})

test('zero bytes come in the length asked for', () => {
  assert.equal([zeroBytes(0).length, zeroBytes(512).length, isZero(zeroBytes(512))], [0, 512, true])
})

test.run()
