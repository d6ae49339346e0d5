import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EIO, ENOSPC, OK } from '../co'
import { readWhole, writeWhole } from './whole_transfer'

function finish<T>(co: Co<T>): T {
  const { value, done } = co.next()
  assert.ok(done)
  return value as T
}

/** Parts of the given sizes, one after the other; what each was asked for goes into `asked`. */
function parts(counts: number[], asked: number[]): (at: number) => Co<number> {
  return function* part(at) {
    asked.push(at)
    return counts.shift()!
  }
}

test('a transfer goes on where the last part has ended', () => {
  const asked: number[] = []
  assert.is(finish(readWhole(new Uint8Array(1024), 1, parts([1, 500, 523], asked))), OK)
  assert.equal(asked, [0, 1, 501])
  asked.length = 0
  assert.is(finish(writeWhole(1024, parts([1000, 24], asked))), OK)
  assert.equal(asked, [0, 1000])
})

test('what lies beyond the end of a file reads zero', () => {
  const buffer = new Uint8Array(8).fill(9)
  assert.is(finish(readWhole(buffer, 1, parts([3, 0], []))), OK)
  assert.equal([...buffer], [9, 9, 9, 0, 0, 0, 0, 0])
})

test('an error in a later part is the error of the transfer, and a write that gets nowhere fails', () => {
  assert.is(finish(readWhole(new Uint8Array(8), 1, parts([4, -EIO], []))), EIO)
  assert.is(finish(writeWhole(8, parts([4, -ENOSPC], []))), ENOSPC)
  assert.is(finish(writeWhole(8, parts([4, 0], []))), EIO)
})

test.run()
