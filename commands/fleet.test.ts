import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Range, runSteps, type Stepper } from './fleet'

/** Counts the steps of a range; those at `hangs` do not end. */
function counting(range: Range, hangs: readonly number[]): Stepper<{ steps: number }> {
  const tally = { steps: 0 }
  let index = range.firstIndex
  const endIndex = range.firstIndex + range.count
  return {
    range,
    tally,
    step() {
      if (index >= endIndex) return false
      while (hangs.includes(index));
      index++
      tally.steps++
      return true
    },
    hung() {
      index++
      return { firstIndex: index, count: endIndex - index }
    },
  }
}

test('a range that ends has nothing left', () => {
  assert.equal(runSteps(counting({ firstIndex: 5, count: 70 }, []), 10, 32), { tally: { steps: 70 }, left: null })
})

test('after a step that hangs the rest is left, and what came before counts', () => {
  const result = runSteps(counting({ firstIndex: 5, count: 10 }, [8]), 0.05, 1)
  assert.equal(result, { tally: { steps: 3 }, left: { firstIndex: 9, count: 6 } })
})

test.run()
