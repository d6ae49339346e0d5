/**
 * npm run campaign: fuzzing for hours, or for ever. All that is found is kept in a store, from which the campaign goes on after any
 * end, kill -9 included. Its parts can run anywhere: `--shard K/N` runs one of them, `merge` joins them.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { Command } from 'commander'
import { Ledger } from './campaign/ledger'
import { mergeStores, readLedger } from './campaign/merge'
import { openStore } from './campaign/open_store'
import { runCampaign } from './campaign/run'
import { readScore, scoreChanges, scoreText } from './campaign/scores'
import { type CampaignSetup, expectSameSetup } from './campaign/setup'
import { type Shard, shardOf, shardText, WHOLE } from './campaign/shards'
import { exitCodeOf, summaryOf, summaryText } from './campaign/summary'
import { CHUNK_WORLDS } from './campaign_chunks'
import {
  EXIT_CODES_HELP,
  EXIT_INTERRUPTED,
  EXIT_OK,
  parseOrExitCode,
  runProgram,
  STANDARD_STREAMS,
  type Streams,
  seconds,
  UsageError,
  wholeNumber,
  workersOption,
} from './cli'
import { whileInterruptible } from './interrupt'
import { requiredProbesOf } from './probe_floors'
import { ReportFolder, revisionOf } from './report_folder'

const DEFAULT_STORE = path.resolve(__dirname, '../reports/out/campaign.sqlite')
const INDEX_MAX = 2 ** 48

interface RunArguments {
  store: string
  seed?: string
  first?: number
  runs?: number
  time?: number
  workers: number
  profile?: string
  replayShare?: number
  stopAfter: number
  shard?: Shard
  json?: boolean
}

/** The stored campaign, where the arguments do not say otherwise; a new one if there is none. */
function setupFor(args: RunArguments, stored: CampaignSetup | null): CampaignSetup {
  const { subjectOf: _, isProfile, PROFILE_NAMES }: typeof import('./subject') = require('./subject')
  const profile = args.profile ?? stored?.profile ?? 'default'
  if (!isProfile(profile)) throw new UsageError(`there is no profile '${profile}'; there are: ${PROFILE_NAMES.join(', ')}`)
  return {
    format: 'mirrorsim-campaign',
    version: 1,
    seed: args.seed ?? stored?.seed ?? randomBytes(4).toString('hex'),
    firstIndex: args.first ?? stored?.firstIndex ?? 0,
    profile,
    replayPercent: args.replayShare ?? stored?.replayPercent ?? 5,
    revision: revisionOf(__dirname),
    mutant: process.env['MIRRORSIM_MUTANT'] ?? null,
    shard: args.shard ?? stored?.shard ?? WHOLE,
  }
}

function print(ledger: Ledger, isJson: boolean, { out }: Streams): void {
  const required = requiredProbesOf(ledger.setup.profile)
  out.write(isJson ? `${JSON.stringify(summaryOf(ledger, required))}\n` : summaryText(ledger, required))
}

async function run(args: RunArguments, streams: Streams, stop: AbortSignal): Promise<number> {
  if (args.store === DEFAULT_STORE) fs.mkdirSync(path.dirname(DEFAULT_STORE), { recursive: true })
  const store = await openStore(args.store, 'own')
  try {
    const records = await store.read()
    const known = records.size === 0 ? null : Ledger.of(args.store, records)
    const stored = known?.setup ?? null
    const setup = setupFor(args, stored)
    if (stored !== null) {
      expectSameSetup(args.store, stored, setup)
      if (shardText(stored.shard) !== shardText(setup.shard)) {
        throw new UsageError(`${args.store} holds shard ${shardText(stored.shard)}, and not ${shardText(setup.shard)}`)
      }
    }
    const ledger = known ?? new Ledger(setup)
    const { workers, time, runs, stopAfter } = args
    const chunksMax = runs === undefined ? Number.POSITIVE_INFINITY : Math.ceil(runs / CHUNK_WORLDS)
    await runCampaign(
      store,
      ledger,
      { workers, chunksMax, secondsMax: time ?? null, stopAfterFailures: stopAfter },
      streams,
      stop,
    )
    print(ledger, args.json === true, streams)
    return stop.aborted ? EXIT_INTERRUPTED : exitCodeOf(ledger, requiredProbesOf(setup.profile))
  } finally {
    await store.close()
  }
}

interface ShowArguments {
  json?: boolean
  reports?: string
}

async function show(place: string, { json: isJson, reports }: ShowArguments, streams: Streams): Promise<number> {
  const ledger = await readLedger(place)
  if (reports !== undefined) {
    const { seed, profile, revision } = ledger.setup
    const label = { revision, command: `npm run campaign -- --seed ${seed} --profile ${profile}` }
    const folder = new ReportFolder(path.resolve(reports), () => label)
    for (const group of ledger.tally.groups) folder.update(group, (text) => streams.err.write(`campaign: ${text}\n`))
  }
  print(ledger, isJson === true, streams)
  return EXIT_OK
}

async function drawDashboard(place: string, file: string, { out }: Streams): Promise<number> {
  const { dashboardHtml, dashboardOf }: typeof import('./campaign/dashboard') = require('./campaign/dashboard')
  const ledger = await readLedger(place)
  const page = await dashboardHtml(dashboardOf(ledger, requiredProbesOf(ledger.setup.profile), Date.now()))
  try {
    fs.writeFileSync(file, page)
  } catch (error) {
    throw new UsageError(`-o ${file}: ${(error as NodeJS.ErrnoException).code}: give another file`)
  }
  out.write(`${file}: ${Buffer.byteLength(page)} bytes; open it in a browser\n`)
  return EXIT_OK
}

/** Keeps what other commands have printed with --json beside the campaign, which may be running. */
async function record(place: string, files: readonly string[], { out }: Streams): Promise<number> {
  const scores = files.map((file) => readScore(file, Date.now()))
  const store = await openStore(place, 'add')
  try {
    const records = await store.read()
    Ledger.of(place, records)
    await store.write(scoreChanges(records, scores))
  } finally {
    await store.close()
  }
  for (const score of scores) out.write(`${scoreText(score)}\n`)
  return EXIT_OK
}

type Work = (stop: AbortSignal) => Promise<number>

/** `chosen` is told what there is to do. */
/** The options, as --help and docs/reference.md show them; `chosen` gets what the arguments ask for. */
export function definition(streams: Streams = STANDARD_STREAMS, chosen: (work: Work) => void = () => {}): Command {
  const command = new Command('campaign').description('Fuzzes for hours, or for ever, and keeps what it finds in a store.')
  command
    .command('run', { isDefault: true })
    .description('go on with the campaign of the store, or begin one')
    .option('--store <place>', 'a file, or postgres://USER@HOST/DATABASE#NAME', DEFAULT_STORE)
    .option('--seed <text>', 'root of the seeds (default: of the store, or drawn)')
    .option('--first <index>', 'index of the first world', wholeNumber(0, INDEX_MAX))
    .option(
      '--runs <count>',
      `worlds in all, made up to a multiple of ${CHUNK_WORLDS} (default: for ever)`,
      wholeNumber(1, INDEX_MAX),
    )
    .option('--time <seconds>', 'end this session after so much real time', seconds)
    .addOption(workersOption('threads'))
    .option('--profile <name>', 'which plans to make (default: of the store, or "default")')
    .option('--replay-share <percent>', 'share of the worlds that run twice (default: of the store, or 5)', wholeNumber(0, 100))
    .option('--stop-after <count>', 'stop after so many failing worlds; 0: never', wholeNumber(0, INDEX_MAX), 0)
    .option('--shard <K/N>', 'run the K-th of N parts', shardOf)
    .option('--json', 'print the summary as one JSON object')
    .addHelpText('after', EXIT_CODES_HELP)
    .action((args: RunArguments) => chosen((stop) => run(args, streams, stop)))
  command
    .command('merge')
    .description('join shards of one campaign in a new store')
    .argument('<stores...>', 'one of each shard')
    .requiredOption('-o, --output <store>', 'the new one')
    .option('--json', 'print the summary as one JSON object')
    .action((places: string[], { output, json }: { output: string; json?: boolean }) =>
      chosen(async () => {
        print(await mergeStores(places, output), json === true, streams)
        return EXIT_OK
      }),
    )
  command
    .command('show')
    .description('print the summary of a store; its campaign may be running')
    .argument('<store>', 'of a campaign')
    .option('--json', 'as one JSON object')
    .option('--reports <folder>', 'write the failures that are kept there, for npm run replay')
    .action((place: string, args: ShowArguments) => chosen(() => show(place, args, streams)))
  command
    .command('dashboard')
    .description('write a page with plots of how the campaign went')
    .argument('<store>', 'of a campaign')
    .requiredOption('-o, --output <file>', 'where to write it')
    .action((place: string, { output }: { output: string }) => chosen(() => drawDashboard(place, output, streams)))
  command
    .command('record')
    .description('keep the scores of the mutants and the canary beside a campaign, for the dashboard')
    .argument('<store>', 'its campaign may be running')
    .argument('<files...>', 'what npm run mutants or npm run canary has printed with --json; - is standard input')
    .action((place: string, files: string[]) => chosen(() => record(place, files, streams)))
  return command
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  let work: Work | null = null
  const command = definition(streams, (chosen) => {
    work = chosen
  })
  for (const one of command.commands) {
    one.exitOverride().showSuggestionAfterError(false)
    one.configureOutput({
      writeOut: (text) => streams.out.write(text),
      writeErr: (text) => streams.err.write(text),
      outputError: (text, write) => write(`campaign: ${text.replace(/^error: /, '')}`),
    })
  }
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  return whileInterruptible(work!)
}

if (require.main === module) runProgram('campaign', main)
