import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { sizeText } from './size_text'

test('amounts have three digits and the unit below a thousand of the next', () => {
  for (const [bytes, text] of [
    [0, '0 B'],
    [1, '1 B'],
    [512, '512 B'],
    [999, '999 B'],
    [1000, '0.977 KiB'],
    [1024, '1 KiB'],
    [397312, '388 KiB'],
    [1048576, '1 MiB'],
    [1.5 * 1024 ** 3, '1.5 GiB'],
    [1000 * 1024, '0.977 MiB'],
    [999 * 1024, '999 KiB'],
    [10 * 1024 ** 4 + 5, '10 TiB'],
    [2 ** 63, '8 EiB'],
  ] as const) {
    assert.is(sizeText(bytes), text)
  }
})

test.run()
