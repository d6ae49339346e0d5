/**
 * Answers of the transmission phase, in the kind of header that was agreed on. Simple replies have an error and, after a
 * read, data; structured and extended ones are chunks with a kind and a length.
 */
import { assert, type Errno } from '../co'
import type { Extent } from './contexts'
import {
  Chunk,
  EXTENDED_REPLY_BYTES,
  EXTENDED_REPLY_MAGIC,
  HeaderMode,
  ReplyFlag,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC,
  wireErrno,
} from './protocol'
import type { Request } from './server_request'
import { encodeText, Output, setUint64, viewOf } from './wire'

export function simpleReply(request: Request, errno: Errno): Uint8Array {
  const bytes = new Uint8Array(SIMPLE_REPLY_BYTES)
  const view = viewOf(bytes)
  view.setUint32(0, SIMPLE_REPLY_MAGIC)
  view.setUint32(4, wireErrno(errno))
  view.setUint32(8, request.cookieHigh)
  view.setUint32(12, request.cookieLow)
  return bytes
}

/** The head of a chunk, with room for `ownBytes` of its payload behind it; `moreBytes` of payload follow apart. */
function chunkHead(
  mode: HeaderMode,
  request: Request,
  flags: number,
  chunk: Chunk,
  ownBytes: number,
  moreBytes: number,
): DataView {
  assert(mode !== HeaderMode.Simple, 'chunks-negotiated')
  const isExtended = mode === HeaderMode.Extended
  const headBytes = isExtended ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES
  const view = new DataView(new ArrayBuffer(headBytes + ownBytes))
  view.setUint32(0, isExtended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC)
  view.setUint16(4, flags)
  view.setUint16(6, chunk)
  view.setUint32(8, request.cookieHigh)
  view.setUint32(12, request.cookieLow)
  if (isExtended) {
    // The client's offset comes back, whatever it was.
    view.setUint32(16, request.offsetHigh)
    view.setUint32(20, request.offsetLow)
    setUint64(view, 24, ownBytes + moreBytes)
  } else view.setUint32(16, ownBytes + moreBytes)
  return view
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer)
}

/** Success without content. */
export function doneChunk(mode: HeaderMode, request: Request): Uint8Array {
  return bytesOf(chunkHead(mode, request, ReplyFlag.Done, Chunk.None, 0, 0))
}

/** The last chunk of a request that has failed; the text is for people. */
export function errorChunk(mode: HeaderMode, request: Request, errno: Errno, text: string): Uint8Array {
  const message = encodeText(text)
  const view = chunkHead(mode, request, ReplyFlag.Done, Chunk.Error, 6 + message.length, 0)
  const at = view.byteLength - 6 - message.length
  view.setUint32(at, wireErrno(errno))
  view.setUint16(at + 4, message.length)
  const bytes = bytesOf(view)
  bytes.set(message, at + 6)
  return bytes
}

/** What comes before `dataBytes` of content that were read at `offsetBytes`. */
export function dataChunk(
  mode: HeaderMode,
  request: Request,
  isLast: boolean,
  offsetBytes: number,
  dataBytes: number,
): Uint8Array {
  assert(dataBytes > 0, 'chunk-not-empty')
  const view = chunkHead(mode, request, isLast ? ReplyFlag.Done : 0, Chunk.OffsetData, 8, dataBytes)
  setUint64(view, view.byteLength - 8, offsetBytes)
  return bytesOf(view)
}

/** `lengthBytes` that read as zeroes. */
export function holeChunk(
  mode: HeaderMode,
  request: Request,
  isLast: boolean,
  offsetBytes: number,
  lengthBytes: number,
): Uint8Array {
  assert(lengthBytes > 0, 'chunk-not-empty')
  const view = chunkHead(mode, request, isLast ? ReplyFlag.Done : 0, Chunk.OffsetHole, 12, 0)
  setUint64(view, view.byteLength - 12, offsetBytes)
  view.setUint32(view.byteLength - 4, lengthBytes)
  return bytesOf(view)
}

/** A length in 32 bits ends where its unit does. */
const LENGTH_MAX_BYTES = 0xffff0000

/** The extents of one context. */
export function statusChunk(
  mode: HeaderMode,
  request: Request,
  isLast: boolean,
  contextId: number,
  extents: readonly Extent[],
): Uint8Array {
  assert(extents.length > 0, 'status-has-extents')
  const flags = isLast ? ReplyFlag.Done : 0
  const output = new Output().uint32(contextId)
  if (mode === HeaderMode.Extended) {
    output.uint32(extents.length)
    for (const { bytes, state } of extents) output.uint64(bytes).uint64(state)
    const payload = output.done()
    return join(chunkHead(mode, request, flags, Chunk.BlockStatusExtended, 0, payload.length), payload)
  }
  for (const { bytes, state } of extents) {
    output.uint32(Math.min(bytes, LENGTH_MAX_BYTES)).uint32(state)
    // What lies behind a part of an extent is not known by its place any more.
    if (bytes > LENGTH_MAX_BYTES) break
  }
  const payload = output.done()
  return join(chunkHead(mode, request, flags, Chunk.BlockStatus, 0, payload.length), payload)
}

function join(head: DataView, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(head.byteLength + payload.length)
  bytes.set(bytesOf(head))
  bytes.set(payload, head.byteLength)
  return bytes
}
