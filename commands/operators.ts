/**
 * npm run operators: changes one operator, literal, call or statement after the other in the given files, and says which
 * changes nothing notices: no test of their room, no known world, no world of a seed. Each survivor is a check that is
 * missing, code that is not needed, or a change that changes nothing (scenarios/operator_equivalents.json).
 */
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { Command } from 'commander'
import { counted, grouped } from '../reports/text'
import {
  EXIT_COVERAGE,
  EXIT_INTERRUPTED,
  EXIT_OK,
  parseOrExitCode,
  runProgram,
  type Streams,
  UsageError,
  wholeNumber,
  workersOption,
} from './cli'
import { whileInterruptible } from './interrupt'
import { Equivalents, readEquivalents } from './operator_equivalents'
import { testFilesIn } from './operator_killers'
import { mutantsOf, type OperatorMutant } from './operator_mutants'
import { type Kill, MutantTrier } from './operator_pool'
import { countOutcomes, type OperatorOutcome, survivorLines, tableLines } from './operator_table'

const root = path.resolve(__dirname, '..')
const RECORD = path.join(root, 'reports/out/operators.jsonl')
const EXIT_UNSOUND = 16
const PROGRESS_MS = 10_000

/** What mutants of a folder are tried on. */
interface Room {
  folder: string
  /** Folders whose tests are run; with those below them, unless they stand in `apart`. */
  tests: readonly string[]
  apart?: string
  /** How many worlds of which profiles. */
  worlds: Readonly<Record<string, number>>
}

/** The first that a file lies in counts. */
const ROOMS: readonly Room[] = [
  {
    folder: 'impl/jobs/',
    tests: ['impl/jobs'],
    worlds: { default: 200, faults: 50, jobs: 100, chains: 20, power: 20 },
  },
  {
    folder: 'impl/block/drivers/qcow2/',
    tests: ['impl/block/drivers/qcow2'],
    worlds: { formats: 120, chains: 60, crashes: 60 },
  },
  {
    folder: 'impl/block/',
    tests: ['impl/block', 'impl/jobs'],
    apart: 'impl/block/drivers/',
    worlds: { default: 80, jobs: 40, formats: 40, chains: 20 },
  },
  { folder: 'impl/virtio/', tests: ['impl/virtio'], worlds: { default: 120, faults: 40, power: 20 } },
  { folder: '', tests: [], worlds: { default: 200, jobs: 50, formats: 50 } },
]

interface Options {
  seed: string
  workers: number
  sample?: number
  worlds: number
  resume?: boolean
  min: number
  json?: boolean
}

function roomOf(file: string): Room {
  return ROOMS.find(({ folder }) => file.startsWith(folder))!
}

/** Tests that stand beside what is mutated come first, then those of the room. */
function testFilesOf({ tests, apart }: Room, files: readonly string[]): string[] {
  const beside = files.map((file) => file.replace(/\.ts$/, '.test.ts')).filter((file) => fs.existsSync(path.join(root, file)))
  const others = tests.flatMap((folder) => testFilesIn(root, folder))
  return [...new Set([...beside, ...others.filter((file) => apart === undefined || !file.startsWith(apart))])]
}

/** The files that are meant, from the root; throws a `UsageError` about a path where there are none. */
export function filesOf(paths: readonly string[]): string[] {
  const files = paths.flatMap((name) => {
    const full = path.resolve(root, name)
    if (!fs.existsSync(full)) throw new UsageError(`there is no file or folder '${name}'`)
    const found = fs.statSync(full).isDirectory()
      ? fs.readdirSync(full, { recursive: true }).map((entry) => path.join(full, String(entry)))
      : [full]
    const chosen = found.filter((file) => /\.ts$/.test(file) && !/(\.test|\/testing|\/index)\.ts$/.test(file))
    if (chosen.length === 0) throw new UsageError(`'${name}' has no file to change anything in`)
    return chosen.map((file) => path.relative(root, file))
  })
  return [...new Set(files)].sort()
}

/** So many of the mutants, always the same ones of the same text. */
export function sampleOf(mutants: readonly OperatorMutant[], count: number): Set<OperatorMutant> {
  const rank = ({ id }: OperatorMutant): string => createHash('sha256').update(id).digest('hex')
  const ranked = mutants.map((mutant) => ({ mutant, rank: rank(mutant) })).sort((a, b) => (a.rank < b.rank ? -1 : 1))
  return new Set(ranked.slice(0, count).map(({ mutant }) => mutant))
}

/** What earlier runs have come to, by the text of the file and the mutant's id. What survived is tried again, later. */
class RunRecord {
  private readonly kills = new Map<string, Kill | null>()
  private readonly hashes = new Map<string, string>()

  constructor(texts: ReadonlyMap<string, string>, isResumed: boolean) {
    for (const [file, text] of texts) this.hashes.set(file, createHash('sha256').update(text).digest('hex').slice(0, 16))
    fs.mkdirSync(path.dirname(RECORD), { recursive: true })
    if (!isResumed || !fs.existsSync(RECORD)) return
    for (const line of fs.readFileSync(RECORD, 'utf8').split('\n')) {
      if (line === '') continue
      const { key, kill } = JSON.parse(line) as { key: string; kill: Kill | null }
      this.kills.set(key, kill)
    }
  }

  private key({ id, file }: OperatorMutant): string {
    return `${this.hashes.get(file)} ${id}`
  }
  find(mutant: OperatorMutant): Kill | null {
    return this.kills.get(this.key(mutant)) ?? null
  }
  hasSurvived(mutant: OperatorMutant): boolean {
    return this.kills.get(this.key(mutant)) === null
  }
  add(mutant: OperatorMutant, kill: Kill | null, milliseconds: number): void {
    fs.appendFileSync(RECORD, `${JSON.stringify({ key: this.key(mutant), kill, milliseconds: Math.round(milliseconds) })}\n`)
  }
}

/** The mutants of files of one room, tried one after the other. */
class RoomRun {
  readonly outcomes: OperatorOutcome[] = []
  private readonly options: Options
  private readonly streams: Streams
  private readonly equivalents: Equivalents
  private readonly room: Room
  private readonly texts: ReadonlyMap<string, string>

  constructor(room: Room, files: readonly string[], options: Options, streams: Streams) {
    this.room = room
    this.options = options
    this.streams = streams
    this.equivalents = new Equivalents(readEquivalents(root))
    this.texts = new Map(files.map((file) => [file, fs.readFileSync(path.join(root, file), 'utf8')]))
  }

  private note(text: string): void {
    this.streams.err.write(`operators: ${text}\n`)
  }

  /** Survivors are told of at once: they are read one by one. */
  private tell(outcome: OperatorOutcome): void {
    this.outcomes.push(outcome)
    const isSurvivor = outcome.kill === null && outcome.equivalent === null
    if (isSurvivor && this.options.json !== true) this.streams.out.write(`${survivorLines(outcome).join('\n')}\n`)
  }

  /** Gives killers that fail without any mutant. */
  async run(stop: AbortSignal): Promise<string[]> {
    const options = this.options
    const texts = this.texts
    const room = this.room
    const mutants = [...texts].flatMap(([file, text]) => mutantsOf(file, text))
    const chosen = options.sample === undefined ? new Set(mutants) : sampleOf(mutants, options.sample)
    const record = new RunRecord(texts, options.resume === true)
    const worlds = Object.entries(room.worlds).map(([profile, count]) => [profile, count * options.worlds] as const)
    const trier = await MutantTrier.make({
      root,
      texts: [...texts],
      testFiles: testFilesOf(room, [...texts.keys()]),
      worlds: Object.fromEntries(worlds),
      seed: options.seed,
      worldsFactor: options.worlds,
    })
    const unsound = trier.killers.filter(({ failure }) => failure !== null).map(({ name }) => name)
    this.note(`${room.folder}: ${counted(chosen.size, 'mutant')}, ${counted(trier.killers.length, 'test or world')}`)
    let shownMs = performance.now()
    // Those that are known to survive come later, those that need a thread of their own last.
    const numbers = [...mutants.keys()].filter((number) => chosen.has(mutants[number]!))
    const rank = (number: number): number => (trier.atLoad.has(number) ? 2 : record.hasSurvived(mutants[number]!) ? 1 : 0)
    numbers.sort((a, b) => rank(a) - rank(b))
    let next = 0
    const turn = async (): Promise<void> => {
      while (next < numbers.length && !stop.aborted) {
        const number = numbers[next++]!
        const mutant = mutants[number]!
        const before = record.find(mutant)
        const startMs = performance.now()
        const kill = before ?? (await trier.try(number, mutant.file))
        if (before === null) record.add(mutant, kill, performance.now() - startMs)
        this.tell({ mutant, kill, equivalent: this.equivalents.reasonOf(mutant), reach: trier.reach(number) })
        if (performance.now() - shownMs < PROGRESS_MS) continue
        shownMs = performance.now()
        const survived = this.outcomes.filter((outcome) => outcome.kill === null).length
        this.note(`${grouped(this.outcomes.length)} of ${grouped(chosen.size)}, ${grouped(survived)} not killed`)
      }
    }
    try {
      await Promise.all(Array.from({ length: options.workers }, turn))
    } finally {
      await trier.end()
    }
    const order = new Map(mutants.map((mutant, number) => [mutant, number]))
    this.outcomes.sort((a, b) => order.get(a.mutant)! - order.get(b.mutant)!)
    return unsound
  }
}

function conclude(outcomes: readonly OperatorOutcome[], unsound: readonly string[], options: Options, { out }: Streams): number {
  const counts = countOutcomes(outcomes)
  const isShort = counts.score < options.min || counts.refuted > 0
  const exitCode = unsound.length > 0 ? EXIT_UNSOUND : isShort ? EXIT_COVERAGE : EXIT_OK
  const refuted = outcomes.filter(({ kill, equivalent }) => kill !== null && equivalent !== null)
  if (options.json === true) {
    const list = outcomes.map(({ mutant, kill, equivalent, reach }) => ({ ...mutant, kill, equivalent, reach }))
    out.write(`${JSON.stringify({ ...counts, unsound, exitCode, list })}\n`)
    return exitCode
  }
  out.write(`\n${tableLines(outcomes).join('\n')}\n`)
  for (const { mutant, kill } of refuted) out.write(`said to be equivalent, but found by ${kill!.by}: ${mutant.id}\n`)
  for (const name of unsound) out.write(`fails without any mutant: ${name}\n`)
  return exitCode
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('operators')
    .description('Changes operators, literals, calls and statements one by one, and says which changes nothing notices.')
    .argument('<paths...>', 'files and folders, relative to the root of the repository')
    .option('--seed <text>', 'root of the seeds of worlds', 'operators')
    .addOption(workersOption('threads'))
    .option('--sample <count>', 'so many mutants of each room, always the same ones of the same text', wholeNumber(1, 1e6))
    .option('--worlds <factor>', 'so many times as many worlds', wholeNumber(1, 1000), 1)
    .option('--min <percent>', 'the least score', wholeNumber(0, 100), 90)
    .option('--resume', 'take kills of the same text from the run before (reports/out/operators.jsonl)')
    .option('--json', 'print the result as one JSON object')
    .addHelpText(
      'after',
      '\nExit codes: 0 the score is reached, 2 usage, 3 it is not, or an equivalent is killed,\n  16 something fails without any mutant, 130 interrupted\n',
    )
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const options = command.opts<Options>()
  const files = filesOf(command.args)
  return whileInterruptible(async (stop) => {
    const outcomes: OperatorOutcome[] = []
    const unsound: string[] = []
    for (const room of new Set(files.map(roomOf))) {
      if (stop.aborted) break
      const run = new RoomRun(
        room,
        files.filter((file) => roomOf(file) === room),
        options,
        streams,
      )
      unsound.push(...(await run.run(stop)))
      outcomes.push(...run.outcomes)
    }
    const code = conclude(outcomes, unsound, options, streams)
    return stop.aborted ? EXIT_INTERRUPTED : code
  })
}

if (require.main === module) runProgram('operators', main)
