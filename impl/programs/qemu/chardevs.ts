/**
 * Character devices of the command line: where monitors talk. The program's own input and output, sockets that it calls or
 * listens on, inherited descriptors, and `null`.
 *
 * What may fail: descriptions and addresses, as BlockError with QEMU's texts.
 */
import { BlockError } from '../../block'
import type { Options } from '../../blockdev'
import { assert, type ByteStream, type Co, describeAddress, makeLabel, type SocketAddress, type StreamListener } from '../../co'
import type { Tool } from './tool'

/** Serves one client to its end. */
export type ClientServer = (stream: ByteStream) => Co<void>

interface Chardev {
  readonly id: string
  readonly backend: string
  readonly filename: string
  /** Where clients come from, or the one stream that there is. */
  readonly listener: StreamListener | null
  readonly stream: ByteStream | null
  /** The first client, if the program has waited for it. */
  first: ByteStream | null
  /** Whoever is served now, where clients come and go. */
  client: ByteStream | null
  isUsed: boolean
}

const BACKENDS = ['stdio', 'socket', 'null']

export class Chardevs {
  private readonly tool: Tool
  private readonly byId = new Map<string, Chardev>()

  constructor(tool: Tool) {
    this.tool = tool
  }

  /** `--chardev BACKEND,id=ID,…`. Throws BlockError. */
  *add(id: string | null, options: Options): Co<void> {
    const backend = options.takeString('backend')
    if (backend === undefined) throw new BlockError('chardev: "backend" missing')
    if (id === null) throw new BlockError('chardev: no id specified')
    if (!BACKENDS.includes(backend)) throw new BlockError(`'${backend}' is not a valid char driver name`)
    if (this.byId.has(id)) throw new BlockError(`Chardev with id '${id}' already exists`)
    refuse(options, ['mux', 'logfile'])
    for (const name of ['logappend', 'signal']) options.takeString(name)
    if (backend === 'socket') this.byId.set(id, yield* this.socket(id, options))
    else {
      const stream = backend === 'stdio' ? this.standard() : null
      this.byId.set(id, { id, backend, filename: backend, listener: null, stream, first: null, client: null, isUsed: false })
    }
    const left = options.firstLeft()
    if (left !== null) throw new BlockError(`Invalid parameter '${left}'`)
  }

  private standard(): ByteStream {
    const { Sockets }: typeof import('../../host/sockets') = require('../../host/sockets')
    return new Sockets(this.tool.loop).standard()
  }

  private *socket(id: string, options: Options): Co<Chardev> {
    const isServer = options.takeFlag('server') ?? false
    const mustWait = options.takeFlag('wait') ?? isServer
    refuse(options, ['telnet', 'tn3270', 'websocket', 'reconnect', 'reconnect-ms', 'tls-creds', 'tls-authz'])
    // Of no effect on what is said.
    for (const name of ['nodelay', 'ipv4', 'ipv6', 'delay']) options.takeString(name)
    const address = addressOf(options)
    const { streams } = this.tool
    const base = { id, backend: 'socket', filename: describe(address, isServer), client: null, isUsed: false }
    if (!isServer) return { ...base, listener: null, stream: yield* streams.connect(address), first: null }
    const listener = yield* streams.listen(address)
    if (!mustWait) return { ...base, listener, stream: null, first: null }
    this.tool.complain(`info: QEMU waiting for connection on: disconnected:${describe(listener.address, true)}`)
    return { ...base, listener, stream: null, first: yield* listener.accept() }
  }

  /** True if answers and what the program prints go the same way. */
  isStandard(id: string): boolean {
    return this.byId.get(id)?.backend === 'stdio'
  }
  /** As query-chardev shows them. `isOpen`: a monitor has it, with a client or without. */
  list(): Array<{ label: string; filename: string; isOpen: boolean }> {
    return [...this.byId.values()].map((device) => ({
      label: device.id,
      filename: filenameOf(device),
      isOpen: device.isUsed,
    }))
  }

  /** Has every client of a device served, one after the other. Throws BlockError. */
  serve(id: string, serve: ClientServer): void {
    const device = this.byId.get(id)
    if (device === undefined) throw new BlockError(`chardev "${id}" not found`)
    if (device.isUsed) throw new BlockError(`Chardev '${id}' is busy`)
    device.isUsed = true
    this.tool.kernel.spawn(this.serveAll(device, serve), makeLabel(`chardev-${id}`))
  }

  private *serveAll(device: Chardev, serve: ClientServer): Co<void> {
    const { stream, listener } = device
    if (stream !== null) yield* serve(stream)
    if (listener === null) return
    for (;;) {
      device.client = device.first ?? (yield* listener.accept())
      device.first = null
      if (device.client === null) return
      yield* serve(device.client)
      device.client = null
    }
  }

  /** No more clients. */
  close(): void {
    for (const { listener } of this.byId.values()) listener?.close()
  }
}

/** Takes options that ask for nothing; throws BlockError where one asks for something that is not there. */
function refuse(options: Options, names: readonly string[]): void {
  for (const name of names) {
    const value = options.takeString(name)
    if (value !== undefined && !['off', '0', ''].includes(value))
      throw new BlockError(`chardev: '${name}=${value}' is not supported`)
  }
}

function addressOf(options: Options): SocketAddress {
  const path = options.takeString('path')
  const descriptor = options.takeString('fd')
  const host = options.takeString('host')
  const port = options.takeString('port')
  const given = [path, descriptor, host].filter((value) => value !== undefined).length
  if (given > 1) throw new BlockError("None or one of 'path', 'fd' or 'host' option required.")
  if (path !== undefined) return { type: 'unix', path }
  if (descriptor !== undefined) {
    if (!/^\d+$/.test(descriptor)) throw new BlockError(`File descriptor named '${descriptor}' has not been found`)
    return { type: 'fd', descriptor: Number(descriptor) }
  }
  if (port === undefined) throw new BlockError('chardev: socket: no port given')
  if (!/^\d+$/.test(port) || Number(port) > 65535)
    throw new BlockError(`chardev: socket: port '${port}' is no number below 65536`)
  assert(given <= 1, 'one-address')
  // Another address than the loopback has to be asked for.
  return { type: 'inet', host: host === undefined || host === '' ? '127.0.0.1' : host, port: Number(port) }
}

/** Of a socket that is listened on: the address that it has got, and whether there is a client. */
function filenameOf({ filename, listener, client }: Chardev): string {
  if (listener === null) return filename
  const { address } = listener
  const text = describe(address, true)
  if (client === null) return `disconnected:${text}`
  return address.type === 'inet' ? `${text} <-> ${client.peer}` : text
}

function describe(address: SocketAddress, isServer: boolean): string {
  const kind = address.type === 'inet' ? 'tcp' : address.type
  return `${kind}:${describeAddress(address)}${isServer ? ',server=on' : ''}`
}
