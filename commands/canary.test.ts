import * as fs from 'node:fs'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { catcherOf, type Size, smallestOf } from './canary'
import { readLeaks } from './leaks'

const LEAKS = ['clock', 'finaliser', 'locale', 'module-state', 'promise', 'random', 'timer', 'unordered-keys']

test('there is a leak of each kind', () => {
  assert.equal(
    readLeaks().map(({ id }) => id),
    LEAKS,
  )
})

for (const { id, edits } of readLeaks()) {
  test(`the snippets of the leak ${id} occur exactly once`, () => {
    for (const { file, find, replace } of edits) {
      const source = fs.readFileSync(path.join(__dirname, '..', file), 'utf8')
      assert.is(source.split(find).length, 2, file)
      assert.is.not(find, replace)
    }
  })
}

test('what noticed a leak is told apart from what happened to fail', () => {
  const failure = { class: 'crash', key: 'crash/Error', text: 'Date is out of reach inside a world', step: 1, timeNs: 1 } as const
  assert.is(catcherOf({ failure, worlds: 1 }), 'tripwire')
  assert.is(catcherOf({ failure: { ...failure, class: 'nondeterminism', text: 'two runs differ' }, worlds: 1 }), 'second run')
  assert.is(catcherOf({ failure: { ...failure, text: 'something else' }, worlds: 1 }), 'crash/Error')
  assert.is(catcherOf({ failure: null, worlds: 40 }), 'nothing')
})

test('of several sizes the one with the fewest guest operations is the smallest, then the rest decides', () => {
  const size = (guest: number, events: number): Size => ({ guest, control: 1, faults: 0, decisions: 0, events })
  assert.equal(smallestOf([size(3, 5), size(1, 9), size(1, 7)]), size(1, 7))
  assert.is(smallestOf([]), null)
})

test.run()
