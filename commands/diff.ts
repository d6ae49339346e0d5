/**
 * npm run diff -- A B: runs the worlds of two reports and names the first event in which they differ, with the lines around
 * it. With --revision the world of the second report (or of the same one) runs on the code of another revision, in a git
 * worktree that is removed afterwards. Exit codes: 0 the same, 1 different, 2 usage.
 */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { Command } from 'commander'
import { runOrCatch } from '../properties/campaign'
import { readReport } from '../reports/format'
import { eventText } from '../reports/text'
import { firstDifference } from '../reports/viewer/story'
import type { TraceRecord } from '../sim/verdict'
import { EXIT_OK, parseOrExitCode, runProgram, type Streams, UsageError, wholeNumber } from './cli'

const EXIT_DIFFERENT = 1
const CONTEXT_LINES_MAX = 1000
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024
const root = path.resolve(__dirname, '..')

/** A world's history; no hash where only its lines are known. */
export interface History {
  name: string
  lines: readonly TraceRecord[]
  hash: string | null
}

function historyOf(file: string): History {
  const reading = readReport(file)
  if (!reading.ok) throw new UsageError(reading.reason)
  const { plan, decisions } = reading.report
  const { subjectOf }: typeof import('./subject') = require('./subject')
  const subject = subjectOf('default')
  const { trace, hash } = runOrCatch({ run: (one, kept) => subject.run(one, kept, decisions) }, plan, 'all')
  return { name: file, lines: trace, hash }
}

function git(...args: string[]): void {
  const { status, stderr } = spawnSync('git', args, { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new UsageError(`git ${args[0]}: ${stderr.trim().split('\n').at(-1)}`)
}

const EVENT = /^ +#(\d+) +(\d+)[.](\d{3}) us {2}(\S+) +(.*)$/

/** The events that `replay --trace` printed, up to the first other line. */
export function recordsOf(printed: string): TraceRecord[] {
  const records: TraceRecord[] = []
  for (const line of printed.split('\n')) {
    const match = EVENT.exec(line)
    if (match === null) break
    const [, step, us, ns, lane, text] = match
    records.push({ step: Number(step), timeNs: Number(us) * 1000 + Number(ns), lane: lane!, text: text! })
  }
  return records
}

function historyAt(revision: string, file: string): History {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorsim-diff-'))
  const tree = path.join(folder, 'tree')
  try {
    git('worktree', 'add', '--detach', tree, revision)
    fs.symlinkSync(path.join(root, 'node_modules'), path.join(tree, 'node_modules'))
    const args = ['-r', './scripts/tsreg.cjs', 'commands/replay.ts', path.resolve(file), '--trace']
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: tree, encoding: 'utf8', maxBuffer: OUTPUT_BYTES_MAX })
    const lines = recordsOf(stdout)
    if (lines.length === 0)
      throw new UsageError(`${revision}: the world gives no events there: ${stderr.trim().split('\n').at(-1)}`)
    return { name: `${file} at ${revision}`, lines, hash: null }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
    spawnSync('git', ['worktree', 'prune'], { cwd: root })
  }
}

/** What differs in one event. */
function whatDiffers(one: TraceRecord | undefined, other: TraceRecord | undefined): string {
  if (one === undefined || other === undefined) return `only the ${one === undefined ? 'second' : 'first'} world goes on`
  const fields = (['step', 'timeNs', 'lane', 'text'] as const).filter((field) => one[field] !== other[field])
  return fields.map((field) => `${field}: ${one[field]} | ${other[field]}`).join('; ')
}

/** Prints the first difference; gives the exit code. */
export function compare(one: History, other: History, contextLines: number, out: Streams['out']): number {
  const difference = firstDifference(one, other)
  if (difference === null) {
    const isSame = one.hash === null || other.hash === null || one.hash === other.hash
    out.write(
      isSame
        ? `the same ${one.lines.length} lines\n`
        : `all ${one.lines.length} lines are the same, but not what lies between them: ${one.hash} | ${other.hash}\n`,
    )
    return isSame ? EXIT_OK : EXIT_DIFFERENT
  }
  const { lineIndex } = difference
  out.write(`- ${one.name}\n+ ${other.name}\n`)
  for (const record of one.lines.slice(Math.max(0, lineIndex - contextLines), lineIndex)) out.write(`  ${eventText(record)}\n`)
  for (const [sign, { lines }] of [['-', one] as const, ['+', other] as const])
    for (const record of lines.slice(lineIndex, lineIndex + 1 + contextLines)) out.write(`${sign} ${eventText(record)}\n`)
  out.write(`line ${lineIndex + 1} differs: ${whatDiffers(one.lines[lineIndex], other.lines[lineIndex])}\n`)
  return EXIT_DIFFERENT
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('diff')
    .description('Names the first event in which the worlds of two reports differ.')
    .argument('<file>', 'a report')
    .argument('[other]', 'another one; may be left out with --revision')
    .option('--revision <rev>', 'run the second world on the code of this git revision')
    .option('--context <lines>', 'lines before and after', wholeNumber(0, CONTEXT_LINES_MAX), 5)
    .addHelpText('after', '\nExit codes: 0 the same, 1 different, 2 usage.\n')
    .allowExcessArguments(false)
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const { revision, context } = command.opts<{ revision?: string; context: number }>()
  const [file, other = revision === undefined ? undefined : file] = command.args as [string, string?]
  if (other === undefined) throw new UsageError('two reports are needed, or one and --revision')
  const one = historyOf(file)
  return compare(one, revision === undefined ? historyOf(other) : historyAt(revision, other), context, streams.out)
}

if (require.main === module) runProgram('diff', main)
