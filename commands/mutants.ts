/**
 * npm run mutants: plants each bug of scenarios/mutants and says whether the worlds find it. A bug that nobody finds is a
 * hole in the net; so is one that shows only as another class of failure than it should, and a checker without which no
 * bug is missed. The worlds that have found a bug then run without any: what fails there too has proved nothing.
 */
import * as path from 'node:path'
import { Command } from 'commander'
import { grouped } from '../reports/text'
import { EXIT_COVERAGE, EXIT_OK, EXIT_USAGE, parseOrExitCode, runProgram, type Streams, wholeNumber, workersOption } from './cli'
import { isOfMirror, type Mutant, readMutants } from './mutant_catalogue'
import { type KillRecord, readKills, writeKills } from './mutant_kills'
import { sumAll } from './mutant_sum'
import type { BaselineAnswer, HuntAnswer, MutantTask, SearchAnswer, ShrunkWorld } from './mutant_worker'
import { shrinkSummary, shrunkLine } from './mutants_shrunk'
import { inOrder, runPlanted } from './planted_thread'

const root = path.resolve(__dirname, '..')
const EXIT_UNSOUND = 16
/** What the exhaustive search has to find of the mirror's mutants. */
const EXHAUSTIVE_PERCENT_MIN = 90

export interface MutantOutcome {
  mutant: Mutant
  /** equivalent: not found, and nobody could; see the mutant's argument. */
  verdict: 'killed' | 'other-class' | 'survived' | 'equivalent' | 'not-equivalent'
  answer: HuntAnswer
  seconds: number
}

interface Options {
  seed: string
  workers: number
  checkers?: boolean
  exhaustive?: boolean
  /** Failing worlds of each mutant. */
  shrink?: number
  fast?: boolean
  record?: boolean
  sum?: boolean
  trials: number
  worlds: number
  /** Whether seconds are told; without them two runs are the same to the byte. */
  times: boolean
  json?: boolean
}

/** Runs a task in a thread of its own, with or without a bug planted. */
function runTask<Answer>(task: MutantTask, mutant: Mutant | null): Promise<Answer> {
  return runPlanted('mutant_worker.ts', task, mutant)
}

export function verdictOf({ expect, equivalent }: Mutant, { kills }: HuntAnswer): MutantOutcome['verdict'] {
  if (equivalent !== undefined) return kills.length === 0 ? 'equivalent' : 'not-equivalent'
  if (kills.length === 0) return 'survived'
  return kills.some((kill) => kill.class === expect) ? 'killed' : 'other-class'
}

async function tryMutant(mutant: Mutant, options: Options, kills: KillRecord): Promise<MutantOutcome> {
  const startMs = performance.now()
  const { worldsMax, expect, profile = 'default' } = mutant
  const { seed, checkers = false } = options
  const task = { kind: 'hunt' as const, profile, seed, worldsMax, expect, attribute: checkers, first: kills[mutant.id] }
  const answer = await runTask<HuntAnswer>(task, mutant)
  return { mutant, answer, verdict: verdictOf(mutant, answer), seconds: (performance.now() - startMs) / 1000 }
}

/** The unmutated code in the worlds of the kills: null, or what it fails with. */
async function baseline(outcomes: readonly MutantOutcome[]): Promise<string | null> {
  const worlds = outcomes.flatMap(({ mutant, answer }) =>
    answer.kills.map(({ seed }) => ({ profile: mutant.profile ?? 'default', seed })),
  )
  return (await runTask<BaselineAnswer>({ kind: 'baseline', worlds }, null)).unsound
}

export function outcomeLine({ mutant, verdict, answer, seconds }: MutantOutcome, hasTimes = true): string {
  const columns = `${verdict.padEnd(15)}${mutant.id.padEnd(52)}`
  if (answer.kills.length === 0) {
    return `${columns}nothing in ${grouped(mutant.worldsMax)} worlds: ${mutant.equivalent ?? mutant.bug}`
  }
  const last = answer.kills.at(-1)!
  const before = answer.kills
    .slice(0, Math.min(BEFORE_SHOWN_MAX, answer.kills.length - 1))
    .map(({ key, worlds }) => `${key} after ${worlds}`)
  const time = `${grouped(last.worlds).padStart(6)} worlds${hasTimes ? `${seconds.toFixed(1).padStart(7)} s` : ''}`
  return `${columns}${time}  ${last.key}${before.length > 0 ? `  (before: ${before.join(', ')})` : ''}`
}

/** Of failures of other classes that came before. */
const BEFORE_SHOWN_MAX = 4
const COLUMN_WIDTH = 7

/**
 * One row a mutant: in how many of its failing worlds each checker finds it alone. Then one line a checker: how many
 * mutants it finds, and which only it does.
 */
export function attributionLines(outcomes: readonly MutantOutcome[], checkerNames: readonly string[]): string[] {
  const names = ['world', ...checkerNames]
  const cell = (text: string): string => text.slice(0, COLUMN_WIDTH - 1).padStart(COLUMN_WIDTH)
  const rows = outcomes.map(({ mutant, answer: { attribution } }) => {
    const cells = names.map((name) => cell(String(attribution?.found[name] ?? '.')))
    return `${mutant.id.padEnd(52)}${cell(String(attribution?.worlds ?? 0))}${cells.join('')}`
  })
  const head = `${''.padEnd(52)}${cell('of')}${names.map(cell).join('')}`
  const needs = findsAlone(outcomes)
  const summary = names.map((name) => {
    const count = outcomes.filter(({ answer }) => answer.attribution?.found[name] !== undefined).length
    return `${name.padEnd(20)} finds ${String(count).padStart(3)}, alone: ${needs.get(name)?.join(', ') ?? 'none'}`
  })
  return [head, ...rows, '', ...summary]
}

/** By checker: the mutants that nobody else finds. */
function findsAlone(outcomes: readonly MutantOutcome[]): Map<string, string[]> {
  const alone = new Map<string, string[]>()
  for (const { mutant, answer } of outcomes) {
    const [name, ...others] = Object.keys(answer.attribution?.found ?? {})
    if (name !== undefined && others.length === 0) alone.set(name, [...(alone.get(name) ?? []), mutant.id])
  }
  return alone
}

/** Checkers that could be left out, and every mutant would still be found. */
export function idleCheckers(outcomes: readonly MutantOutcome[], checkerNames: readonly string[]): string[] {
  const alone = findsAlone(outcomes)
  return checkerNames.filter((name) => !alone.has(name))
}

interface Result {
  outcomes: readonly MutantOutcome[]
  unsound: string | null
  /** null: not asked for. */
  idle: readonly string[] | null
}

async function runAll(mutants: readonly Mutant[], isComplete: boolean, options: Options, streams: Streams): Promise<number> {
  const kills = options.fast === true ? readKills() : {}
  const outcomes = await inOrder(
    mutants,
    options.workers,
    (mutant) => tryMutant(mutant, options, kills),
    (outcome) => options.json === true || streams.out.write(`${outcomeLine(outcome, options.times)}\n`),
  )
  if (options.record === true) recordKills(outcomes, isComplete)
  const unsound = await baseline(outcomes)
  const { CHECKER_NAMES }: typeof import('./subject') = require('./subject')
  const idle = options.checkers === true && isComplete ? idleCheckers(outcomes, CHECKER_NAMES) : null
  if (options.json !== true && options.checkers === true) {
    streams.out.write(`\n${attributionLines(outcomes, CHECKER_NAMES).join('\n')}\n\n`)
  }
  return conclude({ outcomes, unsound, idle }, options, streams)
}

/** Keeps the worlds of the kills; of mutants that were not asked, what was known of them. */
function recordKills(outcomes: readonly MutantOutcome[], isComplete: boolean): void {
  const killed = outcomes.filter(({ verdict }) => verdict === 'killed')
  const worlds = Object.fromEntries(killed.map(({ mutant, answer }) => [mutant.id, answer.world!]))
  writeKills(isComplete ? worlds : { ...readKills(), ...worlds })
}

function conclude({ outcomes, unsound, idle }: Result, { json: isJson = false, times }: Options, { out }: Streams): number {
  const count = (verdict: MutantOutcome['verdict']): number => outcomes.filter((outcome) => outcome.verdict === verdict).length
  const killed = count('killed')
  const equivalent = count('equivalent')
  const total = outcomes.length - equivalent
  const hasHole = killed < total || (idle !== null && idle.length > 0)
  const exitCode = unsound !== null ? EXIT_UNSOUND : hasHole ? EXIT_COVERAGE : EXIT_OK
  if (isJson) {
    const list = outcomes.map(({ mutant, verdict, answer, seconds }) => {
      return { id: mutant.id, verdict, ...answer, ...(times ? { seconds } : {}) }
    })
    out.write(`${JSON.stringify({ killed, total, equivalent, unsound, idleCheckers: idle, exitCode, mutants: list })}\n`)
    return exitCode
  }
  out.write(`${killed} of ${total} killed${equivalent > 0 ? `, ${equivalent} equivalent` : ''}\n`)
  if (unsound !== null) out.write(`but the code fails without any of them: ${unsound}\n`)
  for (const name of idle ?? []) out.write(`no mutant needs the checker ${name}\n`)
  return exitCode
}

/** Which of the mirror's mutants the exhaustive search finds by itself. */
async function searchAll(mutants: readonly Mutant[], options: Options, { out }: Streams): Promise<number> {
  const outcomes = await inOrder(
    mutants,
    options.workers,
    async (mutant) => ({ mutant, answer: await runTask<SearchAnswer>({ kind: 'search' }, mutant) }),
    ({ mutant, answer: { kill, cells, executions } }) => {
      const effort = `${grouped(cells).padStart(9)} cells ${grouped(executions).padStart(11)} executions`
      const columns = `${(kill === null ? 'survived' : 'killed').padEnd(15)}${mutant.id.padEnd(46)}`
      if (options.json !== true) out.write(`${columns}${effort}  ${kill?.key ?? ''}\n`)
    },
  )
  const killed = outcomes.filter(({ answer }) => answer.kill !== null).length
  const share = Math.round((100 * killed) / Math.max(outcomes.length, 1))
  if (options.json === true) {
    const list = outcomes.map(({ mutant, answer }) => ({ id: mutant.id, ...answer }))
    out.write(`${JSON.stringify({ killed, total: outcomes.length, mutants: list })}\n`)
  } else out.write(`${killed} of ${outcomes.length} killed by the exhaustive search alone (${share} %)\n`)
  return share >= EXHAUSTIVE_PERCENT_MIN ? EXIT_OK : EXIT_COVERAGE
}

/** What shows more rarely is left out: looking for it would take longer than all the rest. */
const SHRINK_WORLDS_MAX = 4_000

/** Makes worlds in which mutants were found as small as they can be, and says how small that is. */
async function shrinkAll(mutants: readonly Mutant[], options: Options, { out }: Streams): Promise<number> {
  const { seed, workers, shrink: failuresMax = 1 } = options
  const outcomes = await inOrder(
    mutants.filter(({ equivalent }) => equivalent === undefined),
    workers,
    async (mutant) => {
      const { profile = 'default' } = mutant
      const worldsMax = Math.min(mutant.worldsMax, SHRINK_WORLDS_MAX)
      const worlds = await runTask<ShrunkWorld[]>({ kind: 'shrink', profile, seed, worldsMax, failuresMax }, mutant)
      return { id: mutant.id, worlds }
    },
    ({ id, worlds }) => {
      if (options.json !== true) for (const world of worlds) out.write(`${shrunkLine(id, world)}\n`)
    },
  )
  const summary = shrinkSummary(outcomes.flatMap(({ worlds }) => worlds))
  out.write(options.json === true ? `${JSON.stringify({ ...summary, mutants: outcomes })}\n` : `${summary.text}\n`)
  return EXIT_OK
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('mutants')
    .description('Plants known bugs and says whether the worlds find them.')
    .argument('[ids...]', 'which ones (default: all)')
    .option('--seed <text>', 'root of the seeds', 'mutants')
    .addOption(workersOption('threads'))
    .option('--checkers', 'also say which checkers find what when they are alone; with all mutants, each must be needed')
    .option('--exhaustive', 'ask the exhaustive search instead of random worlds, of the mutants of the mirror alone')
    .option('--fast', 'begin with the world in which each was found last')
    .option('--record', 'keep the worlds of the kills for --fast')
    .option('--sum', 'print the sum of the median worlds in which random plans find the mutants of the mirror')
    .option('--trials <count>', 'with --sum: roots of seeds', wholeNumber(1, 99), 5)
    .option('--worlds <count>', 'with --sum: worlds of a trial', wholeNumber(1, 1_000_000), 2_000)
    .option('--shrink <count>', 'shrink so many failing worlds of each mutant, and say how small they get', wholeNumber(1, 1000))
    .option('--no-times', 'leave seconds out: two runs print the same')
    .option('--json', 'print the result as one JSON object')
    .addHelpText(
      'after',
      '\nExit codes: 0 all killed, 2 usage, 3 some survive or a checker is not needed, 16 the code fails without any bug planted\n',
    )
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const all = readMutants(path.join(root, 'scenarios/mutants'))
  const unknown = command.args.find((id) => !all.some((mutant) => mutant.id === id))
  if (unknown !== undefined) {
    streams.err.write(`mutants: there is no mutant '${unknown}'\n`)
    return EXIT_USAGE
  }
  const chosen = command.args.length === 0 ? all : all.filter(({ id }) => command.args.includes(id))
  const options = command.opts<Options>()
  if (options.shrink !== undefined) return shrinkAll(chosen, options, streams)
  if (options.sum === true) return sumAll(chosen, options, streams)
  if (options.exhaustive === true) return searchAll(chosen.filter(isOfMirror), options, streams)
  return runAll(chosen, chosen.length === all.length, options, streams)
}

if (require.main === module) runProgram('mutants', main)
