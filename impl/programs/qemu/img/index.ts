/** The program qemu-img: finds the subcommand, which is loaded when it is called. */
import { DRIVERS } from '../../../blockdev'
import { GetOpt } from '../../../io'
import { standardTerminals } from '../terminal'
import { Tool } from '../tool'
import { versionText } from '../tool_text'
import { type ImgCommand, longOptions } from './command'

const COMMANDS: Readonly<Record<string, () => ImgCommand>> = {
  amend: () => (require('./amend') as typeof import('./amend')).AMEND,
  bitmap: () => (require('./bitmap') as typeof import('./bitmap')).BITMAP,
  check: () => (require('./check') as typeof import('./check')).CHECK,
  compare: () => (require('./compare') as typeof import('./compare')).COMPARE,
  convert: () => (require('./convert') as typeof import('./convert')).CONVERT,
  create: () => (require('./create') as typeof import('./create')).CREATE,
  dd: () => (require('./dd') as typeof import('./dd')).DD,
  commit: () => (require('./commit') as typeof import('./commit')).COMMIT,
  rebase: () => (require('./rebase') as typeof import('./rebase')).REBASE,
  bench: () => (require('./bench') as typeof import('./bench')).BENCH,
  info: () => (require('./info') as typeof import('./info')).INFO,
  map: () => (require('./map') as typeof import('./map')).MAP,
  measure: () => (require('./measure') as typeof import('./measure')).MEASURE,
  resize: () => (require('./resize') as typeof import('./resize')).RESIZE,
  snapshot: () => (require('./snapshot') as typeof import('./snapshot')).SNAPSHOT,
}

/** All subcommands, loaded. */
export function imgCommands(): ImgCommand[] {
  return Object.values(COMMANDS).map((load) => load())
}

function helpText(name: string): string {
  const lines = imgCommands().map((command) => `  ${command.name.padEnd(10)} ${command.summary}\n`)
  const formats = DRIVERS.map((driver) => driver.name).join(' ')
  return (
    `${versionText(name)}usage: ${name} [standard options] COMMAND [--help | command options]\n` +
    `Works on disk images.\n\n    '-h', '--help'       display this help and exit\n` +
    `    '-V', '--version'    output version information and exit\n` +
    `    '-T', '--trace'      accepted, without effect\n\nCommands:\n\n${lines.join('')}\n` +
    `Run '${name} COMMAND --help' for details.\n\nSupported formats: ${formats}\n`
  )
}

/** The options before the subcommand. Gives an exit code, or the words that are left. */
function takeStandardOptions(tool: Tool, args: readonly string[]): number | string[] {
  const getopt = new GetOpt(tool.name, args, '+hVT:', longOptions('help=h', 'version=V', 'trace=T:'), (line) =>
    tool.terminals.err.write(`${line}\n`),
  )
  for (let key = getopt.next(); key !== null; key = getopt.next()) {
    if (key === 'h') tool.print(helpText(tool.name))
    if (key === 'V') tool.print(versionText(tool.name))
    if (key === 'h' || key === 'V') return 0
    if (key === '?') return hint(tool)
  }
  return getopt.operands
}

function hint(tool: Tool): number {
  tool.terminals.err.write(`Try '${tool.name} --help' for more information\n`)
  return 1
}

/** Runs qemu-img under a name. Gives the exit code. */
export async function runImg(name: string, args: readonly string[]): Promise<number> {
  const tool = new Tool(name, standardTerminals())
  const words = takeStandardOptions(tool, args)
  if (typeof words === 'number') {
    tool.terminals.out.flush()
    return words
  }
  const [command, ...rest] = words
  if (command === undefined) {
    tool.complain('Not enough arguments')
    return hint(tool)
  }
  if (!Object.hasOwn(COMMANDS, command)) {
    tool.complain(`Command not found: ${command}`)
    return hint(tool)
  }
  const subcommand = COMMANDS[command]!()
  return await tool.run(() => subcommand.run(tool, rest))
}
