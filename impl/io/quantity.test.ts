import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { amountText, elapsedText, parsePattern, parseQuantity } from './quantity'

test('quantities have units, hexadecimal digits or fractions', () => {
  for (const [text, bytes] of [
    ['0', 0],
    ['512', 512],
    ['64k', 65536],
    ['1.5M', 1572864],
    ['0x200', 512],
    ['0x1k', 1024],
    ['3b', 3],
    ['1.0', 1],
    ['.5k', 512],
    ['2T', 2 * 1024 ** 4],
  ] as const) {
    assert.is(parseQuantity(text), bytes, text)
  }
  for (const text of ['', 'k', '-1', '1kilobyte', '1 k', '0x', '1.5', '1..5k', '1e3']) {
    assert.throws(() => parseQuantity(text), /non-numeric argument/, text)
  }
  assert.throws(
    () => parseQuantity('8E'),
    (error: Error) => error.message === 'Parsing error: argument too large -- 8E',
  )
})

test('patterns are bytes in any base', () => {
  assert.is(parsePattern('0xff'), 255)
  assert.is(parsePattern('017'), 15)
  assert.is(parsePattern('9'), 9)
  for (const text of ['256', '-1', '', 'x', '09', '1k'])
    assert.throws(() => parsePattern(text), /is not a valid pattern byte/, text)
})

test('amounts have three places or none', () => {
  assert.is(amountText(0), '0 bytes')
  assert.is(amountText(1023), '1023 bytes')
  assert.is(amountText(0.405936), '0.405936 bytes')
  assert.is(amountText(65536), '64 KiB')
  assert.is(amountText(1536), '1.500 KiB')
  assert.is(amountText(1024 ** 2 + 1), '1 MiB')
  assert.is(amountText(3 * 1024 ** 3), '3 GiB')
  assert.is(amountText(0x150000), '1.312 MiB')
  assert.is(amountText(0x130000 + 0x8000), '1.219 MiB')
  assert.is(amountText(Number.POSITIVE_INFINITY), 'inf EiB')
})

test('elapsed time has hours only where there are minutes', () => {
  assert.is(elapsedText(0, false), '00.00 sec')
  assert.is(elapsedText(1_234_567_890, false), '01.23 sec')
  assert.is(elapsedText(61e9, false), '0:01:01.00')
  assert.is(elapsedText(10e6, true), '0:00:00.01')
})

test.run()
