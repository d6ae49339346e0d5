import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { runDamaged } from '../sim/damage'
import type { DamagePlan, Plan } from '../sim/plan'
import { checkPlan } from '../sim/plan_check'
import { damagedPlanOfSeed } from './plans/damage'

const SEEDS = 150

function withDamage(...damage: DamagePlan[]): Plan {
  const { damageUse: _none, ...plan } = damagedPlanOfSeed('damage.1')
  return { ...plan, damage }
}

test('an image that nobody has damaged works', () => {
  const { failure, probes } = runDamaged(withDamage())
  assert.is(failure, null)
  assert.equal(probes, { 'image/works': 1 })
})

test('an image without its magic number is refused in words', () => {
  const magic: DamagePlan = { id: 'd1', target: 'header', index: 0, widthBytes: 4, value: '0' }
  assert.equal(runDamaged(withDamage(magic)).probes, { 'image/refused': 1 })
})

test('fields are changed where the image says that they are', () => {
  const entry: DamagePlan = { id: 'd1', target: 'l1', index: 0, widthBytes: 8, value: 'ffffffffffffffff' }
  const cut: DamagePlan = { id: 'd2', target: 'length', index: 0, widthBytes: 1, value: '0' }
  assert.equal(runDamaged(withDamage(cut)).probes, { 'image/refused': 1 })
  assert.ok((runDamaged(withDamage(entry)).probes['image/works'] ?? 0) === 0)
})

test('a sound image with snapshots and bitmaps is found sound, and works', () => {
  for (let index = 0; index < 40; index++) {
    const plan: Plan = { ...damagedPlanOfSeed(`sound.${index}`), damage: [] }
    const { failure, probes } = runDamaged(plan)
    assert.is(failure, null, `sound.${index}`)
    assert.is(probes['image/works'], 1, JSON.stringify(probes))
  }
})

test('damaged images are refused, give errors, or work: all of it happens, and nothing else', () => {
  const seen: Record<string, number> = {}
  for (let index = 0; index < SEEDS; index++) {
    const plan = damagedPlanOfSeed(`damage.${index}`)
    assert.is(checkPlan(plan), null)
    const { failure, probes, hash } = runDamaged(plan)
    assert.is(failure, null, `damage.${index}`)
    if (index % 10 === 0) assert.is(runDamaged(plan).hash, hash)
    for (const name of Object.keys(probes)) seen[name] = (seen[name] ?? 0) + 1
  }
  const wanted = ['image/refused', 'image/gives-errors', 'image/works', 'image/checked', 'image/repaired', 'image/snapshot-shown']
  for (const name of wanted) assert.ok((seen[name] ?? 0) > 2, JSON.stringify(seen))
})

test.run()
