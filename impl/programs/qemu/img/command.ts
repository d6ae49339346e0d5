/**
 * A subcommand of qemu-img: its options, its help, its complaints.
 *
 * What may fail: wrong options and operands, as ToolExit after the complaint and the hint where help is to be found.
 */

import { type CreateOption, type CreateOptions, createOptionLines, creatorsOf, findDriver, parseSize } from '../../../blockdev'
import type { Co } from '../../../co'
import { GetOpt, type LongOption } from '../../../io'
import { type CacheMode, parseCacheMode, type Tool, ToolExit } from '../tool'

export interface ImgCommand {
  name: string
  summary: string
  usage: string
  run(tool: Tool, args: readonly string[]): Co<number>
}

/** Long options that have a letter: `format=f`; with a trailing `:` they take an argument. */
export function longOptions(...specifications: readonly string[]): LongOption[] {
  return specifications.map((specification) => {
    const takesArgument = specification.endsWith(':')
    const [name = '', key = name] = (takesArgument ? specification.slice(0, -1) : specification).split('=')
    return { name, key, argument: takesArgument ? 'required' : 'none' }
  })
}

/** Says what is wrong and where help is. */
export function usageError(tool: Tool, command: string, text: string, code = 1): never {
  tool.complain(text)
  return tryHelp(tool, command, code)
}

function tryHelp(tool: Tool, command: string, code: number): never {
  tool.terminals.err.write(`Try '${tool.name} ${command} --help' for more information\n`)
  throw new ToolExit(code)
}

/** Goes through the options; `--object`, `-h` and wrong ones are dealt with here. Gives the operands. */
export function parseOptions(
  tool: Tool,
  command: ImgCommand,
  args: readonly string[],
  letters: string,
  long: readonly LongOption[],
  take: (key: string, value: string) => void,
): string[] {
  const names = [...longOptions('help=h', 'object=object:'), ...long]
  const getopt = new GetOpt(`${tool.name} ${command.name}`, args, `h${letters}`, names, (line) =>
    tool.terminals.err.write(`${line}\n`),
  )
  for (let key = getopt.next(); key !== null; key = getopt.next()) {
    if (key === '?') tryHelp(tool, command.name, 1)
    if (key === 'h') {
      tool.print(commandHelp(tool.name, command))
      throw new ToolExit(0)
    }
    if (key === 'object') tool.addObject(getopt.argument)
    else take(key, getopt.argument)
  }
  return getopt.operands
}

function commandHelp(program: string, { name, summary, usage }: ImgCommand): string {
  return `${summary} Usage:\n\n  ${program} ${name} ${usage}\n\nArguments:\n  -h, --help\n     show this help and exit\n`
}

const INT64_MAX = 2n ** 63n - 1n

/** A number of an option. Throws ToolExit. */
export function sizeArgument(tool: Tool, what: string, text: string, min = 0n, max = INT64_MAX): number {
  const bytes = parseSize(text)
  if (bytes === null) {
    tool.complain(`Invalid ${what} specified. You may use k, M, G, T, P or E suffixes for`)
    return tool.fail('kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.')
  }
  if (bytes === 'range' || BigInt(bytes) > max || BigInt(bytes) < min) {
    return tool.fail(`Invalid ${what} specified. Must be between ${min} and ${max}.`)
  }
  return bytes
}

export type OutputFormat = 'human' | 'json'

export function outputFormat(tool: Tool, command: string, text: string): OutputFormat {
  if (text === 'human' || text === 'json') return text
  return usageError(tool, command, `--output expects 'human' or 'json', not '${text}'`)
}

export function cacheArgument(tool: Tool, text: string, what = 'cache', code = 1): CacheMode {
  return parseCacheMode(text) ?? tool.fail(`Invalid ${what} option: ${text}`, code)
}

/** A list of creation options that is none. */
export function checkOptionList(tool: Tool, text: string): void {
  const isOther = text.startsWith(',') || (text.endsWith(',') && !text.endsWith(',,')) || text === ''
  if (isOther) tool.fail(`Invalid option list: ${text}`)
}

/** Whether one of the lists asks for help instead. */
export function asksForHelp(texts: readonly string[]): boolean {
  return texts.some((text) => text.split(',').some((item) => item === 'help' || item === '?'))
}

/** `-o help`. */
export function printCreateHelp(tool: Tool, format: string, filename: string | null): number {
  if (filename === null) {
    const driver = findDriver(format)
    if (driver === null) return tool.fail(`Unknown file format '${format}'`)
    if (driver.createOptions === undefined) return tool.fail(`Format driver '${format}' does not support image creation`)
    tool.print(`Supported ${format} options:\n${createOptionLines(driver.createOptions).join('\n')}\n`)
    tool.print('\nThe protocol level may support further options.\nSpecify the target filename to include those options.\n')
    return 0
  }
  const { driver, protocol } = creatorsOf(tool.context, format, filename)
  const known: CreateOption[] = []
  for (const option of [...(driver.createOptions ?? []), ...(protocol.createOptions ?? [])]) {
    if (!known.some(({ name }) => name === option.name)) known.push(option)
  }
  tool.print(`Supported options:\n${createOptionLines(known).join('\n')}\n`)
  return 0
}

/** The options that an image of this format under this name can be made with, with what the user has said. */
export function createOptionsOf(tool: Tool, format: string, filename: string, texts: readonly string[]): CreateOptions {
  const { options } = creatorsOf(tool.context, format, filename)
  for (const text of texts) options.parse(text)
  return options
}
