/**
 * Looks for the smallest world that fails in the same way: operations, orders, faults, images, disks, settings and the
 * decisions of the world, all together. The same way means the same key: a key holds no ids and no offsets, so a smaller
 * world may fail at another place, but the search never slips to another bug.
 *
 * A world that fails also without a seed, which means that every decision is the dull one, loses its seed. Otherwise the
 * decisions that are not dull are written down in the end, and those that the failure does not need are taken away: what
 * is left is the schedule that shows the bug, and depends on no seed either.
 *
 * What never may happen: a result that does not fail with the key; a result said to be minimal of which one more part can
 * be left out.
 */
import type { Plan } from '../sim/plan'
import type { WorldResult } from '../sim/verdict'
import { smallerPlans } from './plans/smaller'
import { fewer } from './plans/smaller_lists'

/** By key; what is not there is as the plan's seed says. */
export type Decisions = Readonly<Record<string, number>>

/** Runs a world; `run` has no memory, so that the same arguments give the same result. */
export interface ShrinkRunner {
  run(plan: Plan, decisions?: Decisions): WorldResult
  /** All decisions of that world that are not dull. Absent: they are left to the seed. */
  decisionsOf?(plan: Plan, decisions?: Decisions): Decisions
}

/** What a search for a smaller world came to. */
export interface Shrunk {
  plan: Plan
  /** undefined: the plan's seed decides everything. */
  decisions: Decisions | undefined
  result: WorldResult
  /** Worlds that were run for it. */
  runs: number
  /** No smaller world fails any more; false where `runsMax` or the caller ended the search. */
  isMinimal: boolean
}

interface World {
  plan: Plan
  decisions: Decisions | undefined
}

export const SHRINK_RUNS_MAX = 5000

/** A search that its caller moves on world by world, and can leave at any time with the best so far. */
export class Shrinker {
  readonly best: Shrunk
  private readonly runner: ShrinkRunner
  private readonly runsMax: number
  private readonly key: string
  /** Worlds that are known not to fail like this. */
  private readonly passed = new Set<string>()
  private candidates: Iterator<World>
  /** How many candidates of the best world so far have been looked at. */
  private position = 0
  private hasShrunkInRound = false
  private isRecorded: boolean
  private isOver = false

  /** `result` is what the world of `plan` gave: a failure. */
  constructor(
    plan: Plan,
    decisions: Decisions | undefined,
    result: WorldResult,
    runner: ShrinkRunner,
    runsMax = SHRINK_RUNS_MAX,
  ) {
    const key = result.failure?.key
    if (key === undefined) throw new Error('only a plan that fails can be shrunk')
    this.key = key
    this.runner = runner
    this.runsMax = runsMax
    this.best = { plan, decisions, result, runs: 0, isMinimal: false }
    this.isRecorded = runner.decisionsOf === undefined
    this.candidates = smallerWorlds(this.best, !this.isRecorded)
  }

  /** Runs one world. False when the search is over. */
  step(): boolean {
    while (!this.isOver) {
      const { value, done } = this.candidates.next()
      if (done === true) {
        this.endRound()
        continue
      }
      this.position++
      const name = nameOf(value)
      if (this.passed.has(name)) continue
      if (this.best.runs >= this.runsMax) {
        this.isOver = true
        return false
      }
      this.try(value, name)
      return true
    }
    return false
  }

  private try(world: World, name: string): void {
    const { best } = this
    best.runs++
    const result = this.runner.run(world.plan, world.decisions)
    if (result.failure?.key !== this.key) {
      this.passed.add(name)
      return
    }
    Object.assign(best, world, { result })
    this.hasShrunkInRound = true
    // What came before did not help a larger world: it is asked again only when nothing else is left.
    this.candidates = smallerWorlds(best, !this.isRecorded)
    for (let skipped = 1; skipped < this.position; skipped++) this.candidates.next()
    this.position--
  }

  /** All candidates have been looked at; those before the last that helped have to be looked at once more. */
  private endRound(): void {
    if (!this.hasShrunkInRound && this.isRecorded) {
      this.best.isMinimal = true
      this.isOver = true
      return
    }
    if (!this.hasShrunkInRound) this.record()
    this.hasShrunkInRound = false
    this.position = 0
    this.candidates = smallerWorlds(this.best, !this.isRecorded)
  }

  /** From now on nothing is left to the seed. */
  private record(): void {
    this.isRecorded = true
    const { plan, decisions } = this.best
    if (plan.seed === '' && decisions === undefined) return
    const all = this.runner.decisionsOf!(plan, decisions)
    const bare = { plan: { ...plan, seed: '' }, decisions: all }
    this.best.runs++
    const result = this.runner.run(bare.plan, bare.decisions)
    // It always does; where the recording is at fault, the seed stays.
    if (result.failure?.key === this.key) Object.assign(this.best, bare, { result })
  }
}

/** Runs the search to its end. */
export function shrinkFailure(plan: Plan, result: WorldResult, runner: ShrinkRunner, runsMax?: number): Shrunk {
  const shrinker = new Shrinker(plan, undefined, result, runner, runsMax)
  while (shrinker.step());
  return shrinker.best
}

/** What a world is told apart by: its whole text, for two that are taken for one would spoil the search. */
function nameOf({ plan, decisions }: World): string {
  return JSON.stringify([plan, decisions])
}

/** Candidates, those that take most away first. */
function* smallerWorlds({ plan, decisions }: World, mayLoseSeed: boolean): Generator<World, void, undefined> {
  if (mayLoseSeed && plan.seed !== '') yield { plan: { ...plan, seed: '' }, decisions: undefined }
  if (decisions !== undefined) {
    for (const kept of fewer(Object.entries(decisions))) yield { plan, decisions: Object.fromEntries(kept) }
  }
  for (const smaller of smallerPlans(plan)) yield { plan: smaller, decisions }
  for (const [name, choice] of Object.entries(decisions ?? {})) {
    if (choice > 1) yield { plan, decisions: { ...decisions, [name]: 1 } }
  }
}
