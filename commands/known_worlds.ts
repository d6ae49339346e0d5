/**
 * Worlds that are known to be worth running, before those of any seed: the named scenarios, with what they say of their end,
 * and the corpus of failures that were mended.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Subject } from '../properties/campaign'
import { differences } from '../properties/expectations'
import { readReport } from '../reports/format'
import { SCENARIOS } from '../scenarios'
import type { Plan } from '../sim/plan'
import type { Expectation, Failure, WorldResult } from '../sim/verdict'

const CORPUS = path.join(__dirname, '../scenarios/corpus')

interface KnownWorld {
  /** Of a scenario, or of the corpus: the file. */
  readonly name: string
  readonly plan: Plan
  readonly decisions?: Readonly<Record<string, number>> | undefined
  readonly expected?: Expectation
}

let known: readonly KnownWorld[] | null = null

function knownWorlds(): readonly KnownWorld[] {
  known ??= [...SCENARIOS, ...corpus()]
  return known
}

function corpus(): KnownWorld[] {
  const files = fs.readdirSync(CORPUS).filter((name) => name !== 'index.json')
  return files.sort().map((name) => {
    const reading = readReport(path.join(CORPUS, name))
    if (!reading.ok) throw new Error(`a report of the corpus cannot be read: ${reading.reason}`)
    const { plan, decisions } = reading.report
    return { name: `corpus/${name}`, plan, decisions }
  })
}

export function knownCount(): number {
  return knownWorlds().length
}

/** A world's name that stays when others become known: `scenario`, `corpus/file`, or `#number` among those of a seed. */
export function labelOfWorld(index: number): string {
  return knownWorlds()[index]?.name ?? `#${index - knownCount()}`
}

/** null: there is no such world any more. */
export function worldOfLabel(label: string): number | null {
  if (label.startsWith('#')) return Number(label.slice(1)) + knownCount()
  const index = knownWorlds().findIndex(({ name }) => name === label)
  return index === -1 ? null : index
}

/** The same subject, whose first worlds are the known ones; the others follow, with the numbers that are left. */
export function withKnownWorlds(subject: Subject): Subject {
  const byPlan = new Map<Plan, KnownWorld>(knownWorlds().map((world) => [world.plan, world]))
  return {
    planOf: (seed) => {
      const [, root, number] = /^(.*)\.(\d+)$/.exec(seed) ?? []
      const index = Number(number)
      return knownWorlds()[index]?.plan ?? subject.planOf(`${root}.${index - knownCount()}`)
    },
    run: (plan, trace, decisions) => {
      const world = byPlan.get(plan)
      if (world === undefined) return subject.run(plan, trace, decisions)
      const result = subject.run(plan, trace, world.decisions)
      return world.expected === undefined ? result : judged(result, world.expected)
    },
  }
}

/** A scenario that comes out otherwise than it says has failed, whatever the checkers think. */
function judged(result: WorldResult, expected: Expectation): WorldResult {
  const [first, ...details] = result.failure === null ? differences(expected, result) : []
  if (first === undefined) return result
  const kind: Failure['class'] = /[bB]ytes/.test(first) ? 'sparseness' : /^job error/.test(first) ? 'protocol' : 'liveness'
  const key = `scenario/${first.replace(/[ ,].*/, '')}`
  return { ...result, failure: { class: kind, key, text: first, details, step: result.events, timeNs: result.timeNs } }
}
