/**
 * npm run stability: do reports outlive changes? Failures of many mutants are written as reports, unshrunk. Then the generator
 * is changed, so that each of its streams draws one number more before the first, which makes other plans of all seeds; the
 * reports must give the same worlds to the event. And of each failing plan one operation at a time is deleted: most must go
 * on failing in the same way, for the fate of an operation hangs on its own name and not on its neighbours. Without that
 * shrinking would be luck.
 */
import * as os from 'node:os'
import * as path from 'node:path'
import { Command } from 'commander'
import { writeReport } from '../reports/format'
import { EXIT_COVERAGE, EXIT_OK, parseOrExitCode, runProgram, type Streams, UsageError, wholeNumber, workersOption } from './cli'
import { makeScratch, removeScratch, whileCleanedUp } from './interrupt'
import { type Mutant, readMutants } from './mutant_catalogue'
import { type Edit, inOrder, runPlanted } from './planted_thread'
import { ReportFolder } from './report_folder'
import type { Again, Gathered, StabilityTask } from './stability_worker'

const MUTANTS = path.join(__dirname, '../scenarios/mutants')
const DELETIONS_PERCENT_MIN = 65
/** Worlds of one mutant; what shows later gives no report. */
const WORLDS_MAX = 2_000

/** One number more at the head of each stream of the generator. */
export const EXTRA_DRAW: Edit = {
  file: 'properties/plans/choices.ts',
  find: ').int32\n',
  replace: ').int32\n    this.next()\n',
}

interface Options {
  seed: string
  workers: number
  reports: number
  json?: boolean
}

interface MutantReports {
  id: string
  gathered: readonly Gathered[]
  again: readonly Again[]
}

export interface StabilitySummary {
  reports: number
  mutants: number
  reproduced: number
  /** Reports of whose seed the changed generator makes another plan; all, or the change was none. */
  otherPlans: number
  deletions: number
  stillFailing: number
}

async function tryMutant(mutant: Mutant, failuresMax: number, { seed }: Options, folder: string): Promise<MutantReports> {
  const { id, profile = 'default', worldsMax } = mutant
  const run = <Answer>(task: StabilityTask, edits: readonly Edit[]): Promise<Answer> =>
    runPlanted('stability_worker.ts', task, edits)
  const worlds = Math.min(worldsMax, WORLDS_MAX)
  const gathered = await run<Gathered[]>({ kind: 'gather', profile, seed, worldsMax: worlds, failuresMax }, [mutant])
  const reports = new ReportFolder(path.join(folder, id), () => ({ revision: 'unknown', command: `npm run mutants -- ${id}` }))
  const files = gathered.map(({ found }, index) => {
    const file = path.join(reports.folder, `${index}.json`)
    writeReport(file, reports.reportOf(found))
    return file
  })
  const again = files.length === 0 ? [] : await run<Again[]>({ kind: 'again', profile, files }, [mutant, EXTRA_DRAW])
  return { id, gathered, again }
}

export function stabilitySummary(outcomes: readonly MutantReports[]): StabilitySummary {
  const gathered = outcomes.flatMap((outcome) => outcome.gathered)
  const again = outcomes.flatMap((outcome) => outcome.again)
  const sum = (of: (one: Gathered) => number): number => gathered.reduce((total, one) => total + of(one), 0)
  return {
    reports: gathered.length,
    mutants: outcomes.filter((outcome) => outcome.gathered.length > 0).length,
    reproduced: again.filter(({ verdict }) => verdict === 'reproduced').length,
    otherPlans: again.filter(({ hasOtherPlan }) => hasOtherPlan).length,
    deletions: sum(({ deletions }) => deletions),
    stillFailing: sum(({ kept }) => kept),
  }
}

/** Exit code 3: too few reports, one that does not reproduce, a change of the generator that changes nothing, or brittle plans. */
export function exitCodeOf(summary: StabilitySummary, reportsMin: number): number {
  const { reports, reproduced, otherPlans, deletions, stillFailing } = summary
  const isStable = reports >= reportsMin && reproduced === reports && otherPlans === reports
  return isStable && stillFailing * 100 >= deletions * DELETIONS_PERCENT_MIN ? EXIT_OK : EXIT_COVERAGE
}

function lineOf({ id, gathered, again }: MutantReports): string {
  const reproduced = again.filter(({ verdict }) => verdict === 'reproduced').length
  const deletions = gathered.reduce((total, one) => total + one.deletions, 0)
  const kept = gathered.reduce((total, one) => total + one.kept, 0)
  return `${id.padEnd(52)}${reproduced} of ${gathered.length} reproduced, ${kept} of ${deletions} fail with an operation less`
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('stability')
    .description('Says whether reports of failures outlive a change of the generator, and failures the loss of an operation.')
    .argument('[ids...]', 'of which mutants (default: all)')
    .option('--seed <text>', 'root of the seeds', 'stability')
    .option('--reports <count>', 'how many reports there must be', wholeNumber(1, 100_000), 100)
    .addOption(workersOption('threads'))
    .option('--json', 'print the result as one JSON object')
    .addHelpText('after', '\nExit codes: 0 all is stable, 2 usage, 3 something is not\n')
}

export async function main(args: readonly string[], { out, err }: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, { out, err })
  if (exitCode !== null) return exitCode
  const options = command.opts<Options>()
  const all = readMutants(MUTANTS).filter(({ equivalent }) => equivalent === undefined)
  const unknown = command.args.find((id) => !all.some((mutant) => mutant.id === id))
  if (unknown !== undefined) throw new UsageError(`there is no mutant '${unknown}' in scenarios/mutants`)
  const mutants = command.args.length === 0 ? all : all.filter(({ id }) => command.args.includes(id))
  return whileCleanedUp(() => tryAll(mutants, options, { out, err }))
}

async function tryAll(mutants: readonly Mutant[], options: Options, { out, err }: Streams): Promise<number> {
  // Some mutants show too rarely, so the others give more.
  const failuresMax = Math.ceil((options.reports * 1.3) / mutants.length)
  const folder = makeScratch(os.tmpdir(), 'mirrorsim-stability-')
  try {
    const outcomes = await inOrder(
      mutants,
      options.workers,
      (mutant) => tryMutant(mutant, failuresMax, options, folder),
      (outcome) => options.json === true || out.write(`${lineOf(outcome)}\n`),
    )
    const summary = stabilitySummary(outcomes)
    const code = exitCodeOf(summary, options.reports)
    const share = ((100 * summary.stillFailing) / Math.max(summary.deletions, 1)).toFixed(1)
    const { reports, reproduced, otherPlans, deletions } = summary
    out.write(
      options.json === true
        ? `${JSON.stringify({ ...summary, exitCode: code })}\n`
        : `${reports} reports of ${summary.mutants} mutants: ${reproduced} reproduced after one more draw in each stream of the ` +
            `generator (${otherPlans} other plans); with one of their operations deleted ${share} % of ${deletions} plans still fail\n`,
    )
    if (reports < options.reports) err.write(`stability: ${reports} reports, and ${options.reports} were asked for\n`)
    return code
  } finally {
    removeScratch(folder)
  }
}

if (require.main === module) runProgram('stability', main)
