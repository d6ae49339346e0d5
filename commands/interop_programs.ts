/**
 * npm run interop -- --only programs: command lines of qemu-img and qemu-io, run by Debian's programs and by ours in two
 * folders. Compared are exit codes, both outputs in the order in which they appear, and the images: what they hold, whether
 * they are sound, and whether their clusters lie in the same places.
 */
import { type StdioOptions, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { EXIT_CODES } from '../sim/verdict'
import { EXIT_OK, type Streams, UsageError } from './cli'
import { type Conversation, IMG_CONVERSATIONS } from './interop_program_cases'
import { ENCRYPTED_CONVERSATIONS } from './interop_program_cases_crypt'
import { drawFormatConversation, FORMAT_CONVERSATIONS } from './interop_program_cases_formats'
import { IO_CONVERSATIONS } from './interop_program_cases_io'
import { comparable } from './interop_program_differences'
import { drawConversation } from './interop_program_plan'
import { TheirImages } from './interop_theirs'
import { killedWithUs, makeScratch, removeScratch } from './interrupt'

const OURS = path.join(path.resolve(__dirname, '..'), 'bin/mirrorsim.cjs')
const TIMEOUT_MS = 60_000

export interface ProgramDifference {
  conversation: string
  line: string
  what: string
}

export interface ProgramsResult {
  conversations: number
  lines: number
  images: number
  /** Images whose bytes are equal, apart from what one file has of zeroes at its end. */
  equalImages: number
  differences: ProgramDifference[]
}

/** Words of a line: blanks separate, single quotes hold together. */
export function wordsOf(line: string): string[] {
  const words: string[] = []
  for (const match of line.matchAll(/'([^']*)'|([^' ]+)/g)) {
    const isJoined = match.index > 0 && line[match.index - 1] !== ' ' && words.length > 0
    const text = match[1] ?? match[2] ?? ''
    if (isJoined) words[words.length - 1] += text
    else words.push(text)
  }
  return words
}

interface Answer {
  code: number | null
  text: string
}

/** QEMU 7.2 measures how fast it derives keys, and gives up where that took no time at all. */
export const QEMU_FLAKE = 'Unable to get accurate CPU usage'
export const FLAKE_TRIES_MAX = 50

/** The same, again where QEMU has failed by chance. */
async function runTheirs(line: string, folder: string): Promise<Answer> {
  for (let tries = 0; ; tries++) {
    const answer = await runLine(line, folder, false)
    if (tries >= FLAKE_TRIES_MAX || !answer.text.includes(QEMU_FLAKE)) return answer
  }
}

/** Runs a command; both outputs come in one stream, as a shell's 2>&1 gives them. */
function runLine(line: string, folder: string, isOurs: boolean): Promise<Answer> {
  const [program = '', ...args] = wordsOf(line)
  const command = isOurs ? process.execPath : program
  const subcommand = program.replace('qemu-', '')
  const output = path.join(folder, '..', `${path.basename(folder)}.out`)
  const descriptor = fs.openSync(output, 'w')
  const options = { cwd: folder, timeout: TIMEOUT_MS, env: { ...process.env, TZ: 'UTC' } }
  const stdio: StdioOptions = ['ignore', descriptor, descriptor]
  const child = killedWithUs(spawn(command, isOurs ? [OURS, subcommand, ...args] : args, { ...options, stdio }))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      fs.closeSync(descriptor)
      resolve({ code, text: fs.readFileSync(output, 'latin1') })
    })
  })
}

function firstDifference(theirs: string, ours: string): string {
  const [a, b] = [theirs.split('\n'), ours.split('\n')]
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    if (a[index] !== b[index]) return `QEMU: ${a[index] ?? '(nothing)'}\n      ours: ${b[index] ?? '(nothing)'}`
  }
  return 'nothing'
}

/** As qemu-img guesses it; the mark of a fixed vpc image stands at its end. */
function formatOf(file: string): string {
  const bytes = fs.readFileSync(file)
  if (bytes.length >= 512 && bytes.toString('latin1', bytes.length - 512, bytes.length - 504) === 'conectix') return 'vpc'
  const { status, stdout } = spawnSync('qemu-img', ['info', '-U', '--output=json', file], { encoding: 'utf8' })
  return status === 0 ? (JSON.parse(stdout) as { format: string }).format : 'raw'
}

/** Whether the image holds a LUKS header, whose keys are random. */
function hasOwnKeys(file: string): boolean {
  const head = Buffer.alloc(36)
  const descriptor = fs.openSync(file, 'r')
  fs.readSync(descriptor, head, 0, head.length, 0)
  fs.closeSync(descriptor)
  return head.toString('latin1', 0, 4) === 'LUKS' || (head.toString('latin1', 0, 4) === 'QFI\xfb' && head.readUInt32BE(32) === 2)
}

/** Equal, apart from zeroes at the end of the longer one. */
function areEqual(one: string, other: string): boolean {
  const [a, b] = [fs.readFileSync(one), fs.readFileSync(other)]
  const shared = Math.min(a.length, b.length)
  if (Buffer.compare(a.subarray(0, shared), b.subarray(0, shared)) !== 0) return false
  return a.subarray(shared).every((byte) => byte === 0) && b.subarray(shared).every((byte) => byte === 0)
}

function compareFiles(theirs: string, ours: string, conversation: Conversation, result: ProgramsResult): void {
  const report = (line: string, what: string): void => {
    result.differences.push({ conversation: conversation.name, line, what })
  }
  const names = new Set([...fs.readdirSync(theirs), ...fs.readdirSync(ours)])
  for (const name of [...names].sort()) {
    const [theirFile, ourFile] = [path.join(theirs, name), path.join(ours, name)]
    if (!fs.existsSync(theirFile) || !fs.existsSync(ourFile)) {
      report(name, `only ${fs.existsSync(ourFile) ? 'ours' : "QEMU's"} is there`)
      continue
    }
    result.images++
    if (areEqual(theirFile, ourFile)) {
      result.equalImages++
      continue
    }
    if (hasOwnKeys(theirFile) && hasOwnKeys(ourFile)) continue
    const format = formatOf(theirFile)
    const checked =
      format === 'qcow2' ? spawnSync('qemu-img', ['check', '-q', '-f', format, ourFile], { cwd: ours, encoding: 'utf8' }) : null
    if (
      checked !== null &&
      checked.status !== 0 &&
      spawnSync('qemu-img', ['check', '-q', '-f', format, theirFile]).status === 0
    ) {
      report(name, `our image is not sound: ${checked.stderr}`)
    }
    const args = ['compare', '-f', format, '-F', format, path.join('..', path.basename(theirs), name), name]
    const { status, stdout, stderr } = spawnSync('qemu-img', args, { cwd: ours, encoding: 'utf8' })
    if (status !== 0 && status !== 2) report(name, `content differs: ${stdout}${stderr}`)
  }
}

async function runConversation(conversation: Conversation, result: ProgramsResult): Promise<void> {
  const folder = makeScratch(os.tmpdir(), 'mirrorsim-programs-')
  const [theirs, ours] = [path.join(folder, 'theirs'), path.join(folder, 'ours')]
  fs.mkdirSync(theirs)
  fs.mkdirSync(ours)
  try {
    for (const line of conversation.lines) {
      const [theirAnswer, ourAnswer] = await Promise.all([runTheirs(line, theirs), runLine(line, ours, true)])
      result.lines++
      const [a, b] = [comparable(theirAnswer.text), comparable(ourAnswer.text)]
      const isSame = theirAnswer.code === ourAnswer.code && a === b
      if (isSame) continue
      const codes = theirAnswer.code === ourAnswer.code ? '' : `exit ${theirAnswer.code}, ours ${ourAnswer.code}; `
      result.differences.push({ conversation: conversation.name, line, what: `${codes}${firstDifference(a, b)}` })
    }
    compareFiles(theirs, ours, conversation, result)
  } finally {
    removeScratch(folder)
  }
}

export interface ProgramsArguments {
  seed: string
  /** Of the drawn ones; from 1 on the list is left out. */
  first: number
  drawn: number
  /** Only conversations whose name holds this; null: all. */
  only: string | null
  json: boolean
}

/** Runs the list, and as many conversations drawn from the seed. */
export async function comparePrograms({ seed, first, drawn, only }: ProgramsArguments): Promise<ProgramsResult> {
  const result: ProgramsResult = { conversations: 0, lines: 0, images: 0, equalImages: 0, differences: [] }
  const listed =
    first === 0 ? [...IMG_CONVERSATIONS, ...IO_CONVERSATIONS, ...ENCRYPTED_CONVERSATIONS, ...FORMAT_CONVERSATIONS] : []
  // Every second one is about other formats.
  const draws = [drawConversation, drawFormatConversation] as const
  const all = [...listed, ...Array.from({ length: drawn }, (_, index) => draws[index % 2]!(`${seed}.${first + index}`))]
  for (const conversation of all) {
    if (only !== null && !conversation.name.includes(only)) continue
    result.conversations++
    await runConversation(conversation, result)
  }
  return result
}

/** The part of `npm run interop`. */
export async function interopPrograms(args: ProgramsArguments, { out }: Streams): Promise<number> {
  const version = TheirImages.version()
  if (version === null) {
    out.write(args.json ? '{"skipped":"qemu-img is not installed"}\n' : 'interop: skipped: qemu-img is not installed\n')
    return EXIT_OK
  }
  const result = await comparePrograms(args)
  if (args.only !== null && result.conversations === 0)
    throw new UsageError(`--conversation ${args.only}: no conversation has this in its name`)
  const { conversations, lines, images, equalImages, differences } = result
  if (args.json) out.write(`${JSON.stringify({ qemu: version, ...result })}\n`)
  else {
    for (const { conversation, line, what } of differences) out.write(`${conversation}: ${line}\n      ${what}\n`)
    out.write(
      `${lines} command lines in ${conversations} conversations beside QEMU ${version}: ${differences.length} differences; ` +
        `${equalImages} of ${images} files equal byte by byte (--seed ${args.seed} --first ${args.first})\n`,
    )
  }
  return differences.length === 0 ? EXIT_OK : EXIT_CODES.content
}
