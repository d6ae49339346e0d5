import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Subject } from '../properties/campaign'
import type { Plan } from '../sim/plan'
import type { Failure, WorldResult } from '../sim/verdict'
import { BOUNDED, bestMixture, median, mixtureCost, rateOf, runTrials, SCHEDULE_ROWS } from './schedule_trials'
import { main, rowText } from './schedules'
import { recorder } from './testing'

const FAILED = { failure: { key: 'test/failed' } as Failure } as WorldResult
const PASSED = { failure: null } as WorldResult
const indexOf = ({ seed }: Plan): number => Number(seed.split('.').at(-1))

/** Worlds of the given schedule fail from an index on. */
function subjectThat(fails: (plan: Plan) => boolean): Subject {
  return { planOf: (seed) => ({ seed }) as Plan, run: (plan) => (fails(plan) ? FAILED : PASSED) }
}

test('a trial counts the worlds up to the first that fails, the same plans under each schedule', () => {
  const subject = subjectThat((plan) => plan.schedule?.kind === 'pos' && indexOf(plan) === 4)
  const table = runTrials(subject, () => PASSED, { trials: 2, worldsMax: 10 })
  assert.equal(Object.keys(table), [...Object.keys(SCHEDULE_ROWS), BOUNDED])
  assert.equal(table['pos'], [5, 5])
  assert.equal(table['latency'], [11, 11])
  assert.equal(table[BOUNDED], [11, 11])
})

test('the bounded search runs several schedules of a plan, and counts each as a world', () => {
  let worlds = 0
  const table = runTrials(
    subjectThat(() => false),
    (_plan, decider) => {
      worlds++
      // Three decisions of two outcomes: one dull schedule, and three that differ from it in one.
      const choices = [0, 1, 2].map((attempt) => decider.decide(LABEL, LABEL, attempt, 2))
      return choices[2] === 1 ? FAILED : PASSED
    },
    { trials: 1, worldsMax: 50 },
  )
  assert.equal(table[BOUNDED], [2])
  assert.is(worlds, 2)
})
const LABEL = { id: 'x', hash: 7 }

test('medians and rates are those of the trials', () => {
  assert.is(median([9, 1, 5]), 5)
  assert.is(median([9, 1, 5, 7]), 5)
  assert.is(rateOf([2, 8], 10), 2 / 10)
  assert.is(rateOf([11, 10], 10), 1 / 20)
})

test('the best mixture gives each bug the schedule that finds it', () => {
  const rates = [
    { one: 0.5, two: 0 },
    { one: 0, two: 0.5 },
  ]
  assert.equal(bestMixture(rates, ['one', 'two']), { one: 5, two: 5 })
  assert.equal(bestMixture([{ one: 0.5, two: 0.1 }], ['one', 'two']), { one: 10 })
  assert.ok(mixtureCost(rates, { one: 5, two: 5 }) < mixtureCost(rates, { one: 10 }))
  assert.is(Math.round(Math.exp(mixtureCost([{ one: 0.25 }], { one: 10 }))), 4)
})

test('the command takes mutants of the mirror alone', async () => {
  const err = recorder()
  assert.is(await main(['no-such-mutant'], { out: recorder(), err }), 2)
  assert.match(err.text(), /the mirror has no mutant 'no-such-mutant'/)
  assert.is(rowText('x', ['1', '22']).length, 46 + 18)
})

test.run()
