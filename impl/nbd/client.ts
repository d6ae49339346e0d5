/**
 * The client's side of the transmission: requests of many coroutines over one connection, each with a cookie of its own,
 * and one coroutine that takes the answers.
 *
 * What may fail: requests, by the server's error; the connection, after which every request is lost and `isBroken` is true.
 * A server that breaks the protocol is left. What never may: a byte written outside the buffer of the request that asked for
 * it; a request that waits for an answer which cannot come any more.
 */
import {
  assert,
  type Co,
  type Coroutine,
  EINVAL,
  EIO,
  type Errno,
  type Kernel,
  makeLabel,
  OK,
  WaitQueue,
  type WaitReason,
} from '../co'
import type { ClientAgreement } from './client_handshake'
import { Outbox } from './outbox'
import {
  CHUNK_ERROR_BIT,
  Chunk,
  Command,
  CommandFlag,
  EXTENDED_REPLY_BYTES,
  EXTENDED_REPLY_MAGIC,
  EXTENDED_REQUEST_BYTES,
  EXTENDED_REQUEST_MAGIC,
  errnoOfWire,
  HeaderMode,
  REQUEST_BYTES,
  REQUEST_MAGIC,
  ReplyFlag,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC,
} from './protocol'
import { type Input, Message, setUint64, viewOf } from './wire'

const IN_FLIGHT_MAX = 16
const ERROR_PAYLOAD_MAX_BYTES = 8192
const RECEIVER = makeLabel('nbd-receive')
const ANSWER: WaitReason = { describe: () => 'waits for the answer of an NBD server' }
const SLOT: WaitReason = { describe: () => `waits for one of ${IN_FLIGHT_MAX} NBD requests to end` }

/** What block status has found: the first extent. */
export interface StatusAnswer {
  bytes: number
  state: number
}

/** A request on its way. */
export class ClientRequest {
  cookie = 0
  errno: Errno = OK
  /** The connection broke before the answer: nobody knows whether the server has done it. */
  isLost = false
  isDone = false
  waiter: Coroutine | null = null
  /** Of a read: how much has arrived. */
  receivedBytes = 0
  status: StatusAnswer | null = null

  constructor(
    readonly command: Command,
    readonly flags: number,
    readonly offsetBytes: number,
    readonly lengthBytes: number,
    /** To be filled, or to be sent. */
    readonly buffer: Uint8Array | null,
  ) {}
}

export class ClientConnection {
  private readonly pending = new Map<number, ClientRequest>()
  private readonly outbox: Outbox
  private readonly slotFree: WaitQueue
  private readonly input: Input
  private nextCookie = 1
  private isClosed = false
  /** No request gets through any more. */
  isBroken = false

  constructor(
    private readonly kernel: Kernel,
    readonly agreement: ClientAgreement,
    /** The connection broke, without having been closed here. */
    private readonly onBroken: () => void,
  ) {
    this.outbox = new Outbox(kernel, agreement.stream)
    this.slotFree = new WaitQueue(kernel)
    this.input = agreement.input
    kernel.spawn(this.receive(), RECEIVER)
  }

  get mode(): HeaderMode {
    return this.agreement.mode
  }
  get inFlight(): number {
    return this.pending.size
  }

  /** Carries out one request; `errno` and `isLost` of it say how. */
  *execute(request: ClientRequest): Co<void> {
    while (this.pending.size >= IN_FLIGHT_MAX && !this.isBroken) yield* this.slotFree.wait(SLOT)
    if (this.isBroken) return lose(request)
    request.cookie = this.nextCookie++
    assert(Number.isSafeInteger(request.cookie), 'cookies-left')
    this.pending.set(request.cookie, request)
    const payload = request.command === Command.Write ? request.buffer : null
    if ((yield* this.outbox.send(this.encode(request), payload)) !== OK) this.break()
    while (!request.isDone) {
      request.waiter = this.kernel.willPark(ANSWER)
      yield
      request.waiter = null
    }
    assert(!this.pending.has(request.cookie), 'request-ended')
  }

  private encode(request: ClientRequest): Uint8Array {
    const isExtended = this.mode === HeaderMode.Extended
    const bytes = new Uint8Array(isExtended ? EXTENDED_REQUEST_BYTES : REQUEST_BYTES)
    const view = viewOf(bytes)
    const payloadFlag = isExtended && request.command === Command.Write ? CommandFlag.PayloadLen : 0
    view.setUint32(0, isExtended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC)
    view.setUint16(4, request.flags | payloadFlag)
    view.setUint16(6, request.command)
    setUint64(view, 8, request.cookie)
    setUint64(view, 16, request.offsetBytes)
    if (isExtended) setUint64(view, 24, request.lengthBytes)
    else view.setUint32(24, request.lengthBytes)
    return bytes
  }

  /** Says good-bye, and gives the connection up. */
  *close(): Co<void> {
    if (this.isBroken) return
    this.isClosed = true
    const farewell = new ClientRequest(Command.Disconnect, 0, 0, 0, null)
    yield* this.outbox.send(this.encode(farewell), null)
    this.break()
  }

  /** Gives the connection up at once: what is on its way is lost. */
  break(): void {
    if (this.isBroken) return
    this.isBroken = true
    this.agreement.stream.close()
    for (const request of [...this.pending.values()]) {
      lose(request)
      this.end(request)
    }
    this.slotFree.wakeAll()
    if (!this.isClosed) this.onBroken()
  }

  private end(request: ClientRequest): void {
    assert(!request.isDone || request.isLost, 'request-ends-once')
    request.isDone = true
    this.pending.delete(request.cookie)
    if (request.waiter !== null) this.kernel.wake(request.waiter)
    this.slotFree.wakeOne()
  }

  private *receive(): Co<void> {
    while (!this.isBroken && (yield* this.takeReply()));
    this.break()
  }

  /** False: there is no going on. */
  private *takeReply(): Co<boolean> {
    const { input, mode } = this
    if ((yield* input.need(4)) !== OK) return false
    const magic = input.uint32()
    if (magic === SIMPLE_REPLY_MAGIC && mode !== HeaderMode.Extended) return yield* this.simpleReply()
    const isExtended = mode === HeaderMode.Extended
    const expected = isExtended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC
    if (mode === HeaderMode.Simple || magic !== expected) return false
    const headBytes = (isExtended ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES) - 4
    if (input.available < headBytes && (yield* input.need(headBytes)) !== OK) return false
    const flags = input.uint16()
    const type = input.uint16()
    const request = this.pending.get(input.uint64())
    const offsetBytes = isExtended ? input.uint64() : null
    const lengthBytes = isExtended ? input.uint64() : input.uint32()
    if (request === undefined || (offsetBytes !== null && offsetBytes !== request.offsetBytes)) return false
    if (!(yield* this.takeChunk(request, type, lengthBytes))) return false
    if ((flags & ReplyFlag.Done) === 0) return true
    if (request.errno === OK && !isComplete(request)) return false
    // It may have been lost while its last chunk came in.
    if (!request.isDone) this.end(request)
    return true
  }

  private *simpleReply(): Co<boolean> {
    const { input } = this
    if ((yield* input.need(SIMPLE_REPLY_BYTES - 4)) !== OK) return false
    const errno = errnoOfWire(input.uint32())
    const request = this.pending.get(input.uint64())
    if (request === undefined) return false
    // Content has chunks where they were agreed on.
    if (request.command === Command.Read && this.mode !== HeaderMode.Simple) return false
    if (request.command === Command.BlockStatus && errno === OK) return false
    request.errno = errno
    if (request.command === Command.Read && errno === OK) {
      assert(request.buffer !== null, 'read-has-buffer')
      if ((yield* input.fill(request.buffer)) !== OK) return false
    }
    if (!request.isDone) this.end(request)
    return true
  }

  /** The payload of one chunk. False: it cannot be. */
  private *takeChunk(request: ClientRequest, type: number, lengthBytes: number): Co<boolean> {
    switch (type) {
      case Chunk.None:
        return lengthBytes === 0
      case Chunk.OffsetData:
        return yield* this.takeData(request, lengthBytes)
      case Chunk.OffsetHole:
        return lengthBytes === 12 && (yield* this.takeHole(request))
      case Chunk.BlockStatus:
      case Chunk.BlockStatusExtended:
        return yield* this.takeStatus(request, type === Chunk.BlockStatusExtended, lengthBytes)
      default:
        return (type & CHUNK_ERROR_BIT) !== 0 && (yield* this.takeError(request, type, lengthBytes))
    }
  }

  private *takeData(request: ClientRequest, lengthBytes: number): Co<boolean> {
    const dataBytes = lengthBytes - 8
    if (request.command !== Command.Read || dataBytes <= 0 || (yield* this.input.need(8)) !== OK) return false
    const part = partOf(request, this.input.uint64(), dataBytes)
    return part !== null && (yield* this.input.fill(part)) === OK
  }
  private *takeHole(request: ClientRequest): Co<boolean> {
    if (request.command !== Command.Read || (yield* this.input.need(12)) !== OK) return false
    const offsetBytes = this.input.uint64()
    const part = partOf(request, offsetBytes, this.input.uint32())
    part?.fill(0)
    return part !== null
  }

  /** The first extent is enough, as was asked for. */
  private *takeStatus(request: ClientRequest, isExtended: boolean, lengthBytes: number): Co<boolean> {
    const { contextId, mode } = this.agreement
    if (isExtended !== (mode === HeaderMode.Extended) || request.command !== Command.BlockStatus || request.status !== null)
      return false
    const fixedBytes = isExtended ? 8 : 4
    const entryBytes = isExtended ? 16 : 8
    const restBytes = lengthBytes - fixedBytes - entryBytes
    if (restBytes < 0 || restBytes % entryBytes !== 0 || (yield* this.input.need(fixedBytes + entryBytes)) !== OK) return false
    const id = this.input.uint32()
    const count = isExtended ? this.input.uint32() : 1 + restBytes / entryBytes
    const bytes = isExtended ? this.input.uint64() : this.input.uint32()
    const state = isExtended ? this.input.uint64() : this.input.uint32()
    if (id !== contextId || bytes === 0 || count * entryBytes !== restBytes + entryBytes) return false
    // A server may not know that one extent was asked for; it may not reach beyond the range in other cases.
    request.status = { bytes: Math.min(bytes, request.lengthBytes), state: state >>> 0 }
    return restBytes === 0 || (yield* this.input.skip(restBytes)) === OK
  }

  private *takeError(request: ClientRequest, type: number, lengthBytes: number): Co<boolean> {
    const leastBytes = type === Chunk.ErrorOffset ? 14 : 6
    if (lengthBytes < leastBytes || lengthBytes > ERROR_PAYLOAD_MAX_BYTES) return false
    const payload = new Uint8Array(lengthBytes)
    if ((yield* this.input.fill(payload)) !== OK) return false
    const message = new Message(payload)
    const errno = errnoOfWire(message.uint32())
    if (message.uint16() > lengthBytes - leastBytes) return false
    // An error that is none.
    request.errno = errno === OK ? EINVAL : errno
    return true
  }
}

function lose(request: ClientRequest): void {
  request.isLost = true
  request.errno = EIO
}

/** Where a chunk of a read belongs; null: outside what was asked for. */
function partOf(request: ClientRequest, offsetBytes: number, lengthBytes: number): Uint8Array | null {
  const at = offsetBytes - request.offsetBytes
  if (request.buffer === null || lengthBytes <= 0 || at < 0 || at + lengthBytes > request.lengthBytes) return null
  request.receivedBytes += lengthBytes
  return request.receivedBytes > request.lengthBytes ? null : request.buffer.subarray(at, at + lengthBytes)
}

/** A request without an error has all that it asked for. */
function isComplete(request: ClientRequest): boolean {
  if (request.command === Command.Read) return request.receivedBytes === request.lengthBytes
  return request.command !== Command.BlockStatus || request.status !== null
}
