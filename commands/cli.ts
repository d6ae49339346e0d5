/** What the command lines share: options that are refused in one clear line, with exit code 2. */
import * as os from 'node:os'
import * as path from 'node:path'
import { type Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { thrownText } from '../impl/programs/defect'
import { EXIT_CODES } from '../sim/verdict'
import type { Output } from './progress'

export const EXIT_OK = 0
export const EXIT_USAGE = 2
export const EXIT_COVERAGE = 3
export const EXIT_INTERRUPTED = 130

/** The exit codes as --help shows them. */
export const EXIT_CODES_HELP = `
Exit codes:
  0 all is well, 2 usage, 3 a situation was met too rarely, 130 interrupted;
  the class of the first failure otherwise:
  ${Object.entries(EXIT_CODES)
    .map(([name, code]) => `${code} ${name}`)
    .join(', ')}
`

/** Where a program writes: results to one stream, everything else to the other. */
export interface Streams {
  out: Output
  err: Output
}
export const STANDARD_STREAMS: Streams = { out: process.stdout, err: process.stderr }

/** Parses the arguments after the script's name; gives an exit code where the program has nothing to do. */
export function parseOrExitCode(command: Command, args: readonly string[], { out, err } = STANDARD_STREAMS): number | null {
  command
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureOutput({
      writeOut: (text) => out.write(text),
      writeErr: (text) => err.write(text),
      outputError: (text, write) => write(`${command.name()}: ${text.replace(/^error: /, '')}`),
    })
  try {
    command.parse(args, { from: 'user' })
    return null
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE
  }
}

/** An option or argument that cannot be used, found after parsing: one line, and exit code 2. */
export class UsageError extends Error {}

/**
 * Runs a program from its arguments to the exit code of the process; what it throws is a fault of the harness. Where
 * nobody reads the output any more the program goes on: its exit code and its reports count. Output that is lost for
 * another reason is told of, and no success.
 */
export function runProgram(name: string, main: (args: readonly string[], streams: Streams) => Promise<number>): void {
  process.stderr.on('error', () => {})
  let isOutputLost = false
  const end = (exitCode: number): void => {
    process.exitCode = isOutputLost && exitCode === EXIT_OK ? EXIT_CODES.harness : exitCode
  }
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE' || isOutputLost) return
    isOutputLost = true
    process.stderr.write(`${name}: standard output: ${code}: the result is not printed\n`)
    if (process.exitCode !== undefined) end(Number(process.exitCode))
  })
  main(process.argv.slice(2), STANDARD_STREAMS).then(end, (error) => {
    const isUsage = error instanceof UsageError
    process.stderr.write(`${name}: ${isUsage ? error.message : `the harness is broken: ${thrownText(error)}`}\n`)
    process.exitCode = isUsage ? EXIT_USAGE : EXIT_CODES.harness
  })
}

/** What reads the argument of an option, and says for the reference what it takes. */
export interface NumberParser {
  (text: string): number
  readonly takes: string
}

/** A parser of whole numbers in [min, max]. */
export function wholeNumber(min: number, max: number): NumberParser {
  const parse = (text: string): number => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`)
    return value
  }
  return Object.assign(parse, { takes: `${min} to ${max}` })
}

/** A parser of numbers of seconds: digits, with an optional fraction. */
export const seconds: NumberParser = Object.assign(parseSeconds, { takes: 'a number above 0' })

function parseSeconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (!(value > 0 && value <= 1e7)) throw new InvalidArgumentError('It must be a positive number of seconds.')
  return value
}

/** `--workers`: how many threads, one a core unless somebody says otherwise. */
export function workersOption(about: string, min = 1): Option {
  return new Option('--workers <count>', about).argParser(wholeNumber(min, 256)).default(os.availableParallelism(), 'one a core')
}

/** `--out`: a folder, given from the root of the repository where it is left out. */
export function folderOption(about: string, folder: string): Option {
  return new Option('--out <folder>', about).default(path.join(__dirname, '..', folder), folder)
}
