/**
 * How many worlds a bug needs under each schedule: the same plans, with nothing but the schedule changed. The bounded search
 * is one more way to go on: it runs a few schedules of each plan before it takes the next.
 */
import { runOrCatch, type Subject, seedOfWorld } from '../properties/campaign'
import { BoundedSearch } from '../sim/bounded_search'
import type { Decider } from '../sim/decider'
import type { Plan, SchedulePlan } from '../sim/plan'
import type { WorldResult } from '../sim/verdict'

export interface Trials {
  /** Each trial has seeds of its own. */
  trials: number
  /** A trial ends after so many worlds, with or without a failure. */
  worldsMax: number
}

/** Of each schedule, of each trial: after how many worlds it failed; `worldsMax + 1` where it never did. */
export type TrialTable = Record<string, number[]>

export const BOUNDED = 'bounded'
/** Schedules of one plan that the bounded search runs. */
const BOUNDED_SCHEDULES = 8

/** What a trial is called in tables, with the schedule that it gives to plans. */
export const SCHEDULE_ROWS: Readonly<Record<string, SchedulePlan>> = {
  latency: { kind: 'latency' },
  uniform: { kind: 'uniform' },
  'pct-1': { kind: 'pct', depth: 1 },
  'pct-3': { kind: 'pct', depth: 3 },
  pos: { kind: 'pos' },
  few: { kind: 'few' },
}

export type RunWithDecider = (plan: Plan, decider: Decider) => WorldResult

export function runTrials(subject: Subject, run: RunWithDecider, { trials, worldsMax }: Trials): TrialTable {
  const table: TrialTable = {}
  for (const [name, schedule] of Object.entries(SCHEDULE_ROWS)) {
    table[name] = each(trials, (root) => firstFailing(worldsMax, root, (seed) => fails(subject, subject.planOf(seed), schedule)))
  }
  table[BOUNDED] = each(trials, (root) => firstBounded(subject, run, root, worldsMax))
  return table
}

function each(trials: number, work: (root: string) => number): number[] {
  return Array.from({ length: trials }, (_, trial) => work(`schedules-${trial}`))
}

function firstFailing(worldsMax: number, root: string, hasFailed: (seed: string) => boolean): number {
  for (let index = 0; index < worldsMax; index++) if (hasFailed(seedOfWorld(root, index))) return index + 1
  return worldsMax + 1
}

function fails(subject: Subject, plan: Plan, schedule: SchedulePlan): boolean {
  return runOrCatch(subject, { ...plan, version: 4, schedule }, 'last').failure !== null
}

function firstBounded(subject: Subject, run: RunWithDecider, root: string, worldsMax: number): number {
  let worlds = 0
  for (let index = 0; worlds < worldsMax; index++) {
    const plan = subject.planOf(seedOfWorld(root, index))
    const search = new BoundedSearch({ deviationsMax: 1 })
    for (let count = 0; count < BOUNDED_SCHEDULES && worlds < worldsMax; count++) {
      worlds++
      if (runOrCatch({ run: (same) => run(same, search.again()) }, plan, 'last').failure !== null) return worlds
      if (!search.next()) break
    }
  }
  return worldsMax + 1
}

/** The middle one; of an even number the lower. */
export function median(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[Math.floor((values.length - 1) / 2)]!
}

/** Failures a world: how often a trial ended with one, over all its worlds. */
export function rateOf(values: readonly number[], worldsMax: number): number {
  const worlds = values.reduce((sum, value) => sum + Math.min(value, worldsMax), 0)
  return values.filter((value) => value <= worldsMax).length / worlds
}

export type Weights = Record<string, number>

/**
 * Weights in tenths under which bugs are found soonest: the mean of the logarithms of the expected worlds, so that a bug that
 * is hard to find counts as much as an easy one, and no bug is given up for another.
 */
export function bestMixture(rates: ReadonlyArray<Weights>, names: readonly string[], shares = 10): Weights {
  let best: Weights = {}
  let least = Infinity
  for (const weights of mixtures(names, shares)) {
    const cost = mixtureCost(rates, weights, shares)
    if (cost < least) [best, least] = [weights, cost]
  }
  return best
}

/** Mean of ln(worlds to the first failure) over the bugs; one that a mixture never finds costs as much as a million worlds. */
export function mixtureCost(rates: ReadonlyArray<Weights>, weights: Weights, shares = 10): number {
  let sum = 0
  for (const rate of rates) {
    let together = 0
    for (const name in weights) together += ((rate[name] ?? 0) * weights[name]!) / shares
    sum += Math.log(1 / Math.max(together, 1e-6))
  }
  return sum / Math.max(rates.length, 1)
}

function* mixtures([name, ...others]: readonly string[], shares: number): Generator<Weights> {
  if (name === undefined) return
  if (others.length === 0) {
    yield { [name]: shares }
    return
  }
  for (let mine = shares; mine >= 0; mine--) {
    if (mine === shares) yield { [name]: mine }
    else for (const rest of mixtures(others, shares - mine)) yield { ...(mine === 0 ? {} : { [name]: mine }), ...rest }
  }
}
