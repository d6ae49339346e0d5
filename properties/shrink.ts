/**
 * Looks for the smallest plan that fails in the same way. The same way means the same key: a key holds no ids and no
 * offsets, so a smaller world may fail at another place, but the search never slips to another bug.
 */
import type { Plan } from '../sim/plan'
import type { WorldResult } from '../sim/verdict'
import { smallerPlans } from './plans/smaller'

export interface Shrunk {
  plan: Plan
  result: WorldResult
  /** Worlds that were run for it. */
  runs: number
  /** No smaller plan fails any more; false where `runsMax` ended the search. */
  isMinimal: boolean
}

/** `result` is what `run(plan)` gave: a failure. */
export function shrinkFailure(plan: Plan, result: WorldResult, run: (plan: Plan) => WorldResult, runsMax = 5000): Shrunk {
  const key = result.failure?.key
  if (key === undefined) throw new Error('only a plan that fails can be shrunk')
  let smallest = { plan, result }
  let runs = 0
  search: while (true) {
    for (const smaller of smallerPlans(smallest.plan)) {
      if (runs === runsMax) return { ...smallest, runs, isMinimal: false }
      runs++
      const outcome = run(smaller)
      if (outcome.failure?.key !== key) continue
      smallest = { plan: smaller, result: outcome }
      continue search
    }
    return { ...smallest, runs, isMinimal: true }
  }
}
