/** Every named plan runs under all checkers and comes out as it says. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Expectation, SCENARIOS } from '../scenarios'
import { runWorld } from '../sim/world'
import { ALL_CHECKERS } from './checkers'
import { differences } from './expectations'

const checkers = ALL_CHECKERS.map(({ make }) => make)

for (const { name, bug, plan, expected } of SCENARIOS) {
  test(name, () => {
    assert.equal(differences(expected, runWorld(plan, { checkers })), [], bug)
  })
}

test('a scenario that comes out otherwise is told so, fact by fact', () => {
  const { plan, expected } = SCENARIOS[0]!
  const result = runWorld(plan, { checkers })
  assert.equal(differences(expected, result), [])
  const impossible: Expectation = {
    jobError: 'another',
    destinationAllocatedBytesMax: -1,
    sourceAllocatedBytesMax: -1,
    copiedBytesMax: -1,
    timeNsMax: -1,
    skippedZeroBytesMin: Number.MAX_SAFE_INTEGER,
    guestOperationsDone: -1,
    allFaultsFire: true,
  }
  assert.is(differences(impossible, { ...result, faultsFired: { f1: 0 } }).length, Object.keys(impossible).length)
})

test.run()
