/**
 * The transmission phase of one client: requests are taken one after the other and carried out side by side, in coroutines
 * of their own, up to `IN_FLIGHT_MAX` at a time.
 *
 * What may fail: the stream, which ends the session once its requests have ended; requests, by an error reply. What never
 * may: an answer twice or not at all while the stream works; a request of one client that waits for another client to read.
 */
import { isZero, RequestFlag, StatusFlag } from '../block'
import { assert, type ByteStream, type Co, EINVAL, ENOTSUP, type Errno, type Kernel, numberedLabel, OK, WaitQueue } from '../co'
import type { BufferPool, MemoryBudget } from './buffers'
import { type Context, extentsOf } from './contexts'
import type { ExportClient, NbdExport } from './export'
import { Outbox } from './outbox'
import { Command, CommandFlag, EXTENDED_REQUEST_BYTES, HeaderMode, PAYLOAD_MAX_BYTES, REQUEST_BYTES } from './protocol'
import type { Agreement } from './server_handshake'
import { dataChunk, doneChunk, errorChunk, holeChunk, simpleReply, statusChunk } from './server_replies'
import { checkRange, checkRequest, failureText, parseRequest, payloadBytes, type Refusal, type Request } from './server_request'
import { type Input, Message } from './wire'

/** As QEMU has it. */
const IN_FLIGHT_MAX = 16
/** Looking for holes costs about as much as reading so much. */
const PLAIN_READ_MAX_BYTES = 16 * 1024
/** What CACHE reads at a time. */
const CACHE_PIECE_BYTES = 1024 * 1024
/** One context id of the payload of BLOCK_STATUS, behind the length of the range. */
const CONTEXT_ID_BYTES = 4
const RANGE_LENGTH_BYTES = 8

const NOTHING = new Uint8Array(0)

export interface SessionParts {
  readonly kernel: Kernel
  readonly stream: ByteStream
  readonly input: Input
  readonly agreement: Agreement
  readonly pool: BufferPool
  readonly budget: MemoryBudget
}

export class ServerSession implements ExportClient {
  private readonly kernel: Kernel
  private readonly stream: ByteStream
  private readonly input: Input
  private readonly agreement: Agreement
  private readonly exported: NbdExport
  private readonly mode: HeaderMode
  private readonly pool: BufferPool
  private readonly budget: MemoryBudget
  private readonly outbox: Outbox
  private readonly slotFree: WaitQueue
  /** Slots that no request has; they number the coroutines. */
  private readonly freeSlots: number[] = []
  private inFlight = 0
  isEnding = false

  constructor(parts: SessionParts) {
    this.kernel = parts.kernel
    this.stream = parts.stream
    this.input = parts.input
    this.agreement = parts.agreement
    this.exported = parts.agreement.exported
    this.mode = parts.agreement.mode
    this.pool = parts.pool
    this.budget = parts.budget
    this.outbox = new Outbox(parts.kernel, parts.stream)
    this.slotFree = new WaitQueue(parts.kernel)
    for (let slot = IN_FLIGHT_MAX - 1; slot >= 0; slot--) this.freeSlots.push(slot)
  }

  /** The export goes: what runs ends, and its answers are lost. */
  disconnect(): void {
    this.stream.close()
  }

  /** Until the client ends, or breaks a rule that leaves no way to go on; and all its requests have ended. */
  *run(): Co<void> {
    yield* this.exported.waitSettled()
    while (this.outbox.failure === OK && (yield* this.takeRequest()));
    this.isEnding = true
    while (this.inFlight > 0) {
      yield* this.slotFree.wait({ describe: () => `waits for ${this.inFlight} requests of an NBD client to end` })
    }
    assert(this.freeSlots.length === IN_FLIGHT_MAX, 'session-idle')
  }

  /** False: there will be no more. */
  private *takeRequest(): Co<boolean> {
    const { input, mode } = this
    const headBytes = mode === HeaderMode.Extended ? EXTENDED_REQUEST_BYTES : REQUEST_BYTES
    if (input.available < headBytes && (yield* input.need(headBytes)) !== OK) return false
    const request = parseRequest(input, mode)
    if (request === null || request.command === Command.Disconnect) return false
    while (this.inFlight === IN_FLIGHT_MAX) {
      yield* this.slotFree.wait({ describe: () => `waits for one of ${IN_FLIGHT_MAX} requests to end` })
    }
    let refusal = checkRequest(request, this.agreement)
    const carriedBytes = payloadBytes(request, mode)
    if (carriedBytes > PAYLOAD_MAX_BYTES) {
      // The rest of the stream is its payload: there is nothing to go on with.
      yield* this.refuse(request, { errno: EINVAL, text: `len (${carriedBytes}) is larger than max len (${PAYLOAD_MAX_BYTES})` })
      return false
    }
    if (refusal !== null) {
      if (carriedBytes > 0 && (yield* input.skip(carriedBytes)) !== OK) return false
      yield* this.refuse(request, refusal)
      return true
    }
    let wanted: readonly Context[] = this.agreement.contexts
    if (request.command === Command.BlockStatus && carriedBytes > 0) {
      const chosen = yield* this.takeStatusPayload(request, carriedBytes)
      if (chosen === null) return false
      refusal = chosen.refusal
      wanted = chosen.contexts
    }
    if (refusal !== null) yield* this.refuse(request, refusal)
    else return yield* this.begin(request, wanted)
    return true
  }

  /** The length of the range and the contexts of one BLOCK_STATUS; null: the stream has ended. */
  private *takeStatusPayload(
    request: Request,
    bytes: number,
  ): Co<{ refusal: Refusal | null; contexts: readonly Context[] } | null> {
    const { contexts } = this.agreement
    const countMax = contexts.length
    if (
      bytes < RANGE_LENGTH_BYTES ||
      bytes > RANGE_LENGTH_BYTES + countMax * CONTEXT_ID_BYTES ||
      bytes % CONTEXT_ID_BYTES !== 0
    ) {
      if ((yield* this.input.skip(bytes)) !== OK) return null
      return { refusal: { errno: EINVAL, text: 'payload of block status is malformed' }, contexts: [] }
    }
    const data = new Uint8Array(bytes)
    if ((yield* this.input.fill(data)) !== OK) return null
    const message = new Message(data)
    request.lengthBytes = message.uint64()
    const ids = new Set<number>()
    while (message.left > 0) ids.add(message.uint32())
    const chosen = contexts.filter(({ id }) => ids.has(id))
    const isKnown = chosen.length === ids.size && ids.size === (bytes - RANGE_LENGTH_BYTES) / CONTEXT_ID_BYTES && ids.size > 0
    if (!isKnown) return { refusal: { errno: EINVAL, text: 'unknown or repeated metadata context' }, contexts: [] }
    return { refusal: checkRange(request, this.agreement), contexts: chosen }
  }

  /** Starts a request that has passed. False: the stream ended in its payload. */
  private *begin(request: Request, contexts: readonly Context[]): Co<boolean> {
    const { command } = request
    const bytes = bufferBytes(request)
    if (bytes > 0) yield* this.budget.take(bytes, () => this.inFlight === 0)
    const storage = bytes > 0 ? this.pool.take(bytes) : NOTHING
    if (command === Command.Write && bytes > 0) {
      const errno = yield* this.input.fill(storage.subarray(0, bytes))
      if (errno !== OK) {
        this.pool.give(storage)
        this.budget.give(bytes)
        return false
      }
    }
    const slot = this.freeSlots.pop()
    assert(slot !== undefined, 'session-has-slot')
    this.inFlight++
    this.kernel.spawn(this.serve(request, contexts, storage, bytes, slot), numberedLabel('nbd.', slot))
    return true
  }

  private *serve(request: Request, contexts: readonly Context[], storage: Uint8Array, bytes: number, slot: number): Co<void> {
    const buffer = storage.length === bytes ? storage : storage.subarray(0, bytes)
    if (request.command === Command.Read) yield* this.read(request, buffer)
    else if (request.command === Command.BlockStatus) yield* this.status(request, contexts)
    else yield* this.answer(request, yield* this.change(request, buffer))
    if (bytes > 0) {
      this.pool.give(storage)
      this.budget.give(bytes)
    }
    this.freeSlots.push(slot)
    this.inFlight--
    assert(this.inFlight >= 0, 'in-flight-count')
    this.slotFree.wakeAll()
  }

  /** Commands that have no content in their answers. */
  private *change(request: Request, buffer: Uint8Array): Co<Errno> {
    const { exported } = this
    const { command, flags, offsetBytes, lengthBytes } = request
    const fua = (flags & CommandFlag.Fua) !== 0 ? RequestFlag.Fua : RequestFlag.None
    switch (command) {
      case Command.Write:
        return yield* exported.write(offsetBytes, buffer, fua)
      case Command.WriteZeroes: {
        const unmap = (flags & CommandFlag.NoHole) === 0 ? RequestFlag.MayUnmap : RequestFlag.None
        const fast = (flags & CommandFlag.FastZero) !== 0 ? RequestFlag.NoFallback : RequestFlag.None
        const errno = yield* exported.writeZeroes(offsetBytes, lengthBytes, fua | unmap | fast)
        // Only a fast zero may say that it is not supported (doc/proto.md, NBD_CMD_WRITE_ZEROES).
        return errno === ENOTSUP && fast === RequestFlag.None ? EINVAL : errno
      }
      case Command.Trim: {
        const errno = yield* exported.discard(offsetBytes, lengthBytes)
        return errno === OK && fua !== RequestFlag.None ? yield* exported.flush() : errno
      }
      case Command.Flush:
        return yield* exported.flush()
      default:
        assert(command === Command.Cache, 'command-known', () => String(command))
        return yield* this.cache(offsetBytes, lengthBytes, buffer)
    }
  }

  private *cache(offsetBytes: number, lengthBytes: number, buffer: Uint8Array): Co<Errno> {
    for (let at = 0; at < lengthBytes; at += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, lengthBytes - at))
      const errno = yield* this.exported.read(offsetBytes + at, piece)
      if (errno !== OK) return errno
    }
    return OK
  }

  private answer(request: Request, errno: Errno): Co<Errno> {
    if (errno !== OK) return this.refuse(request, { errno, text: failureText(request.command, errno) })
    const isSimple = this.mode === HeaderMode.Simple
    return this.outbox.send(isSimple ? simpleReply(request, OK) : doneChunk(this.mode, request), null)
  }
  private refuse(request: Request, { errno, text }: Refusal): Co<Errno> {
    assert(errno !== OK, 'refusal-has-errno', () => text)
    const isSimple = this.mode === HeaderMode.Simple
    return this.outbox.send(isSimple ? simpleReply(request, errno) : errorChunk(this.mode, request, errno, text), null)
  }

  private *read(request: Request, buffer: Uint8Array): Co<void> {
    const { command, flags, offsetBytes } = request
    // What was written before must be durable first, as QEMU has it.
    if ((flags & CommandFlag.Fua) !== 0) {
      const errno = yield* this.exported.flush()
      if (errno !== OK) return void (yield* this.refuse(request, { errno, text: failureText(Command.Flush, errno) }))
    }
    const isWhole = this.mode === HeaderMode.Simple || (flags & CommandFlag.Df) !== 0
    if (!isWhole && buffer.length > PLAIN_READ_MAX_BYTES) return yield* this.readSparse(request, buffer)
    const errno = yield* this.exported.read(offsetBytes, buffer)
    if (errno !== OK) return void (yield* this.refuse(request, { errno, text: failureText(command, errno) }))
    if (this.mode === HeaderMode.Simple) return void (yield* this.outbox.send(simpleReply(request, OK), orNull(buffer)))
    if (buffer.length === 0) return void (yield* this.outbox.send(doneChunk(this.mode, request), null))
    if (isZero(buffer)) yield* this.outbox.send(holeChunk(this.mode, request, true, offsetBytes, buffer.length), null)
    else yield* this.outbox.send(dataChunk(this.mode, request, true, offsetBytes, buffer.length), buffer)
  }

  /** One chunk for each extent: holes are not read and not sent. */
  private *readSparse(request: Request, buffer: Uint8Array): Co<void> {
    const { mode } = this
    for (let at = 0; at < buffer.length; ) {
      const offsetBytes = request.offsetBytes + at
      const status = yield* this.exported.status('want-zero', offsetBytes, buffer.length - at)
      if (status.errno !== OK) {
        yield* this.refuse(request, { errno: status.errno, text: 'unable to check for holes' })
        return
      }
      const isLast = at + status.bytes === buffer.length
      if ((status.flags & StatusFlag.Zero) !== 0) {
        yield* this.outbox.send(holeChunk(mode, request, isLast, offsetBytes, status.bytes), null)
      } else {
        const piece = buffer.subarray(at, at + status.bytes)
        const errno = yield* this.exported.read(offsetBytes, piece)
        if (errno !== OK) return void (yield* this.refuse(request, { errno, text: failureText(Command.Read, errno) }))
        yield* this.outbox.send(dataChunk(mode, request, isLast, offsetBytes, piece.length), piece)
      }
      at += status.bytes
    }
  }

  private *status(request: Request, contexts: readonly Context[]): Co<void> {
    assert(contexts.length > 0 && this.mode !== HeaderMode.Simple, 'status-negotiated')
    const { exported, kernel } = this
    const { offsetBytes, lengthBytes } = request
    const isOne = (request.flags & CommandFlag.ReqOne) !== 0
    const answers: Uint8Array[] = []
    for (const [index, { id }] of contexts.entries()) {
      const { errno, extents } = yield* extentsOf(id, { exported, kernel, offsetBytes, lengthBytes, isOne })
      if (errno !== OK) return void (yield* this.refuse(request, { errno, text: failureText(request.command, errno) }))
      answers.push(statusChunk(this.mode, request, index === contexts.length - 1, id, extents))
    }
    for (const answer of answers) yield* this.outbox.send(answer, null)
  }
}

function orNull(buffer: Uint8Array): Uint8Array | null {
  return buffer.length === 0 ? null : buffer
}

/** Memory that a request needs while it runs. */
function bufferBytes({ command, lengthBytes }: Request): number {
  if (command === Command.Read || command === Command.Write) return lengthBytes
  return command === Command.Cache ? Math.min(lengthBytes, CACHE_PIECE_BYTES) : 0
}
