/**
 * The client's side of the handshake: newstyle, fixed or not; TLS where there are credentials; the best headers that the
 * server has; one metadata context; one export.
 *
 * What may fail: everything that the server says, as a BlockError with QEMU's text, with the server's own behind it. What
 * never may: more memory than an answer may have; an export other than the one that was asked for; talk in the clear where
 * there are credentials.
 */
import { BlockError } from '../block'
import { assert, type ByteStream, type Co, EINVAL, EIO, type Errno, OK, strerror, type TlsCredentials } from '../co'
import { encodeContextRequest, encodeInfoRequest, optionMessage } from './options'
import {
  EXPORT_NAME_PADDING_BYTES,
  HandshakeFlag,
  HeaderMode,
  INIT_MAGIC,
  Info,
  MIN_BLOCK_MAX_BYTES,
  OLDSTYLE_MAGIC,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_BYTES,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
  optionName,
  PAYLOAD_MAX_BYTES,
  TransmissionFlag,
} from './protocol'
import { displayText, ENDED, encodeText, Input, Message, Output } from './wire'

const GREETING_BYTES = 18
/** No answer is longer: a name and a description. */
const ANSWER_MAX_BYTES = 16 * 1024
/** Answers to one option before its last: a server that goes on and on is no server. */
const ANSWERS_MAX = 10_000
const NOTHING = new Uint8Array(0)

export interface ClientWish {
  readonly exportName: string
  readonly tls: TlsCredentials | null
  /** Whom the certificate must name; null: whoever was called. */
  readonly tlsHostname: string | null
  /** What block status is to be about; null: nothing. */
  readonly context: string | null
}

/** What a server has told of one export. */
export interface ExportFacts {
  readonly name: string
  readonly description: string | null
  readonly lengthBytes: number
  readonly flags: number
  readonly minBlockBytes: number
  readonly preferredBlockBytes: number
  /** Most of one READ or WRITE. */
  readonly payloadMaxBytes: number
}

/** A connection that is ready for requests. */
export interface ClientAgreement extends ExportFacts {
  readonly stream: ByteStream
  readonly input: Input
  readonly mode: HeaderMode
  /** Of the context that was wished for; null: the server has it not. */
  readonly contextId: number | null
}

interface Answer {
  readonly type: number
  readonly data: Uint8Array
}

export class ClientHandshake {
  private stream: ByteStream
  private input: Input
  mode: HeaderMode = HeaderMode.Simple
  /** Of the fixed newstyle: options have answers. */
  isFixed = false
  private hasNoZeroes = false

  constructor(stream: ByteStream) {
    this.stream = stream
    this.input = new Input(stream)
  }

  /** From the greeting to the transmission. Throws BlockError; the stream is closed then. */
  *enter(wish: ClientWish): Co<ClientAgreement> {
    try {
      yield* this.greet(wish.tls, wish.tlsHostname)
      if (!this.isFixed) return yield* this.exportName(wish.exportName, null)
      yield* this.chooseHeaders()
      const contextId = wish.context === null ? null : yield* this.selectContext(wish.exportName, wish.context)
      const facts = yield* this.askExport(Option.Go, wish.exportName)
      if (facts === null) return yield* this.exportName(wish.exportName, contextId)
      return { ...facts, stream: this.stream, input: this.input, mode: this.mode, contextId }
    } catch (error) {
      this.stream.close()
      throw error
    }
  }

  /** The first words, and TLS. Throws BlockError. */
  *greet(tls: TlsCredentials | null, hostname: string | null): Co<void> {
    yield* this.need(GREETING_BYTES, 'Failed to read initial magic')
    const init = [this.input.uint32(), this.input.uint32()]
    if (init[0] !== INIT_MAGIC[0] || init[1] !== INIT_MAGIC[1]) throw malformed(`Bad initial magic received: 0x${hex(init)}`)
    const magic = [this.input.uint32(), this.input.uint32()]
    const flags = this.input.uint16()
    if (magic[0] === OLDSTYLE_MAGIC[0] && magic[1] === OLDSTYLE_MAGIC[1]) {
      throw malformed('Server speaks the oldstyle protocol, which is not supported')
    }
    if (magic[0] !== OPTION_MAGIC[0] || magic[1] !== OPTION_MAGIC[1]) {
      throw malformed(`Bad server magic received: 0x${hex(magic)}`)
    }
    this.isFixed = (flags & HandshakeFlag.FixedNewstyle) !== 0
    this.hasNoZeroes = (flags & HandshakeFlag.NoZeroes) !== 0
    const chosen = flags & (HandshakeFlag.FixedNewstyle | HandshakeFlag.NoZeroes)
    yield* this.send(new Output().uint32(chosen).done(), 'Failed to send clientflags field')
    if (tls === null) return
    if (!this.isFixed) throw malformed('Server does not support STARTTLS')
    const [answer] = yield* this.ask(Option.StartTls, NOTHING)
    if (answer === undefined) throw malformed('Server does not support STARTTLS')
    if (this.input.available > 0) throw malformed('Server sent data ahead of TLS')
    this.stream = yield* tls.upgrade(this.stream, hostname)
    this.input = new Input(this.stream)
  }

  private *need(bytes: number, what: string): Co<void> {
    const errno = yield* this.input.need(bytes)
    if (errno !== OK) throw broken(what, errno)
  }
  private *send(bytes: Uint8Array, what: string): Co<void> {
    const errno = yield* this.stream.write(bytes)
    if (errno !== OK) throw broken(what, errno)
  }

  /**
   * Sends an option and takes its answers: the last one is the acknowledgement. None at all: the server does not know the
   * option. Throws BlockError if it refuses.
   */
  *ask(option: Option, data: Uint8Array): Co<Answer[]> {
    yield* this.send(optionMessage(option, data), `Failed to send option ${option} (${optionName(option)})`)
    const answers: Answer[] = []
    while (answers.length < ANSWERS_MAX) {
      const answer = yield* this.answer(option)
      if (answer.type >= 0x80000000) {
        if (answer.type === OptionReply.ErrUnsupported) return []
        throw refusal(option, answer)
      }
      answers.push(answer)
      if (answer.type === OptionReply.Ack) {
        if (answer.data.length > 0) throw malformed(`Unexpected data in the acknowledgement of option ${option}`)
        return answers
      }
    }
    throw malformed(`More than ${ANSWERS_MAX} answers to option ${option} (${optionName(option)})`)
  }

  private *answer(option: Option): Co<Answer> {
    yield* this.need(OPTION_REPLY_HEADER_BYTES, 'failed to read option reply')
    const magic = [this.input.uint32(), this.input.uint32()]
    if (magic[0] !== OPTION_REPLY_MAGIC[0] || magic[1] !== OPTION_REPLY_MAGIC[1]) throw malformed('Unexpected option reply magic')
    const echoed = this.input.uint32()
    const type = this.input.uint32()
    const lengthBytes = this.input.uint32()
    if (echoed !== option) throw malformed(`Unexpected option type ${echoed} (${optionName(echoed)}), expected ${option}`)
    if (lengthBytes > ANSWER_MAX_BYTES) throw malformed(`option reply of ${lengthBytes} bytes is too long`)
    const data = new Uint8Array(lengthBytes)
    const errno = yield* this.input.fill(data)
    if (errno !== OK) throw broken('failed to read option reply', errno)
    return { type, data }
  }

  /** Extended headers, or structured replies, or neither. */
  *chooseHeaders(): Co<void> {
    for (const [option, mode] of [
      [Option.ExtendedHeaders, HeaderMode.Extended],
      [Option.StructuredReply, HeaderMode.Structured],
    ] as const) {
      if (yield* this.isGranted(option)) {
        this.mode = mode
        return
      }
    }
  }
  /** An option that a server may do without, for whatever reason it gives. */
  private *isGranted(option: Option): Co<boolean> {
    try {
      return (yield* this.ask(option, NOTHING)).length > 0
    } catch (error) {
      if (error instanceof RefusedError && error.reply !== OptionReply.ErrTlsRequired) return false
      throw error
    }
  }

  /** Null: the server has no such context, or none at all. */
  private *selectContext(name: string, context: string): Co<number | null> {
    if (this.mode === HeaderMode.Simple) return null
    const found = yield* this.contexts(Option.SetMetaContext, name, [context])
    if (found.length === 0) return null
    if (found.length > 1 || found[0]!.name !== context) throw malformed(`Server returned a context other than '${context}'`)
    return found[0]!.id
  }

  /** What the server has, or has selected, of the queries. */
  *contexts(option: Option, name: string, queries: readonly string[]): Co<Array<{ id: number; name: string }>> {
    const answers = yield* this.ask(option, encodeContextRequest({ name, queries }))
    return answers.slice(0, -1).map(({ type, data }) => {
      const message = new Message(data)
      const id = message.uint32()
      if (type !== OptionReply.MetaContext || message.isShort)
        throw malformed(`Unexpected reply type ${type} to ${optionName(option)}`)
      return { id, name: displayText(message.rest()) }
    })
  }

  /** INFO or GO. Null: the server knows neither. */
  *askExport(option: Option.Info | Option.Go, name: string): Co<ExportFacts | null> {
    const infos = [Info.Name, Info.Description, Info.BlockSize]
    const answers = yield* this.ask(option, encodeInfoRequest({ name, infos }))
    if (answers.length === 0) return null
    const facts = new FactsBuilder(name)
    for (const { type, data } of answers.slice(0, -1)) {
      if (type !== OptionReply.Info) throw malformed(`Unexpected reply type ${type} to ${optionName(option)}`)
      facts.take(data)
    }
    return facts.done()
  }

  /** The old way: the server goes if it has no such export. */
  private *exportName(name: string, contextId: number | null): Co<ClientAgreement> {
    yield* this.send(optionMessage(Option.ExportName, encodeText(name)), 'Failed to send the export name')
    yield* this.need(10, 'Failed to read export length')
    const lengthBytes = this.input.uint64()
    const flags = this.input.uint16()
    if (!this.hasNoZeroes) {
      yield* this.need(EXPORT_NAME_PADDING_BYTES, 'Failed to read reserved block')
      this.input.bytes(EXPORT_NAME_PADDING_BYTES)
    }
    const facts = new FactsBuilder(name)
    facts.take(new Output().uint16(Info.Export).uint64(lengthBytes).uint16(flags).done())
    return { ...facts.done(), stream: this.stream, input: this.input, mode: this.mode, contextId }
  }

  /** What a server lists. Throws BlockError. */
  *list(): Co<Array<{ name: string; description: string | null }>> {
    if (!this.isFixed) return []
    const answers = yield* this.ask(Option.List, NOTHING)
    if (answers.length === 0) throw malformed('Server does not support export lists')
    return answers.slice(0, -1).map(({ type, data }) => {
      const message = new Message(data)
      const name = message.rest(message.uint32())
      if (type !== OptionReply.Server || message.isShort) throw malformed("incorrect name length in server's list response")
      const description = message.rest()
      return { name: displayText(name), description: description.length > 0 ? displayText(description) : null }
    })
  }

  /** Ends without having chosen an export. */
  *abort(): Co<void> {
    if (this.isFixed) yield* this.stream.write(optionMessage(Option.Abort, NOTHING))
    this.stream.close()
  }
  close(): void {
    this.stream.close()
  }
}

class FactsBuilder {
  private lengthBytes = -1
  private flags = 0
  private minBlockBytes = 1
  private preferredBlockBytes = 0
  private payloadMaxBytes = PAYLOAD_MAX_BYTES
  private description: string | null = null

  constructor(private readonly name: string) {}

  /** One piece of information; throws BlockError for one that cannot be. */
  take(data: Uint8Array): void {
    const message = new Message(data)
    const info = message.uint16()
    if (info === Info.Export) {
      this.lengthBytes = message.uint64()
      this.flags = message.uint16()
      if (message.isShort || message.left > 0) throw malformed('Remaining export list length is wrong')
      if (!Number.isSafeInteger(this.lengthBytes)) throw malformed(`export length ${this.lengthBytes} is too large`)
      // A server that forgets this bit has no flags at all.
      if ((this.flags & TransmissionFlag.HasFlags) === 0) this.flags = 0
    } else if (info === Info.BlockSize) this.takeSizes(message)
    else if (info === Info.Description) this.description = displayText(message.rest())
  }

  private takeSizes(message: Message): void {
    const minBytes = message.uint32()
    const preferredBytes = message.uint32()
    const maxBytes = message.uint32()
    if (message.isShort || message.left > 0) throw malformed('invalid length of block sizes')
    if (!isPowerOfTwo(minBytes) || minBytes > MIN_BLOCK_MAX_BYTES) {
      throw malformed(`server minimum block size ${minBytes} is not a power of two`)
    }
    if (!isPowerOfTwo(preferredBytes) || preferredBytes < minBytes) {
      throw malformed(`server preferred block size ${preferredBytes} is not valid`)
    }
    if (maxBytes < minBytes) throw malformed(`server maximum block size ${maxBytes} is not valid`)
    this.minBlockBytes = minBytes
    this.preferredBlockBytes = preferredBytes
    const maxPayload = Math.min(maxBytes, PAYLOAD_MAX_BYTES)
    this.payloadMaxBytes = maxPayload - (maxPayload % minBytes)
  }

  done(): ExportFacts {
    if (this.lengthBytes < 0) throw malformed('broken server omitted NBD_INFO_EXPORT')
    assert(this.payloadMaxBytes >= this.minBlockBytes, 'payload-holds-block')
    return {
      name: this.name,
      description: this.description,
      lengthBytes: this.lengthBytes,
      flags: this.flags,
      minBlockBytes: this.minBlockBytes,
      preferredBlockBytes: this.preferredBlockBytes,
      payloadMaxBytes: this.payloadMaxBytes,
    }
  }
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0
}
function hex(words: readonly number[]): string {
  return words.map((word) => word.toString(16).padStart(8, '0')).join('')
}

function malformed(text: string): BlockError {
  return new BlockError(text, { errno: EINVAL })
}
function broken(what: string, errno: Errno): BlockError {
  if (errno === ENDED || errno === EIO)
    return new BlockError(`${what}: Unexpected end-of-file before all data were read`, { errno: EIO })
  return new BlockError(`${what}: ${strerror(errno)}`, { errno })
}

/** The server has said no. */
export class RefusedError extends BlockError {
  constructor(
    text: string,
    readonly reply: number,
    hint: string,
  ) {
    super(text, { errno: EINVAL, hint })
  }
}

function refusal(option: Option, { type, data }: Answer): RefusedError {
  const what = `option ${option} (${optionName(option)})`
  const hints = type === OptionReply.ErrTlsRequired ? ['Did you forget a valid tls-creds?'] : []
  if (data.length > 0) hints.push(`server reported: ${displayText(data)}`)
  return new RefusedError(refusalText(type, what), type, hints.join('\n'))
}
function refusalText(reply: number, what: string): string {
  switch (reply) {
    case OptionReply.ErrPolicy:
      return `Denied by server for ${what}`
    case OptionReply.ErrInvalid:
      return `Invalid parameters for ${what}`
    case OptionReply.ErrPlatform:
      return `Server lacks support for ${what}`
    case OptionReply.ErrTlsRequired:
      return `Server requires TLS for ${what}`
    case OptionReply.ErrUnknown:
      return 'Requested export not available'
    case OptionReply.ErrShutdown:
      return `Server shutting down before ${what}`
    case OptionReply.ErrBlockSizeRequired:
      return `Server requires INFO_BLOCK_SIZE for ${what}`
    default:
      return `Unknown error code when asking for ${what}`
  }
}
