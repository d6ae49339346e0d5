/**
 * Worlds for other programs: run a plan or many, replay a report, make a failure smaller; with checkers and faults of the
 * caller's own, which are passed with each call and remembered by nobody.
 *
 * All of it is synchronous. What may fail: a plan that cannot be run (`PlanRefused`). What a world comes to, a broken checker
 * included, is in its result and never an exception.
 */
import {
  CHECKER_NAMES,
  decisionsOf,
  isProfile,
  PROFILE_NAMES,
  type ProfileName,
  planOf as planInProfile,
  runPlan as runInItsWorld,
} from '../commands/subject'
import { Chunk, campaignHash, type FailureGroup, runOrCatch } from '../properties/campaign'
import { ALL_CHECKERS } from '../properties/checkers'
import { differences } from '../properties/expectations'
import { type Decisions, Shrinker, type Shrunk } from '../properties/shrink'
import type { Report } from '../reports/format'
import { type Judgement, judgeReplay } from '../reports/verdict'
import type { Scenario } from '../scenarios/build'
import type { OwnFault } from '../sim/faults'
import type { CheckerFactory } from '../sim/observer'
import type { Plan } from '../sim/plan'
import { checkPlan } from '../sim/plan_check'
import { recordedDecider } from '../sim/schedules'
import type { WorldResult } from '../sim/verdict'
import type { WorldOptions } from '../sim/world'

/** What a world is run with, beside its plan. */
export interface RunOptions {
  /** Checkers of the caller's, beside all those of mirrorsim. They see worlds of mirrors: plans with `job`, `nbd`, `monitor`
   * or `damage` have judges of their own. */
  checkers?: readonly CheckerFactory[]
  /** Names of checkers of mirrorsim that stay away (`CHECKER_NAMES`). */
  checkersOff?: readonly string[]
  /** Faults of the caller's, for entries of the plan that name them. */
  faults?: readonly OwnFault[]
  /** Decisions by key, as in a report, in place of what the plan's seed gives. */
  decisions?: Decisions
  /** `last`, also when left out: the last events of a world that fails; `all`: every event of any world. */
  trace?: 'last' | 'all'
}

/** A plan that cannot be run, or options that name what is not there; `message` says where and why. */
export class PlanRefused extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'PlanRefused'
  }
}

/**
 * The plan of a seed; any text is a seed, and the same one gives the same plan on every machine. `profile`: `default` when
 * left out. Throws `PlanRefused` where there is no such profile.
 */
export function planOf(seed: string, profile: ProfileName = 'default'): Plan {
  demandProfile(profile)
  return planInProfile(seed, profile)
}

function demandProfile(name: string): void {
  if (!isProfile(name)) throw new PlanRefused(`there is no profile ${name}; give one of ${PROFILE_NAMES.join(', ')}`)
}

/**
 * Runs the world of a plan to its end, in virtual time. The same plan and decisions give the same result, to the hash.
 * Throws `PlanRefused`; a failure of the world is `failure` of the result.
 */
export function runPlan(plan: Plan, options: RunOptions = {}): WorldResult {
  demandPlan(plan, options)
  return runChecked(plan, { ...worldOptionsOf(options), ...deciding(plan, options.decisions) })
}

/** Without the decisions, which belong to one plan. Throws `PlanRefused` about checkers and faults that cannot be used. */
function worldOptionsOf({ checkers = [], checkersOff = [], faults = [], trace = 'last' }: RunOptions): WorldOptions {
  for (const name of checkersOff) {
    if (!CHECKER_NAMES.includes(name))
      throw new PlanRefused(`there is no checker ${name}; give some of ${CHECKER_NAMES.join(', ')}`)
  }
  const ours = ALL_CHECKERS.filter(({ name }) => !checkersOff.includes(name)).map(({ make }) => make)
  return { checkers: [...ours, ...checkers], faults: [...faults], trace }
}

function deciding(plan: Plan, decisions: Decisions | undefined): Pick<WorldOptions, 'decider'> {
  return decisions === undefined ? {} : { decider: recordedDecider(plan, decisions) }
}

function demandPlan(plan: Plan, { faults = [] }: Pick<RunOptions, 'faults'>): void {
  const reason = checkPlan(plan, faults)
  if (reason !== null) throw new PlanRefused(reason)
}

function runChecked(plan: Plan, options: WorldOptions): WorldResult {
  return runOrCatch({ run: (one) => runInItsWorld(one, options) }, plan, options.trace ?? 'last')
}

/** What came of a campaign. */
export interface Campaign {
  /** Worlds that ran, without those that ran a second time. */
  worlds: number
  events: number
  /** 16 hex digits: the same for the same worlds with the same outcomes. */
  hash: string
  /** In how many worlds each situation was met, by name. */
  probes: Readonly<Record<string, number>>
  /** How often each fault fired, by name. */
  faultsFired: Readonly<Record<string, number>>
  /** By key; of each key the first few worlds are kept, with plan and trace. */
  failures: readonly FailureGroup[]
}

/** What a campaign is run with. */
export interface CampaignOptions extends Omit<RunOptions, 'decisions' | 'trace'> {
  /** World i has the seed `SEED.i`. */
  seed: string
  /** How many worlds. */
  runs: number
  /** `default` when left out. */
  profile?: ProfileName
  /** Makes another plan of each that was generated: the same of the same. */
  change?: (plan: Plan) => Plan
  /** Share of the worlds that run twice, to compare; 5 percent when left out. */
  replayPercent?: number
  /** Called after each world; false ends the campaign. */
  onWorld?: (worlds: number, failures: readonly FailureGroup[]) => boolean | undefined
}

/** Runs worlds of consecutive seeds. Throws `PlanRefused`, also at the first plan that `change` has spoilt. */
export function runCampaign(options: CampaignOptions): Campaign {
  const { seed, runs, profile = 'default', change = (plan) => plan, replayPercent = 5, onWorld } = options
  demandProfile(profile)
  const world = worldOptionsOf(options)
  const makePlan = (worldSeed: string): Plan => {
    const plan = change(planInProfile(worldSeed, profile))
    if (options.change !== undefined) demandPlan(plan, options)
    return plan
  }
  const subject = { planOf: makePlan, run: (plan: Plan, trace: 'last' | 'all') => runInItsWorld(plan, { ...world, trace }) }
  const chunk = new Chunk(subject, { seed, replayPercent }, 0, runs)
  const { tally } = chunk
  try {
    while (chunk.step()) if (onWorld?.(tally.worlds, tally.groups) === false) break
  } catch (error) {
    throw error instanceof Error && error.cause instanceof PlanRefused ? new PlanRefused(error.message) : error
  }
  const { worlds, events, probes, faults, groups } = tally
  return { worlds, events, hash: campaignHash(tally), probes, faultsFired: faults, failures: groups }
}

/** What a replay says of a report, and what its world came to. */
export interface Replay extends Judgement {
  result: WorldResult
}

/** Runs the world of a report again. Throws `PlanRefused`. A report of a hang hangs again: there is no guard here. */
export function replayReport(report: Report, options: Omit<RunOptions, 'decisions'> = {}): Replay {
  const { plan, decisions } = report
  const result = runPlan(plan, { ...options, ...(decisions === undefined ? {} : { decisions }) })
  return { ...judgeReplay(report, result), result }
}

/**
 * The smallest world that fails in the same way as that of `plan`: some hundred worlds are run for it. `runsMax`: so many at
 * most; 5000 when left out. Throws `PlanRefused`, also for a plan that does not fail.
 */
export function shrinkPlan(plan: Plan, options: RunOptions & { runsMax?: number } = {}): Shrunk {
  const result = runPlan(plan, options)
  if (result.failure === null) throw new PlanRefused('the world of the plan does not fail: nothing can be made smaller')
  const { decisions, runsMax } = options
  const world = worldOptionsOf(options)
  const shrinker = new Shrinker(
    plan,
    decisions,
    result,
    {
      run: (smaller, choices) => runChecked(smaller, { ...world, ...deciding(smaller, choices) }),
      decisionsOf: (smaller, choices) => decisionsOf(smaller, choices, world),
    },
    runsMax,
  )
  while (shrinker.step());
  return shrinker.best
}

/** What a scenario came to; `differences`: a line for each fact that is not as it was expected, none if all is well. */
export interface ScenarioOutcome {
  result: WorldResult
  differences: readonly string[]
}

/** Runs the plan of a scenario and compares its end with what was expected. Throws `PlanRefused`. */
export function runScenario({ plan, expected }: Scenario, options: RunOptions = {}): ScenarioOutcome {
  const result = runPlan(plan, options)
  return { result, differences: differences(expected, result) }
}
