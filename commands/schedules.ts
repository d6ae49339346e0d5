/**
 * npm run schedules: how many worlds it takes to find each of the mirror's mutants under each schedule, the median of some
 * trials; and the mixture of schedules under which they are found soonest. The mixture of the generator is set from it.
 */
import * as path from 'node:path'
import { Command } from 'commander'
import { grouped } from '../reports/text'
import { EXIT_OK, EXIT_USAGE, parseOrExitCode, runProgram, type Streams, wholeNumber, workersOption } from './cli'
import { isOfMirror, type Mutant, readMutants } from './mutant_catalogue'
import { inOrder, runPlanted } from './planted_thread'
import {
  BOUNDED,
  bestMixture,
  median,
  mixtureCost,
  rateOf,
  SCHEDULE_ROWS,
  type TrialTable,
  type Weights,
} from './schedule_trials'

const SECONDS_MAX = 90
const NAME_WIDTH = 46
const COLUMN_WIDTH = 9

interface Options {
  trials: number
  worlds: number
  workers: number
  json?: boolean
}

interface Outcome {
  mutant: Mutant
  table: TrialTable | null
}

const NAMES = [...Object.keys(SCHEDULE_ROWS), BOUNDED]

function isPlainOfMirror(mutant: Mutant): boolean {
  const { profile = 'default' } = mutant
  // Worlds with images are three times as slow, and hide little that plain disks would not show.
  const isPlain = ['default', 'faults', 'power', 'small', 'quiet'].includes(profile)
  return isOfMirror(mutant) && isPlain
}

export function rowText(name: string, cells: readonly string[]): string {
  return `${name.slice(0, NAME_WIDTH - 1).padEnd(NAME_WIDTH)}${cells.map((cell) => cell.padStart(COLUMN_WIDTH)).join('')}`
}

function outcomeText({ mutant, table }: Outcome, worldsMax: number): string {
  if (table === null) return rowText(mutant.id, ['left out: its worlds do not come back'])
  const cells = NAMES.map((name) => {
    const worlds = median(table[name]!)
    return worlds > worldsMax ? `>${worldsMax}` : grouped(worlds)
  })
  return rowText(mutant.id, cells)
}

/** Sums of medians, how much sooner than under `latency` on the geometric mean, and the mixture. */
function summary(tables: readonly TrialTable[], worldsMax: number): { lines: string[]; mixture: Weights } {
  const rates = tables.map((table) => Object.fromEntries(NAMES.map((name) => [name, rateOf(table[name]!, worldsMax)])))
  const sums = NAMES.map((name) => grouped(tables.reduce((sum, table) => sum + median(table[name]!), 0)))
  const base = mixtureCost(rates, { latency: 10 })
  const gain = (weights: Weights): string => `${Math.exp(base - mixtureCost(rates, weights)).toFixed(2)}x`
  const mixture = bestMixture(
    rates,
    NAMES.filter((name) => name !== BOUNDED),
  )
  const words = Object.entries(mixture).map(([name, share]) => `${name} ${share * 10} %`)
  return {
    mixture,
    lines: [
      rowText('sum of medians', sums),
      rowText(
        'found sooner than under latency',
        NAMES.map((name) => gain({ [name]: 10 })),
      ),
      `best mixture: ${words.join(', ')}, ${gain(mixture)}`,
    ],
  }
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('schedules')
    .description('Measures how soon each schedule finds the mutants of the mirror, and which mixture finds them soonest.')
    .argument('[ids...]', 'which mutants (default: all of the mirror that plain disks show)')
    .option('--trials <count>', 'times that each is looked for, each with seeds of its own', wholeNumber(1, 99), 9)
    .option('--worlds <count>', 'worlds of a trial', wholeNumber(1, 100_000), 300)
    .addOption(workersOption('threads'))
    .option('--json', 'print the result as one JSON object')
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const { trials, worlds: worldsMax, workers, json } = command.opts<Options>()
  const all = readMutants(path.join(__dirname, '../scenarios/mutants')).filter(isPlainOfMirror)
  const unknown = command.args.find((id) => !all.some((mutant) => mutant.id === id))
  if (unknown !== undefined) {
    streams.err.write(`schedules: the mirror has no mutant '${unknown}'\n`)
    return EXIT_USAGE
  }
  const chosen = command.args.length === 0 ? all : all.filter(({ id }) => command.args.includes(id))
  const print = (text: string): unknown => json === true || streams.out.write(`${text}\n`)
  print(rowText(`median worlds of ${trials} trials`, NAMES))
  const outcomes = await inOrder<Mutant, Outcome>(
    chosen,
    workers,
    async (mutant) => {
      const task = { profile: mutant.profile ?? 'default', trials, worldsMax, secondsMax: SECONDS_MAX }
      return { mutant, table: await runPlanted<TrialTable | null>('schedule_worker.ts', task, mutant) }
    },
    (outcome) => print(outcomeText(outcome, worldsMax)),
  )
  const tables = outcomes.flatMap(({ table }) => (table === null ? [] : [table]))
  const { lines, mixture } = summary(tables, worldsMax)
  print(lines.join('\n'))
  if (json === true) {
    const mutants = outcomes.map(({ mutant, table }) => ({ id: mutant.id, worlds: table }))
    streams.out.write(`${JSON.stringify({ trials, worldsMax, mixture, mutants })}\n`)
  }
  return EXIT_OK
}

if (require.main === module) runProgram('schedules', main)
