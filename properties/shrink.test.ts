import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Plan } from '../sim/plan'
import type { WorldResult } from '../sim/verdict'
import { planOfSeed } from './plans'
import { type Decisions, Shrinker, type ShrinkRunner, shrinkFailure } from './shrink'

const FAILED = { failure: { key: 'test/failed' } } as WorldResult
const PASSED = { failure: null } as WorldResult
const plan = planOfSeed('shrink.3', 'default')

/** Fails where all of the decisions are there: with a seed they are, and 40 others. */
function needing(needed: readonly string[]): ShrinkRunner & { asked: string[] } {
  const asked: string[] = []
  return {
    asked,
    run(smaller: Plan, decisions?: Decisions): WorldResult {
      asked.push(JSON.stringify([smaller, decisions]))
      const isThere = (name: string): boolean => smaller.seed !== '' || (decisions?.[name] ?? 0) > 0
      return needed.every(isThere) ? FAILED : PASSED
    },
    decisionsOf(smaller: Plan): Decisions {
      assert.is.not(smaller.seed, '')
      const noise = Array.from({ length: 40 }, (_, index) => [`noise-${index}`, 1 + (index % 3)] as const)
      return Object.fromEntries([...noise, ...needed.map((name) => [name, 4] as const)])
    },
  }
}

test('a world that fails without a seed loses it', () => {
  const { plan: small, decisions, isMinimal } = shrinkFailure(plan, FAILED, needing([]))
  assert.is(small.seed, '')
  assert.is(decisions, undefined)
  assert.ok(isMinimal)
})

test('of a schedule only what the failure needs is left, and no seed', () => {
  const { plan: small, decisions, isMinimal } = shrinkFailure(plan, FAILED, needing(['order/a/0', 'latency/b/2']))
  assert.is(small.seed, '')
  assert.equal(decisions, { 'order/a/0': 1, 'latency/b/2': 1 })
  assert.ok(isMinimal)
})

test('no world is run twice that did not help', () => {
  const runner = needing(['order/a/0'])
  shrinkFailure(plan, FAILED, runner)
  const passed = runner.asked.filter((text) => {
    const [smaller, decisions] = JSON.parse(text) as [Plan, Decisions | undefined]
    return needing(['order/a/0']).run(smaller, decisions ?? undefined).failure === null
  })
  assert.is(new Set(passed).size, passed.length)
})

test('where nobody can say what was decided, the seed stays', () => {
  const { decisionsOf: _, ...runner } = needing(['order/a/0'])
  const { plan: small, decisions } = shrinkFailure(plan, FAILED, runner)
  assert.is(small.seed, plan.seed)
  assert.is(decisions, undefined)
})

test('a search that is left has the smallest world so far', () => {
  const needed = plan.guest[1]!.id
  const shrinker = new Shrinker(plan, undefined, FAILED, {
    run: ({ guest }) => (guest.some(({ id }) => id === needed) ? FAILED : PASSED),
  })
  let steps = 0
  while (shrinker.best.plan.guest.length > 4 && shrinker.step()) steps++
  const { best } = shrinker
  assert.is(best.runs, steps)
  assert.not(best.isMinimal)
  assert.ok(best.plan.guest.some(({ id }) => id === needed))
  assert.ok(best.plan.guest.length <= 4)
})

test.run()
