/**
 * npm run mutants: plants each bug of scenarios/mutants and says whether the worlds find it. A bug that nobody finds is a
 * hole in the net; so is one that shows only as another class of failure than it should. At the end the same worlds run
 * without any bug: a net that always bites proves nothing.
 */
import * as os from 'node:os'
import * as path from 'node:path'
import { Worker } from 'node:worker_threads'
import { Command } from 'commander'
import { grouped } from '../reports/text'
import { EXIT_COVERAGE, EXIT_OK, EXIT_USAGE, parseOrExitCode, runProgram, type Streams, wholeNumber } from './cli'
import { type Mutant, readMutants } from './mutant_catalogue'
import type { MutantAnswer, MutantTask } from './mutant_worker'

const root = path.resolve(__dirname, '..')
const SECONDS_MAX = 120

export interface MutantOutcome {
  mutant: Mutant
  verdict: 'killed' | 'other-class' | 'survived'
  answer: MutantAnswer
  seconds: number
}

interface Options {
  seed: string
  workers: number
  checkers?: boolean
  json?: boolean
}

/** Runs a task in a thread of its own, with or without a bug planted. */
function runTask(task: MutantTask, mutant: Mutant | null): Promise<MutantAnswer> {
  const { MIRRORSIM_MUTANT: _, ...env } = process.env
  const planted = mutant === null ? {} : { MIRRORSIM_MUTANT: JSON.stringify(mutant) }
  return new Promise((resolve, reject) => {
    const worker = new Worker(path.join(__dirname, 'mutant_worker.ts'), { workerData: task, env: { ...env, ...planted } })
    worker.once('message', (answer: MutantAnswer) => worker.terminate().then(() => resolve(answer), reject))
    worker.once('error', reject)
  })
}

function verdictOf(mutant: Mutant, answer: MutantAnswer): MutantOutcome['verdict'] {
  if (answer.isHung) return mutant.expect === 'liveness' ? 'killed' : 'other-class'
  const last = answer.kills.at(-1)
  if (last === undefined) return 'survived'
  return answer.kills.some((kill) => kill.class === mutant.expect) ? 'killed' : 'other-class'
}

async function tryMutant(mutant: Mutant, options: Options): Promise<MutantOutcome> {
  const startMs = performance.now()
  const { worldsMax, expect, profile = 'default' } = mutant
  const task = { profile, seed: options.seed, worldsMax, expect, attribute: options.checkers === true, secondsMax: SECONDS_MAX }
  const answer = await runTask(task, mutant)
  return { mutant, answer, verdict: verdictOf(mutant, answer), seconds: (performance.now() - startMs) / 1000 }
}

/** The unmutated code in the worlds that the kills needed: null, or what it fails with. */
async function baseline(outcomes: readonly MutantOutcome[], seed: string): Promise<string | null> {
  const worldsOf = new Map<string, number>()
  for (const { mutant, answer } of outcomes) {
    const profile = mutant.profile ?? 'default'
    for (const { worlds } of answer.kills) worldsOf.set(profile, Math.max(worlds, worldsOf.get(profile) ?? 1))
  }
  for (const [profile, worldsMax] of worldsOf) {
    const task = { profile, seed, worldsMax, expect: null, attribute: false, secondsMax: SECONDS_MAX }
    const { kills, isHung } = await runTask(task, null)
    if (isHung || kills.length > 0) return isHung ? 'a world that hangs' : `${kills[0]!.key} in world ${kills[0]!.seed}`
  }
  return null
}

export function outcomeLine({ mutant, verdict, answer, seconds }: MutantOutcome): string {
  const columns = `${verdict.padEnd(12)}${mutant.id.padEnd(44)}`
  if (answer.isHung) return `${columns}a world hangs`
  if (answer.kills.length === 0) return `${columns}nothing in ${grouped(mutant.worldsMax)} worlds: ${mutant.bug}`
  const last = answer.kills.at(-1)!
  const before = answer.kills.slice(0, -1).map(({ key, worlds }) => `${key} after ${worlds}`)
  const time = `${grouped(last.worlds).padStart(7)} worlds ${seconds.toFixed(1).padStart(6)} s`
  return `${columns}${time}  ${last.key}${before.length > 0 ? `  (before: ${before.join(', ')})` : ''}`
}

/** One row a checker: what it finds alone, and what nobody else finds. */
export function attributionLines(outcomes: readonly MutantOutcome[]): string[] {
  const finds = new Map<string, string[]>()
  const findsAlone = new Map<string, string[]>()
  for (const { mutant, answer } of outcomes) {
    const names = Object.keys(answer.attribution ?? {})
    for (const name of names) finds.set(name, [...(finds.get(name) ?? []), mutant.id])
    if (names.length === 1) findsAlone.set(names[0]!, [...(findsAlone.get(names[0]!) ?? []), mutant.id])
  }
  return [...finds].map(([name, ids]) => {
    const alone = findsAlone.get(name) ?? []
    return `${name.padEnd(20)} finds ${String(ids.length).padStart(3)}, alone: ${alone.length === 0 ? 'none' : alone.join(', ')}`
  })
}

async function runAll(mutants: readonly Mutant[], options: Options, { out }: Streams): Promise<number> {
  const outcomes: MutantOutcome[] = new Array(mutants.length)
  let next = 0
  let printed = 0
  const isText = options.json !== true
  const work = async (): Promise<void> => {
    for (let index = next++; index < mutants.length; index = next++) {
      outcomes[index] = await tryMutant(mutants[index]!, options)
      // In the catalogue's order, whoever finishes first.
      for (; isText && outcomes[printed] !== undefined; printed++) out.write(`${outcomeLine(outcomes[printed]!)}\n`)
    }
  }
  await Promise.all(Array.from({ length: options.workers }, work))
  const unsound = await baseline(outcomes, options.seed)
  const killed = outcomes.filter(({ verdict }) => verdict === 'killed').length
  const exitCode = unsound !== null ? 16 : killed < mutants.length ? EXIT_COVERAGE : EXIT_OK
  if (isText) {
    if (options.checkers === true) out.write(`\n${attributionLines(outcomes).join('\n')}\n\n`)
    out.write(`${killed} of ${mutants.length} killed\n`)
    if (unsound !== null) out.write(`but the code fails without any of them: ${unsound}\n`)
  } else {
    const list = outcomes.map(({ mutant, verdict, answer, seconds }) => ({ id: mutant.id, verdict, ...answer, seconds }))
    out.write(`${JSON.stringify({ killed, total: mutants.length, unsound, exitCode, mutants: list })}\n`)
  }
  return exitCode
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = new Command('mutants')
    .description('Plants known bugs and says whether the worlds find them.')
    .argument('[ids...]', 'which ones (default: all)')
    .option('--seed <text>', 'root of the seeds', 'mutants')
    .option('--workers <count>', 'threads', wholeNumber(1, 256), os.availableParallelism())
    .option('--checkers', 'also say which checkers find what when they are alone')
    .option('--json', 'print the result as one JSON object')
    .addHelpText('after', '\nExit codes: 0 all killed, 2 usage, 3 some survive, 16 the code fails without any bug planted\n')
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const all = readMutants(path.join(root, 'scenarios/mutants'))
  const unknown = command.args.find((id) => !all.some((mutant) => mutant.id === id))
  if (unknown !== undefined) {
    streams.err.write(`mutants: there is no mutant '${unknown}'\n`)
    return EXIT_USAGE
  }
  const chosen = command.args.length === 0 ? all : all.filter(({ id }) => command.args.includes(id))
  return runAll(chosen, command.opts<Options>(), streams)
}

if (require.main === module) runProgram('mutants', main)
