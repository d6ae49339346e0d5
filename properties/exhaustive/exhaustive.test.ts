import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BoundedSearch } from '../../sim/bounded_search'
import { dullDecider } from '../../sim/decider'
import { checkPlan } from '../../sim/plan_check'
import { recordedDecider } from '../../sim/schedules'
import { runWorld } from '../../sim/world'
import { ALL_CHECKERS } from '../checkers'
import { complaints } from '../plans/testing'
import { planOf } from './grid'
import { emptySearchTally, mergeSearchTally, Search } from './search'
import { CELL_COUNT, placeOf, TIERS, tierRange } from './tiers'

const checkers = ALL_CHECKERS.map(({ make }) => make)

test('every cell has one place, and the tiers cover all indexes', () => {
  let firstIndex = 0
  for (const { name, grid } of TIERS) {
    assert.equal(tierRange(name), { firstIndex, count: grid.size })
    assert.equal(placeOf(firstIndex).tier.name, name)
    assert.equal(placeOf(firstIndex + grid.size - 1).index, grid.size - 1)
    firstIndex += grid.size
  }
  assert.equal(firstIndex, CELL_COUNT)
  assert.throws(() => placeOf(CELL_COUNT), /no cell/)
})

test('no two cells of a grid are the same plan', () => {
  for (const { grid } of TIERS.filter(({ grid: { size } }) => size < 5000)) {
    const plans = new Set(Array.from({ length: grid.size }, (_, index) => JSON.stringify(planOf(grid.cell(index)))))
    assert.equal(plans.size, grid.size)
  }
})

test('every plan can run', () => {
  for (let index = 0; index < CELL_COUNT; index += 211) {
    const { tier, index: cellIndex } = placeOf(index)
    const plan = planOf(tier.grid.cell(cellIndex))
    assert.equal(checkPlan(plan), null)
    assert.equal(complaints(plan), [])
  }
})

test('the worlds of a range are the same in one piece and in parts', () => {
  const run = (plan: Parameters<typeof runWorld>[0], decider: BoundedSearch) => runWorld(plan, { checkers, decider })
  const { firstIndex } = tierRange('two-operations')
  const search = (first: number, count: number) => {
    const part = new Search(run as never, first, count)
    while (part.step());
    return part.tally
  }
  const whole = search(firstIndex, 6)
  const parts = emptySearchTally()
  for (const [first, count] of [
    [firstIndex + 2, 4],
    [firstIndex, 2],
  ] as const)
    mergeSearchTally(parts, search(first, count))
  assert.equal(whole.cells, 6)
  assert.ok(whole.worlds > 6 * 10)
  assert.equal(parts, whole)
})

test('a failure is kept with the decisions that show it', () => {
  const { firstIndex } = tierRange('one-operation')
  let worlds = 0
  // Fails in schedules with a deviation only.
  const search = new Search(
    (plan, decider) => {
      worlds++
      const first = decider.decide({ id: 'site', hash: 1 } as never, { id: 'a', hash: 2 } as never, 0, 2)
      const second = decider.decide({ id: 'site', hash: 1 } as never, { id: 'b', hash: 3 } as never, 0, 2)
      const result = runWorld(plan, { decider: dullDecider })
      if (first === 0 || second === 0) return result
      return { ...result, failure: { class: 'content', key: 'content/planted', text: '', step: 0, timeNs: 0 } }
    },
    firstIndex,
    1,
  )
  while (search.step());
  const [group] = search.tally.groups
  assert.equal(group!.count, 1)
  assert.equal(group!.found[0]!.decisions, { 'site/a/0': 1, 'site/b/0': 1 })
  // Four schedules, and the failing one again.
  assert.equal(worlds, 5)
})

test('a kept schedule replays without the search', () => {
  const { firstIndex } = tierRange('two-operations')
  const { tier, index } = placeOf(firstIndex + 777)
  const plan = planOf(tier.grid.cell(index))
  const search = new BoundedSearch(tier.bounds)
  runWorld(plan, { decider: search })
  for (let turns = 0; turns < 5; turns++) assert.ok(search.next())
  const decisions: Record<string, number> = {}
  const recording = {
    decide(...[site, subject, attempt, count]: Parameters<typeof search.decide>) {
      const choice = search.decide(site, subject, attempt, count)
      decisions[`${site.id}/${subject.id}/${attempt}`] = choice
      return choice
    },
  }
  const first = runWorld(plan, { decider: recording })
  const again = runWorld(plan, { decider: recordedDecider({ seed: 'another seed' }, decisions) })
  assert.equal(again.hash, first.hash)
})

test.run()
