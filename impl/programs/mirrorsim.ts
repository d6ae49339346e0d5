/** The command `mirrorsim`: finds the program that is meant and runs it to an exit code. */
import { Command, CommanderError } from 'commander'
import { defectText, mirrorCommand } from './mirror_command'
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from './mirror_failure'

async function main(args: readonly string[]): Promise<number> {
  const { stdout, stderr } = process
  let exitCode: number = EXIT_OK
  const command = new Command('mirrorsim').description('A block-device emulator and live mirror.')
  command.addCommand(
    mirrorCommand({ out: stdout, err: stderr }, (code) => {
      exitCode = code
    }),
  )
  for (const each of [command, ...command.commands]) {
    each.exitOverride().configureOutput({
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

main(process.argv.slice(2)).then(
  (exitCode) => {
    process.exitCode = exitCode
  },
  (error) => {
    process.stderr.write(defectText(error))
    process.exitCode = EXIT_FAILURE
  },
)
