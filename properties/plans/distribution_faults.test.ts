import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DISK_FAULTS, faultOf } from '../../sim/faults'
import type { Plan } from '../../sim/plan'
import { checkPlan } from '../../sim/plan_check'
import { SCHEDULES } from '../../sim/schedules'
import { PROFILES, type ProfileName, planOfSeed } from './index'

function sample(profile: ProfileName, count: number): Plan[] {
  return Array.from({ length: count }, (_, index) => planOfSeed(`distribution.${index}`, profile))
}
function percent<T>(list: readonly T[], has: (element: T) => boolean): number {
  return (100 * list.filter(has).length) / list.length
}

const faulty = sample('faults', 3000)

test('every kind of fault that a plan can hold occurs, where a disk can meet it', () => {
  const kinds = new Set(faulty.flatMap(({ faults }) => faults.map((fault) => faultOf(fault).name)))
  assert.equal([...kinds].sort(), DISK_FAULTS.map(({ name }) => name).sort())
  for (const plan of faulty) assert.is(checkPlan(plan), null, plan.seed)
  const share = percent(faulty, ({ faults }) => faults.some(({ kind }) => kind !== 'error'))
  assert.ok(share > 54 && share < 66, `${share} %`)
})

test('files and other worlds than those of mirrors meet no silent fault', () => {
  for (const profile of ['formats', 'power'] as const) {
    for (const plan of sample(profile, 600)) assert.is(checkPlan(plan), null, plan.seed)
  }
})

test('plans of the default profile leave everything to the usual schedule, and have errors alone', () => {
  for (const { schedule, faults, version } of sample('default', 1500)) {
    assert.is(schedule, undefined)
    assert.is(version, 3)
    for (const { kind } of faults) assert.is(kind, 'error')
  }
})

test('other profiles follow all schedules', () => {
  for (const profile of ['faults', 'power', 'small'] as const) {
    const plans = profile === 'faults' ? faulty : sample(profile, 600)
    const kinds = new Set(plans.map(({ schedule }) => schedule?.kind ?? 'latency'))
    assert.equal([...kinds].sort(), Object.keys(SCHEDULES).sort())
    assert.ok(Object.hasOwn(PROFILES, profile))
  }
})

test.run()
