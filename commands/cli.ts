/** What the command lines share: options that are refused in one clear line, with exit code 2. */
import { type Command, CommanderError, InvalidArgumentError } from 'commander'
import { EXIT_CODES } from '../sim/verdict'

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

/** Parses the arguments after the script's name; gives an exit code where the program has nothing to do. */
export function parseOrExitCode(command: Command, args: readonly string[]): number | null {
  command.exitOverride().configureOutput({
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

/** A parser of whole numbers in [min, max]. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`)
    return value
  }
}

/** A parser of numbers of seconds: digits, with an optional fraction. */
export function seconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (!(value > 0 && value <= 1e7)) throw new InvalidArgumentError('It must be a positive number of seconds.')
  return value
}
