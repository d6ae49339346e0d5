/**
 * npm run exhaustive: every small plan under every schedule that differs from the dull one in few decisions (see
 * properties/exhaustive). Counts are compared with `scenarios/exhaustive.json`: whoever makes a tier smaller says so there.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { Command } from 'commander'
import { firstFailure } from '../properties/campaign'
import { emptySearchTally, mergeSearchTally, type SearchTally } from '../properties/exhaustive/search'
import { CELL_COUNT, TIERS, tierRange } from '../properties/exhaustive/tiers'
import { counted, failureText, grouped, plainStyle } from '../reports/text'
import { EXIT_CODES } from '../sim/verdict'
import {
  EXIT_CODES_HELP,
  EXIT_COVERAGE,
  EXIT_INTERRUPTED,
  EXIT_OK,
  EXIT_USAGE,
  folderOption,
  parseOrExitCode,
  runProgram,
  type Streams,
  workersOption,
} from './cli'
import { RANGE_CELLS, searchRange } from './exhaustive_ranges'
import { HANG_SECONDS, type Range, runFleet } from './fleet'
import { reportNews } from './fuzz_campaign'
import { whileInterruptible } from './interrupt'
import { Progress } from './progress'
import { ReportFolder, revisionOf } from './report_folder'

const root = path.resolve(__dirname, '..')
const COUNTS_FILE = path.join(root, 'scenarios/exhaustive.json')

interface Options {
  workers: number
  out: string
  json?: boolean
  update?: boolean
}

interface Outcome {
  tally: SearchTally
  folder: ReportFolder
  /** Tiers that ran fewer executions than the file says, in words. */
  shrunk: readonly string[]
  seconds: number
  wasInterrupted: boolean
  exitCode: number
}

/** Executions by tier, as the file keeps them. */
export type Counts = Record<string, number>

function readCounts(): Counts {
  return JSON.parse(fs.readFileSync(COUNTS_FILE, 'utf8')) as Counts
}

/** In words, the tiers of `ran` that have fewer executions than `kept` says. */
export function shrunkTiers(ran: Counts, kept: Counts, tierNames: readonly string[]): string[] {
  return tierNames.flatMap((name) => {
    const before = kept[name] ?? 0
    const now = ran[name] ?? 0
    return now >= before ? [] : [`${name}: ${grouped(now)} executions, ${grouped(before)} before`]
  })
}

async function search(tierNames: readonly string[], options: Options, streams: Streams, stop: AbortSignal): Promise<Outcome> {
  const progress = new Progress(streams.err, performance.now.bind(performance))
  const tally = emptySearchTally()
  const command = `npm run exhaustive${tierNames.length === TIERS.length ? '' : ` -- ${tierNames.join(' ')}`}`
  const folder = new ReportFolder(options.out, () => ({ revision: revisionOf(__dirname), command }))
  const ranges = tierNames.map(tierRange)
  const total = ranges.reduce((sum, { count }) => sum + count, 0)
  if (options.json !== true) progress.print(`exhaustive: ${grouped(total)} of ${grouped(CELL_COUNT)} cells\n`)
  const next = (): Range | null => {
    const range = ranges[0]
    if (stop.aborted || range === undefined) return null
    const count = Math.min(RANGE_CELLS, range.count)
    const { firstIndex } = range
    if (count === range.count) ranges.shift()
    else ranges[0] = { firstIndex: firstIndex + count, count: range.count - count }
    return { firstIndex, count }
  }
  await runFleet<SearchTally>({
    workers: options.workers,
    workerFile: path.join(__dirname, 'exhaustive_worker.ts'),
    workerData: { hangSeconds: HANG_SECONDS },
    here: () => {
      const { runWithDecider }: typeof import('./subject') = require('./subject')
      const run = runWithDecider()
      return (range) => searchRange(run, HANG_SECONDS, range)
    },
    next,
    done: (part) => {
      reportNews(tally, part, folder, mergeSearchTally, (text) => progress.print(`exhaustive: ${text}\n`))
      if (options.json !== true) progress.update(tally, tally.cells / total)
    },
  })
  progress.clear()
  const shrunk = stop.aborted || options.update === true ? [] : shrunkTiers(tally.executions, readCounts(), tierNames)
  const failure = firstFailure(tally)
  const coverage = shrunk.length > 0 ? EXIT_COVERAGE : EXIT_OK
  const exitCode = stop.aborted ? EXIT_INTERRUPTED : failure === null ? coverage : EXIT_CODES[failure.failure.class]
  return { tally, folder, shrunk, seconds: progress.seconds(), wasInterrupted: stop.aborted, exitCode }
}

function textOf({ tally, folder, shrunk, seconds, wasInterrupted }: Outcome): string {
  const rate = grouped(Math.round(tally.worlds / Math.max(seconds, 1e-3)))
  const lines = Object.entries(tally.executions).map(([name, count]) => `  ${grouped(count).padStart(10)}  ${name}`)
  lines.unshift(`${counted(tally.cells, 'cell')}, ${counted(tally.worlds, 'execution')} in ${seconds.toFixed(1)} s (${rate}/s):`)
  if (wasInterrupted) lines.push('interrupted')
  for (const text of shrunk) lines.push(`  smaller than before: ${text} (--update if that is meant)`)
  for (const { count, key } of tally.groups) lines.push(`  ${grouped(count).padStart(10)} × ${key}`)
  const first = firstFailure(tally)
  if (first !== null) lines.push('', failureText(folder.reportOf(first), folder.shownFileOf(first), plainStyle))
  return `${lines.join('\n')}\n`
}

function jsonOf({ tally, folder, shrunk, seconds, exitCode }: Outcome): object {
  const failures = folder.summaryOf(tally.groups)
  const { cells, worlds, events, executions, probes } = tally
  return { cells, executions: worlds, byTier: executions, events, probes, failures, shrunk, seconds, exitCode }
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  const names = TIERS.map(({ name }) => name)
  return new Command('exhaustive')
    .description('Runs every small plan under every schedule with few deviations.')
    .argument('[tiers...]', `which ones of: ${names.join(', ')} (default: all)`)
    .addOption(workersOption('threads; 0 runs in the main one', 0))
    .addOption(folderOption('where reports go', 'reports/out'))
    .option('--update', 'keep the counts of the tiers that run as those that must not be undercut')
    .option('--json', 'print the result as one JSON object')
    .addHelpText('after', EXIT_CODES_HELP)
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const names = TIERS.map(({ name }) => name)
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const unknown = command.args.find((name) => !names.includes(name))
  if (unknown !== undefined) {
    streams.err.write(`exhaustive: there is no tier '${unknown}'; there are: ${names.join(', ')}\n`)
    return EXIT_USAGE
  }
  const chosen = command.args.length === 0 ? names : names.filter((name) => command.args.includes(name))
  const options = command.opts<Options>()
  const outcome = await whileInterruptible((stop) => search(chosen, options, streams, stop))
  if (options.update === true && outcome.exitCode === EXIT_OK) {
    fs.writeFileSync(COUNTS_FILE, `${JSON.stringify({ ...readCounts(), ...outcome.tally.executions }, null, 2)}\n`)
  }
  streams.out.write(options.json === true ? `${JSON.stringify(jsonOf(outcome))}\n` : textOf(outcome))
  return outcome.exitCode
}

if (require.main === module) runProgram('exhaustive', main)
