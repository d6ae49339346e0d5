/** Worlds of mirrors between NBD servers, and their plans. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { runNbd } from '../sim/nbd_run'
import { checkPlan } from '../sim/plan_check'
import { NBD_PROBES } from '../sim/probes'
import { nbdPlanOfSeed } from './plans/nbd'
import { smallerPlans } from './plans/smaller'

const SEEDS = 120

test('guests find what they wrote whatever links do, and each situation is met', () => {
  const seen = new Set<string>()
  for (let index = 0; index < SEEDS; index++) {
    const plan = nbdPlanOfSeed(`nbd.${index}`)
    assert.is(checkPlan(plan), null, `nbd.${index}`)
    const { failure, probes, hash } = runNbd(plan)
    assert.is(failure, null, `nbd.${index}: ${failure?.key}`)
    if (index % 10 === 0) assert.is(runNbd(JSON.parse(JSON.stringify(plan))).hash, hash)
    for (const name of Object.keys(probes)) seen.add(name)
  }
  const rare = ['nbd/target-cut-aborting', 'nbd/target-cut-null']
  for (const name of Object.keys(NBD_PROBES)) assert.ok(seen.has(name) || rare.includes(name), name)
})

test('smaller plans are plans, and come to an end', () => {
  let plan = nbdPlanOfSeed('nbd.smaller')
  for (let steps = 0; steps < 500; steps++) {
    const next = smallerPlans(plan).next().value
    if (next === undefined) break
    assert.is(checkPlan(next), null)
    plan = next
  }
  assert.equal([plan.guest, plan.nbd?.clients, plan.nbd?.cuts, plan.stalls ?? []], [[], [], [], []])
  assert.is(runNbd(plan).failure, null)
})

test.run()
