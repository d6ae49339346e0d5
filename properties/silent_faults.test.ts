/**
 * What is excused is exactly what was hit: worlds with silent faults pass, and fail as soon as the marks are one byte too
 * short.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Corruption } from '../sim/corruption'
import { DISK_FAULTS, FAULTS } from '../sim/faults'
import type { FaultPlan, Plan } from '../sim/plan'
import { runWorld } from '../sim/world'
import { ALL_CHECKERS } from './checkers'
import { planOfSeed } from './plans'

const WORLDS_MAX = 4000
const checkers = ALL_CHECKERS.map(({ make }) => make)

/** Plans with no other faults than those of one kind. */
function* plansWith(kind: FaultPlan['kind']): Generator<Plan> {
  for (let index = 0; index < WORLDS_MAX; index++) {
    const plan = planOfSeed(`silent.${index}`, kind === 'lying-flush' ? 'power' : 'faults')
    const faults = plan.faults.filter((fault) => fault.kind === kind)
    if (faults.length > 0) yield { ...plan, faults }
  }
}

/** The first failing world of a kind, while marking is done in another way; null if there is none. */
function firstFailure(kind: FaultPlan['kind'], mark: Corruption['mark']): string | null {
  const right = Corruption.prototype.mark
  Corruption.prototype.mark = mark
  try {
    for (const plan of plansWith(kind)) {
      const { failure } = runWorld(plan, { checkers })
      if (failure !== null) return failure.key
    }
    return null
  } finally {
    Corruption.prototype.mark = right
  }
}

const { mark } = Corruption.prototype

for (const { name } of DISK_FAULTS.filter(({ promise }) => promise === 'silent')) {
  const kind = name as FaultPlan['kind']
  test(`${kind}: a byte that is hit and not marked is found`, () => {
    const found = firstFailure(kind, function short(this: Corruption, offsetBytes, endBytes) {
      mark.call(this, offsetBytes, endBytes - 1)
    })
    assert.ok(found !== null)
  })
}

test('every excuse is for a checker that there is', () => {
  const names = ALL_CHECKERS.map(({ name }) => name)
  for (const { name, excuses } of FAULTS) {
    for (const { checker, why } of excuses) assert.ok(names.includes(checker) && why.length > 10, `${name}: ${checker}`)
  }
})

test.run()
