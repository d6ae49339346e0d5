import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { durationText, parseSize, sizeText } from './mirror_text'

test('sizes are read with or without a unit', () => {
  const sizes = ['0', '512', '64K', '64k', '1.5M', '2GiB', '1TB', '7P'].map(parseSize)
  assert.equal(sizes, [0, 512, 65536, 65536, 1572864, 2 ** 31, 2 ** 40, 7 * 2 ** 50])
})

test('what is no whole number of bytes is refused', () => {
  for (const text of ['', '-1', '1.5', '0.3K', '1 K', '12X', 'K', '0x10', '8P', '99999999999999999999', '1e3']) {
    assert.is(parseSize(text), null, text)
  }
})

test('sizes are written with three digits', () => {
  const texts = [0, 1023, 1024, 1536, 20 * 2 ** 20, 150 * 2 ** 30, 2 ** 53].map(sizeText)
  assert.equal(texts, ['0 B', '1023 B', '1.00 KiB', '1.50 KiB', '20.0 MiB', '150 GiB', '8.00 PiB'])
})

test('durations are written in the two largest units', () => {
  assert.equal([0.2, 59, 60.5, 3599, 7384].map(durationText), ['1 s', '59 s', '1 min 1 s', '59 min 59 s', '2 h 3 min'])
})

test.run()
