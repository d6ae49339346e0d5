/** The thread of one mutant: its environment holds the edit, so every module that it loads is the mutated one. */
import { parentPort, workerData } from 'node:worker_threads'
import { runOrCatch, type Subject, seedOfWorld } from '../properties/campaign'
import { Search } from '../properties/exhaustive/search'
import { CELL_COUNT } from '../properties/exhaustive/tiers'
import { shrinkFailure } from '../properties/shrink'
import type { Plan } from '../sim/plan'
import type { FailureClass, WorldResult } from '../sim/verdict'
import { finishesWithin } from './guard'
import { knownCount, labelOfWorld, withKnownWorlds, worldOfLabel } from './known_worlds'
import { type Attribution, attribute, huntEach, isHang, type Kill, peel } from './mutant_hunt'
import { CHECKER_NAMES, decisionsOf, type ProfileName, runWithDecider, subjectOf } from './subject'

/** A cell of the exhaustive search is at most a few thousand worlds. */
const HANG_SECONDS = 30
/** A failing world, made as small as it can be. */
const SHRINK_SECONDS_MAX = 120

export interface HuntTask {
  kind: 'hunt'
  profile: string
  seed: string
  worldsMax: number
  expect: FailureClass
  attribute: boolean
  /** The name of a world that is asked before all others. */
  first?: string | undefined
}

/** Worlds in which mutants were found, to be run without any. */
export interface BaselineTask {
  kind: 'baseline'
  worlds: ReadonlyArray<{ profile: string; seed: string }>
}

/** Random worlds alone, from several roots of seeds. */
export interface SumTask {
  kind: 'sum'
  profile: string
  seeds: readonly string[]
  worldsMax: number
}

/** Of the seeds in order; fewer if a world did not come back, after which the thread is of no use. */
export interface SumAnswer {
  worlds: number[]
}

/** The exhaustive search, up to the first failure. */
export interface SearchTask {
  kind: 'search'
}

/** null: no schedule of any cell fails. */
export interface SearchAnswer {
  kill: Pick<Kill, 'class' | 'key'> | null
  cells: number
  executions: number
}

/** Failing worlds, each made as small as it can be. */
export interface ShrinkTask {
  kind: 'shrink'
  profile: string
  seed: string
  worldsMax: number
  /** Stop after so many. */
  failuresMax: number
}

export interface ShrunkWorld {
  seed: string
  key: string
  guestBefore: number
  guest: number
  control: number
  faults: number
  /** null: the seed is still needed. */
  decisions: number | null
  runs: number
  milliseconds: number
  isMinimal: boolean
}

export type MutantTask = HuntTask | BaselineTask | SearchTask | ShrinkTask | SumTask

export interface HuntAnswer {
  kills: Kill[]
  attribution: Attribution | null
  /** The name of the last kill's world; null without one. */
  world: string | null
}

/** What the code fails with by itself, or null. */
export interface BaselineAnswer {
  unsound: string | null
}

function huntFor(task: HuntTask): HuntAnswer {
  const subjectWithout = (off: readonly string[]): ReturnType<typeof subjectOf> =>
    withKnownWorlds(subjectOf(task.profile as ProfileName, off))
  const { seed, expect, first } = task
  const quarry = { seed, worldsMax: task.worldsMax + knownCount() }
  const firstIndex = first === undefined ? null : worldOfLabel(first)
  let kills: Kill[] = []
  if (firstIndex !== null) kills = peel(subjectWithout, CHECKER_NAMES, expect, { seed, worldsMax: firstIndex + 1 }, firstIndex)
  // After a hang nothing of this thread may be used; it has ended a search in any case.
  if (!kills.some((kill) => kill.class === expect || isHang(kill))) kills = peel(subjectWithout, CHECKER_NAMES, expect, quarry)
  const last = kills.at(-1)
  if (last === undefined) return { kills, attribution: null, world: null }
  const world = labelOfWorld(last.worlds - 1)
  if (!task.attribute) return { kills, attribution: null, world }
  const attribution = kills.some(isHang)
    ? { worlds: 1, found: { world: 1 } }
    : attribute(subjectWithout, CHECKER_NAMES, quarry, kills[0]!.worlds - 1)
  return { kills, attribution, world }
}

function baselineOf({ worlds }: BaselineTask): BaselineAnswer {
  for (const { profile, seed } of worlds) {
    const subject = withKnownWorlds(subjectOf(profile as ProfileName))
    const { failure } = runOrCatch(subject, subject.planOf(seed), 'last')
    if (failure !== null) return { unsound: `${failure.key} in world ${seed} of profile ${profile}` }
  }
  return { unsound: null }
}

/** Steps through the cells so that neighbours, which are much alike, come long after each other: a prime. */
const STRIDE = 40_507

function search(): SearchAnswer {
  const run = runWithDecider()
  let executions = 0
  for (let cells = 0; cells < CELL_COUNT; cells++) {
    const one = new Search(run, (cells * STRIDE) % CELL_COUNT, 1)
    if (!finishesWithin(HANG_SECONDS * 1000, () => one.step())) one.recordHang(HANG_SECONDS)
    executions += one.tally.worlds
    const [group] = one.tally.groups
    if (group !== undefined) return { kill: { class: group.class, key: group.key }, cells: cells + 1, executions }
  }
  return { kill: null, cells: CELL_COUNT, executions }
}

/** A world that hangs is left out, and ends the list: nothing of this thread may be used after one. */
function shrinkWorlds({ profile, seed, worldsMax, failuresMax }: ShrinkTask): ShrunkWorld[] {
  const subject = subjectOf(profile as ProfileName)
  const shrunk: ShrunkWorld[] = []
  for (let index = 0; index < worldsMax && shrunk.length < failuresMax; index++) {
    const plan = subject.planOf(seedOfWorld(seed, index))
    const isBack = finishesWithin(SHRINK_SECONDS_MAX * 1000, () => {
      const result = runOrCatch(subject, plan, 'last')
      if (result.failure !== null) shrunk.push(shrinkWorld(subject, plan, result))
    })
    if (!isBack) break
  }
  return shrunk
}

function shrinkWorld(subject: Subject, plan: Plan, result: WorldResult): ShrunkWorld {
  const startMs = performance.now()
  const best = shrinkFailure(plan, result, {
    run: (smaller, decisions) => runOrCatch({ run: (p, trace) => subject.run(p, trace, decisions) }, smaller, 'last'),
    decisionsOf,
  })
  const { guest, control, faults } = best.plan
  return {
    seed: plan.seed,
    key: result.failure!.key,
    guestBefore: plan.guest.length,
    guest: guest.length,
    control: control.length,
    faults: faults.length,
    decisions: best.plan.seed === '' ? Object.keys(best.decisions ?? {}).length : null,
    runs: best.runs,
    milliseconds: Math.round(performance.now() - startMs),
    isMinimal: best.isMinimal,
  }
}

function answer(task: MutantTask): HuntAnswer | BaselineAnswer | SearchAnswer | SumAnswer | ShrunkWorld[] {
  if (task.kind === 'shrink') return shrinkWorlds(task)
  if (task.kind === 'sum') return { worlds: huntEach(subjectOf(task.profile as ProfileName), task.seeds, task.worldsMax) }
  if (task.kind === 'search') return search()
  return task.kind === 'hunt' ? huntFor(task) : baselineOf(task)
}

parentPort?.postMessage(answer(workerData as MutantTask))
