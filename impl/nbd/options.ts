/**
 * The options of a client before it uses an export, as they lie on the wire, and the answers to them: both ends build and
 * take them apart here.
 *
 * What may fail: taking apart what the other end made up, by null.
 */
import { Info, OPTION_MAGIC, OPTION_REPLY_MAGIC, type Option, STRING_MAX_BYTES } from './protocol'
import { decodeText, encodeText, Message, Output } from './wire'

export function optionHeader(option: Option, lengthBytes: number): Output {
  return new Output().words(OPTION_MAGIC).uint32(option).uint32(lengthBytes)
}
export function optionMessage(option: Option, data: Uint8Array): Uint8Array {
  return optionHeader(option, data.length).raw(data).done()
}

/** One answer; `option` is the number that the client sent. */
export function optionReply(option: number, reply: number, data: Uint8Array): Uint8Array {
  return new Output().words(OPTION_REPLY_MAGIC).uint32(option).uint32(reply).uint32(data.length).raw(data).done()
}

/** What INFO and GO ask: the export, and which information besides. */
export interface InfoRequest {
  readonly name: string
  readonly infos: readonly number[]
}

export function encodeInfoRequest({ name, infos }: InfoRequest): Uint8Array {
  const output = new Output().countedText(name).uint16(infos.length)
  for (const info of infos) output.uint16(info)
  return output.done()
}

export function parseInfoRequest(data: Uint8Array): InfoRequest | null {
  const message = new Message(data)
  const name = takeText(message)
  const count = message.uint16()
  if (name === null || message.isShort || message.left !== 2 * count) return null
  const infos: number[] = []
  for (let index = 0; index < count; index++) infos.push(message.uint16())
  return { name, infos }
}

/** What LIST_META_CONTEXT and SET_META_CONTEXT ask. */
export interface ContextRequest {
  readonly name: string
  readonly queries: readonly string[]
}

export function encodeContextRequest({ name, queries }: ContextRequest): Uint8Array {
  const output = new Output().countedText(name).uint32(queries.length)
  for (const query of queries) output.countedText(query)
  return output.done()
}

/** `too big` for more queries than anybody needs. */
export function parseContextRequest(data: Uint8Array, queriesMax: number): ContextRequest | 'too big' | null {
  const message = new Message(data)
  const name = takeText(message)
  const count = message.uint32()
  if (name === null || message.isShort) return null
  // Each has a length of its own: more cannot be meant.
  if (count > message.left / 4) return null
  if (count > queriesMax) return 'too big'
  const queries: string[] = []
  for (let index = 0; index < count; index++) {
    const query = takeText(message)
    if (query === null) return null
    queries.push(query)
  }
  return message.left === 0 ? { name, queries } : null
}

function takeText(message: Message): string | null {
  const bytes = message.uint32()
  if (bytes > STRING_MAX_BYTES) return null
  const text = message.rest(bytes)
  return message.isShort ? null : decodeText(text)
}

export function encodeExportInfo(lengthBytes: number, flags: number): Uint8Array {
  return new Output().uint16(Info.Export).uint64(lengthBytes).uint16(flags).done()
}
export function encodeBlockSizes(minBytes: number, preferredBytes: number, maxBytes: number): Uint8Array {
  return new Output().uint16(Info.BlockSize).uint32(minBytes).uint32(preferredBytes).uint32(maxBytes).done()
}
export function encodeTextInfo(info: Info, text: string): Uint8Array {
  return new Output().uint16(info).text(text).done()
}
export function encodeServerEntry(name: string, description: string | null): Uint8Array {
  return new Output()
    .countedText(name)
    .text(description ?? '')
    .done()
}
export function encodeContextReply(id: number, name: string): Uint8Array {
  return new Output().uint32(id).raw(encodeText(name)).done()
}
