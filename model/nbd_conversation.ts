/**
 * One NBD connection as the protocol document (doc/proto.md of the NBD project) has it, seen from the client's end: what was
 * sent, and what has come. It takes both streams apart and says where an end breaks the rules. It shares no code with what it
 * judges, and knows nothing of disks: whether data is right is somebody else's business.
 *
 * What may fail: either end, in `breaches`; after one that leaves no way of telling where the next message begins, nothing
 * more is judged. Nothing is thrown.
 */
import { ByteQueue } from './byte_queue'

export type NbdEnd = 'client' | 'server'
export interface NbdBreach {
  end: NbdEnd
  /** Stable, without numbers. */
  key: string
  text: string
}
export type NbdHeaders = 'simple' | 'structured' | 'extended'
export interface NbdExtent {
  lengthBytes: number
  state: number
}
/** The whole answer to one request. */
export interface NbdReply {
  cookie: number
  /** As on the wire; 0: none. */
  error: number
  /** Of a read without an error. */
  data: Uint8Array | null
  /** Of a block status, by context id. */
  extents: ReadonlyMap<number, readonly NbdExtent[]>
}
/** A request that was sent. `command` as on the wire. */
export interface NbdSent {
  readonly cookie: number
  readonly command: number
  readonly offsetBytes: number
  readonly lengthBytes: number
}
interface Request {
  readonly command: number
  readonly flags: number
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly data: Uint8Array | null
  /** By sector or byte range: what of a read has come. */
  readonly seen: Array<readonly [number, number]>
  readonly extents: Map<number, NbdExtent[]>
  error: number
}

const OPTION_MAGIC = 0x49484156454f5054n
const REPLY_MAGIC = 0x3e889045565a9n
const ERRORS = [1, 5, 12, 22, 28, 75, 95, 108]
const PAYLOAD_MAX_BYTES = 32 * 1024 * 1024
export const NbdCommand = { Read: 0, Write: 1, Disconnect: 2, Flush: 3, Trim: 4, Cache: 5, Zeroes: 6, Status: 7 } as const
export const NbdOption = { ExportName: 1, Abort: 2, Go: 7, Structured: 8, Context: 10, Extended: 11 } as const
const Flag = { Fua: 1, NoHole: 2, Df: 4, ReqOne: 8, FastZero: 16, PayloadLength: 32 } as const
/** Flags of requests that a command may have, beside FUA, and the flag of the export that allows the command. */
const COMMANDS: ReadonlyMap<number, { flags: number; needs: number; changes: boolean }> = new Map([
  [NbdCommand.Read, { flags: Flag.Df, needs: 0, changes: false }],
  [NbdCommand.Write, { flags: Flag.PayloadLength, needs: 0, changes: true }],
  [NbdCommand.Disconnect, { flags: 0, needs: 0, changes: false }],
  [NbdCommand.Flush, { flags: 0, needs: 1 << 2, changes: false }],
  [NbdCommand.Trim, { flags: 0, needs: 1 << 5, changes: true }],
  [NbdCommand.Cache, { flags: 0, needs: 1 << 10, changes: false }],
  [NbdCommand.Zeroes, { flags: Flag.NoHole | Flag.FastZero, needs: 1 << 6, changes: true }],
  [NbdCommand.Status, { flags: Flag.ReqOne, needs: 0, changes: false }],
])
const READ_ONLY = 2

export class NbdConversation {
  readonly breaches: NbdBreach[] = []
  headers: NbdHeaders = 'simple'
  exportBytes = -1
  exportFlags = 0
  isTransmitting = false
  /** The client has said good-bye. */
  isOver = false
  /** Ids of metadata contexts by name. */
  readonly contexts = new Map<string, number>()
  private readonly onReply: (reply: NbdReply) => void
  private readonly onRequest: (request: NbdSent) => void
  private readonly fromClient = new ByteQueue()
  private readonly fromServer = new ByteQueue()
  private readonly options: number[] = []
  private readonly requests = new Map<number, Request>()
  private isGreeted = false
  private clientFlags = -1
  private isLost = false
  private hasExportInfo = false

  constructor(onReply: (reply: NbdReply) => void = () => {}, onRequest: (request: NbdSent) => void = () => {}) {
    this.onReply = onReply
    this.onRequest = onRequest
  }

  /** Options and requests that wait for an answer. */
  get openOptions(): number {
    return this.options.length
  }
  get openRequests(): number {
    return this.requests.size
  }
  /** The last option was refused, with this type of reply; 0: it was not. */
  refusal = 0

  sent(bytes: Uint8Array): void {
    this.fromClient.push(bytes)
    while (!this.isLost && this.takeFromClient());
  }
  received(bytes: Uint8Array): void {
    this.fromServer.push(bytes)
    while (!this.isLost && this.takeFromServer());
  }

  private breach(end: NbdEnd, key: string, text: string): void {
    this.breaches.push({ end, key: `nbd/${key}`, text })
  }
  private lose(end: NbdEnd, key: string, text: string): false {
    this.breach(end, key, text)
    this.isLost = true
    return false
  }

  // ----------------------------------------------------------------------------------------------------------- the client

  private takeFromClient(): boolean {
    const { fromClient } = this
    if (this.isOver && fromClient.length > 0) return this.lose('client', 'after-good-bye', 'the client goes on after DISC')
    if (this.clientFlags < 0) {
      if (fromClient.length < 4) return false
      this.clientFlags = fromClient.u32()
      return true
    }
    return this.isTransmitting ? this.takeRequest() : this.takeOption()
  }

  private takeOption(): boolean {
    const { fromClient } = this
    if (fromClient.length < 16 || fromClient.length < 16 + fromClient.peekU32(12)) return false
    if (fromClient.u64() !== OPTION_MAGIC) return this.lose('client', 'option-magic', 'an option without its magic number')
    const option = fromClient.u32()
    fromClient.bytes(fromClient.u32())
    this.options.push(option)
    this.hasExportInfo = false
    this.refusal = 0
    return true
  }

  private takeRequest(): boolean {
    const { fromClient } = this
    const isExtended = this.headers === 'extended'
    if (fromClient.length < (isExtended ? 32 : 28)) return false
    const flags = fromClient.peekU16(4)
    const command = fromClient.peekU16(6)
    const lengthBytes = isExtended ? Number(fromClient.peekU64(24)) : fromClient.peekU32(24)
    const hasPayload = command === NbdCommand.Write && (!isExtended || (flags & Flag.PayloadLength) !== 0)
    if (hasPayload && lengthBytes <= PAYLOAD_MAX_BYTES && fromClient.length < (isExtended ? 32 : 28) + lengthBytes) return false
    if (fromClient.u32() !== (isExtended ? 0x21e41c71 : 0x25609513))
      return this.lose('client', 'request-magic', 'a request without its magic number')
    fromClient.bytes(4)
    const cookie = Number(fromClient.u64())
    const offsetBytes = Number(fromClient.u64())
    fromClient.bytes(isExtended ? 8 : 4)
    if (hasPayload && lengthBytes > PAYLOAD_MAX_BYTES)
      return this.lose('client', 'payload-too-long', `a write of ${lengthBytes} bytes`)
    if (hasPayload) fromClient.bytes(lengthBytes)
    this.judgeRequest(command, flags, offsetBytes, lengthBytes, hasPayload)
    if (command === NbdCommand.Disconnect) this.isOver = true
    else {
      if (this.requests.has(cookie)) this.breach('client', 'cookie-in-use', 'two requests under way have one cookie')
      const data = command === NbdCommand.Read && lengthBytes <= PAYLOAD_MAX_BYTES ? new Uint8Array(lengthBytes) : null
      this.requests.set(cookie, { command, flags, offsetBytes, lengthBytes, data, seen: [], extents: new Map(), error: 0 })
      this.onRequest({ cookie, command, offsetBytes, lengthBytes })
    }
    return true
  }

  private judgeRequest(command: number, flags: number, offsetBytes: number, lengthBytes: number, hasPayload: boolean): void {
    const known = COMMANDS.get(command)
    if (known === undefined) {
      this.breach('client', 'unknown-command', `a request of kind ${command}`)
      return
    }
    const { exportFlags } = this
    const fua = known.changes && (exportFlags & (1 << 3)) !== 0 ? Flag.Fua : 0
    let allowed = known.flags | fua
    if (this.headers === 'simple' || (exportFlags & (1 << 7)) === 0) allowed &= ~Flag.Df
    if ((exportFlags & (1 << 11)) === 0) allowed &= ~Flag.FastZero
    if (this.headers !== 'extended') allowed &= ~Flag.PayloadLength
    if ((flags & ~allowed) !== 0) this.breach('client', 'request-flags', `flags ${flags} of a request of kind ${command}`)
    if ((exportFlags & known.needs) !== known.needs) this.breach('client', 'not-offered', `a request of kind ${command}`)
    if (known.changes && (exportFlags & READ_ONLY) !== 0) this.breach('client', 'read-only', 'a change of a read-only export')
    if (command === NbdCommand.Status && this.contexts.size === 0) this.breach('client', 'no-context', 'status of no context')
    if (command === NbdCommand.Write && !hasPayload) this.breach('client', 'no-payload', 'a write without its length')
    if (command === NbdCommand.Disconnect || command === NbdCommand.Flush) return
    if (lengthBytes === 0) this.breach('client', 'empty-request', 'a request for no bytes')
    if (offsetBytes + lengthBytes > this.exportBytes)
      this.breach('client', 'beyond-the-end', `${offsetBytes}+${lengthBytes} of ${this.exportBytes} bytes`)
    if (command === NbdCommand.Read && lengthBytes > PAYLOAD_MAX_BYTES)
      this.breach('client', 'read-too-long', `a read of ${lengthBytes} bytes`)
  }

  // ----------------------------------------------------------------------------------------------------------- the server

  private takeFromServer(): boolean {
    if (!this.isGreeted) return this.takeGreeting()
    return this.isTransmitting ? this.takeReply() : this.takeOptionReply()
  }

  private takeGreeting(): boolean {
    const { fromServer } = this
    if (fromServer.length < 18) return false
    if (fromServer.u64() !== 0x4e42444d41474943n || fromServer.u64() !== OPTION_MAGIC)
      return this.lose('server', 'greeting', 'the greeting is not that of newstyle')
    if ((fromServer.u16() & 1) === 0) this.breach('server', 'greeting', 'the server does not speak fixed newstyle')
    this.isGreeted = true
    return true
  }

  private takeOptionReply(): boolean {
    const { fromServer } = this
    const [option] = this.options
    if (option === undefined)
      return fromServer.length > 0 && this.lose('server', 'unasked', 'the server answers where nobody has asked')
    if (option === NbdOption.ExportName) return this.takeExport()
    if (fromServer.length < 20 || fromServer.length < 20 + fromServer.peekU32(16)) return false
    if (fromServer.u64() !== REPLY_MAGIC) return this.lose('server', 'option-magic', 'an answer without its magic number')
    if (fromServer.u32() !== option) return this.lose('server', 'wrong-option', 'an answer to another option')
    const type = fromServer.u32()
    const data = new ByteQueue()
    data.push(fromServer.bytes(fromServer.u32()))
    this.judgeOptionReply(option, type, data)
    return true
  }

  private takeExport(): boolean {
    const { fromServer } = this
    const restBytes = (this.clientFlags & 2) !== 0 ? 0 : 124
    if (fromServer.length < 10 + restBytes) return false
    this.exportBytes = Number(fromServer.u64())
    this.exportFlags = fromServer.u16()
    if (fromServer.bytes(restBytes).some((byte) => byte !== 0))
      this.breach('server', 'padding', 'the bytes after the export are not zero')
    this.options.shift()
    this.isTransmitting = true
    return true
  }

  private judgeOptionReply(option: number, type: number, data: ByteQueue): void {
    if (type >= 0x80000000) {
      this.refusal = type
      this.options.shift()
    } else if (type === 3 && option === NbdOption.Go) {
      if (data.length >= 12 && data.u16() === 0) {
        this.exportBytes = Number(data.u64())
        this.exportFlags = data.u16()
        this.hasExportInfo = true
      }
    } else if (type === 4 && option === NbdOption.Context) {
      const id = data.u32()
      this.contexts.set(new TextDecoder().decode(data.bytes(data.length)), id)
    } else if (type === 1) this.acknowledged(option, data.length)
    else this.breach('server', 'reply-type', `an answer of kind ${type} to option ${option}`)
  }

  private acknowledged(option: number, payloadBytes: number): void {
    this.options.shift()
    if (payloadBytes > 0) this.breach('server', 'ack-payload', 'an acknowledgement with a payload')
    if (option === NbdOption.Structured && this.headers === 'simple') this.headers = 'structured'
    if (option === NbdOption.Extended) this.headers = 'extended'
    if (option !== NbdOption.Go) return
    if (!this.hasExportInfo) this.breach('server', 'no-export-info', 'GO was acknowledged without a word on the export')
    this.isTransmitting = true
  }

  private takeReply(): boolean {
    const { fromServer, headers } = this
    if (fromServer.length < 4) return false
    const magic = fromServer.peekU32(0)
    if (magic === 0x67446698) return this.takeSimpleReply()
    const isExtended = magic === 0x6e8a278c
    if (!isExtended && magic !== 0x668e33ef) return this.lose('server', 'reply-magic', 'a reply without a magic number')
    if (headers !== (isExtended ? 'extended' : 'structured'))
      return this.lose('server', 'headers', `a chunk that was not agreed on: ${headers} headers were`)
    const headBytes = isExtended ? 32 : 20
    if (fromServer.length < headBytes) return false
    const payloadBytes = isExtended ? Number(fromServer.peekU64(24)) : fromServer.peekU32(16)
    if (payloadBytes > PAYLOAD_MAX_BYTES + 8) return this.lose('server', 'chunk-too-long', `a chunk of ${payloadBytes} bytes`)
    if (fromServer.length < headBytes + payloadBytes) return false
    fromServer.bytes(4)
    const flags = fromServer.u16()
    const type = fromServer.u16()
    const cookie = Number(fromServer.u64())
    const request = this.requests.get(cookie)
    if (request === undefined) return this.lose('server', 'unknown-cookie', 'a chunk for a request that is not under way')
    if (isExtended && Number(fromServer.u64()) !== request.offsetBytes)
      this.breach('server', 'chunk-offset', 'a chunk names another offset than its request')
    fromServer.bytes(isExtended ? 8 : 4)
    const payload = new ByteQueue()
    payload.push(fromServer.bytes(payloadBytes))
    this.judgeChunk(request, type, (flags & 1) !== 0, payload)
    if ((flags & ~1) !== 0) this.breach('server', 'chunk-flags', `flags ${flags} of a chunk`)
    if ((flags & 1) !== 0) this.finish(cookie, request)
    return true
  }

  private takeSimpleReply(): boolean {
    const { fromServer, headers } = this
    if (fromServer.length < 16) return false
    const request = this.requests.get(Number(fromServer.peekU64(8)))
    if (request === undefined) return this.lose('server', 'unknown-cookie', 'a reply to a request that is not under way')
    const error = fromServer.peekU32(4)
    const dataBytes = request.command === NbdCommand.Read && error === 0 ? request.lengthBytes : 0
    if (fromServer.length < 16 + dataBytes) return false
    if (headers === 'extended') return this.lose('server', 'headers', 'a simple reply where extended headers were agreed on')
    if (headers === 'structured' && (request.command === NbdCommand.Read || request.command === NbdCommand.Status))
      this.breach('server', 'simple-reply', 'a simple reply to a request whose answer has chunks')
    fromServer.bytes(8)
    const cookie = Number(fromServer.u64())
    this.judgeError(request, error)
    if (dataBytes > 0) {
      request.data?.set(fromServer.bytes(dataBytes))
      request.seen.push([0, dataBytes])
    }
    this.finish(cookie, request)
    return true
  }

  private judgeError(request: Request, error: number): void {
    if (error === 0) return
    request.error = error
    if (!ERRORS.includes(error)) this.breach('server', 'error-number', `error ${error} does not exist in the protocol`)
    if (error === 75 && (request.flags & Flag.Df) === 0 && request.lengthBytes <= PAYLOAD_MAX_BYTES)
      this.breach('server', 'overflow', 'EOVERFLOW for a request that may be answered in parts')
    if (error === 95 && request.command === NbdCommand.Zeroes && (request.flags & Flag.FastZero) === 0)
      this.breach('server', 'not-supported', 'ENOTSUP for zeroes that need not be fast')
  }

  private judgeChunk(request: Request, type: number, isLast: boolean, payload: ByteQueue): void {
    const isRead = request.command === NbdCommand.Read
    if (type === 0) {
      if (payload.length > 0 || !isLast) this.breach('server', 'empty-chunk', 'an empty chunk that is not the last, or not empty')
    } else if (type === 1 && isRead && payload.length > 8) {
      const at = Number(payload.u64()) - request.offsetBytes
      const bytes = payload.bytes(payload.length)
      if (this.note(request, at, bytes.length)) request.data?.set(bytes, at)
    } else if (type === 2 && isRead && payload.length === 12) {
      const at = Number(payload.u64()) - request.offsetBytes
      this.note(request, at, payload.u32())
    } else if ((type === 5 || type === 6) && request.command === NbdCommand.Status) this.judgeStatus(request, type === 6, payload)
    else if ((type & 0x8000) !== 0 && payload.length >= 6) {
      const error = payload.u32()
      if (error === 0) this.breach('server', 'error-zero', 'a chunk for an error without an error')
      if (payload.length < 2 + payload.peekU16(0)) this.breach('server', 'error-text', 'the text of an error is cut')
      this.judgeError(request, error)
    } else this.breach('server', 'chunk-type', `a chunk of type ${type} for a request of kind ${request.command}`)
  }

  /** A part of a read has come. */
  private note(request: Request, at: number, lengthBytes: number): boolean {
    const end = at + lengthBytes
    if (at < 0 || lengthBytes === 0 || end > request.lengthBytes) {
      this.breach('server', 'outside', 'a chunk lies outside of what was asked for')
      return false
    }
    if (request.seen.some(([from, to]) => from < end && at < to)) this.breach('server', 'twice', 'two chunks give the same bytes')
    if ((request.flags & Flag.Df) !== 0 && request.seen.length > 0)
      this.breach('server', 'fragment', 'a read that must not be fragmented comes in parts')
    request.seen.push([at, end])
    return true
  }

  private judgeStatus(request: Request, isExtended: boolean, payload: ByteQueue): void {
    const entryBytes = isExtended ? 16 : 8
    if (isExtended !== (this.headers === 'extended')) this.breach('server', 'status-kind', 'a status of the other headers')
    const id = payload.u32()
    const count = isExtended ? payload.u32() : payload.length / entryBytes
    if (payload.length !== count * entryBytes || count < 1) {
      this.breach('server', 'status-length', 'a status that is not made of whole extents')
      return
    }
    if (![...this.contexts.values()].includes(id) || request.extents.has(id))
      this.breach('server', 'status-context', 'a status of a context that nobody chose, or for the second time')
    const extents: NbdExtent[] = []
    let sumBytes = 0
    for (let index = 0; index < count; index++) {
      if (sumBytes >= request.lengthBytes) this.breach('server', 'status-beyond', 'an extent begins behind what was asked for')
      const lengthBytes = isExtended ? Number(payload.u64()) : payload.u32()
      extents.push({ lengthBytes, state: isExtended ? Number(payload.u64()) : payload.u32() })
      if (lengthBytes === 0) this.breach('server', 'status-empty', 'an extent without a length')
      sumBytes += lengthBytes
    }
    const isOne = (request.flags & Flag.ReqOne) !== 0
    if (isOne && (count > 1 || sumBytes > request.lengthBytes))
      this.breach('server', 'status-one', 'more than the one extent that was asked for')
    request.extents.set(id, extents)
  }

  private finish(cookie: number, request: Request): void {
    this.requests.delete(cookie)
    const { command, error, seen, extents } = request
    if (error === 0 && command === NbdCommand.Read) {
      const bytes = seen.reduce((sum, [from, to]) => sum + to - from, 0)
      if (bytes !== request.lengthBytes) this.breach('server', 'incomplete', 'a read has ended without all of its bytes')
    }
    if (error === 0 && command === NbdCommand.Status && extents.size !== this.contexts.size)
      this.breach('server', 'status-missing', 'a status has ended without one of its contexts')
    this.onReply({ cookie, error, data: error === 0 ? request.data : null, extents })
  }
}
