/**
 * Sockets of the real machine: unix and TCP, called and listened to; inherited descriptors; the standard streams.
 *
 * What may fail: addresses and calls, as a BlockError with QEMU's text; transfers as co/stream.ts says. What never may:
 * connections that pile up because nobody accepts them.
 */
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as path from 'node:path'
import { BlockError } from '../block'
import {
  assert,
  type ByteStream,
  type Co,
  type Coroutine,
  describeAddress,
  EACCES,
  EADDRINUSE,
  EINVAL,
  ENOENT,
  type Errno,
  OK,
  type SocketAddress,
  type StreamHost,
  type StreamListener,
  strerror,
} from '../co'
import { errnoOf } from './errors'
import type { HostLoop } from './loop'
import { NodeStream } from './node_stream'
import { callBack } from './transfers'

/** `sun_path` holds so many bytes, with the zero at its end. */
const UNIX_PATH_MAX_BYTES = 108
const PORT_MAX = 65535
/** Connections that wait to be accepted; a further one is turned away. */
const WAITING_MAX = 128

/** The sockets behind streams: encryption needs them. */
const SOCKETS = new WeakMap<ByteStream, net.Socket>()

/** The socket behind a stream of this room, or null. */
export function socketOf(stream: ByteStream): net.Socket | null {
  return SOCKETS.get(stream) ?? null
}

/** A stream over a socket that is connected. */
export function streamOf(loop: HostLoop, socket: net.Socket, peer: string): NodeStream {
  socket.setNoDelay(true)
  const stream = new NodeStream({ loop, peer, readable: socket, writable: socket, destroy: () => socket.destroy() })
  SOCKETS.set(stream, socket)
  return stream
}

export class Sockets implements StreamHost {
  constructor(private readonly loop: HostLoop) {}

  *connect(address: SocketAddress): Co<ByteStream> {
    if (address.type === 'fd') return this.inherit(address.descriptor)
    if (address.type === 'unix') checkPath(address.path)
    if (address.type === 'inet') checkPort(address)
    const options = { allowHalfOpen: true }
    const socket =
      address.type === 'unix'
        ? net.connect({ ...options, path: address.path })
        : net.connect({ ...options, host: address.host, port: address.port })
    let failure: unknown = null
    const errno = yield* callBack(this.loop, (done) => {
      const onError = (error: unknown): void => {
        failure = error
        done(errnoOf(error))
      }
      socket.once('error', onError)
      socket.once('connect', () => {
        socket.off('error', onError)
        done(OK)
      })
    })
    if (errno === OK) return streamOf(this.loop, socket, describeAddress(address))
    throw connectError(address, failure, errno)
  }

  private inherit(descriptor: number): ByteStream {
    let socket: net.Socket
    try {
      socket = new net.Socket({ fd: descriptor, allowHalfOpen: true, readable: true, writable: true })
    } catch (error) {
      throw new BlockError(`File descriptor '${descriptor}' is not a socket`, { errno: errnoOf(error) })
    }
    return streamOf(this.loop, socket, `fd ${descriptor}`)
  }

  /** The program's input and output as one stream. */
  standard(): ByteStream {
    const { stdin, stdout } = process
    const destroy = (): void => {
      stdin.destroy()
    }
    return new NodeStream({ loop: this.loop, peer: 'stdio', readable: stdin, writable: stdout, destroy })
  }

  *listen(address: SocketAddress): Co<StreamListener> {
    if (address.type === 'unix') yield* this.clearPath(address.path)
    if (address.type === 'inet') checkPort(address)
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true })
    const listener = new SocketListener(this.loop, server, address)
    let failure: unknown = null
    const errno = yield* callBack(this.loop, (done) => {
      server.once('error', (error) => {
        failure = error
        done(bindErrno(address, errnoOf(error)))
      })
      server.once('listening', () => done(OK))
      if (address.type === 'unix') server.listen({ path: address.path })
      else if (address.type === 'inet') server.listen({ host: address.host, port: address.port })
      else server.listen({ fd: address.descriptor })
    })
    if (errno !== OK) throw listenError(address, failure, errno)
    listener.begin()
    return listener
  }

  /** What an ended program has left at the path. As QEMU does, nobody is asked whether it still listens. */
  private *clearPath(name: string): Co<void> {
    checkPath(name)
    try {
      fs.unlinkSync(name)
    } catch (error) {
      const errno = errnoOf(error)
      if (errno !== ENOENT) throw new BlockError(`Failed to unlink socket ${name}: ${strerror(errno)}`, { errno })
    }
  }
}

function checkPath(path: string): void {
  if (Buffer.byteLength(path) < UNIX_PATH_MAX_BYTES) return
  const hint = `Path must be less than ${UNIX_PATH_MAX_BYTES} bytes`
  throw new BlockError(`UNIX socket path '${path}' is too long`, { errno: EINVAL, hint })
}

function checkPort(address: SocketAddress & { type: 'inet' }): void {
  if (address.port <= PORT_MAX) return
  const text = `address resolution failed for ${describeAddress(address)}: Servname not supported for ai_socktype`
  throw new BlockError(text, { errno: EINVAL })
}

/** The engine calls a folder that does not exist one that may not be written. */
function bindErrno(address: SocketAddress, errno: Errno): Errno {
  const isMissing = address.type === 'unix' && errno === EACCES && !fs.existsSync(path.dirname(address.path))
  return isMissing ? ENOENT : errno
}

function nameNotFound(address: SocketAddress, failure: unknown): BlockError | null {
  if ((failure as { syscall?: unknown } | null)?.syscall !== 'getaddrinfo') return null
  return new BlockError(`address resolution failed for ${describeAddress(address)}: Name or service not known`)
}

function connectError(address: SocketAddress, failure: unknown, errno: Errno): BlockError {
  const text = `Failed to connect to '${describeAddress(address)}': ${strerror(errno)}`
  return nameNotFound(address, failure) ?? new BlockError(text, { errno })
}

function listenError(address: SocketAddress, failure: unknown, errno: Errno): BlockError {
  const what =
    address.type === 'unix'
      ? `Failed to bind socket to ${address.path}`
      : address.type === 'fd'
        ? `Failed to listen on fd ${address.descriptor}`
        : errno === EADDRINUSE
          ? 'Failed to find an available port'
          : 'Failed to bind socket'
  return nameNotFound(address, failure) ?? new BlockError(`${what}: ${strerror(errno)}`, { errno })
}

class SocketListener implements StreamListener {
  private readonly waiting: net.Socket[] = []
  private acceptor: Coroutine | null = null
  private isClosed = false

  constructor(
    private readonly loop: HostLoop,
    private readonly server: net.Server,
    private wanted: SocketAddress,
  ) {
    this.server.on('connection', this.onConnection)
  }

  get address(): SocketAddress {
    return this.wanted
  }

  /** The server listens now. */
  begin(): void {
    const bound = this.server.address()
    if (typeof bound === 'object' && bound !== null && this.wanted.type !== 'unix') {
      this.wanted = { type: 'inet', host: bound.address, port: bound.port }
    }
    // A connection that could not be accepted: the next one may be.
    this.server.on('error', () => {})
  }

  private readonly onConnection = (socket: net.Socket): void => {
    // One that goes away while it waits is found out by whoever accepts it.
    socket.on('error', () => {})
    if (this.isClosed || this.waiting.length >= WAITING_MAX) socket.destroy()
    else this.waiting.push(socket)
    const acceptor = this.acceptor
    this.acceptor = null
    if (acceptor !== null) this.loop.endIo(acceptor)
  };

  *accept(): Co<ByteStream | null> {
    assert(this.acceptor === null, 'listener-one-acceptor')
    while (!this.isClosed) {
      const socket = this.waiting.shift()
      if (socket !== undefined) return streamOf(this.loop, socket, this.peerOf(socket))
      const address = describeAddress(this.wanted)
      this.acceptor = this.loop.kernel.willPark({ describe: () => `waits for connections to ${address}` })
      this.loop.beginIo()
      yield
    }
    return null
  }

  private peerOf(socket: net.Socket): string {
    const { remoteAddress: host, remotePort: port } = socket
    if (host === undefined || port === undefined) return describeAddress(this.wanted)
    return describeAddress({ type: 'inet', host, port })
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.server.close()
    for (const socket of this.waiting) socket.destroy()
    this.waiting.length = 0
    if (this.acceptor !== null) this.loop.abandonIo(this.acceptor)
    this.acceptor = null
  }
}
