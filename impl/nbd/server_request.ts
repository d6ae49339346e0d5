/**
 * Requests of the transmission phase: how they lie on the wire, and which of them a server takes.
 *
 * What may fail: everything that clients make up; `checkRequest` says how it is refused. What never may: a request that
 * passes and leaves the export.
 */
import { EINVAL, EIO, ENOSPC, EROFS, type Errno, OK } from '../co'
import {
  Command,
  CommandFlag,
  commandName,
  EXTENDED_REQUEST_MAGIC,
  HeaderMode,
  PAYLOAD_MAX_BYTES,
  REQUEST_MAGIC,
  TransmissionFlag,
} from './protocol'
import type { Agreement } from './server_handshake'
import type { Input } from './wire'

export interface Request {
  flags: number
  command: number
  /** Opaque, as two words. */
  cookieHigh: number
  cookieLow: number
  /** As sent: beyond 2^53, `offsetBytes` is not exact. */
  offsetHigh: number
  offsetLow: number
  offsetBytes: number
  /** Of the range that the request is about; with a payload, of that. */
  lengthBytes: number
}

/** Takes a header that has arrived; null if it is none. */
export function parseRequest(input: Input, mode: HeaderMode): Request | null {
  const magic = input.uint32()
  if (magic !== (mode === HeaderMode.Extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC)) return null
  const flags = input.uint16()
  const command = input.uint16()
  const cookieHigh = input.uint32()
  const cookieLow = input.uint32()
  const offsetHigh = input.uint32()
  const offsetLow = input.uint32()
  const offsetBytes = offsetHigh * 2 ** 32 + offsetLow
  const lengthBytes = mode === HeaderMode.Extended ? input.uint64() : input.uint32()
  return { flags, command, cookieHigh, cookieLow, offsetHigh, offsetLow, offsetBytes, lengthBytes }
}

/** How many bytes follow the header. */
export function payloadBytes(request: Request, mode: HeaderMode): number {
  if (request.command === Command.Write) return request.lengthBytes
  return mode === HeaderMode.Extended && (request.flags & CommandFlag.PayloadLen) !== 0 ? request.lengthBytes : 0
}

/** Flags that a command may have besides FUA, which every command takes. */
function flagsOf(command: number, { flags, mode }: Agreement): number {
  switch (command) {
    case Command.Read:
      return mode >= HeaderMode.Structured ? CommandFlag.Df : 0
    case Command.Write:
      return mode === HeaderMode.Extended ? CommandFlag.PayloadLen : 0
    case Command.WriteZeroes:
      return CommandFlag.NoHole | CommandFlag.FastZero
    case Command.BlockStatus:
      return CommandFlag.ReqOne | ((flags & TransmissionFlag.BlockStatusPayload) !== 0 ? CommandFlag.PayloadLen : 0)
    default:
      return 0
  }
}

export interface Refusal {
  readonly errno: Errno
  readonly text: string
}

function refuse(errno: Errno, text: string): Refusal {
  return { errno, text }
}

/** Why a request is not carried out, or null. Its payload is another matter: see `payloadBytes`. */
export function checkRequest(request: Request, agreement: Agreement): Refusal | null {
  const { command, flags } = request
  if (command > Command.BlockStatus || command === Command.Disconnect) return refuse(EINVAL, `invalid request type ${command}`)
  const allowed = CommandFlag.Fua | flagsOf(command, agreement)
  if ((flags & ~allowed) !== 0) {
    return refuse(EINVAL, `unsupported flags for command ${commandName(command)} (got 0x${flags.toString(16)})`)
  }
  const isChange = command === Command.Write || command === Command.Trim || command === Command.WriteZeroes
  if (isChange && !agreement.exported.isWritable) return refuse(EROFS, 'Export is read-only')
  if (command === Command.BlockStatus) {
    if (agreement.contexts.length === 0) return refuse(EINVAL, 'CMD_BLOCK_STATUS not negotiated')
    // The range is in the payload.
    if ((flags & CommandFlag.PayloadLen) !== 0) return null
  }
  return command === Command.Flush ? checkFlush(request) : checkRange(request, agreement)
}

function checkFlush({ offsetBytes, lengthBytes }: Request): Refusal | null {
  return offsetBytes === 0 && lengthBytes === 0 ? null : refuse(EINVAL, 'flush with an offset or a length')
}

/** A range inside the export, aligned where the client was told to. */
export function checkRange(request: Request, agreement: Agreement): Refusal | null {
  const { command, offsetBytes, lengthBytes } = request
  const endBytes = agreement.exported.lengthBytes
  const carries = command === Command.Read || command === Command.Cache
  if (carries && lengthBytes > PAYLOAD_MAX_BYTES) {
    return refuse(EINVAL, `len (${lengthBytes}) is larger than max len (${PAYLOAD_MAX_BYTES})`)
  }
  if (offsetBytes > endBytes || lengthBytes > endBytes - offsetBytes) {
    const grows = command === Command.Write || command === Command.WriteZeroes
    return refuse(grows ? ENOSPC : EINVAL, `operation past EOF; From: ${offsetBytes}, Len: ${lengthBytes}, Size: ${endBytes}`)
  }
  if (command === Command.BlockStatus && lengthBytes === 0) return refuse(EINVAL, 'need non-zero length')
  const { minBlockBytes } = agreement
  const isWhole = lengthBytes % minBlockBytes === 0 || offsetBytes + lengthBytes === endBytes
  if (offsetBytes % minBlockBytes !== 0 || !isWhole) {
    return refuse(EINVAL, `request is not aligned to ${minBlockBytes} bytes; From: ${offsetBytes}, Len: ${lengthBytes}`)
  }
  return null
}

/** The text that goes with an errno of the block layer. */
export function failureText(command: number, errno: Errno): string {
  if (errno === OK) return ''
  switch (command) {
    case Command.Read:
      return 'reading from file failed'
    case Command.Write:
      return 'writing to file failed'
    case Command.WriteZeroes:
      return 'writing zeroes to file failed'
    case Command.Flush:
      return 'flush failed'
    case Command.Trim:
      return 'discard failed'
    case Command.Cache:
      return 'caching data failed'
    default:
      return errno === EIO ? 'unable to query block status' : 'request failed'
  }
}
