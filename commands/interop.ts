/**
 * npm run interop: random images, made and changed by us or by Debian's qemu-utils and read by both. Both must read the
 * same bytes, tell the same map, and find the image sound. Then NBD (interop_nbd.ts). Says "skipped" where a program is
 * absent.
 */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { Command, Option } from 'commander'
import type { Codecs } from '../impl/block/codec'
import { loadCodecs } from '../impl/host'
import { EXIT_CODES } from '../sim/verdict'
import { EXIT_OK, folderOption, parseOrExitCode, runProgram, type Streams, wholeNumber } from './cli'
import { drawBytes, runBytes } from './interop_bytes'
import { drawDamaged, runDamaged } from './interop_damaged'
import { drawEncrypted, runEncrypted } from './interop_encrypted'
import { drawMetadata, runMetadata } from './interop_metadata'
import { interopNbd } from './interop_nbd'
import { type MapEntry, NAMES, OurImages } from './interop_ours'
import { drawInterop, type InteropImage } from './interop_plan'
import { interopPrograms, type ProgramsArguments } from './interop_programs'
import { interopQmp, isPermitted, type QmpOutcome } from './interop_qmp'
import { TheirImages } from './interop_theirs'
import { makeScratch, removeScratch, turnLoop, whileCleanedUp } from './interrupt'

const RUNS = 500
const DAMAGED = 150
const BYTES = 100
const METADATA = 60
const ENCRYPTED = 10
const RUNS_MAX = 1_000_000

interface Arguments {
  only?: 'images' | 'nbd' | 'programs' | 'qmp'
  conversation?: string
  seed: string
  first: number
  runs: number
  damaged: number
  bytes: number
  metadata: number
  encrypted: number
  out: string
  json?: boolean
}

export interface InteropFailure {
  seed: string
  text: string
  commands: string[]
  plan: unknown
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('interop')
    .usage('[options]')
    .description("Compares our images with those of Debian's qemu-utils: content, maps, and whether they are sound.")
    .addOption(
      new Option('--only <part>', 'one part: images, NBD, command lines, or QMP').choices(['images', 'nbd', 'programs', 'qmp']),
    )
    .option('--seed <text>', 'root of the seeds', 'interop')
    .option('--first <index>', 'index of the first pair', wholeNumber(0, RUNS_MAX), 0)
    .option('--runs <count>', 'pairs', wholeNumber(0, RUNS_MAX), RUNS)
    .option('--damaged <count>', 'damaged images that both check and repair', wholeNumber(0, RUNS_MAX), DAMAGED)
    .option('--bytes <count>', 'images that both make, compared byte by byte', wholeNumber(0, RUNS_MAX), BYTES)
    .option('--metadata <count>', 'images whose snapshots, bitmaps and options both change', wholeNumber(0, RUNS_MAX), METADATA)
    .option('--encrypted <count>', 'encrypted images that both write in turn', wholeNumber(0, RUNS_MAX), ENCRYPTED)
    .addOption(folderOption('where the images of failing pairs are kept', 'reports/out/interop'))
    .option('--conversation <name>', 'of the command lines, only those of conversations whose name holds this')
    .option('--json', 'print the result as one JSON object')
    .allowExcessArguments(false)
}

/** What both readers agree on, or the first thing on which they do not. */
export function differenceOf(
  ours: { bytes: Uint8Array; map: MapEntry[] },
  theirs: { bytes: Uint8Array; map: MapEntry[] },
): string | null {
  if (ours.bytes.length !== theirs.bytes.length) return `we read ${ours.bytes.length} bytes, qemu-img ${theirs.bytes.length}`
  for (let at = 0; at < ours.bytes.length; at++) {
    if (ours.bytes[at] !== theirs.bytes[at]) return `at ${at} we read ${ours.bytes[at]}, qemu-img ${theirs.bytes[at]}`
  }
  for (let index = 0; index < Math.max(ours.map.length, theirs.map.length); index++) {
    const mine = line(ours.map[index])
    const other = line(theirs.map[index])
    if (mine !== other) return `entry ${index} of the map: ours ${mine}, qemu-img's ${other}`
  }
  return null
}

function line(entry: MapEntry | undefined): string {
  if (entry === undefined) return 'none'
  const { start, length, depth, present, zero, data, offset } = entry
  return `${start}+${length} depth ${depth}${present ? ' present' : ''}${zero ? ' zero' : ''}${data ? ' data' : ''}${offset === undefined ? '' : ` at ${offset}`}`
}

async function runPair(image: InteropImage, folder: string, ours: OurImages, theirs: TheirImages): Promise<string | null> {
  if (image.creator === 'ours') await ours.create(image)
  else theirs.create(image)
  if (image.writer === 'ours') await ours.change(image)
  else theirs.change(image)
  theirs.check()
  const mine = await ours.read(image)
  const difference = differenceOf(mine, theirs.read())
  if (difference !== null) return difference
  const plain = path.join(folder, 'ours.raw')
  fs.writeFileSync(plain, mine.bytes)
  theirs.compare(plain)
  return null
}

export async function interop(args: Arguments, { out, err }: Streams): Promise<number> {
  const version = TheirImages.version()
  if (version === null) {
    out.write(args.json === true ? '{"skipped":"qemu-img is not installed"}\n' : 'interop: skipped: qemu-img is not installed\n')
    return EXIT_OK
  }
  const codecs = await loadCodecs()
  const failures: InteropFailure[] = []
  for (const part of PARTS) {
    const count = args[part.count]
    for (let index = args.first; index < args.first + count; index++) {
      const failure = await runPart(part, `${args.seed}.${index}`, codecs, args.out, err)
      if (failure !== null) failures.push(failure)
    }
  }
  const { runs: pairs, damaged, bytes, metadata, encrypted } = args
  if (args.json === true)
    out.write(`${JSON.stringify({ qemu: version, pairs, damaged, bytes, metadata, encrypted, failures })}\n`)
  else {
    out.write(
      `${pairs} image pairs, ${damaged} damaged images, ${bytes} compared by bytes, ${metadata} changed in turn, ` +
        `${encrypted} encrypted, beside qemu-img ` +
        `${version}: ${failures.length} differences (--seed ${args.seed} --first ${args.first})\n`,
    )
  }
  return failures.length === 0 ? EXIT_OK : EXIT_CODES.content
}

/** One kind of comparison: its plan from a seed, and what it finds. */
interface Part {
  count: 'runs' | 'damaged' | 'bytes' | 'metadata' | 'encrypted'
  run(seed: string, folder: string, codecs: Codecs, theirs: TheirImages): Promise<{ plan: unknown; text: string | null }>
}

const PARTS: readonly Part[] = [
  {
    count: 'runs',
    async run(seed, folder, codecs, theirs) {
      const plan = drawInterop(seed)
      return { plan, text: await guarded(() => runPair(plan, folder, new OurImages(folder, codecs), theirs)) }
    },
  },
  {
    count: 'damaged',
    async run(seed, folder, codecs, theirs) {
      const plan = drawDamaged(seed)
      return { plan, text: await guarded(() => runDamaged(plan, folder, new OurImages(folder, codecs), theirs)) }
    },
  },
  {
    count: 'bytes',
    async run(seed, folder, codecs, theirs) {
      const plan = drawBytes(seed)
      const other = path.join(folder, 'ours')
      fs.mkdirSync(other)
      return { plan, text: await guarded(() => runBytes(plan, [other, folder], new OurImages(other, codecs), theirs)) }
    },
  },
  {
    count: 'metadata',
    async run(seed, folder, codecs, theirs) {
      const plan = drawMetadata(seed)
      return { plan, text: await guarded(() => runMetadata(plan, folder, new OurImages(folder, codecs), theirs)) }
    },
  },
  {
    count: 'encrypted',
    async run(seed, folder, _codecs, theirs) {
      const plan = drawEncrypted(seed)
      return { plan, text: await guarded(() => runEncrypted(plan, folder, theirs.commands)) }
    },
  },
]

async function guarded(body: () => Promise<string | null>): Promise<string | null> {
  try {
    return await body()
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

async function runPart(
  part: Part,
  seed: string,
  codecs: Codecs,
  out: string,
  err: Streams['err'],
): Promise<InteropFailure | null> {
  await turnLoop()
  const folder = makeScratch(os.tmpdir(), 'mirrorsim-interop-')
  const theirs = new TheirImages(folder)
  const { plan, text } = await part.run(seed, folder, codecs, theirs)
  const failure =
    text === null ? null : keep(out, folder, { seed: `${part.count}.${seed}`, text, commands: theirs.commands, plan }, err)
  removeScratch(folder)
  return failure
}

/** Keeps the images and what made them. */
function keep(out: string, folder: string, failure: InteropFailure, err: Streams['err']): InteropFailure {
  const kept = path.join(out, failure.seed)
  fs.mkdirSync(kept, { recursive: true })
  for (const name of Object.values(NAMES)) {
    const file = path.join(folder, name)
    if (fs.existsSync(file)) fs.copyFileSync(file, path.join(kept, name))
  }
  fs.writeFileSync(path.join(kept, 'failure.json'), `${JSON.stringify(failure, null, 2)}\n`)
  err.write(`${failure.seed}: ${failure.text}\n`)
  return failure
}

/** NBD: our server and client with those of others. */
async function interopWithNbd(args: Arguments, { out }: Streams): Promise<number> {
  const isJson = args.json === true
  const outcomes = await interopNbd(({ name, result, text }) => {
    if (!isJson) out.write(`nbd: ${result.padEnd(7)} ${name}${text === '' ? '' : `: ${text}`}\n`)
  })
  if (isJson) out.write(`${JSON.stringify({ nbd: outcomes })}\n`)
  return outcomes.some(({ result }) => result === 'failed') ? EXIT_CODES.content : EXIT_OK
}

const DRAWN_CONVERSATIONS = 40

function programsOf({ seed, first, runs, conversation, json }: Arguments): ProgramsArguments {
  return { seed, first, drawn: runs === RUNS ? DRAWN_CONVERSATIONS : runs, only: conversation ?? null, json: json === true }
}

/** QMP: conversations with QEMU's programs and with ours. */
async function interopWithQmp(args: Arguments, { out }: Streams): Promise<number> {
  const outcomes = await interopQmp()
  if (args.json === true) out.write(`${JSON.stringify({ qmp: outcomes.map((each) => each.result ?? 'skipped') })}\n`)
  else for (const outcome of outcomes) tellConversation(outcome, out)
  return outcomes.every(({ result }) => result?.differences.every(isPermitted) ?? true) ? EXIT_OK : EXIT_CODES.protocol
}

function tellConversation({ theirs: program, result }: QmpOutcome, out: Streams['out']): void {
  if (result === null) {
    out.write(`qmp: skipped: ${program} is not installed\n`)
    return
  }
  const left = result.differences.filter((difference) => !isPermitted(difference))
  for (const { step, ours, theirs } of left) {
    out.write(`qmp: ${typeof step === 'string' ? step : `until ${JSON.stringify(step)}`}\n`)
    out.write(`${theirs.map((line) => `  theirs ${line}\n`).join('')}${ours.map((line) => `  ours   ${line}\n`).join('')}`)
  }
  const counts = `${left.length} differences, ${result.differences.length - left.length} known ones`
  out.write(`qmp: ${result.requests} requests beside ${program}: ${counts} (docs/qmp-differences.md)\n`)
}

async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  return await whileCleanedUp(() => runParts(command.opts<Arguments>(), streams))
}

async function runParts(given: Arguments, streams: Streams): Promise<number> {
  const wants = (part: Arguments['only']): boolean => given.only === undefined || given.only === part
  const images = wants('images') ? await interop(given, streams) : EXIT_OK
  const nbd = wants('nbd') ? await interopWithNbd(given, streams) : EXIT_OK
  const programs = wants('programs') ? await interopPrograms(programsOf(given), streams) : EXIT_OK
  const qmp = wants('qmp') ? await interopWithQmp(given, streams) : EXIT_OK
  return [images, nbd, programs, qmp].find((code) => code !== EXIT_OK) ?? EXIT_OK
}

if (require.main === module) runProgram('interop', main)
