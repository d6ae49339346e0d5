import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { finishesWithin } from './guard'

test('work that ends is done once, and its exceptions come through', () => {
  let count = 0
  assert.ok(finishesWithin(10_000, () => count++))
  assert.is(count, 1)
  assert.throws(() => {
    finishesWithin(10_000, () => {
      throw new RangeError('out of bounds')
    })
  }, /out of bounds/)
})

test('work that never ends is stopped, even if it catches everything', () => {
  let rounds = 0
  const finished = finishesWithin(20, () => {
    for (;;) {
      try {
        for (;;) rounds++
      } catch {
        rounds = 0
      }
    }
  })
  assert.not.ok(finished)
  assert.ok(rounds > 0)
  assert.ok(
    finishesWithin(10_000, () => {}),
    'the guard can be used again',
  )
})

test.run()
