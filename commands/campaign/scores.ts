/**
 * What other commands have told, beside a campaign: how many mutants were killed, and whether the canary lives. They print it
 * with --json; what is none of theirs is refused with a `UsageError`.
 */
import * as fs from 'node:fs'
import * as v from 'valibot'
import { UsageError } from '../cli'

/** The newest of each kind that a store keeps. */
const KEPT_MAX = 200
const SURVIVORS_MAX = 100

export interface MutantScore {
  kind: 'mutants'
  /** Of when it was told, in milliseconds since 1970. */
  atMs: number
  killed: number
  /** Without those that change nothing. */
  total: number
  /** Ids. */
  survivors: string[]
}

export interface CanaryScore {
  kind: 'canary'
  atMs: number
  /** Leaks and steps that were tried; those that nobody noticed. */
  steps: number
  failed: number
}

export type Score = MutantScore | CanaryScore

const COUNT = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const MUTANTS = v.object({
  killed: COUNT,
  total: COUNT,
  mutants: v.array(v.object({ id: v.string(), verdict: v.string() })),
})
const CANARY = v.object({ steps: v.array(v.object({ name: v.string() })), failed: COUNT })

/** The result of a command, from what it has printed; `npm run` may have printed lines before it. */
export function scoreOf(text: string, atMs: number): Score | null {
  const line = text
    .split('\n')
    .filter((one) => one.startsWith('{'))
    .at(-1)
  let told: unknown
  try {
    told = JSON.parse(line ?? '')
  } catch {
    return null
  }
  const mutants = v.safeParse(MUTANTS, told)
  if (mutants.success) {
    const { killed, total, mutants: list } = mutants.output
    const survivors = list.filter(({ verdict }) => verdict !== 'killed' && verdict !== 'equivalent').map(({ id }) => id)
    return { kind: 'mutants', atMs, killed, total, survivors: survivors.slice(0, SURVIVORS_MAX) }
  }
  const canary = v.safeParse(CANARY, told)
  return canary.success ? { kind: 'canary', atMs, steps: canary.output.steps.length, failed: canary.output.failed } : null
}

/** `-`: standard input, told now; a file was told when it was written. */
export function readScore(file: string, nowMs: number): Score {
  let score: Score | null
  try {
    const atMs = file === '-' ? nowMs : Math.round(fs.statSync(file).mtimeMs)
    score = scoreOf(fs.readFileSync(file === '-' ? 0 : file, 'utf8'), atMs)
  } catch (error) {
    throw new UsageError(`${file}: ${(error as NodeJS.ErrnoException).code ?? error}: give a file that can be read`)
  }
  if (score !== null) return score
  throw new UsageError(
    `${file}: this is no result of the mutants or the canary: give what npm run mutants or npm run canary prints with --json`,
  )
}

const PREFIX = 'score/'

/** Names sort by time. */
function nameOf({ kind, atMs }: Score): string {
  return `${PREFIX}${kind}/${String(atMs).padStart(15, '0')}`
}

/** All of a store, the oldest first. */
export function scoresIn(records: ReadonlyMap<string, string>): Score[] {
  const scores: Score[] = []
  for (const [name, body] of records) if (name.startsWith(PREFIX)) scores.push(JSON.parse(body))
  return scores.sort((left, right) => left.atMs - right.atMs)
}

/** What to write for `scores` to be there beside those of `records`. */
export function scoreChanges(records: ReadonlyMap<string, string>, scores: readonly Score[]): Map<string, string | null> {
  const changes = new Map<string, string | null>(scores.map((score) => [nameOf(score), JSON.stringify(score)]))
  for (const kind of ['mutants', 'canary'] as const) {
    const names = new Set([...records.keys(), ...changes.keys()].filter((name) => name.startsWith(`${PREFIX}${kind}/`)))
    for (const name of [...names].sort().slice(0, -KEPT_MAX)) changes.set(name, null)
  }
  return changes
}

export function scoreText(score: Score): string {
  return score.kind === 'mutants'
    ? `mutants: ${score.killed} of ${score.total} killed`
    : `canary: ${score.steps - score.failed} of ${score.steps} noticed`
}
