import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Plan } from '../sim/plan'
import { SCENARIOS } from '.'

const idsOf = (plan: Plan): string[] =>
  [plan.guest, plan.control, plan.faults, plan.source.initial, plan.destination.initial].flat().map(({ id }) => id)

test('scenarios have names of their own and say what goes wrong', () => {
  const names = SCENARIOS.map(({ name }) => name)
  assert.is(new Set(names).size, names.length)
  for (const { name, bug, plan } of SCENARIOS) {
    assert.match(name, /^[a-z0-9/-]+$/)
    assert.ok(bug.length > 20, name)
    assert.ok(plan.seed.length > 0, name)
  }
})

test('scenarios are plain data: they survive JSON, and no id occurs twice in one', () => {
  for (const { name, plan } of SCENARIOS) {
    assert.equal(JSON.parse(JSON.stringify(plan)), plan, name)
    const ids = idsOf(plan)
    assert.equal(
      ids.filter((id, index) => ids.indexOf(id) !== index),
      [],
      name,
    )
  }
})

test('the guests of scenarios stay on block boundaries inside their disk', () => {
  for (const { name, plan } of SCENARIOS) {
    for (const { id, offsetBytes, lengthBytes } of plan.guest) {
      assert.is((offsetBytes % plan.device.blockBytes) + (lengthBytes % plan.device.blockBytes), 0, `${name} ${id}`)
      assert.ok(offsetBytes + lengthBytes <= plan.source.lengthBytes, `${name} ${id}`)
    }
    for (const disk of [plan.source, plan.destination]) {
      for (const { id, offsetBytes, lengthBytes } of disk.initial) {
        assert.ok(offsetBytes + lengthBytes <= disk.lengthBytes, `${name} ${id}`)
      }
    }
  }
})

test.run()
