/**
 * How soon random worlds find the bugs of the mirror: of each mutant the median over some roots of seeds of the number of worlds
 * to its first failure, and the sum of these. No scenario and nothing of the corpus is among the worlds, so the figure says what the
 * generator of plans is worth. Nothing is timed: the same revision prints the same.
 */
import { grouped } from '../reports/text'
import { EXIT_OK, type Streams } from './cli'
import { isOfMirror, type Mutant } from './mutant_catalogue'
import type { SumAnswer, SumTask } from './mutant_worker'
import { inOrder, runPlanted } from './planted_thread'
import { median } from './schedule_trials'

export interface SumOptions {
  workers: number
  /** Roots of seeds. */
  trials: number
  /** A trial ends after so many worlds, with or without a failure. */
  worlds: number
  json?: boolean
}

export interface SumOutcome {
  id: string
  profile: string
  /** Of each trial; one more than the bound where nothing was found. */
  worlds: number[]
  median: number
}

/** A world that never comes back ends its thread; the trials that are left get another one. */
async function trialsOf(mutant: Mutant, { trials, worlds: worldsMax }: SumOptions): Promise<SumOutcome> {
  const profile = mutant.profile ?? 'default'
  const worlds: number[] = []
  while (worlds.length < trials) {
    const seeds = Array.from({ length: trials - worlds.length }, (_, index) => `sum-${worlds.length + index}`)
    const task: SumTask = { kind: 'sum', profile, seeds, worldsMax }
    worlds.push(...(await runPlanted<SumAnswer>('mutant_worker.ts', task, mutant)).worlds)
  }
  return { id: mutant.id, profile, worlds, median: median(worlds) }
}

export function sumLine({ id, profile, worlds, median: middle }: SumOutcome, worldsMax: number): string {
  const text = (count: number): string => (count > worldsMax ? `>${grouped(worldsMax)}` : grouped(count))
  return `${id.padEnd(52)}${profile.padEnd(10)}${text(middle).padStart(8)}   of ${worlds.map(text).join(', ')}`
}

export function sumOf(outcomes: readonly SumOutcome[]): number {
  return outcomes.reduce((sum, outcome) => sum + outcome.median, 0)
}

/** Prints a line a mutant and their sum; mutants of other code than the mirror's are left out. */
export async function sumAll(mutants: readonly Mutant[], options: SumOptions, { out }: Streams): Promise<number> {
  const { workers, worlds: worldsMax, trials, json = false } = options
  const outcomes = await inOrder(
    mutants.filter(isOfMirror),
    workers,
    (mutant) => trialsOf(mutant, options),
    (outcome) => json || out.write(`${sumLine(outcome, worldsMax)}\n`),
  )
  const sum = sumOf(outcomes)
  const missed = outcomes.filter((outcome) => outcome.median > worldsMax).length
  if (json) out.write(`${JSON.stringify({ sum, missed, trials, worldsMax, mutants: outcomes })}\n`)
  else {
    const notFound = missed > 0 ? `; ${missed} of them not found by most` : ''
    out.write(
      `sum of the median worlds of ${outcomes.length} mutants: ${grouped(sum)} (${trials} trials of ${grouped(worldsMax)}${notFound})\n`,
    )
  }
  return EXIT_OK
}
