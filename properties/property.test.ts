import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { CheckerFactory } from '../sim/observer'
import { mirrorProperty, PROFILES, type ProfileName, WorldFailed } from '.'

for (const profile of Object.keys(PROFILES) as ProfileName[]) {
  test(`worlds of the ${profile} profile keep every promise`, () => {
    fc.assert(mirrorProperty({ profile }), { seed: 1, numRuns: 60 })
  })
}

test('a promise that worlds break is reported with its finding, on a plan shrunk to what it needs', () => {
  const noZeroing: CheckerFactory = () => ({
    name: 'no-zeroing',
    guestSubmitted: ({ kind }) =>
      kind === 'write-zeroes' ? { class: 'content', key: 'no-zeroing/zeroed', text: 'the guest zeroed something' } : null,
  })
  const details = fc.check(mirrorProperty({ checkers: [noZeroing] }), { seed: 1, numRuns: 50 })
  assert.ok(details.failed)
  assert.instance(details.errorInstance, WorldFailed)
  assert.is((details.errorInstance as WorldFailed).failure.key, 'no-zeroing/zeroed')
  assert.equal(
    details.counterexample![0].guest.map(({ kind }) => kind),
    ['write-zeroes'],
  )
})

test.run()
