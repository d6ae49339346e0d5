/**
 * npm run fuzz: runs worlds of consecutive seeds under all checkers and writes a report for what fails. Says which seed it
 * used; the same --seed and --runs give the same campaign hash on any machine, whatever --workers.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { Command, Option } from 'commander'
import type { Subject } from '../properties/campaign'
import type { ProfileName } from '../properties/plans'
import { EXIT_CODES_HELP, EXIT_USAGE, folderOption, parseOrExitCode, runProgram, type Streams, seconds, wholeNumber } from './cli'
import { type FuzzOptions, fuzz } from './fuzz_campaign'
import { whileInterruptible } from './interrupt'
import { requiredProbesOf } from './probe_floors'

const DEFAULT_SECONDS = 20
/** Starting threads costs as much as so many worlds. */
const WORLDS_WITHOUT_THREADS = 200
const INDEX_MAX = 2 ** 48

interface Arguments {
  seed?: string
  first: number
  runs?: number
  time?: number
  workers?: number
  profile: string
  out: string
  json?: boolean
  replayShare: number
  stopAfter: number
  probes?: boolean
  against?: 'qemu'
  qemuBin?: string
  qemuWrapper?: string
  images?: string
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('fuzz')
    .usage('[options]')
    .description('Runs worlds of consecutive seeds under all checkers; writes a report for each kind of failure.')
    .option('--seed <text>', 'root of the seeds (default: drawn, and printed)')
    .option('--first <index>', 'index of the first world', wholeNumber(0, INDEX_MAX), 0)
    .option('--runs <count>', 'stop after so many worlds', wholeNumber(1, INDEX_MAX))
    .option('--time <seconds>', `stop after so much real time (default: ${DEFAULT_SECONDS}, without --runs)`, seconds)
    .option('--workers <count>', 'threads; 0 runs in the main one (default: one a core)', wholeNumber(0, 256))
    .option('--profile <name>', 'which plans to make', 'default')
    .addOption(folderOption('where reports go', 'reports/out'))
    .option('--json', 'print the result as one JSON object')
    .option('--replay-share <percent>', 'share of the worlds that run twice, to compare', wholeNumber(0, 100), 5)
    .option('--stop-after <count>', 'stop after so many failing worlds; 0: never', wholeNumber(0, INDEX_MAX), 0)
    .option('--probes', 'print how many worlds met each situation')
    .addOption(new Option('--against <whom>', 'run the plans on real programs in place of ours').choices(['qemu']))
    .option('--qemu-bin <folder>', "with --against: where QEMU's programs are (default: on the path)")
    .option('--qemu-wrapper <command>', 'with --against: words that stand before each program')
    .option('--images <folder>', 'with --against: where images lie (default: in memory)')
    .addHelpText('after', EXIT_CODES_HELP)
    .allowExcessArguments(false)
}

function optionsOf(args: Arguments): FuzzOptions {
  const isSmall = args.runs !== undefined && args.runs <= WORLDS_WITHOUT_THREADS
  return {
    seed: args.seed ?? randomBytes(4).toString('hex'),
    firstIndex: args.first,
    worldsMax: args.runs ?? null,
    secondsMax: args.time ?? (args.runs === undefined ? DEFAULT_SECONDS : null),
    workers: args.workers ?? (isSmall ? 0 : os.availableParallelism()),
    profile: args.profile,
    outFolder: path.resolve(args.out),
    json: args.json === true,
    replayPercent: args.replayShare,
    stopAfterFailures: args.stopAfter,
    showsProbes: args.probes === true,
  }
}

/** Daemons of others wait more than they work: two of them keep a core busy. */
const REAL_WORKERS = 2

function fuzzAgainst(args: Arguments, options: FuzzOptions, streams: Streams): Promise<number> {
  const { fuzzReal }: typeof import('./against/campaign') = require('./against/campaign')
  const { seed, firstIndex, worldsMax, secondsMax, outFolder, json } = options
  const { qemuBin, qemuWrapper, images } = args
  const folder = qemuBin === undefined ? null : path.resolve(qemuBin)
  const real = {
    programs: { folder, wrapper: qemuWrapper?.split(' ').filter((word) => word !== '') ?? [] },
    ...{ seed, firstIndex, lifecyclesMax: worldsMax, secondsMax, outFolder, json },
    workers: Math.max(args.workers ?? REAL_WORKERS, 1),
    profile: options.profile as ProfileName,
    folder: images === undefined ? (fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir()) : path.resolve(images),
    command: `npm run fuzz -- --against qemu --seed ${seed} --profile ${options.profile}`,
  }
  return whileInterruptible((stop) => fuzzReal(real, streams, stop))
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const options = optionsOf(command.opts<Arguments>())
  const { subjectOf, isProfile, PROFILE_NAMES }: typeof import('./subject') = require('./subject')
  if (!isProfile(options.profile)) {
    streams.err.write(`fuzz: there is no profile '${options.profile}'; there are: ${PROFILE_NAMES.join(', ')}\n`)
    return EXIT_USAGE
  }
  const real = command.opts<Arguments>()
  if (real.against !== undefined) return fuzzAgainst(real, options, streams)
  const { profile } = options
  const subject = (): Subject => subjectOf(profile)
  const requiredProbes = requiredProbesOf(profile)
  return whileInterruptible((stop) => fuzz(options, { ...streams, subject, requiredProbes, stop }))
}

if (require.main === module) runProgram('fuzz', main)
