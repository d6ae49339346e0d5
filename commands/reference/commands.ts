/**
 * The reference of command lines, made of the definitions that the commands parse with. A command of `npm run` is a script of
 * package.json that starts a file of `commands`, and that file exports `definition()`.
 *
 * What may fail: a file without one, as an error that names it.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Argument, Command, Option } from 'commander'

const root = path.resolve(__dirname, '../..')
const SCRIPT = / commands\/(\w+)\.ts$/

export interface DefinedCommand {
  /** Behind `npm run`. */
  script: string
  command: Command
}

/** All commands of package.json, in its order. */
export function definedCommands(): DefinedCommand[] {
  const { scripts }: { scripts: Record<string, string> } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  return Object.entries(scripts).flatMap(([script, line]) => {
    const file = SCRIPT.exec(line)?.[1]
    if (file === undefined) return []
    const { definition }: { definition?: () => Command } = require(`../${file}`)
    if (definition === undefined) throw new Error(`commands/${file}.ts exports no definition() of its options`)
    return [{ script, command: definition() }]
  })
}

/** What may stand in a cell of a table. */
export function cell(text: string): string {
  return text.replace(/\s+/g, ' ').replaceAll('|', '\\|').trim()
}

export function table(head: readonly string[], rows: ReadonlyArray<readonly string[]>): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)]
}

/** A line a command, for the README as well. */
export function commandTable(commands: readonly DefinedCommand[]): string[] {
  const rows = commands.map(({ script, command }) => [`\`npm run ${script}\``, command.description()])
  return table(['command', 'what it does'], rows)
}

/** One command: how it is called, its arguments and options, what its help says besides; and the same of its subcommands. */
export function commandSection(title: string, call: string, command: Command, depth = 3): string[] {
  const head = [`${'#'.repeat(depth)} ${title}`, '', command.description(), '']
  const below = command.commands.flatMap((one) =>
    commandSection(`${title} ${one.name()}`, `${call} ${one.name()}`, one, depth + 1),
  )
  if (below.length > 0) return [...head, ...below]
  const usage = [call, ...command.registeredArguments.map(argumentText), ...(command.options.length > 0 ? ['[options]'] : [])]
  const rows = [
    ...command.registeredArguments.map((one) => [`\`${argumentText(one)}\``, '', '', one.description]),
    ...command.options.map((option) => [`\`${option.flags}\``, takesText(option), defaultText(option), meaningOf(option)]),
  ]
  const more = textAfterHelp(command)
  return [
    ...head,
    '```sh',
    usage.join(' '),
    '```',
    '',
    ...(rows.length === 0 ? [] : [...table(['argument or option', 'takes', 'default', 'meaning'], rows), '']),
    ...(more === '' ? [] : ['```text', more, '```', '']),
  ]
}

/** A command, or all of its subcommands. */
export function leavesOf(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leavesOf)
}

function meaningOf({ description, mandatory }: Option): string {
  return mandatory ? `${description}; must be given` : description
}

function argumentText(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`
  return argument.required ? `<${name}>` : `[${name}]`
}

function takesText(option: Option): string {
  if (option.argChoices !== undefined) return option.argChoices.join(', ')
  if (!option.required && !option.optional) return ''
  if (option.parseArg === undefined) return 'text'
  return (option.parseArg as { takes?: string }).takes ?? ''
}

function defaultText({ defaultValue, defaultValueDescription, negate }: Option): string {
  if (defaultValueDescription !== undefined) return defaultValueDescription
  // `--no-times` is what sets `times` to false: said by its name.
  if (negate || defaultValue === undefined || defaultValue === '') return ''
  const text = String(defaultValue)
  return path.isAbsolute(text) ? path.relative(root, text) : text
}

/** The part of --help behind the options. */
function textAfterHelp(command: Command): string {
  let whole = ''
  command.configureOutput({
    writeOut: (text) => {
      whole += text
    },
  })
  command.outputHelp()
  const options = command.helpInformation()
  return whole.slice(whole.indexOf(options) + options.length).trim()
}
