/**
 * npm run gate: what stands before every merge. Steps with budgets that are counted and not timed, so that the same commit has the
 * same gate on any machine; the seeds of the worlds come from the commit. What it finds is on the console, in JUnit XML and SARIF,
 * and, on GitHub's runners, in annotations and the summary of the step; all that somebody may want to look at is in one folder.
 *
 * What may fail: what the steps find. A step that throws is a failure of its own, and the others run all the same.
 */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import picocolors from 'picocolors'
import { makeFolder } from '../reports/format'
import { EXIT_INTERRUPTED, EXIT_OK, parseOrExitCode, runProgram, type Streams, UsageError, workersOption } from './cli'
import { tellGithub } from './gate/github'
import { junitXml } from './gate/junit'
import { corpusStep, scenarioStep } from './gate/known_step'
import { canaryStep, mutantStep } from './gate/net_step'
import { coverageStep, speedStep } from './gate/ratchet_step'
import { sarifLog } from './gate/sarif'
import { brokenCase, type GateStep, type StepContext, type StepOutcome, timed } from './gate/step'
import { exitCodeOf, failureLines, type Paint, PLAIN, stepLine } from './gate/summary'
import { exhaustiveStep, worldStep } from './gate/world_step'
import { whileCleanedUp } from './interrupt'

/** The cheap ones first. */
export const STEPS: readonly GateStep[] = [
  corpusStep,
  scenarioStep,
  speedStep,
  canaryStep,
  mutantStep,
  exhaustiveStep,
  worldStep,
  coverageStep,
]
const ROOT = path.resolve(__dirname, '..')
const DEFAULT_ARTIFACTS = path.join(ROOT, 'reports/gate')

interface Options {
  only?: string[]
  skip?: string[]
  commit?: string
  artifacts: string
  workers: number
  scale: number
  list?: boolean
  json?: boolean
}

function stepNames(text: string, before: string[] = []): string[] {
  const names = text.split(',')
  const unknown = names.find((name) => !STEPS.some((step) => step.name === name))
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`There is no step "${unknown}"; there are ${STEPS.map(({ name }) => name).join(', ')}.`)
  }
  return [...before, ...names]
}

function positiveNumber(text: string): number {
  const value = Number(text)
  if (!(value > 0 && value <= 1000)) throw new InvalidArgumentError('It must be a number above 0, at most 1000.')
  return value
}

/** The commit that is checked out; outside of a repository it must be given. */
function currentCommit(): string {
  const { status, stdout } = spawnSync('git', ['-C', ROOT, 'rev-parse', '--short=12', 'HEAD'], { encoding: 'utf8' })
  if (status !== 0) throw new UsageError('--commit: this is no repository: give any text that the seeds are to be made of')
  return stdout.trim()
}

/** Never rejects. */
async function runStep(step: GateStep, context: StepContext): Promise<StepOutcome> {
  const { value: cases, seconds } = await timed(async () => {
    try {
      return await step.run(context)
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      return [brokenCase(step.name, `npm run gate -- --only ${step.name}`, text.split('\n').slice(0, 3).join(' '))]
    }
  })
  return { step: step.name, budget: step.budget(context), seconds, cases }
}

/** One folder with everything; what was there of a gate before goes. */
export function writeArtifacts(folder: string, outcomes: readonly StepOutcome[], facts: object): void {
  const { version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const write = (name: string, text: string): void => fs.writeFileSync(path.join(folder, name), text)
  write('junit.xml', junitXml(outcomes))
  write('gate.sarif', `${JSON.stringify(sarifLog(outcomes, version), null, 2)}\n`)
  write('summary.json', `${JSON.stringify({ ...facts, steps: outcomes }, null, 2)}\n`)
}

function prepare(folder: string): void {
  try {
    makeFolder(folder)
    for (const name of ['junit.xml', 'gate.sarif', 'summary.json', 'tests.txt'])
      fs.rmSync(path.join(folder, name), { force: true })
    fs.rmSync(path.join(folder, 'reports'), { recursive: true, force: true })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new UsageError(`--artifacts ${folder}: ${code}: give a folder that can be written to`)
  }
}

function paintFor(out: Streams['out']): Paint {
  const isColoured = out.isTTY === true && (process.env['NO_COLOR'] ?? '') === ''
  if (!isColoured) return PLAIN
  const { green, red, dim } = picocolors.createColors(true)
  return { good: green, bad: red, dim }
}

async function runGate(options: Options, streams: Streams): Promise<number> {
  const { only, skip = [], artifacts, workers, scale } = options
  const isJson = options.json === true
  const commit = options.commit ?? currentCommit()
  const paint = paintFor(streams.out)
  prepare(artifacts)
  const tell = (text: string): void => void (isJson || streams.err.write(`gate: ${text}\n`))
  const context: StepContext = { artifacts, commit, workers, scale, tell }
  const outcomes: StepOutcome[] = []
  const facts = (isWhole: boolean): object => ({ commit, scale, isWhole, exitCode: exitCodeOf(outcomes) })
  const chosen = STEPS.filter(({ name }) => (only === undefined || only.includes(name)) && !skip.includes(name))
  for (const step of chosen) {
    const outcome = await runStep(step, context)
    outcomes.push(outcome)
    // Whoever interrupts keeps what there is.
    writeArtifacts(artifacts, outcomes, facts(outcomes.length === chosen.length))
    if (isJson) continue
    streams.out.write(stepLine(outcome, paint))
    for (const { failure } of outcome.cases) if (failure !== null) streams.out.write(failureLines(failure, paint))
  }
  tellGithub(outcomes, process.env, (text) => streams.out.write(text))
  const exitCode = exitCodeOf(outcomes)
  const shown = path.relative(process.cwd(), artifacts)
  if (isJson) streams.out.write(`${JSON.stringify({ ...facts(true), artifacts, steps: outcomes })}\n`)
  else streams.out.write(`${exitCode === EXIT_OK ? paint.good('passed') : paint.bad('failed')}, everything is in ${shown}\n`)
  return exitCode
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('gate')
    .description('Runs what has to pass before a merge.')
    .option('--only <steps>', 'these steps alone, separated by commas', stepNames)
    .option('--skip <steps>', 'all but these', stepNames)
    .option('--commit <text>', 'what the seeds are made of (default: the commit that is checked out)')
    .option('--artifacts <folder>', 'where reports and results go', (text) => path.resolve(text), DEFAULT_ARTIFACTS)
    .addOption(workersOption('threads'))
    .option('--scale <factor>', 'so many times the worlds', positiveNumber, 1)
    .option('--list', 'print the steps and their budgets')
    .option('--json', 'print the result as one JSON object')
    .addHelpText(
      'after',
      `\nExit codes: 0 passed, 1 something failed, 2 usage, 3 coverage, speed or situations are missing, ${EXIT_INTERRUPTED} interrupted\n`,
    )
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const options = command.opts<Options>()
  if (options.list === true) {
    for (const step of STEPS) streams.out.write(`${step.name.padEnd(12)}${step.budget(options)}\n`)
    return EXIT_OK
  }
  return whileCleanedUp(() => runGate(options, streams))
}

if (require.main === module) runProgram('gate', main)
