/**
 * The NBD server: exports under their names, and the clients that use them.
 *
 * What may fail: adding an export, as a BlockError with QEMU's text. Clients fail alone: nothing that one of them sends, or
 * leaves unsent, ends the server or another client. What never may: more than `maxConnections` clients at once; a client
 * that holds a place without getting through the handshake in time.
 */
import { BlockError } from '../block'
import {
  assert,
  type ByteStream,
  type Co,
  EEXIST,
  type Kernel,
  makeLabel,
  type StreamListener,
  type TlsCredentials,
  WaitQueue,
} from '../co'
import { BufferPool, MemoryBudget } from './buffers'
import { type ExportOptions, NbdExport } from './export'
import { type HandshakeHost, ServerHandshake } from './server_handshake'
import { ServerSession } from './server_session'

const NS_PER_SECOND = 1_000_000_000
const HANDSHAKE_MAX_SECONDS = 10
const CONNECTIONS_MAX = 100
/** Memory of all requests together; each client may have one beyond it. */
const MEMORY_MAX_BYTES = 256 * 1024 * 1024

const LISTENING = makeLabel('nbd-listen')
const CLIENT = makeLabel('nbd-client')
const TIMEOUT = makeLabel('nbd-handshake-timeout')

export interface ServerOptions {
  /** Null: clients talk in the clear. Otherwise nothing is shown to clients that don't start TLS. */
  readonly tls?: TlsCredentials | null
  /** 0: no limit. 10 if absent. */
  readonly handshakeMaxSeconds?: number
  /** 0: no limit. 100 if absent. Where only one client may come, it is told not to open more connections. */
  readonly maxConnections?: number
  readonly memoryMaxBytes?: number
  readonly allocateBuffer?: (bytes: number) => Uint8Array
  /** A client has got through the handshake, or has gone after that. */
  readonly onClients?: (count: number) => void
}

/** One connection from its first byte to its last. */
interface Connection {
  stream: ByteStream
}

export class NbdServer implements HandshakeHost {
  readonly tls: TlsCredentials | null
  private readonly kernel: Kernel
  private readonly handshakeMaxNs: number
  private readonly maxConnections: number
  private readonly pool: BufferPool
  private readonly budget: MemoryBudget
  private readonly onClients: (count: number) => void
  private readonly byName = new Map<string, NbdExport>()
  private readonly connections = new Set<Connection>()
  private readonly listeners = new Set<StreamListener>()
  /** Woken when a connection ends, or the server stops. */
  private readonly changed: WaitQueue
  private clientCount = 0
  private isStopped = false

  constructor(kernel: Kernel, options: ServerOptions = {}) {
    this.kernel = kernel
    this.tls = options.tls ?? null
    this.handshakeMaxNs = (options.handshakeMaxSeconds ?? HANDSHAKE_MAX_SECONDS) * NS_PER_SECOND
    this.maxConnections = options.maxConnections ?? CONNECTIONS_MAX
    this.pool = new BufferPool(options.allocateBuffer ?? ((bytes) => new Uint8Array(bytes)))
    this.budget = new MemoryBudget(kernel, options.memoryMaxBytes ?? MEMORY_MAX_BYTES)
    this.onClients = options.onClients ?? (() => {})
    this.changed = new WaitQueue(kernel)
    assert(this.tls === null || this.tls.endpoint === 'server', 'server-credentials')
  }

  get isMultiConn(): boolean {
    return this.maxConnections !== 1
  }
  get connectionCount(): number {
    return this.connections.size
  }

  exports(): Iterable<NbdExport> {
    return this.byName.values()
  }
  findExport(name: string): NbdExport | null {
    const exported = this.byName.get(name)
    return exported === undefined || exported.isClosing ? null : exported
  }

  /** Throws BlockError (name taken, node in use, …) and adds nothing then. */
  addExport(options: ExportOptions): NbdExport {
    if (this.isStopped) throw new BlockError('NBD server not running')
    if (this.byName.has(options.name)) {
      throw new BlockError(`NBD server already has export named '${options.name}'`, { errno: EEXIST })
    }
    const exported = new NbdExport({
      ...options,
      onDeleted: (deleted, held) => {
        this.byName.delete(deleted.name)
        options.onDeleted?.(deleted, held)
      },
    })
    this.byName.set(exported.name, exported)
    return exported
  }

  /** Takes clients from `listener` until the server stops or the listener is closed. */
  listen(listener: StreamListener): void {
    assert(!this.isStopped && !this.listeners.has(listener), 'listener-new')
    this.listeners.add(listener)
    this.kernel.spawn(this.acceptAll(listener), LISTENING)
  }

  private *acceptAll(listener: StreamListener): Co<void> {
    while (true) {
      while (this.isFull && !this.isStopped) {
        yield* this.changed.wait({ describe: () => `waits for one of ${this.maxConnections} NBD clients to go` })
      }
      if (this.isStopped) break
      const stream = yield* listener.accept()
      if (stream === null) break
      if (this.isStopped || this.isFull) stream.close()
      else this.serve(stream)
    }
    this.listeners.delete(listener)
    this.changed.wakeAll()
  }
  private get isFull(): boolean {
    return this.maxConnections !== 0 && this.connections.size >= this.maxConnections
  }

  /** Serves one client, in coroutines of its own. */
  serve(stream: ByteStream): void {
    assert(!this.isStopped, 'server-runs')
    const connection = { stream }
    this.connections.add(connection)
    this.kernel.spawn(this.converse(connection), CLIENT)
  }

  private *converse(connection: Connection): Co<void> {
    const shaken = new WaitQueue(this.kernel)
    let isShaken = false
    if (this.handshakeMaxNs > 0)
      this.kernel.spawn(
        this.limitHandshake(connection, shaken, () => isShaken),
        TIMEOUT,
      )
    const handshake = new ServerHandshake(this, connection.stream, (stream) => {
      connection.stream = stream
    })
    const agreement = yield* handshake.run()
    isShaken = true
    shaken.wakeAll()
    // The export, or the server, may have been told to end while the last answer was sent.
    if (agreement !== null && !agreement.exported.isClosing && !this.isStopped) {
      const session = new ServerSession({
        kernel: this.kernel,
        stream: handshake.stream,
        input: handshake.input,
        agreement,
        pool: this.pool,
        budget: this.budget,
      })
      agreement.exported.join(session)
      this.clientCount++
      this.onClients(this.clientCount)
      yield* session.run()
      connection.stream.close()
      this.connections.delete(connection)
      agreement.exported.leave(session)
      this.clientCount--
      this.onClients(this.clientCount)
    }
    connection.stream.close()
    this.connections.delete(connection)
    this.changed.wakeAll()
  }

  private *limitHandshake(connection: Connection, shaken: WaitQueue, isShaken: () => boolean): Co<void> {
    const endNs = this.kernel.nowNs() + this.handshakeMaxNs
    while (!isShaken() && this.kernel.nowNs() < endNs) {
      yield* shaken.waitUntil(endNs, { describe: () => 'waits for the end of an NBD handshake' })
    }
    if (!isShaken()) connection.stream.close()
  }

  /** Ends all: listeners, clients, exports. */
  *stop(): Co<void> {
    this.isStopped = true
    for (const listener of [...this.listeners]) listener.close()
    for (const { stream } of [...this.connections]) stream.close()
    for (const exported of [...this.byName.values()]) if (!exported.isClosing) exported.remove('hard')
    this.changed.wakeAll()
    while (this.connections.size > 0 || this.listeners.size > 0) {
      yield* this.changed.wait({ describe: () => `waits for ${this.connections.size} NBD clients to end` })
    }
    assert(this.byName.size === 0, 'exports-gone')
  }
}
