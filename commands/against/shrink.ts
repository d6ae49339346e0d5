/**
 * Makes a failure of a real daemon smaller. Timing is real there, so a smaller plan gets several tries, and all of them are
 * counted; what is kept has failed under the same key, and at the end it is repeated to say how often it does.
 */
import { smallerPlans } from '../../properties/plans/smaller'
import { duller } from '../../properties/plans/smaller_lists'
import type { Plan } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import type { LifecycleResult } from './lifecycle'
import { DULL_OPTIONS, type RealOptions } from './options'

const TRIES = 3
const REPETITIONS = 10
/** What hangs takes long each time. */
const SECONDS_MAX = 60

interface Found {
  plan: Plan
  options: RealOptions
  finding: Finding
  result: LifecycleResult
}

export interface ShrunkReal extends Found {
  /** Lifecycles that the search took. */
  runs: number
  /** Repetitions of what is left, and how many of them failed under the key. */
  attempts: number
  failed: number
}

type Run = (plan: Plan, options: RealOptions) => Promise<LifecycleResult>

export async function shrinkReal(found: Found, run: Run, runsMax: number, stop: AbortSignal): Promise<ShrunkReal> {
  const { key } = found.finding
  const endMs = performance.now() + SECONDS_MAX * 1000
  const isOver = (): boolean => best.runs >= runsMax || stop.aborted || performance.now() > endMs
  const best: ShrunkReal = { ...found, runs: 0, attempts: 0, failed: 0 }
  const attempt = async (plan: Plan, options: RealOptions): Promise<boolean> => {
    const result = await run(plan, options)
    const finding = result.findings.find((one) => one.key === key)
    if (finding !== undefined) Object.assign(best, { plan, options, finding, result })
    return finding !== undefined
  }
  for (let hasShrunk = true; hasShrunk && !isOver(); ) {
    hasShrunk = false
    for (const { plan, options } of smaller(best)) {
      for (let tries = 0; tries < TRIES && !isOver() && !hasShrunk; tries++) {
        best.runs++
        hasShrunk = await attempt(plan, options)
      }
      if (hasShrunk || isOver()) break
    }
  }
  for (; best.attempts < REPETITIONS && !stop.aborted && performance.now() < endMs + SECONDS_MAX * 1000; best.attempts++) {
    if (await attempt(best.plan, best.options)) best.failed++
  }
  return best
}

function* smaller({ plan, options }: Found): Generator<{ plan: Plan; options: RealOptions }> {
  for (const duller_ of duller(options, DULL_OPTIONS)) yield { plan, options: duller_ }
  for (const candidate of smallerPlans(plan)) yield { plan: candidate, options }
}
