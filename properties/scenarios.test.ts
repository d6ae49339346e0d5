/** Every named plan runs under all checkers and comes out as it says. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Expectation, SCENARIOS } from '../scenarios'
import type { WorldResult } from '../sim/verdict'
import { runWorld } from '../sim/world'
import { ALL_CHECKERS } from './checkers'

const checkers = ALL_CHECKERS.map(({ make }) => make)

/** What came out otherwise than expected, one line each. */
function differences(expected: Expectation, { failure, end, timeNs, faultsFired }: WorldResult): string[] {
  const found: string[] = []
  const atMost = (what: string, value: number, most: number | undefined): void => {
    if (most !== undefined && value > most) found.push(`${what} ${value}, expected at most ${most}`)
  }
  if (failure !== null) found.push(`${failure.key}: ${failure.text} (event ${failure.step})`)
  if (expected.jobError !== 'any' && end.jobError !== (expected.jobError ?? null)) {
    found.push(`job error ${end.jobError}, expected ${expected.jobError ?? null}`)
  }
  atMost('destinationAllocatedBytes', end.destinationAllocatedBytes, expected.destinationAllocatedBytesMax)
  atMost('sourceAllocatedBytes', end.sourceAllocatedBytes, expected.sourceAllocatedBytesMax)
  atMost('copiedBytes', end.copiedBytes, expected.copiedBytesMax)
  atMost('timeNs', timeNs, expected.timeNsMax)
  if (end.skippedZeroBytes < (expected.skippedZeroBytesMin ?? 0)) {
    found.push(`skippedZeroBytes ${end.skippedZeroBytes}, expected at least ${expected.skippedZeroBytesMin}`)
  }
  if (expected.guestOperationsDone !== undefined && end.guestOperationsDone !== expected.guestOperationsDone) {
    found.push(`guestOperationsDone ${end.guestOperationsDone}, expected ${expected.guestOperationsDone}`)
  }
  for (const [id, times] of Object.entries(faultsFired)) {
    if (expected.allFaultsFire === true && times === 0) found.push(`fault ${id} never fired`)
  }
  return found
}

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
