import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ShrunkWorld } from './mutant_worker'
import { percentile, shrinkSummary, shrunkLine } from './mutants_shrunk'

const world: ShrunkWorld = {
  seed: 's.1',
  key: 'content/stale',
  guestBefore: 40,
  guest: 2,
  control: 1,
  faults: 0,
  decisions: 3,
  runs: 50,
  milliseconds: 70,
  isMinimal: true,
}

test('a percentile is a value of the list', () => {
  assert.is(percentile([], 50), 0)
  assert.is(percentile([7], 95), 7)
  assert.is(percentile([4, 1, 3, 2], 50), 2)
  assert.is(percentile([4, 1, 3, 2], 100), 4)
  assert.is(percentile([4, 1, 3, 2], 0), 1)
})

test('the summary speaks of all failures', () => {
  const worlds = [world, { ...world, guest: 9, runs: 900, isMinimal: false }, { ...world, guest: 1 }]
  const { text, ...figures } = shrinkSummary(worlds)
  assert.equal(figures, { failures: 3, medianGuest: 2, guest95: 9, medianRuns: 50, medianMilliseconds: 70, minimal: 2 })
  assert.match(text, /^3 failures: guest operations median 2, 95 % at most 9/)
})

test('a line says what is left, and what the schedule takes', () => {
  assert.match(shrunkLine('bug', world), /40 → {2}2 operations, 1 orders, 0 faults, 3 decisions/)
  assert.match(shrunkLine('bug', { ...world, decisions: null, isMinimal: false }), /, seed .* not minimal/)
})

test.run()
