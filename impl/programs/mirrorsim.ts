/** The command `mirrorsim`: finds the program that is meant and runs it to an exit code. */
import { Command, CommanderError } from 'commander'
import { EPIPE, strerror } from '../co'
import { errnoOf } from '../host'
import { defectText, mirrorCommand } from './mirror_command'
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from './mirror_failure'
import { VERSION } from './version'

async function main(args: readonly string[]): Promise<number> {
  const { stdout, stderr } = process
  let exitCode: number = EXIT_OK
  const command = new Command('mirrorsim')
    .description('A block-device emulator and live mirror.')
    .version(VERSION, '-V, --version', 'print the version')
  command.addCommand(
    mirrorCommand({ out: stdout, err: stderr }, (code) => {
      exitCode = code
    }),
  )
  for (const each of [command, ...command.commands]) {
    each
      .exitOverride()
      .showSuggestionAfterError(false)
      .configureOutput({
        outputError: (text, write) => write(`mirrorsim: ${text.replace(/^error: /, '')}`),
      })
  }
  try {
    await command.parseAsync(args, { from: 'user' })
    return exitCode
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE
  }
}

// Where nobody reads the result any more there is nothing to say; one that is lost is a failure.
process.stdout.on('error', (error) => {
  const errno = errnoOf(error)
  if (errno !== EPIPE) process.stderr.write(`mirrorsim: standard output: ${strerror(errno)}: the result is not printed\n`)
  process.exit(EXIT_FAILURE)
})
process.stderr.on('error', () => {})
main(process.argv.slice(2)).then(
  (exitCode) => {
    process.exitCode = exitCode
  },
  (error) => {
    process.stderr.write(defectText(error))
    process.exitCode = EXIT_FAILURE
  },
)
