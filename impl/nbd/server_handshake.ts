/**
 * The server's side of the handshake: fixed newstyle, one option after the other, until the client chooses an export or
 * goes.
 *
 * What may fail: everything that the client sends; it gets an error reply where the protocol has one, and is left where it
 * has none. What never may: an export that is used before TLS where TLS is demanded; state from before TLS that is kept.
 */
import { BlockError } from '../block'
import { assert, type ByteStream, type Co, type Errno, OK, type TlsCredentials } from '../co'
import { type Context, contextsOf, matchContexts } from './contexts'
import type { NbdExport } from './export'
import {
  encodeBlockSizes,
  encodeContextReply,
  encodeExportInfo,
  encodeServerEntry,
  encodeTextInfo,
  optionReply,
  parseContextRequest,
  parseInfoRequest,
} from './options'
import {
  EXPORT_NAME_PADDING_BYTES,
  HandshakeFlag,
  HeaderMode,
  INIT_MAGIC,
  Info,
  OPTION_HEADER_BYTES,
  OPTION_MAGIC,
  Option,
  OptionReply,
  optionName,
  PAYLOAD_MAX_BYTES,
  STRING_MAX_BYTES,
  TransmissionFlag,
} from './protocol'
import { decodeText, encodeText, Input, Output } from './wire'

const CLIENT_FLAGS_BYTES = 4
/** Longer option data is thrown away unread. */
const OPTION_DATA_MAX_BYTES = 256 * 1024
const QUERIES_MAX = 1024

/** What a server lets its connections know. */
export interface HandshakeHost {
  readonly tls: TlsCredentials | null
  readonly isMultiConn: boolean
  /** Exports in the order in which they were added. */
  exports(): Iterable<NbdExport>
  findExport(name: string): NbdExport | null
}

/** What client and server have agreed on. */
export interface Agreement {
  readonly exported: NbdExport
  readonly mode: HeaderMode
  /** What BLOCK_STATUS asks about; empty: it may not be used. */
  readonly contexts: readonly Context[]
  /** To which requests must be aligned; 1 where the client was not told. */
  readonly minBlockBytes: number
  readonly flags: number
}

/** What an option leads to. */
const enum Next {
  Option = 0,
  Transmission = 1,
  /** The client is left. */
  End = 2,
}

export class ServerHandshake {
  input: Input
  private isTls = false
  private mode: HeaderMode = HeaderMode.Simple
  private isFixed = false
  private hasNoZeroes = false
  private contexts: readonly Context[] = []
  private contextsFor: NbdExport | null = null
  private agreement: Agreement | null = null
  private option = 0
  /** The stream in use; TLS puts another one in its place. */
  stream: ByteStream

  constructor(
    private readonly host: HandshakeHost,
    stream: ByteStream,
    /** Told of the stream inside TLS. */
    private readonly onUpgrade: (stream: ByteStream) => void,
  ) {
    this.stream = stream
    this.input = new Input(stream)
  }

  /** Null: the client has gone, or is to be left. */
  *run(): Co<Agreement | null> {
    const offered = HandshakeFlag.FixedNewstyle | HandshakeFlag.NoZeroes
    const greeting = new Output().words(INIT_MAGIC).words(OPTION_MAGIC).uint16(offered).done()
    if ((yield* this.stream.write(greeting)) !== OK) return null
    if ((yield* this.input.need(CLIENT_FLAGS_BYTES)) !== OK) return null
    const flags = this.input.uint32()
    // A flag that nobody has offered: the connection must be dropped (doc/proto.md, "Client flags").
    if ((flags & ~offered) !== 0) return null
    this.isFixed = (flags & HandshakeFlag.FixedNewstyle) !== 0
    this.hasNoZeroes = (flags & HandshakeFlag.NoZeroes) !== 0
    for (let next: Next = Next.Option; next === Next.Option; ) {
      next = yield* this.takeOption()
      if (next === Next.Transmission) return this.agreement
    }
    return null
  }

  private *takeOption(): Co<Next> {
    const { input } = this
    if ((yield* input.need(OPTION_HEADER_BYTES)) !== OK) return Next.End
    if (input.uint32() !== OPTION_MAGIC[0] || input.uint32() !== OPTION_MAGIC[1]) return Next.End
    const option = input.uint32()
    const lengthBytes = input.uint32()
    this.option = option
    if (lengthBytes > PAYLOAD_MAX_BYTES) return Next.End
    // A client that does not know errors must not be sent any.
    if (!this.isFixed && option !== Option.ExportName) return Next.End
    if (option === Option.ExportName) return yield* this.exportName(lengthBytes)
    if (option === Option.Abort) {
      if ((yield* input.skip(lengthBytes)) === OK) yield* this.acknowledge()
      return Next.End
    }
    const isTlsMissing = this.host.tls !== null && !this.isTls && option !== Option.StartTls
    if (lengthBytes > OPTION_DATA_MAX_BYTES || isTlsMissing) {
      if ((yield* input.skip(lengthBytes)) !== OK) return Next.End
      if (!isTlsMissing) return yield* this.refuse(OptionReply.ErrTooBig, `option data of ${lengthBytes} bytes is too long`)
      return yield* this.refuse(OptionReply.ErrTlsRequired, `option 0x${option.toString(16)} not permitted before TLS`)
    }
    const data = new Uint8Array(lengthBytes)
    if ((yield* input.fill(data)) !== OK) return Next.End
    return yield* this.execute(option, data)
  }

  private *execute(option: number, data: Uint8Array): Co<Next> {
    switch (option) {
      case Option.Info:
      case Option.Go:
        return yield* this.info(data, option === Option.Go)
      case Option.ListMetaContext:
      case Option.SetMetaContext:
        return yield* this.metaContext(data, option === Option.ListMetaContext)
      case Option.List:
      case Option.StartTls:
      case Option.StructuredReply:
      case Option.ExtendedHeaders:
        if (data.length > 0)
          return yield* this.refuse(OptionReply.ErrInvalid, `option '${optionName(option)}' should have zero length`)
        break
      default:
        return yield* this.refuse(OptionReply.ErrUnsupported, `unsupported option ${option} (${optionName(option)})`)
    }
    if (option === Option.List) return yield* this.list()
    return option === Option.StartTls ? yield* this.startTls() : yield* this.chooseHeaders(option)
  }

  private *send(reply: OptionReply, data: Uint8Array): Co<Errno> {
    return yield* this.stream.write(optionReply(this.option, reply, data))
  }
  private *acknowledge(): Co<Next> {
    return (yield* this.send(OptionReply.Ack, new Uint8Array(0))) === OK ? Next.Option : Next.End
  }
  private *refuse(reply: OptionReply, text: string): Co<Next> {
    assert(reply >= 0x80000000, 'option-error', () => text)
    const bytes = encodeText(text)
    return (yield* this.send(reply, bytes.subarray(0, STRING_MAX_BYTES))) === OK ? Next.Option : Next.End
  }

  private *exportName(lengthBytes: number): Co<Next> {
    if (lengthBytes > STRING_MAX_BYTES || (this.host.tls !== null && !this.isTls)) return Next.End
    const data = new Uint8Array(lengthBytes)
    if ((yield* this.input.fill(data)) !== OK) return Next.End
    const name = decodeText(data)
    const exported = name === null ? null : this.host.findExport(name)
    if (exported === null) return Next.End
    const agreement = this.agree(exported, 1)
    const padding = new Uint8Array(this.hasNoZeroes ? 0 : EXPORT_NAME_PADDING_BYTES)
    const answer = new Output().uint64(exported.lengthBytes).uint16(agreement.flags).raw(padding).done()
    return (yield* this.stream.write(answer)) === OK ? Next.Transmission : Next.End
  }

  private agree(exported: NbdExport, minBlockBytes: number): Agreement {
    const contexts = this.contextsFor === exported ? this.contexts : []
    const flags = this.flagsOf(exported, contexts)
    this.agreement = { exported, mode: this.mode, contexts, minBlockBytes, flags }
    return this.agreement
  }
  private flagsOf(exported: NbdExport, contexts: readonly Context[]): number {
    let flags = exported.transmissionFlags(this.host.isMultiConn)
    if (this.mode >= HeaderMode.Structured) flags |= TransmissionFlag.SendDf
    if (this.mode === HeaderMode.Extended && contexts.length > 0) flags |= TransmissionFlag.BlockStatusPayload
    return flags
  }

  private *list(): Co<Next> {
    for (const { name, description } of [...this.host.exports()]) {
      if ((yield* this.send(OptionReply.Server, encodeServerEntry(name, description))) !== OK) return Next.End
    }
    return yield* this.acknowledge()
  }

  private *info(data: Uint8Array, isGo: boolean): Co<Next> {
    const request = parseInfoRequest(data)
    if (request === null) return yield* this.refuse(OptionReply.ErrInvalid, `option '${optionName(this.option)}' is malformed`)
    const exported = this.host.findExport(request.name)
    if (exported === null) return yield* this.refuse(OptionReply.ErrUnknown, `export '${request.name}' not present`)
    const knowsSizes = request.infos.includes(Info.BlockSize)
    const minBlockBytes = knowsSizes || !isGo ? exported.minBlockBytes : 1
    const contexts = this.contextsFor === exported ? this.contexts : []
    const answers: Uint8Array[] = []
    if (request.infos.includes(Info.Name)) answers.push(encodeTextInfo(Info.Name, exported.name))
    if (exported.description !== null) answers.push(encodeTextInfo(Info.Description, exported.description))
    answers.push(encodeBlockSizes(minBlockBytes, exported.preferredBlockBytes, PAYLOAD_MAX_BYTES))
    answers.push(encodeExportInfo(exported.lengthBytes, this.flagsOf(exported, contexts)))
    for (const answer of answers) if ((yield* this.send(OptionReply.Info, answer)) !== OK) return Next.End
    if (!isGo) {
      if (knowsSizes || exported.minBlockBytes === 1) return yield* this.acknowledge()
      return yield* this.refuse(OptionReply.ErrBlockSizeRequired, 'request NBD_INFO_BLOCK_SIZE to use this export')
    }
    // It may have gone while the answers were on their way.
    if (exported.isClosing) return yield* this.refuse(OptionReply.ErrUnknown, `export '${request.name}' not present`)
    this.agree(exported, minBlockBytes)
    return (yield* this.acknowledge()) === Next.Option ? Next.Transmission : Next.End
  }

  private *startTls(): Co<Next> {
    const { tls } = this.host
    if (this.isTls) return yield* this.refuse(OptionReply.ErrInvalid, 'TLS already enabled')
    if (tls === null) return yield* this.refuse(OptionReply.ErrPolicy, 'TLS not configured')
    // What was sent ahead in the clear would be taken for what is sent inside.
    if (this.input.available > 0) return Next.End
    if ((yield* this.acknowledge()) !== Next.Option) return Next.End
    try {
      this.stream = yield* tls.upgrade(this.stream, null)
    } catch (error) {
      if (error instanceof BlockError) return Next.End
      throw error
    }
    this.onUpgrade(this.stream)
    this.input = new Input(this.stream)
    this.isTls = true
    this.mode = HeaderMode.Simple
    this.forgetContexts()
    return Next.Option
  }

  private *chooseHeaders(option: number): Co<Next> {
    const isExtended = option === Option.ExtendedHeaders
    if (this.mode === HeaderMode.Extended) {
      const reply = isExtended ? OptionReply.ErrInvalid : OptionReply.ErrExtendedHeaderRequired
      return yield* this.refuse(reply, 'extended headers already negotiated')
    }
    if (this.mode === HeaderMode.Structured && !isExtended) {
      return yield* this.refuse(OptionReply.ErrInvalid, 'structured reply already negotiated')
    }
    this.mode = isExtended ? HeaderMode.Extended : HeaderMode.Structured
    return yield* this.acknowledge()
  }

  private forgetContexts(): void {
    this.contexts = []
    this.contextsFor = null
  }

  private *metaContext(data: Uint8Array, isListing: boolean): Co<Next> {
    // Whatever comes of it, what was selected before is not any more.
    if (!isListing) this.forgetContexts()
    const what = optionName(this.option)
    if (this.mode === HeaderMode.Simple) {
      return yield* this.refuse(OptionReply.ErrInvalid, `request option '${what}' when structured reply is not negotiated`)
    }
    const request = parseContextRequest(data, QUERIES_MAX)
    if (request === null) return yield* this.refuse(OptionReply.ErrInvalid, `option '${what}' is malformed`)
    if (request === 'too big') return yield* this.refuse(OptionReply.ErrTooBig, `option '${what}' has too many queries`)
    const exported = this.host.findExport(request.name)
    if (exported === null) return yield* this.refuse(OptionReply.ErrUnknown, `export '${request.name}' not present`)
    const available = contextsOf(exported)
    const meant = new Set(request.queries.flatMap((query) => matchContexts(available, query, isListing)))
    const chosen = isListing && request.queries.length === 0 ? available : available.filter((context) => meant.has(context))
    for (const { id, name } of chosen) {
      const answer = encodeContextReply(isListing ? 0 : id, name)
      if ((yield* this.send(OptionReply.MetaContext, answer)) !== OK) return Next.End
    }
    if (!isListing) {
      this.contexts = chosen
      this.contextsFor = exported
    }
    return yield* this.acknowledge()
  }
}
