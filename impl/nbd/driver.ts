/**
 * The `nbd` protocol driver: an export of a server as a node of the graph. When the connection breaks, it is made again as
 * soon as somebody has a request, and requests wait up to `reconnect-delay` seconds for that; those that were on their way
 * are sent again.
 *
 * What may fail: opening, as a BlockError with QEMU's text; requests, by the server's errors, and with EIO where there is no
 * connection. What never may: a request that waits longer than the delay for a connection; an export of another length
 * behind the node's back.
 */
import {
  BlockDriver,
  BlockError,
  type BlockLimits,
  type BlockStatus,
  RequestFlag,
  StatusFlag,
  type StatusMode,
  statusError,
  statusOf,
} from '../block'
import {
  assert,
  type Co,
  EINVAL,
  EIO,
  EPERM,
  type Errno,
  type Kernel,
  makeLabel,
  OK,
  type SocketAddress,
  type StreamHost,
  type TlsCredentials,
  WaitQueue,
} from '../co'
import { ClientConnection, ClientRequest } from './client'
import { type ClientAgreement, ClientHandshake, type ExportFacts } from './client_handshake'
import { AllocationState, Command, CommandFlag, HeaderMode, TransmissionFlag } from './protocol'

const NS_PER_SECOND = 1_000_000_000
const FIRST_PAUSE_NS = NS_PER_SECOND
const LONGEST_PAUSE_NS = 16 * NS_PER_SECOND
/** Lengths of requests without payload have 32 bits where headers are not extended. */
const LENGTH_MAX_BYTES = 0xffff0000
const RECONNECT = makeLabel('nbd-reconnect')
/**
 * How often one request is sent. QEMU sends it for as long as connections come back, which is for ever if the request is
 * what ends them.
 */
export const REQUEST_ATTEMPTS_MAX = 64

export interface NbdOptions {
  readonly server: SocketAddress
  /** '' is the server's default export. */
  readonly exportName: string
  readonly readOnly: boolean
  /** A server that exports for reading only is taken even if `readOnly` is false; see `NbdDriver.isReadOnly`. */
  readonly autoReadOnly?: boolean
  readonly tls?: TlsCredentials | null
  readonly tlsHostname?: string | null
  /** How long requests wait for a connection that broke. 0 if absent: they fail at once. */
  readonly reconnectDelaySeconds?: number
  /** How long opening tries to get a connection. 0 if absent: once. */
  readonly openTimeoutSeconds?: number
  /** `x-dirty-bitmap`: what block status shows in place of the allocation; dirty shows as a hole. */
  readonly dirtyBitmap?: string | null
}

/** Connects to an export. Throws BlockError. */
export function* openNbd(kernel: Kernel, host: StreamHost, options: NbdOptions): Co<NbdDriver> {
  const endNs = kernel.nowNs() + (options.openTimeoutSeconds ?? 0) * NS_PER_SECOND
  for (let pauseNs = FIRST_PAUSE_NS; ; pauseNs = Math.min(2 * pauseNs, LONGEST_PAUSE_NS)) {
    try {
      return new NbdDriver(kernel, host, options, yield* connect(host, options))
    } catch (error) {
      const leftNs = endNs - kernel.nowNs()
      if (!(error instanceof BlockError) || leftNs <= 0) throw error
      yield* kernel.sleepNs(Math.min(pauseNs, leftNs))
    }
  }
}

function* connect(host: StreamHost, options: NbdOptions): Co<ClientAgreement> {
  const stream = yield* host.connect(options.server)
  const agreement = yield* new ClientHandshake(stream).enter({
    exportName: options.exportName,
    tls: options.tls ?? null,
    tlsHostname: options.tlsHostname ?? (options.server.type === 'inet' ? options.server.host : null),
    context: options.dirtyBitmap ?? 'base:allocation',
  })
  const error = whyUnfit(agreement, options)
  if (error === null) return agreement
  stream.close()
  throw error
}

function whyUnfit(agreement: ClientAgreement, options: NbdOptions): BlockError | null {
  const { dirtyBitmap = null } = options
  if (dirtyBitmap !== null && agreement.contextId === null) {
    return new BlockError(`requested x-dirty-bitmap ${dirtyBitmap} not found`, { errno: EINVAL })
  }
  const isReadOnly = (agreement.flags & TransmissionFlag.ReadOnly) !== 0
  if (!isReadOnly || options.readOnly || options.autoReadOnly === true) return null
  return new BlockError('request on write denied without write permission', { errno: EPERM })
}

export class NbdDriver extends BlockDriver {
  readonly name = 'nbd'
  override readonly isProtocol = true
  /** As first told; later connections must tell the same length. */
  readonly facts: ExportFacts
  readonly options: NbdOptions
  /** The server takes no changes, or the user wants none. */
  readonly isReadOnly: boolean
  private readonly kernel: Kernel
  private readonly host: StreamHost
  /** Null: there is none at present. */
  private connection: ClientConnection | null = null
  private isConnecting = false
  private isClosed = false
  /** Requests wait for a connection until then. */
  private waitEndNs = 0
  /** Woken when there is a connection, or when there will be none in time. */
  private readonly changed: WaitQueue

  constructor(kernel: Kernel, host: StreamHost, options: NbdOptions, agreement: ClientAgreement) {
    super()
    this.kernel = kernel
    this.host = host
    this.options = options
    this.facts = agreement
    this.isReadOnly = options.readOnly || (agreement.flags & TransmissionFlag.ReadOnly) !== 0
    this.changed = new WaitQueue(kernel)
    if (this.has(TransmissionFlag.SendFua)) this.supportedWriteFlags = RequestFlag.Fua
    this.supportedZeroFlags = this.supportedWriteFlags
    if (this.has(TransmissionFlag.SendWriteZeroes)) this.supportedZeroFlags |= RequestFlag.MayUnmap
    if (this.has(TransmissionFlag.SendFastZero)) this.supportedZeroFlags |= RequestFlag.NoFallback
    this.connected(agreement)
  }

  private has(flag: TransmissionFlag): boolean {
    return (this.facts.flags & flag) !== 0
  }

  lengthBytes(): number {
    return this.facts.lengthBytes
  }

  override refreshLimits(limits: BlockLimits): void {
    const { minBlockBytes, preferredBlockBytes, payloadMaxBytes } = this.facts
    limits.requestAlignmentBytes = minBlockBytes
    limits.maxTransferBytes = payloadMaxBytes
    limits.optTransferBytes = preferredBlockBytes
    limits.maxPwriteZeroesBytes = LENGTH_MAX_BYTES
    limits.maxPdiscardBytes = LENGTH_MAX_BYTES
  }

  private connected(agreement: ClientAgreement): void {
    assert(this.connection === null && !this.isClosed, 'one-connection')
    const connection = new ClientConnection(this.kernel, agreement, () => {
      assert(this.connection === connection, 'connection-current')
      this.connection = null
      this.waitEndNs = this.kernel.nowNs() + (this.options.reconnectDelaySeconds ?? 0) * NS_PER_SECOND
    })
    this.connection = connection
    this.changed.wakeAll()
  }

  /** The connection, waiting for one if it is worth it; null if there is none in time. */
  private *ready(): Co<ClientConnection | null> {
    while (this.connection === null) {
      if (this.isClosed) return null
      if (!this.isConnecting) {
        this.isConnecting = true
        this.kernel.spawn(this.reconnect(), RECONNECT)
      }
      if (this.kernel.nowNs() >= this.waitEndNs) return null
      const server = this.options.exportName
      yield* this.changed.waitUntil(this.waitEndNs, { describe: () => `waits for a connection to NBD export '${server}'` })
    }
    return this.connection
  }

  /** Tries until it works, or nobody waits any more; the next request begins anew. */
  private *reconnect(): Co<void> {
    for (let pauseNs = FIRST_PAUSE_NS; !this.isClosed; pauseNs = Math.min(2 * pauseNs, LONGEST_PAUSE_NS)) {
      const agreement = yield* this.tryConnect()
      if (agreement !== null && this.isClosed) agreement.stream.close()
      else if (agreement !== null) {
        this.isConnecting = false
        return this.connected(agreement)
      }
      const leftNs = this.waitEndNs - this.kernel.nowNs()
      if (leftNs <= 0) break
      const endNs = this.kernel.nowNs() + Math.min(pauseNs, leftNs)
      while (!this.isClosed && this.kernel.nowNs() < Math.min(endNs, this.waitEndNs)) {
        yield* this.changed.waitUntil(endNs, { describe: () => 'waits to connect to an NBD server again' })
      }
    }
    this.isConnecting = false
    this.changed.wakeAll()
  }

  private *tryConnect(): Co<ClientAgreement | null> {
    try {
      const agreement = yield* connect(this.host, this.options)
      if (agreement.lengthBytes === this.facts.lengthBytes && agreement.minBlockBytes <= this.facts.minBlockBytes)
        return agreement
      agreement.stream.close()
      return null
    } catch (error) {
      if (error instanceof BlockError) return null
      throw error
    }
  }

  /** Requests that wait for a connection fail now, and so do those that come before there is one. */
  override cancelInFlight(): void {
    if (this.connection !== null) return
    this.waitEndNs = this.kernel.nowNs()
    this.changed.wakeAll()
  }

  /** Sends a request until it is answered: EIO if there is no connection to send it through, or it has ended too many. */
  private *carryOut(make: () => ClientRequest): Co<ClientRequest> {
    for (let attempts = 0; attempts < REQUEST_ATTEMPTS_MAX; attempts++) {
      const connection = yield* this.ready()
      if (connection === null) break
      const request = make()
      yield* connection.execute(request)
      if (!request.isLost) return request
    }
    const request = make()
    request.errno = EIO
    assert(!request.isLost, 'request-never-sent')
    return request
  }

  private *simple(
    command: Command,
    flags: number,
    offsetBytes: number,
    lengthBytes: number,
    buffer: Uint8Array | null,
  ): Co<Errno> {
    const request = yield* this.carryOut(() => new ClientRequest(command, flags, offsetBytes, lengthBytes, buffer))
    return request.errno
  }

  *pread(offsetBytes: number, buffer: Uint8Array, _flags: number): Co<Errno> {
    // Nodes are whole sectors long; what lies beyond the export reads zero.
    const insideBytes = Math.max(0, Math.min(buffer.length, this.facts.lengthBytes - offsetBytes))
    if (insideBytes < buffer.length) buffer.fill(0, insideBytes)
    if (insideBytes === 0) return OK
    return yield* this.simple(Command.Read, 0, offsetBytes, insideBytes, buffer.subarray(0, insideBytes))
  }
  *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    return yield* this.simple(Command.Write, fuaOf(flags), offsetBytes, buffer.length, buffer)
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    if (!this.has(TransmissionFlag.SendWriteZeroes)) return yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
    const hole = (flags & RequestFlag.MayUnmap) === 0 ? CommandFlag.NoHole : 0
    const fast = (flags & RequestFlag.NoFallback) === 0 ? 0 : CommandFlag.FastZero
    assert(fast === 0 || this.has(TransmissionFlag.SendFastZero), 'fast-zero-known')
    return yield* this.simple(Command.WriteZeroes, fuaOf(flags) | hole | fast, offsetBytes, lengthBytes, null)
  }
  override *pdiscard(offsetBytes: number, lengthBytes: number): Co<Errno> {
    if (!this.has(TransmissionFlag.SendTrim)) return OK
    return yield* this.simple(Command.Trim, 0, offsetBytes, lengthBytes, null)
  }
  override *flush(): Co<Errno> {
    return this.has(TransmissionFlag.SendFlush) ? yield* this.simple(Command.Flush, 0, 0, 0, null) : OK
  }

  override *blockStatus(_mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const { lengthBytes: endBytes, minBlockBytes } = this.facts
    const insideBytes = Math.min(lengthBytes, endBytes - offsetBytes, LENGTH_MAX_BYTES)
    if (insideBytes <= 0) return statusOf(StatusFlag.Zero, lengthBytes, offsetBytes, this.node)
    const flags = StatusFlag.OffsetValid
    if (!this.knowsStatus) return statusOf(StatusFlag.Data | flags, lengthBytes, offsetBytes, this.node)
    const request = yield* this.carryOut(
      () => new ClientRequest(Command.BlockStatus, CommandFlag.ReqOne, offsetBytes, insideBytes, null),
    )
    if (request.errno !== OK) return statusError(request.errno)
    assert(request.status !== null, 'status-answered')
    const { bytes, state } = request.status
    // An extent that ends inside a block says nothing of the block, but at the end of the export.
    const wholeBytes = bytes === insideBytes ? bytes : bytes - (bytes % minBlockBytes)
    if (wholeBytes === 0) return statusOf(StatusFlag.Data | flags, Math.min(minBlockBytes, insideBytes), offsetBytes, this.node)
    const data = (state & AllocationState.Hole) === 0 ? StatusFlag.Data : 0
    const zero = (state & AllocationState.Zero) === 0 ? 0 : StatusFlag.Zero
    return statusOf(flags | data | zero, wholeBytes, offsetBytes, this.node)
  }
  private get knowsStatus(): boolean {
    const agreement = this.connection?.agreement
    return agreement === undefined || (agreement.mode !== HeaderMode.Simple && agreement.contextId !== null)
  }

  override *close(): Co<Errno> {
    assert(!this.isClosed, 'close-once')
    this.isClosed = true
    const { connection } = this
    this.connection = null
    this.changed.wakeAll()
    if (connection !== null) yield* connection.close()
    return OK
  }
}

function fuaOf(flags: number): number {
  return (flags & RequestFlag.Fua) === 0 ? 0 : CommandFlag.Fua
}
