/**
 * npm run canary: does the net still hold? A known bug is planted, and it must be found by random worlds, reported, shrunk to the
 * smallest world that is known of it, and replayed by a process of its own; without the bug the same world must pass. Then
 * leaks of nondeterminism are planted one by one, and each must be noticed by what is there to notice it.
 *
 * What may fail: any of that, each with a line that says what was expected. Nothing is taken on trust from another run.
 */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { Command } from 'commander'
import { readReport } from '../reports/format'
import type { LeakAnswer, LeakTask } from './canary_worker'
import { type ChildExit, jsonOf, runChild } from './child_command'
import { EXIT_OK, parseOrExitCode, runProgram, type Streams, workersOption } from './cli'
import { makeScratch, removeScratch, whileCleanedUp } from './interrupt'
import { type Leak, readLeaks } from './leaks'
import { inOrder, runPlanted } from './planted_thread'

const ROOT = path.resolve(__dirname, '..')
const KNOWN = path.join(ROOT, 'scenarios/canary.json')
const EXIT_DEAD = 1
/** Worlds that a leak has to show in; each runs twice. */
const LEAK_WORLDS = 40

export interface KnownFailure {
  /** Of the catalogue. */
  readonly mutant: string
  readonly seed: string
  readonly worlds: number
  readonly key: string
  readonly exitCode: number
  readonly minimum: Size
}

/** Of a plan and its world. */
export interface Size {
  readonly guest: number
  readonly control: number
  readonly faults: number
  readonly decisions: number
  readonly events: number
}

/** One thing that was tried; `problem` null: it is as it should be. */
export interface CanaryStep {
  readonly name: string
  readonly problem: string | null
}

function sizeOf(file: string): Size | null {
  const reading = readReport(file)
  if (!reading.ok) return null
  const { plan, decisions = {}, trace } = reading.report
  const { guest, control, faults } = plan
  return {
    guest: guest.length,
    control: control.length,
    faults: faults.length,
    decisions: Object.keys(decisions).length,
    events: trace.events,
  }
}

/** The smallest of some sizes: guest operations first, then the rest. */
export function smallestOf(sizes: readonly Size[]): Size | null {
  const order = ({ guest, control, faults, decisions, events }: Size): number[] => [guest, control, faults, decisions, events]
  const isLess = (left: Size, right: Size): boolean => {
    const [mine, other] = [order(left), order(right)]
    const place = mine.findIndex((value, index) => value !== other[index])
    return place !== -1 && mine[place]! < other[place]!
  }
  return sizes.reduce<Size | null>((best, size) => (best === null || isLess(size, best) ? size : best), null)
}

function problemOf(isRight: boolean, problem: () => string): string | null {
  return isRight ? null : problem()
}

/** Steps of the planted failure; what comes after a step that went wrong is not tried. */
async function* tryFailure(known: KnownFailure, folder: string): AsyncGenerator<CanaryStep> {
  const { mutant, seed, worlds, key, exitCode, minimum } = known
  const fuzz = await runChild(
    'fuzz',
    ['--seed', seed, '--runs', String(worlds), '--out', folder, '--workers', '1', '--json'],
    mutant,
  )
  const files = fs.readdirSync(folder).map((name) => path.join(folder, name))
  const isFound = fuzz.code === exitCode && files.length > 0
  yield {
    name: `${mutant} is found in ${worlds} worlds, and reported`,
    problem: problemOf(isFound, () => `exit code ${fuzz.code} in place of ${exitCode}, ${files.length} reports`),
  }
  if (!isFound) return
  const keys = files.map((file) => readReport(file)).map((reading) => (reading.ok ? reading.report.failure.key : reading.reason))
  yield {
    name: `as ${key}`,
    problem: problemOf(
      keys.every((one) => one === key),
      () => `as ${keys.join(', ')}`,
    ),
  }
  for (const file of files) await runChild('replay', [file, '--shrink', '--json'], mutant)
  const small = files.map((file) => file.replace(/\.json$/, '.small.json')).filter((file) => fs.existsSync(file))
  const best = smallestOf(small.flatMap((file) => sizeOf(file) ?? []))
  const text = (size: Size | null): string => JSON.stringify(size)
  yield {
    name: `and shrunk to ${minimum.guest} guest operations, ${minimum.control} orders, ${minimum.faults} faults, ${minimum.events} events`,
    problem: problemOf(text(best) === text(minimum), () => `the smallest is ${text(best)}`),
  }
  if (small.length === 0) return
  const verdicts = await Promise.all([
    runChild('replay', [small[0]!, '--json'], mutant),
    runChild('replay', [small[0]!, '--json'], null),
  ])
  const [again, without] = verdicts.map(verdictIn)
  yield {
    name: 'a fresh process reproduces it to the event',
    problem: problemOf(again === 'reproduced', () => `it says "${again}"`),
  }
  yield { name: 'and the code as it stands passes', problem: problemOf(without === 'fixed', () => `it says "${without}"`) }
}

function verdictIn(exit: ChildExit): string {
  return jsonOf<{ verdict: string }>(exit)?.verdict ?? 'nothing that can be read'
}

/** What noticed the leak. */
export function catcherOf({ failure }: LeakAnswer): string {
  if (failure === null) return 'nothing'
  if (failure.class === 'nondeterminism') return 'second run'
  return /is out of reach inside a world/.test(failure.text) ? 'tripwire' : failure.key
}

async function tryLeak(leak: Leak): Promise<CanaryStep> {
  const task: LeakTask = { seed: 'leak', worldsMax: LEAK_WORLDS }
  const answer = await runPlanted<LeakAnswer>('canary_worker.ts', task, leak.edits)
  const catcher = catcherOf(answer)
  return {
    name: `leak ${leak.id}: ${leak.what}; the ${leak.caughtBy} notices`,
    problem: problemOf(catcher === leak.caughtBy, () => `${catcher} noticed, in ${answer.worlds} worlds`),
  }
}

function lineOf({ name, problem }: CanaryStep): string {
  return problem === null ? `ok      ${name}\n` : `FAILED  ${name}: ${problem}\n`
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('canary')
    .description('Plants a known bug and leaks of nondeterminism, and says whether each is noticed.')
    .addOption(workersOption('leaks that are tried at once'))
    .option('--json', 'print the result as one JSON object')
    .addHelpText('after', '\nExit codes: 0 all were noticed, 1 something was not, 2 usage\n')
}

export async function main(args: readonly string[], { out }: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, { out, err: process.stderr })
  if (exitCode !== null) return exitCode
  const { workers, json: isJson = false } = command.opts<{ workers: number; json?: boolean }>()
  const steps: CanaryStep[] = []
  const tell = (step: CanaryStep): void => {
    steps.push(step)
    if (!isJson) out.write(lineOf(step))
  }
  await whileCleanedUp(async () => {
    const folder = makeScratch(os.tmpdir(), 'mirrorsim-canary-')
    try {
      const known = JSON.parse(fs.readFileSync(KNOWN, 'utf8')) as KnownFailure
      for await (const step of tryFailure(known, folder)) tell(step)
      await inOrder(readLeaks(), workers, tryLeak, tell)
    } finally {
      removeScratch(folder)
    }
  })
  const failed = steps.filter(({ problem }) => problem !== null).length
  const code = failed === 0 ? EXIT_OK : EXIT_DEAD
  if (isJson) out.write(`${JSON.stringify({ steps, failed, exitCode: code })}\n`)
  else
    out.write(
      failed === 0 ? `all ${steps.length} as they should be\n` : `${failed} of ${steps.length} are not as they should be\n`,
    )
  return code
}

if (require.main === module) runProgram('canary', main)
