/** The command line of qemu-io, and the letters of its command `open`, which mean the same. */
import { GetOpt, type LongOption } from '../../io'
import type { Tool } from './tool'
import { type CacheMode, parseCacheMode, ToolExit } from './tool'

export interface IoOpening {
  format: string | null
  isOptions: boolean
  isReadOnly: boolean
  isSnapshot: boolean
  copiesOnRead: boolean
  forceShare: boolean
  cache: CacheMode
  discard: 'ignore' | 'unmap'
  detectZeroes: string | null
  aio: string | null
}

export interface IoArguments extends IoOpening {
  commands: string[]
  filename: string | null
  /** What is to be printed instead of anything else. */
  asked: 'help' | 'version' | null
}

export function newOpening(): IoOpening {
  return {
    format: null,
    isOptions: false,
    isReadOnly: false,
    isSnapshot: false,
    copiesOnRead: false,
    forceShare: false,
    cache: { direct: false, noFlush: false, writethrough: true },
    // Unlike everywhere else: what is discarded here is to be gone.
    discard: 'unmap',
    detectZeroes: null,
    aio: null,
  }
}

const LONG: readonly LongOption[] = [
  { name: 'help', argument: 'none', key: 'h' },
  { name: 'version', argument: 'none', key: 'V' },
  { name: 'cmd', argument: 'required', key: 'c' },
  { name: 'format', argument: 'required', key: 'f' },
  { name: 'read-only', argument: 'none', key: 'r' },
  { name: 'snapshot', argument: 'none', key: 's' },
  { name: 'nocache', argument: 'none', key: 'n' },
  { name: 'copy-on-read', argument: 'none', key: 'C' },
  { name: 'misalign', argument: 'none', key: 'm' },
  { name: 'native-aio', argument: 'none', key: 'k' },
  { name: 'aio', argument: 'required', key: 'i' },
  { name: 'discard', argument: 'required', key: 'd' },
  { name: 'cache', argument: 'required', key: 't' },
  { name: 'trace', argument: 'required', key: 'T' },
  { name: 'force-share', argument: 'none', key: 'U' },
  { name: 'object', argument: 'required', key: 'object' },
  { name: 'image-opts', argument: 'none', key: 'image-opts' },
]

/** One letter that says how an image is opened. Throws an Error with the complaint. */
export function takeOpening(opening: IoOpening, letter: string, value: string): boolean {
  switch (letter) {
    case 's':
      opening.isSnapshot = true
      return true
    case 'r':
      opening.isReadOnly = true
      return true
    case 'C':
      opening.copiesOnRead = true
      return true
    case 'U':
      opening.forceShare = true
      return true
    case 'n':
      opening.cache = { ...opening.cache, direct: true, writethrough: false }
      return true
    case 'k':
      opening.aio = 'native'
      return true
    case 'i':
      if (value !== 'threads' && value !== 'native' && value !== 'io_uring') throw new Error(`Invalid aio option: ${value}`)
      opening.aio = value
      return true
    case 't': {
      const cache = parseCacheMode(value)
      if (cache === null) throw new Error(`Invalid cache option: ${value}`)
      opening.cache = cache
      return true
    }
    case 'd':
      if (['ignore', 'off', 'unmap', 'on'].includes(value)) {
        opening.discard = value === 'unmap' || value === 'on' ? 'unmap' : 'ignore'
        return true
      }
      throw new Error(`Invalid discard option: ${value}`)
    default:
      return false
  }
}

/** Throws ToolExit. */
export function parseIoArguments(tool: Tool, args: readonly string[], usage: () => string): IoArguments {
  const parsed: IoArguments = { ...newOpening(), commands: [], filename: null, asked: null }
  const getopt = new GetOpt(tool.name, args, 'hVc:d:f:rsnCmki:t:T:U', LONG, (line) => tool.terminals.err.write(`${line}\n`))
  for (let key = getopt.next(); key !== null; key = getopt.next()) {
    const { argument } = getopt
    if (key === 'h') return { ...parsed, asked: 'help' }
    if (key === 'V') return { ...parsed, asked: 'version' }
    if (key === 'c') parsed.commands.push(argument)
    else if (key === 'f') parsed.format = argument
    else if (key === 'object') tool.addObject(argument)
    else if (key === 'image-opts') parsed.isOptions = true
    else if (key === '?') {
      tool.print(usage())
      throw new ToolExit(1)
    } else if (key !== 'm' && key !== 'T') take(tool, parsed, key, argument)
  }
  if (getopt.operands.length > 1) {
    tool.print(usage())
    throw new ToolExit(1)
  }
  if (parsed.format !== null && parsed.isOptions) tool.fail('--image-opts and -f are mutually exclusive')
  return { ...parsed, filename: getopt.operands[0] ?? null }
}

function take(tool: Tool, opening: IoOpening, key: string, value: string): void {
  try {
    takeOpening(opening, key, value)
  } catch (error) {
    tool.fail((error as Error).message)
  }
}
