/** Whether the net still holds: planted bugs and leaks, and the mutants that are found soonest. */
import * as path from 'node:path'
import type { CanaryStep } from '../canary'
import { jsonOf, runChild } from '../child_command'
import { readMutants } from '../mutant_catalogue'
import { readKills } from '../mutant_kills'
import { brokenCase, type GateCase, type GateStep, timed } from './step'

const MUTANTS = path.join(__dirname, '../../scenarios/mutants')
/** Mutants whose last known world takes no more worlds of a profile than this are asked at every commit. */
const SOON_WORLDS = 200
const FAST_MAX = 60

export const canaryStep: GateStep = {
  name: 'canary',
  budget: () => 'a planted bug, eight leaks',
  async run({ workers }) {
    const { value: exit, seconds } = await timed(() => runChild('canary', ['--json', '--workers', String(workers)], null))
    const result = jsonOf<{ steps: CanaryStep[] }>(exit)
    const reproduce = 'npm run canary'
    if (result === null) return [brokenCase('canary', reproduce, exit.errors)]
    return result.steps.map(({ name, problem }): GateCase => {
      const failure = problem === null ? null : { class: 'harness' as const, key: 'canary/unnoticed', text: problem, reproduce }
      return { name, seconds: seconds / result.steps.length, failure }
    })
  },
}

/** Of the catalogue, those that are found soonest; the same as long as catalogue and record are. */
export function fastMutants(kills: Readonly<Record<string, string>>, ids: readonly string[]): string[] {
  const worldsOf = (id: string): number => {
    const label = kills[id]
    if (label === undefined) return Number.POSITIVE_INFINITY
    return label.startsWith('#') ? Number(label.slice(1)) : 0
  }
  const soon = ids.filter((id) => worldsOf(id) <= SOON_WORLDS)
  return soon.sort((left, right) => worldsOf(left) - worldsOf(right) || (left < right ? -1 : 1)).slice(0, FAST_MAX)
}

interface MutantResult {
  readonly mutants: ReadonlyArray<{ id: string; verdict: string; seconds: number }>
  readonly unsound: string | null
}

export const mutantStep: GateStep = {
  name: 'mutants',
  budget: () => `at most ${FAST_MAX} mutants`,
  async run({ workers }) {
    const all = readMutants(MUTANTS)
    const ids = fastMutants(
      readKills(),
      all.filter(({ equivalent }) => equivalent === undefined).map(({ id }) => id),
    )
    const exit = await runChild('mutants', [...ids, '--fast', '--json', '--workers', String(workers)], null)
    const result = jsonOf<MutantResult>(exit)
    const reproduce = 'npm run mutants -- --fast'
    if (result === null) return [brokenCase('mutants', reproduce, exit.errors)]
    const cases = result.mutants.map(({ id, verdict, seconds }): GateCase => {
      const text = `${all.find((mutant) => mutant.id === id)!.bug}: nothing notices it (${verdict})`
      const file = `scenarios/mutants/${id}.json`
      const failure = { class: 'harness', key: 'mutants/survived', text, file, reproduce: `npm run mutants -- ${id}` } as const
      return { name: id, seconds, failure: verdict === 'killed' ? null : failure }
    })
    if (result.unsound === null) return cases
    const failure = { class: 'harness', key: 'mutants/unsound', text: result.unsound, reproduce } as const
    return [...cases, { name: 'without any mutant', seconds: 0, failure }]
  },
}
