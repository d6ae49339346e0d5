import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { huntEach } from './mutant_hunt'
import { sumLine, sumOf } from './mutant_sum'
import { scriptedSubject } from './testing'

test('each root of seeds has its own first failure, or one more than the bound', () => {
  const subject = scriptedSubject({ failures: { 4: ['content', 'content/x'] } })
  assert.equal(huntEach(subject, ['s', 't'], 10), [5, 5])
  assert.equal(huntEach(subject, ['s'], 4), [5])
  assert.equal(huntEach(scriptedSubject({ failures: {} }), ['s'], 4), [5])
})

test('the sum is that of the medians, and what was not found shows as more than the bound', () => {
  const found = { id: 'a', profile: 'default', worlds: [3, 1, 2], median: 2 }
  const missed = { id: 'b', profile: 'faults', worlds: [101, 5, 101], median: 101 }
  assert.is(sumOf([found, missed]), 103)
  assert.match(sumLine(found, 100), /^a +default +2 {3}of 3, 1, 2$/)
  assert.match(sumLine(missed, 100), /^b +faults +>100 {3}of >100, 5, >100$/)
})

test.run()
