/** The command line of qemu-nbd. */

import { parseNumber, SizeError } from '../../blockdev'
import { GetOpt, type LongOption } from '../../io'
import { DEFAULT_PORT } from '../../nbd'
import { type CacheMode, parseCacheMode, type Tool, ToolExit } from './tool'

export interface NbdArguments {
  /** What is to be printed instead of anything else. */
  asked: 'help' | 'version' | null
  filename: string | null
  isList: boolean
  isOptions: boolean
  format: string | null
  socketPath: string | null
  bind: string | null
  port: number | null
  shared: number
  isPersistent: boolean
  isVerbose: boolean
  exportName: string | null
  description: string | null
  bitmaps: string[]
  allocationDepth: boolean
  isReadOnly: boolean
  offsetBytes: number
  cache: CacheMode
  aio: string | null
  discard: 'ignore' | 'unmap'
  detectZeroes: string | null
  tlsCredentials: string | null
  tlsHostname: string | null
  handshakeLimitSeconds: number
  isForking: boolean
  pidFile: string | null
}

const plain = (name: string, key = name): LongOption => ({ name, argument: 'none', key })
const valued = (name: string, key = name): LongOption => ({ name, argument: 'required', key })

const LONG: readonly LongOption[] = [
  plain('help', 'h'),
  plain('version', 'V'),
  valued('port', 'p'),
  valued('bind', 'b'),
  valued('socket', 'k'),
  valued('offset', 'o'),
  plain('read-only', 'r'),
  valued('bitmap', 'B'),
  plain('allocation-depth', 'A'),
  valued('connect', 'c'),
  plain('disconnect', 'd'),
  plain('list', 'L'),
  plain('snapshot', 's'),
  valued('load-snapshot', 'l'),
  plain('nocache', 'n'),
  valued('cache'),
  valued('aio'),
  valued('discard'),
  valued('detect-zeroes'),
  valued('shared', 'e'),
  valued('format', 'f'),
  plain('persistent', 't'),
  plain('verbose', 'v'),
  valued('export-name', 'x'),
  valued('description', 'D'),
  valued('handshake-limit'),
  valued('tls-creds'),
  valued('tls-hostname'),
  valued('tls-authz'),
  valued('object'),
  valued('trace', 'T'),
  valued('selinux-label'),
  valued('pid-file'),
  plain('image-opts'),
  plain('fork'),
]

function defaults(): NbdArguments {
  return {
    asked: null,
    filename: null,
    isList: false,
    isOptions: false,
    format: null,
    socketPath: null,
    bind: null,
    port: null,
    shared: 1,
    isPersistent: false,
    isVerbose: false,
    exportName: null,
    description: null,
    bitmaps: [],
    allocationDepth: false,
    isReadOnly: false,
    offsetBytes: 0,
    cache: { direct: false, noFlush: false, writethrough: false },
    aio: null,
    discard: 'ignore',
    detectZeroes: null,
    tlsCredentials: null,
    tlsHostname: null,
    handshakeLimitSeconds: 10,
    isForking: false,
    pidFile: null,
  }
}

/** Throws ToolExit. */
export function parseNbdArguments(tool: Tool, args: readonly string[]): NbdArguments {
  const parsed = defaults()
  const seen = new Set<string>()
  const getopt = new GetOpt(tool.name, args, 'hVb:o:p:rsnc:dvk:e:f:tl:x:T:D:AB:L', LONG, (line) =>
    tool.terminals.err.write(`${line}\n`),
  )
  for (let key = getopt.next(); key !== null; key = getopt.next()) {
    if (key === '?') tool.fail("Try `qemu-nbd --help' for more information.")
    if (key === 'h' || key === 'V') return { ...parsed, asked: key === 'h' ? 'help' : 'version' }
    take(tool, parsed, seen, key, getopt.argument)
  }
  const { operands } = getopt
  if (parsed.isList) checkList(tool, parsed, operands)
  else if (operands.length !== 1) {
    tool.complain('Invalid number of arguments')
    tool.terminals.err.write("Try `qemu-nbd --help' for more information.\n")
    throw new ToolExit(1)
  }
  if (parsed.tlsHostname !== null && !parsed.isList) tool.fail('TLS hostname is only supported with export list')
  if (parsed.tlsHostname !== null && parsed.tlsCredentials === null)
    tool.fail('TLS hostname is only supported with TLS credentials')
  if (parsed.isOptions && parsed.format !== null) tool.fail('--image-opts and -f are mutually exclusive')
  return { ...parsed, filename: operands[0] ?? null }
}

function checkList(tool: Tool, parsed: NbdArguments, operands: readonly string[]): void {
  if (operands.length > 0) tool.fail('List mode is incompatible with a file name')
  const isPerDevice =
    parsed.exportName !== null ||
    parsed.description !== null ||
    parsed.offsetBytes > 0 ||
    parsed.format !== null ||
    parsed.bitmaps.length > 0 ||
    parsed.allocationDepth ||
    parsed.shared !== 1
  if (isPerDevice) tool.fail('List mode is incompatible with per-device settings')
  if (parsed.isForking) tool.fail('List mode is incompatible with forking')
}

function take(tool: Tool, parsed: NbdArguments, seen: Set<string>, key: string, value: string): void {
  const once = (name: string, shown: string): void => {
    if (seen.has(name)) tool.fail(`${shown} can only be specified once`)
    seen.add(name)
  }
  switch (key) {
    case 'L':
      parsed.isList = true
      return
    case 'image-opts':
      parsed.isOptions = true
      return
    case 'f':
      parsed.format = value
      return
    case 'r':
      parsed.isReadOnly = true
      return
    case 'o':
      parsed.offsetBytes = offset(tool, value)
      return
    case 'n':
    case 'cache':
      once('cache', '-n and --cache')
      parsed.cache = cacheMode(tool, key === 'n' ? 'none' : value)
      return
    case 'aio':
      once('aio', '--aio')
      if (!['threads', 'native', 'io_uring'].includes(value)) tool.fail(`Invalid aio mode '${value}'`)
      parsed.aio = value
      return
    case 'discard':
      once('discard', '--discard')
      if (!['ignore', 'off', 'unmap', 'on'].includes(value)) tool.fail(`Invalid discard mode \`${value}'`)
      parsed.discard = value === 'unmap' || value === 'on' ? 'unmap' : 'ignore'
      return
    case 'detect-zeroes':
      if (!['off', 'on', 'unmap'].includes(value))
        tool.fail(`Failed to parse detect_zeroes mode: invalid parameter value: ${value}`)
      parsed.detectZeroes = value
      return
    case 'object':
      tool.addObject(value)
      return
    default:
      takeExport(tool, parsed, key, value)
  }
}

/** What is not about the image. */
function takeExport(tool: Tool, parsed: NbdArguments, key: string, value: string): void {
  switch (key) {
    case 'k':
      if (!value.startsWith('/')) tool.fail('socket path must be absolute')
      parsed.socketPath = value
      return
    case 'b':
      parsed.bind = value
      return
    case 'p':
      parsed.port = number(tool, value, 0, 65535, `Invalid port number '${value}'`)
      return
    case 'e':
      parsed.shared = number(tool, value, 0, 2 ** 31 - 1, `Invalid shared device number '${value}'`)
      return
    case 't':
      parsed.isPersistent = true
      return
    case 'v':
      parsed.isVerbose = true
      return
    case 'x':
      if (Buffer.byteLength(value) > 4096) tool.fail(`export name '${value}' too long`)
      parsed.exportName = value
      return
    case 'D':
      if (Buffer.byteLength(value) > 4096) tool.fail(`export description '${value}' too long`)
      parsed.description = value
      return
    case 'B':
      parsed.bitmaps.push(value)
      return
    case 'A':
      parsed.allocationDepth = true
      return
    case 'tls-creds':
      parsed.tlsCredentials = value
      return
    case 'tls-hostname':
      parsed.tlsHostname = value
      return
    case 'handshake-limit':
      parsed.handshakeLimitSeconds = number(tool, value, 0, 2 ** 31 - 1, `Invalid handshake limit '${value}'`)
      return
    case 'fork':
      parsed.isForking = true
      return
    case 'pid-file':
      parsed.pidFile = value
      return
    case 'T':
    case 'selinux-label':
      return
    default:
      tool.fail(UNSUPPORTED.get(key) ?? `option '${key}' is not supported`)
  }
}

const UNSUPPORTED = new Map([
  ['c', 'Kernel /dev/nbdN support not available'],
  ['d', 'Kernel /dev/nbdN support not available'],
  ['s', 'temporary layers (-s) are not supported'],
  ['l', 'exporting internal snapshots (-l) is not supported'],
  ['tls-authz', '--tls-authz is not supported'],
])

function cacheMode(tool: Tool, value: string): CacheMode {
  return parseCacheMode(value) ?? tool.fail(`Invalid cache mode \`${value}'`)
}
function number(tool: Tool, value: string, least: number, most: number, text: string): number {
  const parsed = parseNumber(value)
  return parsed === null || parsed < least || parsed > most ? tool.fail(text) : parsed
}
/** A number as strtoull has it, without the suffixes of other sizes. */
const OFFSET = /^\s*\+?(?:(0x[0-9a-f]+)|0([0-7]*)|([1-9]\d*))$/i

function offset(tool: Tool, value: string): number {
  const [whole, hexadecimal, octal, decimal] = OFFSET.exec(value) ?? []
  if (whole === undefined && !/^\s*-\d+$/.test(value)) tool.fail(`Invalid offset '${value}'`)
  const bytes = Number(hexadecimal ?? (octal === undefined ? (decimal ?? -1) : `0o0${octal}`))
  return Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : tool.failWith(new SizeError('offset'))
}

/** Where to listen: 127.0.0.1 unless another address is asked for. */
export const DEFAULT_BIND = '127.0.0.1'
export { DEFAULT_PORT }
