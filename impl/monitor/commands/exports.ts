/** Exports of nodes to NBD clients. */
import { BlockError, type BlockNode } from '../../block'
import { activateNode } from '../../block/activation'
import type { Co, SocketAddress, TlsCredentials } from '../../co'
import type { JsonObject, JsonValue } from '../../json'
import { Arguments } from '../arguments'
import type { CommandTable } from '../command'
import type { QmpEnvironment } from '../environment'
import { findNode } from '../lookup'

/** SocketAddress of QAPI. Throws BlockError. */
export function socketAddress(args: Arguments): SocketAddress {
  const type = args.string('type')
  if (type === 'unix') return { type, path: args.string('path') }
  if (type === 'fd') {
    const text = args.string('str')
    if (!/^\d+$/.test(text)) throw new BlockError(`File descriptor named '${text}' has not been found`)
    return { type, descriptor: Number(text) }
  }
  if (type !== 'inet') throw new BlockError(`Socket addresses of type '${type}' are not supported`)
  const port = args.string('port')
  if (!/^\d+$/.test(port) || Number(port) > 65535) throw new BlockError(`Port '${port}' is no number below 65536`)
  const host = args.string('host')
  // An empty host is every address elsewhere; here it has to be asked for.
  return { type, host: host === '' ? '127.0.0.1' : host, port: Number(port) }
}

function legacyAddress(args: Arguments): SocketAddress {
  const object: JsonObject = new Map(args.below('data').object)
  object.set('type', args.string('type'))
  return socketAddress(new Arguments(object))
}

export function serverCredentials({ objects }: QmpEnvironment, id: string | undefined): TlsCredentials | null {
  if (id === undefined) return null
  const credentials = objects.tlsCredentials(id)
  if (credentials === null) throw new BlockError(`No TLS credentials with id '${id}'`)
  if (credentials.endpoint !== 'server') throw new BlockError('Expecting TLS credentials with a server endpoint')
  return credentials
}

/** Starts the NBD server with the options of QMP or of the command line. */
export function* startNbdServer(environment: QmpEnvironment, address: SocketAddress, args: Arguments) {
  const maxConnections = args.optionalInteger('max-connections')
  const handshakeMaxSeconds = args.optionalInteger('handshake-max-seconds')
  yield* environment.exports.startServer(environment.streams, {
    address,
    tls: serverCredentials(environment, args.optionalString('tls-creds')),
    ...(maxConnections === undefined ? {} : { maxConnections }),
    ...(handshakeMaxSeconds === undefined ? {} : { handshakeMaxSeconds }),
  })
}

/** block-export-add. Throws BlockError. */
export function* addExport(environment: QmpEnvironment, args: Arguments): Co<void> {
  const { exports, graph } = environment
  const id = args.string('id')
  exports.checkId(id)
  const nodeName = args.string('node-name')
  const node = findNode(graph, nodeName)
  const bitmaps = args.has('bitmaps') ? args.list('bitmaps').map((item) => wantedBitmap(environment, item)) : []
  const description = args.optionalString('description')
  const allowsInactive = args.optionalFlag('allow-inactive') ?? false
  if (!allowsInactive) yield* activateNode(graph, node)
  exports.add({
    id,
    name: args.optionalString('name') ?? nodeName,
    node,
    writable: args.optionalFlag('writable') ?? false,
    writethrough: args.optionalFlag('writethrough') ?? false,
    bitmaps,
    allocationDepth: args.optionalFlag('allocation-depth') ?? false,
    allowsInactive,
    ...(description === undefined ? {} : { description }),
  })
}

function wantedBitmap({ graph }: QmpEnvironment, item: JsonValue): { owner: BlockNode | null; name: string } {
  if (typeof item === 'string') return { owner: null, name: item }
  const args = new Arguments(item as JsonObject)
  return { owner: graph.lookup(args.string('node')), name: args.string('name') }
}

export const EXPORT_COMMANDS: CommandTable = {
  *'nbd-server-start'(environment, args) {
    yield* startNbdServer(environment, legacyAddress(args.below('addr')), args)
    return undefined
  },
  *'nbd-server-stop'({ exports }) {
    yield* exports.stopServer()
    return undefined
  },
  *'nbd-server-add'(environment, args) {
    const { graph, exports } = environment
    if (!exports.isServing) throw new BlockError('NBD server not running')
    const device = args.string('device')
    const node = graph.lookup(device)
    yield* activateNode(graph, node)
    const name = args.optionalString('name') ?? device
    const bitmap = args.optionalString('bitmap')
    exports.checkId(name)
    exports.add({
      id: name,
      name,
      node,
      // What may only be read is exported so, whatever was asked for.
      writable: (args.optionalFlag('writable') ?? false) && !node.options.readOnly,
      writethrough: false,
      bitmaps: bitmap === undefined ? [] : [{ owner: null, name: bitmap }],
      allocationDepth: false,
    })
    return undefined
  },
  *'nbd-server-remove'({ exports }, args) {
    if (!exports.isServing) throw new BlockError('NBD server not running')
    exports.remove(exports.findByName(args.string('name')), (args.optionalString('mode') ?? 'safe') as 'safe' | 'hard')
    return undefined
  },
  *'block-export-add'(environment, args) {
    yield* addExport(environment, args)
    return undefined
  },
  *'block-export-del'({ exports }, args) {
    exports.remove(exports.find(args.string('id')), (args.optionalString('mode') ?? 'safe') as 'safe' | 'hard')
    return undefined
  },
}
