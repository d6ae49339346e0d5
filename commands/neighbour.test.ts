import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { smallPlan } from '../sim/testing'
import { differenceOf, findNeighbour } from './neighbour'

const plan = smallPlan()

test('the neighbour lacks the one operation that the failure needs', () => {
  const guilty = plan.guest[1]!.id
  const run = (other: typeof plan): { failure: unknown } => ({ failure: other.guest.some(({ id }) => id === guilty) ? {} : null })
  const neighbour = findNeighbour({ plan }, run)!
  assert.equal(
    neighbour.plan.guest.map(({ id }) => id),
    plan.guest.map(({ id }) => id).filter((id) => id !== guilty),
  )
  assert.match(neighbour.difference, new RegExp(`^without ${guilty} \\(`))
})

test('where everything fails there is none', () => {
  assert.is(
    findNeighbour({ plan }, () => ({ failure: {} })),
    null,
  )
})

test('where no part can be left out a decision can', () => {
  const run = (_: typeof plan, decisions: Record<string, number> = {}): { failure: unknown } => ({
    failure: Object.hasOwn(decisions, 'order/b/0') ? {} : null,
  })
  const neighbour = findNeighbour({ plan, decisions: { 'order/a/0': 1, 'order/b/0': 1 } }, (other, decisions) =>
    other === plan ? run(other, decisions) : { failure: {} },
  )!
  assert.equal(neighbour.decisions, { 'order/a/0': 1 })
  assert.is(neighbour.difference, 'without the decision order/b/0')
})

test('settings that differ are named', () => {
  const other = { ...plan, mirror: { ...plan.mirror, copyMode: 'background' as const } }
  assert.equal(differenceOf(plan, other), { partsLess: 0, text: 'with mirror.copyMode "background"' })
})

test.run()
