/** The command `mirrorsim`: finds the program that is meant and runs it to an exit code. */
import * as path from 'node:path'
import { EPIPE, strerror } from '../co'
import { errnoOf } from '../host'
import { defectText } from './defect'
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from './mirror_failure'
import { VERSION } from './version'

type QemuProgram = (name: string, args: readonly string[]) => Promise<number>

/** By the architecture in its name, too. */
const SYSTEM_PREFIX = 'qemu-system-'
function loadSystem(): QemuProgram {
  return (require('./qemu/system') as typeof import('./qemu/system')).runSystem
}

/** Programs of QEMU's shape: by the name under which this one is called, or by a first argument. Loaded when they run. */
const QEMU_PROGRAMS: ReadonlyArray<readonly [name: string, argument: string, load: () => QemuProgram]> = [
  ['qemu-img', 'img', () => (require('./qemu/img') as typeof import('./qemu/img')).runImg],
  ['qemu-io', 'io', () => (require('./qemu/io') as typeof import('./qemu/io')).runIo],
  [
    'qemu-storage-daemon',
    'storage-daemon',
    () => (require('./qemu/storage_daemon') as typeof import('./qemu/storage_daemon')).runStorageDaemon,
  ],
  ['qemu-nbd', 'nbd', () => (require('./qemu/nbd') as typeof import('./qemu/nbd')).runNbd],
  ['qemu-system-x86_64', 'system', loadSystem],
]

const QEMU_PROGRAMS_HELP = `
In the place of QEMU's programs, with their options and output; also where a link of that name is called:
${QEMU_PROGRAMS.map(([name, argument]) => `  ${argument.padEnd(30)}${name}`).join('\n')}
`

/** The program that is meant, or null for those of our own shape. */
function findQemuProgram(calledAs: string, args: readonly string[]): Promise<number> | null {
  if (calledAs.startsWith(SYSTEM_PREFIX)) return loadSystem()(calledAs, args)
  for (const [name, argument, load] of QEMU_PROGRAMS) {
    if (calledAs === name || calledAs === `mirrorsim-${argument}`) return load()(name, args)
    if (args[0] === argument) return load()(name, args.slice(1))
  }
  return null
}

async function main(args: readonly string[]): Promise<number> {
  const program = findQemuProgram(path.basename(process.argv[1] ?? ''), args)
  if (program !== null) return await program
  const { Command, CommanderError }: typeof import('commander') = require('commander')
  const { mirrorCommand }: typeof import('./mirror_command') = require('./mirror_command')
  const { stdout, stderr } = process
  let exitCode: number = EXIT_OK
  const command = new Command('mirrorsim')
    .description('A block-device emulator and live mirror.')
    .version(VERSION, '-V, --version', 'print the version')
    .addHelpText('after', QEMU_PROGRAMS_HELP)
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
