import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ALL_CHECKERS, checkersExcept } from './index'
import { makeReadPathChecker } from './read_path'
import { FakeWorld, keyOf, op } from './testing'

test('checkers have the names under which they are listed, each its own', () => {
  const made = new FakeWorld(makeReadPathChecker)
  for (const { name, make } of ALL_CHECKERS) assert.is(make(made).name, name)
  assert.is(new Set(ALL_CHECKERS.map(({ name }) => name)).size, ALL_CHECKERS.length)
})

test('one of them can be left out', () => {
  const left = checkersExcept('chunks')
  assert.is(left.length, ALL_CHECKERS.length - 1)
  const made = new FakeWorld(makeReadPathChecker)
  assert.not(left.map((make) => make(made).name).includes('chunks'))
  assert.throws(() => checkersExcept('nobody'), /no checker "nobody"/)
})

test('no disk is asked for its status on behalf of a guest', () => {
  const made = new FakeWorld(makeReadPathChecker, { guest: [op('g1', 'read', 0, 512)] }).start()
  assert.is(made.send('source', 'status', [0, 512], 'job-mirror'), null)
  assert.is(made.send('source', 'read', [0, 512], 'g1'), null)
  const found = made.send('source', 'status', [0, 512], 'g1')
  assert.is(keyOf(found), 'read-path/status-for-guest')
  assert.is(found?.operationId, 'g1')
})

test.run()
