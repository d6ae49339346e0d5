/**
 * npm run bench: what worlds and real copies cost. Worlds are counted against CPU seconds of this process (garbage
 * collection included), so that a busy machine changes the numbers little.
 */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { Command, Option } from 'commander'
import { Chunk } from '../properties/campaign'
import { grouped } from '../reports/text'
import { benchCopy, type CopyResult } from './bench_copy'
import { benchNbd, NBD_HEAD, type NbdRow, nbdRowText } from './bench_nbd'
import { hasRow, Qcow2Bench, type Qcow2Cell, type Qcow2Shape, qcow2CellText, qcow2Text } from './bench_qcow2'
import type { ViewerResult } from './bench_viewer'
import { findBrowser } from './browser'
import { EXIT_OK, EXIT_USAGE, parseOrExitCode, runProgram, type Streams, seconds, UsageError, wholeNumber } from './cli'
import { makeScratch, removeScratch, whileCleanedUp } from './interrupt'
import { subjectOf } from './subject'

const root = path.resolve(__dirname, '..')
const WARM_UP_WORLDS = 5_000
const MIB = 1024 * 1024

interface WorldsResult {
  worlds: number
  cpuSeconds: number
  worldsPerSecond: number
  eventsPerSecond: number
  nsPerEvent: number
  eventsPerWorld: number
  /** Virtual time that passed in a second of CPU time. */
  simulatedSecondsPerSecond: number
  residentBytesMax: number
  failures: number
}

function cpuSecondsNow(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Worlds of the default profile under all checkers, none run twice, until the CPU time is used up. */
function benchWorlds(cpuSecondsMax: number): WorldsResult {
  const subject = subjectOf('default')
  const options = { seed: 'bench', replayPercent: 0 }
  const warmUp = new Chunk(subject, options, 0, WARM_UP_WORLDS)
  while (warmUp.step());
  const chunk = new Chunk(subject, options, WARM_UP_WORLDS, Number.MAX_SAFE_INTEGER / 2)
  const start = cpuSecondsNow()
  let cpuSeconds = 0
  while (cpuSeconds < cpuSecondsMax) {
    for (let count = 0; count < 50; count++) chunk.step()
    cpuSeconds = cpuSecondsNow() - start
  }
  const { worlds, events, simulatedNs, groups } = chunk.tally
  return {
    worlds,
    cpuSeconds,
    worldsPerSecond: Math.round(worlds / cpuSeconds),
    eventsPerSecond: Math.round(events / cpuSeconds),
    nsPerEvent: Math.round((cpuSeconds * 1e9) / events),
    eventsPerWorld: Math.round(events / worlds),
    simulatedSecondsPerSecond: Math.round(simulatedNs / 1e9 / cpuSeconds),
    residentBytesMax: process.resourceUsage().maxRSS * 1024,
    failures: groups.reduce((sum, { count }) => sum + count, 0),
  }
}

function worldsText(result: WorldsResult): string {
  return [
    'worlds (one core, all checkers)',
    `  ${grouped(result.worldsPerSecond).padStart(10)} worlds/s   ${grouped(result.worlds)} in ${result.cpuSeconds.toFixed(1)} CPU s`,
    `  ${grouped(result.eventsPerSecond).padStart(10)} events/s   ${result.nsPerEvent} ns each, ${result.eventsPerWorld} a world`,
    `  ${grouped(result.simulatedSecondsPerSecond).padStart(10)} s of virtual time a second`,
    `  ${grouped(Math.round(result.residentBytesMax / MIB)).padStart(10)} MiB resident at most`,
    ...(result.failures > 0 ? [`  ${result.failures} worlds failed: the numbers are not comparable`] : []),
  ].join('\n')
}

function copyText({ lengthBytes, format, ours, peer, ratio, ratioMin, ratioMax }: CopyResult): string {
  const line = (name: string, { cpuSeconds, wallSeconds, peakBytes }: CopyResult['ours']): string =>
    `  ${name.padEnd(18)}${cpuSeconds.toFixed(2).padStart(6)} CPU s ${wallSeconds.toFixed(2).padStart(6)} s ${Math.round(peakBytes / MIB)} MiB`
  return [
    `copy of ${grouped(lengthBytes / MIB)} MiB raw to ${format}, a quarter of it data`,
    line('mirrorsim mirror', ours),
    peer === null ? '  qemu-img convert  skipped: not installed' : line('qemu-img convert', peer),
    ...(ratio === null
      ? []
      : [`  ratio of CPU seconds: ${ratio.toFixed(2)} (${ratioMin?.toFixed(2)} to ${ratioMax?.toFixed(2)} in single rounds)`]),
  ].join('\n')
}

async function inTemporaryFolder<T>(parent: string, body: (folder: string) => Promise<T>): Promise<T> {
  let folder: string
  try {
    folder = makeScratch(parent, 'mirrorsim-bench-')
  } catch (error) {
    throw new UsageError(`--directory ${parent}: ${(error as NodeJS.ErrnoException).code}: give one where files can be made`)
  }
  try {
    return await body(folder)
  } finally {
    removeScratch(folder)
  }
}

/** Memory, where the machine has a file system there: what a disk does in the background would count otherwise. */
function qcow2Folder(): string {
  try {
    fs.accessSync('/dev/shm', fs.constants.W_OK)
    return '/dev/shm'
  } catch {
    return os.tmpdir()
  }
}

async function benchQcow2(options: Options, streams: Streams): Promise<Qcow2Cell[]> {
  const { rounds, rows, directory = qcow2Folder() } = options
  return await inTemporaryFolder(directory, async (folder) => {
    const bench = await Qcow2Bench.open(root, folder, shapeOf(options))
    const isShown = (streams.err as { isTTY?: boolean }).isTTY === true
    return await bench.run(rounds, rows, (cell) => {
      if (isShown) streams.err.write(`${qcow2CellText(cell).padEnd(78)}\r`)
    })
  })
}

function benchCopies(program: string, options: Options, format: CopyResult['format']): Promise<CopyResult> {
  const { directory = os.tmpdir(), size, rounds } = options
  return inTemporaryFolder(directory, (folder) => benchCopy(program, folder, size * MIB, rounds, format))
}

function shapeOf({ clusterSize, extendedL2 = false }: Options): Qcow2Shape {
  return { clusterBytes: clusterSize, extendedL2 }
}

/** Each server gets so long for each row and round. */
const NBD_RUN_SECONDS = 2
const EXTENDED_L2_CLUSTER_BYTES_MIN = 16384

async function benchNbdServers(options: Options, print: (text: string) => unknown): Promise<NbdRow[] | null> {
  const { directory = qcow2Folder(), rounds } = options
  print(NBD_HEAD)
  const rows = await inTemporaryFolder(directory, (folder) =>
    benchNbd(folder, rounds, NBD_RUN_SECONDS, (row) => print(nbdRowText(row))),
  )
  if (rows === null) print('  skipped: fio or qemu-nbd is not installed')
  return rows
}

/** A world of so many events, and so many steps of it in each direction. */
const VIEWER_EVENTS = 6_000
const VIEWER_STEPS = 500

async function benchPage(print: (text: string) => unknown): Promise<ViewerResult | null> {
  const program = findBrowser()
  if (program === null) {
    print('page of a report\n  skipped: there is no Chromium')
    return null
  }
  const { benchViewer, longReport, viewerText }: typeof import('./bench_viewer') = require('./bench_viewer')
  const result = await benchViewer(program, longReport(VIEWER_EVENTS), VIEWER_STEPS)
  print(viewerText(result))
  return result
}

type Part = 'worlds' | 'copy' | 'qcow2' | 'nbd' | 'viewer'

interface Options {
  only?: Part
  seconds: number
  size: number
  rounds: number
  rows: string
  clusterSize: number
  extendedL2?: boolean
  directory?: string
  json?: boolean
}

/** What cannot be measured as it is asked for; null: all can. */
function wrongOptions({ rows, clusterSize, extendedL2 = false }: Options): string | null {
  if ((clusterSize & (clusterSize - 1)) !== 0) return '--cluster-size must be a power of two'
  if (extendedL2 && clusterSize < EXTENDED_L2_CLUSTER_BYTES_MIN) {
    return `--extended-l2 takes a --cluster-size of at least ${EXTENDED_L2_CLUSTER_BYTES_MIN}`
  }
  return hasRow(rows) ? null : `--rows ${rows}: no row of the qcow2 table has this in its name`
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('bench')
    .description(
      'Measures worlds per second, a real copy against qemu-img, qcow2 images against qemu-utils, NBD against qemu-nbd, and the page of a report in Chromium.',
    )
    .addOption(new Option('--only <part>', 'one part alone').choices(['worlds', 'copy', 'qcow2', 'nbd', 'viewer']))
    .option('--seconds <seconds>', 'CPU time for the worlds', seconds, 10)
    .option('--size <MiB>', 'length of the file to copy', wholeNumber(4, 1 << 20), 4096)
    .option('--rounds <count>', 'runs of each program; the median counts', wholeNumber(1, 99), 3)
    .option('--rows <text>', 'only the rows of the qcow2 table whose name has this in it', '')
    .option('--cluster-size <bytes>', 'of the qcow2 images', wholeNumber(512, 2 * MIB), 65536)
    .option('--extended-l2', 'qcow2 images with subclusters')
    .option('--directory <folder>', 'where to make the files')
    .option('--json', 'print the result as one JSON object')
    .allowExcessArguments(false)
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const options = command.opts<Options>()
  const wrong = wrongOptions(options)
  if (wrong !== null) {
    streams.err.write(`bench: ${wrong}\n`)
    return EXIT_USAGE
  }
  const print = (text: string): unknown => options.json === true || streams.out.write(`${text}\n`)
  // Leaves nothing behind, and the event loop does not turn: an interrupt ends it as it is.
  const worlds = (options.only ?? 'worlds') === 'worlds' ? benchWorlds(options.seconds) : null
  if (worlds !== null) print(worldsText(worlds))
  return await whileCleanedUp(() => benchPrograms(worlds, options, streams, print))
}

/** What is measured with programs and files. */
async function benchPrograms(
  worlds: WorldsResult | null,
  options: Options,
  streams: Streams,
  print: (text: string) => unknown,
): Promise<number> {
  const has = (part: Part): boolean => (options.only ?? part) === part
  const program = path.join(root, 'bin/mirrorsim.cjs')
  const copy = has('copy') ? await benchCopies(program, options, 'raw') : null
  if (copy !== null) print(copyText(copy))
  const copyToQcow2 = has('copy') ? await benchCopies(program, options, 'qcow2') : null
  if (copyToQcow2 !== null) print(copyText(copyToQcow2))
  const qcow2 = has('qcow2') ? await benchQcow2(options, streams) : null
  if (qcow2 !== null) print(qcow2Text(qcow2, shapeOf(options)))
  const nbd = has('nbd') ? await benchNbdServers(options, print) : null
  const viewer = has('viewer') ? await benchPage(print) : null
  if (options.json === true) streams.out.write(`${JSON.stringify({ worlds, copy, copyToQcow2, qcow2, nbd, viewer })}\n`)
  return EXIT_OK
}

if (require.main === module) runProgram('bench', main)
