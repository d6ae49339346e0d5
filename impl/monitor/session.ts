/**
 * One QMP monitor over a stream: greets, reads requests, writes answers and events. Requests of one client run one after
 * the other; nothing more is read from it while one runs, or while it does not take what is written.
 *
 * What may fail: the client, at any time and in any way, which ends its session and nothing else.
 * What never may: an answer before an event that happened before it.
 */
import type { ByteStream, Co } from '../co'
import { type JsonMessage, type JsonObject, JsonStream, jsonObject, printJson } from '../json'
import { type Dispatcher, type RequestOrigin, versionObject } from './dispatcher'
import { SessionOutput } from './session_output'

const READ_BYTES = 4096
/** No further request is run while more than that waits to be written. */
const OUTPUT_BYTES_HIGH = 64 * 1024

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
  private readonly dispatcher: Dispatcher
  private readonly stream: ByteStream
  private readonly isPretty: boolean
  private readonly output: SessionOutput
  private readonly isLockstep: boolean

  constructor({ dispatcher, stream, isPretty = false, offersOutOfBand = true, isLockstep = false }: SessionOptions) {
    this.dispatcher = dispatcher
    this.stream = stream
    this.isPretty = isPretty
    this.offersOutOfBand = offersOutOfBand
    this.isLockstep = isLockstep
    this.output = new SessionOutput(dispatcher.environment.kernel, stream)
  }

  /** Serves the client to its end; everything that it can still be sent has been sent then. */
  *run(): Co<void> {
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
      if (this.output.hasEnded) break
    }
    parser.end()
    yield* this.answerAll(messages)
    deaf()
    yield* this.drain()
    this.end()
  }

  private *answerAll(messages: JsonMessage[]): Co<void> {
    for (let message = messages.shift(); message !== undefined && !this.output.hasEnded; message = messages.shift()) {
      if (this.isLockstep) yield* this.drain()
      this.send(yield* this.dispatcher.answer(message, this))
      yield* this.output.drain(OUTPUT_BYTES_HIGH)
    }
    messages.length = 0
  }

  private greeting(): JsonObject {
    const capabilities = this.offersOutOfBand ? ['oob'] : []
    return jsonObject({ QMP: jsonObject({ version: versionObject(this.dispatcher.environment), capabilities }) })
  }

  private send(message: JsonObject): void {
    if (this.output.hasEnded) return
    this.output.send(new TextEncoder().encode(`${printJson(message, this.isPretty)}\r\n`))
  }
  /** Ends the session at once. */
  end(): void {
    this.output.end()
  }
  /** Waits until all that was said has left. */
  drain(): Co<void> {
    return this.output.drain()
  }
}
