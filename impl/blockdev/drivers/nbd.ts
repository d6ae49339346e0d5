/** `nbd`: exports of NBD servers. */
import { BlockError } from '../../block'
import { type Co, EINVAL, type SocketAddress, type TlsCredentials } from '../../co'
import { DEFAULT_PORT, openNbd, parseNbdName } from '../../nbd'
import type { BlockdevContext } from '../context'
import type { BlockdevDriver, Opened, Opening } from '../driver'
import type { Options } from '../options'

const SERVER_TYPES = ['inet', 'unix', 'vsock', 'fd'] as const
/** Of an address; the host's sockets have them as they are. */
const TUNING = ['numeric', 'to', 'ipv4', 'ipv6', 'keep-alive', 'mptcp', 'abstract', 'tight'] as const
/** The name asks for TLS: for whoever takes the options apart. */
const TLS_MARK = 'nbds'

export const NBD: BlockdevDriver = {
  name: 'nbd',
  protocol: 'nbd',
  otherProtocols: ['nbd+tcp', 'nbd+unix', 'nbds', 'nbds+unix'],
  isFilter: false,
  strongOptions: ['path', 'host', 'port', 'export', 'tls-creds', 'tls-hostname', 'server.'],
  parseFilename(filename, options) {
    if (options.has('host') || options.has('port') || options.has('path')) {
      throw new BlockError('host/port/path and file names may not be specified at the same time', { errno: EINVAL })
    }
    const { server, exportName, isTls } = parseNbdName(filename)
    options.set('server.type', server.type)
    if (server.type === 'unix') options.set('server.path', server.path)
    else if (server.type === 'inet') {
      options.set('server.host', server.host)
      options.set('server.port', String(server.port))
    }
    if (exportName !== '') options.set('export', exportName)
    if (isTls) options.set(TLS_MARK, true)
  },
  open,
}

function* open({ context, options, nodeOptions, autoReadOnly }: Opening): Co<Opened> {
  options.takeString('filename')
  const { streams } = context
  if (streams === null) throw new BlockError('NBD servers cannot be reached from here')
  const server = takeServer(options)
  const exportName = options.takeString('export') ?? ''
  const tls = takeCredentials(context, options)
  const tlsHostname = options.takeString('tls-hostname') ?? null
  const dirtyBitmap = options.takeString('x-dirty-bitmap') ?? null
  const reconnectDelaySeconds = options.takeNumber('reconnect-delay') ?? 0
  const openTimeoutSeconds = options.takeNumber('open-timeout') ?? 0
  const driver = yield* openNbd(context.graph.kernel, streams, {
    server,
    exportName,
    readOnly: nodeOptions.readOnly,
    autoReadOnly,
    tls,
    tlsHostname,
    dirtyBitmap,
    reconnectDelaySeconds,
    openTimeoutSeconds,
  })
  if (driver.isReadOnly) nodeOptions.readOnly = true
  return { driver, children: [], abandon: () => driver.close() }
}

function takeServer(options: Options): SocketAddress {
  const given = options.takeBelow('server.')
  const path = options.takeString('path')
  const host = options.takeString('host')
  const port = options.takeString('port')
  if (path !== undefined && host !== undefined) throw new BlockError('path and host may not be used at the same time')
  if (path !== undefined && port !== undefined) throw new BlockError('port may not be used without host')
  if (path !== undefined) return { type: 'unix', path }
  if (host !== undefined) return inet(host, port ?? String(DEFAULT_PORT))
  if (given.size === 0) throw new BlockError('NBD server address missing')
  return takeAddress(given)
}

function takeAddress(given: Options): SocketAddress {
  const type = given.takeChoice('type', SERVER_TYPES)
  if (type === undefined) throw missing('type')
  for (const key of TUNING) given.takeString(key)
  const address = takeParts(given, type)
  const left = given.firstLeft()
  if (left !== null) throw new BlockError(`Parameter 'server.${left}' is unexpected`)
  return address
}

function takeParts(given: Options, type: (typeof SERVER_TYPES)[number]): SocketAddress {
  if (type === 'vsock') throw new BlockError('socket address type vsock is not supported')
  if (type === 'fd') {
    const descriptor = demand(given, 'str')
    if (!/^\d+$/.test(descriptor)) throw new BlockError(`File descriptor named '${descriptor}' has not been found`)
    return { type, descriptor: Number(descriptor) }
  }
  if (type === 'unix') return { type, path: demand(given, 'path') }
  const host = demand(given, 'host')
  return inet(host, demand(given, 'port'))
}

function inet(host: string, port: string): SocketAddress {
  if (!/^\d+$/.test(port))
    throw new BlockError(`address resolution failed for ${host}:${port}: Servname not supported for ai_socktype`)
  return { type: 'inet', host, port: Number(port) }
}
function demand(given: Options, key: string): string {
  const value = given.takeString(key)
  if (value === undefined) throw missing(key)
  return value
}
function missing(key: string): BlockError {
  return new BlockError(`Parameter '${key}' is missing`)
}

function takeCredentials(context: BlockdevContext, options: Options): TlsCredentials | null {
  const isWanted = options.takeFlag(TLS_MARK) ?? false
  const id = options.takeString('tls-creds')
  if (id === undefined) {
    if (isWanted) throw new BlockError('nbds:// needs credentials: say tls-creds=ID')
    return null
  }
  const credentials = context.tlsCredentials(id)
  if (credentials === null) throw new BlockError(`No TLS credentials with id '${id}'`)
  if (credentials.endpoint !== 'client') throw new BlockError('Expecting TLS credentials with a client endpoint')
  return credentials
}
