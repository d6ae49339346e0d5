/**
 * npm run debug -- REPORT: steps through the world of a report in a terminal. It runs the world once, films it as the page of
 * `npm run view` does, and moves in the film. Commands come from the terminal, a file, the command line or a pipe; where
 * nobody types, output is plain and repeats each command.
 */
import * as fs from 'node:fs'
import { Command } from 'commander'
import { readReport } from '../reports/format'
import { Viewing } from '../reports/viewer/viewing'
import { changeNote } from '../reports/viewer/words'
import { EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, parseOrExitCode, runProgram, type Streams, UsageError } from './cli'
import { GuestNotes } from './debug/guest_notes'
import { Session } from './debug/session'
import { filmOf } from './simulators'

const EXIT_UNMET = 1
const SCRIPT_BYTES_MAX = 1 << 20

interface Options {
  script?: string
  command?: string[]
}

/** Films the world of a report. Throws UsageError where that cannot be. */
export function openSession(file: string): { session: Session; note: string } {
  const reading = readReport(file)
  if (!reading.ok) throw new UsageError(reading.reason)
  const { report } = reading
  const notes = new GuestNotes()
  const film = filmOf(report.plan, report.decisions, [notes.factory])
  if (film.frames.length === 0) throw new UsageError(`${file}: ${film.result.failure?.text ?? 'the world has no event'}`)
  return { session: new Session(new Viewing([film]), notes), note: changeNote(report, film, 'as it is now') }
}

/** Runs lines; stops at the first that cannot be understood. Gives the exit code. */
export function runScript(session: Session, lines: readonly string[], { out, err }: Streams): number {
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue
    out.write(`> ${line.trim()}\n`)
    try {
      out.write(
        session
          .execute(line)
          .map((text) => `${text}\n`)
          .join(''),
      )
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      err.write(`debug: command ${index + 1}: ${error.message}\n`)
      return EXIT_USAGE
    }
    if (session.isOver) break
  }
  return session.isUnmet ? EXIT_UNMET : EXIT_OK
}

/** Talks with a person; an empty line repeats the last command. */
function converse(session: Session): Promise<number> {
  const readline: typeof import('node:readline') = require('node:readline')
  const prompt = (): string => `#${session.viewing.frame.step}> `
  const completer = (line: string): [string[], string] => [session.commandNames.filter((name) => name.startsWith(line)), line]
  const terminal = readline.createInterface({ input: process.stdin, output: process.stdout, completer })
  return new Promise((resolve) => {
    let last = 'help'
    const ask = (): void => {
      terminal.setPrompt(prompt())
      terminal.prompt()
    }
    terminal.on('line', (line) => {
      session.columns = process.stdout.columns
      last = line.trim() === '' ? last : line
      try {
        for (const text of session.execute(last)) process.stdout.write(`${text}\n`)
      } catch (error) {
        if (!(error instanceof UsageError)) throw error
        process.stdout.write(`${error.message}\n`)
      }
      if (session.isOver) terminal.close()
      else ask()
    })
    terminal.on('SIGINT', () => {
      resolve(EXIT_INTERRUPTED)
      terminal.close()
    })
    terminal.on('close', () => {
      // Whatever comes next begins a line.
      if (!session.isOver) process.stdout.write('\n')
      resolve(EXIT_OK)
    })
    process.stdout.write('Type help for the commands; Tab completes them, an empty line repeats the last one.\n')
    ask()
  })
}

function readScript(file: string | 0): string[] {
  let text: string
  try {
    text = fs.readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(
      `${file === 0 ? 'standard input' : file}: cannot be read: ${(error as NodeJS.ErrnoException).code ?? error}`,
    )
  }
  if (text.length > SCRIPT_BYTES_MAX)
    throw new UsageError(`${file}: more than ${SCRIPT_BYTES_MAX} bytes are too many for a script`)
  return text.split('\n')
}

/** The options, as --help and docs/reference.md show them. */
export function definition(): Command {
  return new Command('debug')
    .description('Steps through the world of a report, forwards and backwards.')
    .argument('<file>', 'a report')
    .option('--script <file>', 'take commands from a file')
    .option('-c, --command <line>', 'a command; may be given several times', (line: string, lines: string[] = []) => [
      ...lines,
      line,
    ])
    .addHelpText('after', '\nType help for the commands. Exit codes: 0, 1 an until or expect was not met, 2 usage.\n')
    .allowExcessArguments(false)
}

export async function main(args: readonly string[], streams: Streams): Promise<number> {
  const command = definition()
  const exitCode = parseOrExitCode(command, args, streams)
  if (exitCode !== null) return exitCode
  const { script, command: given } = command.opts<Options>()
  const isTalk = script === undefined && given === undefined && process.stdin.isTTY === true
  const lines = given ?? (isTalk ? [] : readScript(script ?? 0))
  const { session, note } = openSession(command.args[0]!)
  if (note !== '') streams.err.write(`debug: ${note}\n`)
  streams.out.write(
    session
      .here()
      .map((text) => `${text}\n`)
      .join(''),
  )
  return isTalk ? converse(session) : runScript(session, lines, streams)
}

if (require.main === module) runProgram('debug', main)
