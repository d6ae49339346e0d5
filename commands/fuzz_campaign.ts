/**
 * One campaign from its options to its exit code: shares out the seeds, shows progress, keeps reports and prints the
 * result. No failure that a worker has told of may be lost, however the campaign ends.
 */
import * as path from 'node:path'
import { campaignHash, emptyTally, firstFailure, mergeTally, type Subject, type Tally } from '../properties/campaign'
import { counted, failureText, grouped, plainStyle } from '../reports/text'
import { firingsOf } from '../sim/faults'
import { EXIT_CODES } from '../sim/verdict'
import { CHUNK_WORLDS, runRange, type WorkerSetup } from './campaign_chunks'
import { EXIT_COVERAGE, EXIT_INTERRUPTED, EXIT_OK } from './cli'
import { HANG_SECONDS, type Range, runFleet } from './fleet'
import { type Output, Progress } from './progress'
import { ReportFolder, revisionOf } from './report_folder'

const WORKER_FILE = path.join(__dirname, 'fleet_worker.ts')
/** Floors of coverage are judged from so many worlds on. */
export const COVERAGE_WORLDS_MIN = 10_000

export interface FuzzOptions {
  seed: string
  firstIndex: number
  /** null: no limit. */
  worldsMax: number | null
  secondsMax: number | null
  workers: number
  profile: string
  outFolder: string
  json: boolean
  replayPercent: number
  /** 0: never. */
  stopAfterFailures: number
  /** Print how many worlds met each situation. */
  showsProbes: boolean
}

/** A situation that a campaign has to meet. */
export interface RequiredProbe {
  name: string
  worldsPerTenThousandMin: number
}

export interface FuzzContext {
  out: Output
  err: Output
  subject: () => Subject
  requiredProbes: readonly RequiredProbe[]
  stop: AbortSignal
  /** Milliseconds of real time. */
  clock?: () => number
  workerFile?: string
  hangSeconds?: number
}

export async function fuzz(options: FuzzOptions, context: FuzzContext): Promise<number> {
  const { out, err, stop } = context
  // Taken hold of now: a world that was stopped in the middle leaves the global clock forbidden.
  const clock = context.clock ?? performance.now.bind(performance)
  const tally = emptyTally()
  const progress = new Progress(err, clock)
  const folder = new ReportFolder(options.outFolder, () => ({ revision: revisionOf(__dirname), command: commandOf(options) }))
  const budget = new Budget(options, progress, tally, stop)
  if (!options.json) progress.print(`fuzz: seed ${options.seed}, profile ${options.profile}, ${workersText(options.workers)}\n`)
  const setup: WorkerSetup = {
    profile: options.profile,
    campaign: { seed: options.seed, replayPercent: options.replayPercent },
    hangSeconds: context.hangSeconds ?? HANG_SECONDS,
  }
  await runFleet<Tally>({
    workers: options.workers,
    workerFile: context.workerFile ?? WORKER_FILE,
    workerData: setup,
    here: () => {
      const subject = context.subject()
      return (range) => runRange(subject, setup, range)
    },
    next: () => budget.next(),
    done: (part) => {
      reportNews(tally, part, folder, mergeTally, (text) => progress.print(`fuzz: ${text}\n`))
      if (!options.json) progress.update(tally, budget.share())
    },
  })
  progress.clear()
  const missed = missedProbes(tally, context.requiredProbes)
  const exitCode = exitCodeOf(tally, missed, stop.aborted)
  const required = context.requiredProbes
  const summary = {
    options,
    tally,
    folder,
    required,
    missed,
    exitCode,
    seconds: progress.seconds(),
    wasInterrupted: stop.aborted,
  }
  out.write(options.json ? `${JSON.stringify(jsonOf(summary))}\n` : textOf(summary, out.isTTY === true))
  return exitCode
}

/** Adds what has come back, and writes reports of its failures at once: no failure that is known may be lost. */
export function reportNews<Part extends Tally>(
  tally: Part,
  part: Part,
  folder: ReportFolder,
  merge: (into: Part, from: Part) => void,
  tell: (text: string) => void,
): void {
  const known = new Set(tally.groups.map(({ key }) => key))
  merge(tally, part)
  for (const group of tally.groups) {
    if (part.groups.some(({ key }) => key === group.key)) folder.update(group, tell)
    if (!known.has(group.key)) tell(`failure ${group.key} in world ${group.found[0]!.seed}`)
  }
}

/** Decides how much is left to do: seeds in order, no gaps. */
class Budget {
  private nextIndex: number
  private readonly options: FuzzOptions
  private readonly progress: Progress
  private readonly tally: Tally
  private readonly stop: AbortSignal

  constructor(options: FuzzOptions, progress: Progress, tally: Tally, stop: AbortSignal) {
    this.options = options
    this.progress = progress
    this.tally = tally
    this.stop = stop
    this.nextIndex = options.firstIndex
  }

  next(): Range | null {
    const { firstIndex, worldsMax, secondsMax, stopAfterFailures } = this.options
    if (this.stop.aborted) return null
    if (secondsMax !== null && this.progress.seconds() >= secondsMax) return null
    if (stopAfterFailures > 0 && failuresOf(this.tally) >= stopAfterFailures) return null
    const endIndex = firstIndex + (worldsMax ?? Number.MAX_SAFE_INTEGER - firstIndex)
    const count = Math.min(CHUNK_WORLDS, endIndex - this.nextIndex)
    if (count <= 0) return null
    this.nextIndex += count
    return { firstIndex: this.nextIndex - count, count }
  }

  /** How much of the budget is used up. */
  share(): number {
    const { worldsMax, secondsMax } = this.options
    const ofWorlds = worldsMax === null ? 0 : this.tally.worlds / worldsMax
    const ofTime = secondsMax === null ? 0 : this.progress.seconds() / secondsMax
    return Math.max(ofWorlds, ofTime)
  }
}

interface Summary {
  options: FuzzOptions
  tally: Tally
  folder: ReportFolder
  required: readonly RequiredProbe[]
  missed: readonly RequiredProbe[]
  exitCode: number
  seconds: number
  wasInterrupted: boolean
}

export function missedProbes(tally: Tally, required: readonly RequiredProbe[]): RequiredProbe[] {
  if (tally.worlds < COVERAGE_WORLDS_MIN) return []
  return required.filter(
    ({ name, worldsPerTenThousandMin }) =>
      (tally.probes[name] ?? 0) < Math.floor((worldsPerTenThousandMin * tally.worlds) / 10_000),
  )
}

/** An interrupt says that the rest is unknown; a failure weighs more than a floor. */
function exitCodeOf(tally: Tally, missed: readonly RequiredProbe[], wasInterrupted: boolean): number {
  if (wasInterrupted) return EXIT_INTERRUPTED
  const first = firstFailure(tally)
  if (first !== null) return EXIT_CODES[first.failure.class]
  return missed.length > 0 ? EXIT_COVERAGE : EXIT_OK
}

export function failuresOf(tally: Tally): number {
  return tally.groups.reduce((sum, group) => sum + group.count, 0)
}

function textOf({ options, tally, folder, required, missed, seconds, wasInterrupted }: Summary, isTerminal: boolean): string {
  const rate = (count: number): string => grouped(Math.round(count / Math.max(seconds, 1e-3)))
  const lines = [
    `${counted(tally.worlds, 'world')} in ${seconds.toFixed(1)} s${wasInterrupted ? ', interrupted' : ''}: ` +
      `${rate(tally.worlds)} worlds/s, ${rate(tally.events)} events/s, ${grouped(tally.replays)} run twice`,
    `${counted(Object.keys(tally.probes).length, 'probe')} hit, ${counted(sumOf(tally.faults), 'fault')} fired`,
    ...(options.showsProbes ? probeLines(tally, required) : []),
    ...faultLines(tally, required),
    ...floorLines(tally, required),
    ...(tally.memoryBytesMax > 0 ? [`at most ${Math.ceil(tally.memoryBytesMax / 2 ** 20)} MiB of memory for one image`] : []),
    ...missed.map(
      ({ name, worldsPerTenThousandMin }) =>
        `  too rare: ${name}, in ${tally.probes[name] ?? 0} worlds, at least ${worldsPerTenThousandMin} in 10,000 are asked for`,
    ),
  ]
  for (const group of tally.groups) lines.push(`  ${String(group.count).padStart(7)} × ${group.key}`)
  const first = firstFailure(tally)
  if (first !== null) lines.push('', failureText(folder.reportOf(first), folder.shownFileOf(first), styleFor(isTerminal)))
  const range = `--seed ${options.seed}${options.firstIndex > 0 ? ` --first ${options.firstIndex}` : ''} --runs ${tally.worlds}`
  lines.push(`campaign ${campaignHash(tally)}  (${range}${options.profile === 'default' ? '' : ` --profile ${options.profile}`})`)
  return `${lines.join('\n')}\n`
}

/** How often each fault has fired; those that the profile must see are there with 0 as well. */
export function firingsByName(tally: Tally, required: readonly RequiredProbe[]): Record<string, number> {
  const names = new Set(Object.keys(tally.faults))
  const floors = Object.fromEntries(required.map(({ name }) => [name, 1]))
  for (const [name] of firingsOf(floors)) names.add(name)
  return Object.fromEntries([...names].sort().map((name) => [name, tally.faults[name] ?? 0]))
}

const COLUMNS = 110

export function faultLines(tally: Tally, required: readonly RequiredProbe[]): string[] {
  const lines: string[] = []
  let line = ''
  for (const [name, count] of Object.entries(firingsByName(tally, required))) {
    const text = `${name} ${grouped(count)}`
    if (line !== '' && line.length + text.length > COLUMNS) {
      lines.push(`${line},`)
      line = ''
    }
    line += `${line === '' ? '  ' : ', '}${text}`
  }
  return line === '' ? lines : [...lines, line]
}

function floorLines(tally: Tally, required: readonly RequiredProbe[]): string[] {
  if (required.length === 0 || tally.worlds >= COVERAGE_WORLDS_MIN) return []
  const unmet = required.filter(({ name }) => tally.probes[name] === undefined).length
  return [
    `the floors of ${counted(required.length, 'situation')} are not judged below ${grouped(COVERAGE_WORLDS_MIN)} worlds; not met yet: ${grouped(unmet)}`,
  ]
}

function probeLines(tally: Tally, required: readonly RequiredProbe[]): string[] {
  const floors = new Map(required.map(({ name, worldsPerTenThousandMin }) => [name, worldsPerTenThousandMin]))
  const names = [...new Set([...Object.keys(tally.probes), ...floors.keys()])].sort()
  return names.map((name) => {
    const floor = floors.get(name)
    const count = `${grouped(tally.probes[name] ?? 0).padStart(9)} worlds`
    return `  ${count}  ${name}${floor === undefined ? '' : ` (at least ${floor} in 10,000)`}`
  })
}

function jsonOf({ options, tally, folder, required, missed, exitCode, seconds, wasInterrupted }: Summary): object {
  return {
    seed: options.seed,
    profile: options.profile,
    firstIndex: options.firstIndex,
    worlds: tally.worlds,
    replays: tally.replays,
    events: tally.events,
    simulatedNs: tally.simulatedNs,
    ...(tally.memoryBytesMax > 0 ? { memoryBytesMax: tally.memoryBytesMax } : {}),
    seconds,
    campaignHash: campaignHash(tally),
    probes: tally.probes,
    missedProbes: missed.map(({ name }) => name),
    areFloorsJudged: tally.worlds >= COVERAGE_WORLDS_MIN,
    faultsFired: firingsByName(tally, required),
    failures: folder.summaryOf(tally.groups),
    interrupted: wasInterrupted,
    exitCode,
  }
}

/** Colours are loaded only where they show; the library honours NO_COLOR. */
function styleFor(isTerminal: boolean): typeof plainStyle {
  if (!isTerminal) return plainStyle
  const colours: typeof import('picocolors') = require('picocolors')
  return colours
}

function sumOf(counts: Record<string, number>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

function workersText(workers: number): string {
  return workers === 0 ? 'in this thread' : counted(workers, 'worker')
}

function commandOf({ seed, firstIndex, worldsMax, profile }: FuzzOptions): string {
  const runs = worldsMax === null ? '' : ` --runs ${worldsMax}`
  return `npm run fuzz -- --seed ${seed} --first ${firstIndex}${runs} --profile ${profile}`
}
