/**
 * One QMP monitor over a stream: greets, reads requests, writes answers and events. Requests of one client run one after
 * the other; nothing more is read from it while one runs, or while it does not take what is written.
 *
 * What may fail: the client, at any time and in any way, which ends its session and nothing else.
 * What never may: an answer before an event that happened before it; memory that grows because a client reads nothing: who
 * leaves `OUTPUT_BYTES_MAX` waiting is cut off.
 */
import { assert, type ByteStream, type Co, type Kernel, makeLabel, OK, WaitQueue } from '../co'
import { type JsonMessage, type JsonObject, JsonStream, jsonObject, printJson } from '../json'
import { type Dispatcher, type RequestOrigin, versionObject } from './dispatcher'

const READ_BYTES = 4096
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024
/** No further request is run while more than that waits to be written. */
const OUTPUT_BYTES_HIGH = 64 * 1024
const WRITER = makeLabel('monitor-writer')

export interface SessionOptions {
  dispatcher: Dispatcher
  stream: ByteStream
  isPretty?: boolean
  offersOutOfBand?: boolean
  /** What a command prints goes the same way: everything said before has to be gone then. */
  isLockstep?: boolean
}

export class QmpSession implements RequestOrigin {
  hasNegotiated = false
  allowsOutOfBand = false
  readonly offersOutOfBand: boolean
  private readonly kernel: Kernel
  private readonly dispatcher: Dispatcher
  private readonly stream: ByteStream
  private readonly isPretty: boolean
  private readonly changed: WaitQueue
  private output: Uint8Array[] = []
  private outputBytes = 0
  private hasEnded = false
  private readonly isLockstep: boolean

  constructor({ dispatcher, stream, isPretty = false, offersOutOfBand = true, isLockstep = false }: SessionOptions) {
    this.dispatcher = dispatcher
    this.kernel = dispatcher.environment.kernel
    this.stream = stream
    this.isPretty = isPretty
    this.offersOutOfBand = offersOutOfBand
    this.isLockstep = isLockstep
    this.changed = new WaitQueue(this.kernel)
  }

  /** Serves the client to its end; everything that it can still be sent has been sent then. */
  *run(): Co<void> {
    this.kernel.spawn(this.writeAll(), WRITER)
    this.send(this.greeting())
    const deaf = this.dispatcher.environment.events.listen((event) => {
      if (this.hasNegotiated) this.send(event)
    })
    const messages: JsonMessage[] = []
    const parser = new JsonStream((message) => messages.push(message))
    const buffer = new Uint8Array(READ_BYTES)
    for (;;) {
      const bytes = yield* this.stream.read(buffer)
      if (bytes <= 0) break
      parser.feed(buffer.subarray(0, bytes))
      yield* this.answerAll(messages)
      if (this.hasEnded) break
    }
    parser.end()
    yield* this.answerAll(messages)
    deaf()
    while (this.outputBytes > 0 && !this.hasEnded) {
      yield* this.changed.wait({ describe: () => 'waits for a client to take its last answers' })
    }
    this.end()
  }

  private *answerAll(messages: JsonMessage[]): Co<void> {
    for (let message = messages.shift(); message !== undefined && !this.hasEnded; message = messages.shift()) {
      if (this.isLockstep) yield* this.drain()
      this.send(yield* this.dispatcher.answer(message, this))
      while (this.outputBytes > OUTPUT_BYTES_HIGH && !this.hasEnded) {
        yield* this.changed.wait({ describe: () => 'waits for a client to take answers' })
      }
    }
    messages.length = 0
  }

  private greeting(): JsonObject {
    const capabilities = this.offersOutOfBand ? ['oob'] : []
    return jsonObject({ QMP: jsonObject({ version: versionObject(this.dispatcher.environment), capabilities }) })
  }

  private send(message: JsonObject): void {
    if (this.hasEnded) return
    const bytes = new TextEncoder().encode(`${printJson(message, this.isPretty)}\r\n`)
    this.output.push(bytes)
    this.outputBytes += bytes.length
    if (this.outputBytes > OUTPUT_BYTES_MAX) this.end()
    this.changed.wakeAll()
  }

  private *writeAll(): Co<void> {
    while (!this.hasEnded) {
      if (this.output.length === 0) {
        yield* this.changed.wait({ describe: () => 'waits for something to tell a client' })
        continue
      }
      const parts = this.output
      const bytes = this.outputBytes
      this.output = []
      const errno = yield* this.stream.writeParts(parts)
      this.outputBytes -= Math.min(bytes, this.outputBytes)
      if (errno !== OK) this.end()
      this.changed.wakeAll()
    }
  }

  /** Ends the session at once. */
  end(): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.output = []
    this.outputBytes = 0
    this.stream.close()
    this.changed.wakeAll()
    assert(this.hasEnded, 'session-ended')
  }
  /** Waits until all that was said has left. */
  *drain(): Co<void> {
    while (this.outputBytes > 0 && !this.hasEnded) {
      yield* this.changed.wait({ describe: () => 'waits for a client to take what was said' })
    }
  }
}
