/** Worlds of mirrors that are driven over QMP, and their plans. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { runMonitor } from '../sim/monitor_run'
import { checkPlan } from '../sim/plan_check'
import { MONITOR_PROBES } from '../sim/probes'
import { monitorPlanOfSeed } from './plans/monitor'
import { smallerPlans } from './plans/smaller'

const SEEDS = 150

test('users get an answer to each command, and each situation is met', () => {
  const seen = new Set<string>()
  for (let index = 0; index < SEEDS; index++) {
    const plan = monitorPlanOfSeed(`monitor.${index}`)
    assert.is(checkPlan(plan), null, `monitor.${index}`)
    const { failure, probes, hash } = runMonitor(plan)
    assert.is(failure, null, `monitor.${index}: ${failure?.key}`)
    if (index % 10 === 0) assert.is(runMonitor(JSON.parse(JSON.stringify(plan))).hash, hash)
    for (const name of Object.keys(probes)) seen.add(name)
  }
  for (const name of Object.keys(MONITOR_PROBES)) assert.ok(seen.has(name), name)
})

test('smaller plans are plans, and come to an end', () => {
  let plan = monitorPlanOfSeed('monitor.smaller')
  for (let steps = 0; steps < 500; steps++) {
    const next = smallerPlans(plan).next().value
    if (next === undefined) break
    assert.is(checkPlan(next), null)
    plan = next
  }
  assert.equal([plan.guest, plan.monitor?.users], [[], []])
  assert.is(runMonitor(plan).failure, null)
})

test('no smaller plan is the plan itself, or looking for the smallest would not end', () => {
  for (let index = 0; index < 40; index++) {
    const plan = monitorPlanOfSeed(`small.${index}`)
    const text = JSON.stringify(plan)
    for (const smaller of smallerPlans(plan)) assert.is.not(JSON.stringify(smaller), text, plan.seed)
  }
})

test.run()
