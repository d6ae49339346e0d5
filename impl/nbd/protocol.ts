/**
 * Names and numbers of the NBD protocol (doc/proto.md of the NBD project, with its extension EXTENDED_HEADERS), and how
 * error numbers cross it. Everything on the wire is big-endian.
 */
import { EDQUOT, EFBIG, EINVAL, EIO, ENOMEM, ENOSPC, ENOTSUP, EOVERFLOW, EPERM, EROFS, type Errno, ESHUTDOWN, OK } from '../co'

/** `NBDMAGIC` and `IHAVEOPT`, as two words each. */
export const INIT_MAGIC = [0x4e42444d, 0x41474943] as const
export const OPTION_MAGIC = [0x49484156, 0x454f5054] as const
/** Follows `NBDMAGIC` where a server speaks the oldstyle handshake. */
export const OLDSTYLE_MAGIC = [0x00420281, 0x861253] as const
export const OPTION_REPLY_MAGIC = [0x0003e889, 0x045565a9] as const

export const REQUEST_MAGIC = 0x25609513
export const EXTENDED_REQUEST_MAGIC = 0x21e41c71
export const SIMPLE_REPLY_MAGIC = 0x67446698
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef
export const EXTENDED_REPLY_MAGIC = 0x6e8a278c

export const REQUEST_BYTES = 28
export const EXTENDED_REQUEST_BYTES = 32
export const SIMPLE_REPLY_BYTES = 16
export const STRUCTURED_REPLY_BYTES = 20
export const EXTENDED_REPLY_BYTES = 32
export const OPTION_HEADER_BYTES = 16
export const OPTION_REPLY_HEADER_BYTES = 20
/** Sent after the answer to EXPORT_NAME unless both sides have agreed on NoZeroes. */
export const EXPORT_NAME_PADDING_BYTES = 124

export const DEFAULT_PORT = 10809
/** Largest payload of one request in either direction: 32 MiB. */
export const PAYLOAD_MAX_BYTES = 32 * 1024 * 1024
/** Longest string of any kind. */
export const STRING_MAX_BYTES = 4096
/** Beyond this, an alignment is no alignment that a server may ask for. */
export const MIN_BLOCK_MAX_BYTES = 64 * 1024

export const enum HandshakeFlag {
  FixedNewstyle = 1,
  NoZeroes = 2,
}

export const enum TransmissionFlag {
  HasFlags = 1 << 0,
  ReadOnly = 1 << 1,
  SendFlush = 1 << 2,
  SendFua = 1 << 3,
  Rotational = 1 << 4,
  SendTrim = 1 << 5,
  SendWriteZeroes = 1 << 6,
  SendDf = 1 << 7,
  CanMultiConn = 1 << 8,
  SendResize = 1 << 9,
  SendCache = 1 << 10,
  SendFastZero = 1 << 11,
  BlockStatusPayload = 1 << 12,
}

export const enum Option {
  ExportName = 1,
  Abort = 2,
  List = 3,
  PeekExport = 4,
  StartTls = 5,
  Info = 6,
  Go = 7,
  StructuredReply = 8,
  ListMetaContext = 9,
  SetMetaContext = 10,
  ExtendedHeaders = 11,
}

/** Types of answers to options. Errors have bit 31 set, and may carry a text. */
export const enum OptionReply {
  Ack = 1,
  Server = 2,
  Info = 3,
  MetaContext = 4,
  ErrUnsupported = 0x80000001,
  ErrPolicy = 0x80000002,
  ErrInvalid = 0x80000003,
  ErrPlatform = 0x80000004,
  ErrTlsRequired = 0x80000005,
  ErrUnknown = 0x80000006,
  ErrShutdown = 0x80000007,
  ErrBlockSizeRequired = 0x80000008,
  ErrTooBig = 0x80000009,
  ErrExtendedHeaderRequired = 0x8000000a,
}

export const enum Info {
  Export = 0,
  Name = 1,
  Description = 2,
  BlockSize = 3,
}

export const enum Command {
  Read = 0,
  Write = 1,
  Disconnect = 2,
  Flush = 3,
  Trim = 4,
  Cache = 5,
  WriteZeroes = 6,
  BlockStatus = 7,
}

export const enum CommandFlag {
  Fua = 1 << 0,
  NoHole = 1 << 1,
  /** Do not fragment the answer to a read. */
  Df = 1 << 2,
  ReqOne = 1 << 3,
  FastZero = 1 << 4,
  PayloadLen = 1 << 5,
}

export const enum ReplyFlag {
  Done = 1,
}

/** Chunks of structured and extended replies. Errors have bit 15 set. */
export const enum Chunk {
  None = 0,
  OffsetData = 1,
  OffsetHole = 2,
  BlockStatus = 5,
  BlockStatusExtended = 6,
  Error = 0x8001,
  ErrorOffset = 0x8002,
}
export const CHUNK_ERROR_BIT = 0x8000

/** Which headers a connection uses: each kind was negotiated, and includes what the one before it can. */
export const enum HeaderMode {
  Simple = 0,
  Structured = 1,
  Extended = 2,
}

/** States of `base:allocation`. */
export const enum AllocationState {
  Hole = 1,
  Zero = 2,
}
/** State of `qemu:dirty-bitmap:*`. */
export const DIRTY_STATE = 1

const OPTION_NAMES = [
  'reserved',
  'export name',
  'abort',
  'list',
  'peek export',
  'starttls',
  'info',
  'go',
  'structured reply',
  'list meta context',
  'set meta context',
  'extended headers',
]
const COMMAND_NAMES = ['read', 'write', 'disconnect', 'flush', 'trim', 'cache', 'write zeroes', 'block status']

export function optionName(option: number): string {
  return OPTION_NAMES[option] ?? '<unknown>'
}
export function commandName(command: number): string {
  return COMMAND_NAMES[command] ?? '<unknown>'
}

/** The value that stands for an errno on the wire; what the protocol does not know is EINVAL. */
export function wireErrno(errno: Errno): number {
  switch (errno) {
    case OK:
    case EIO:
    case ENOMEM:
    case EOVERFLOW:
    case ENOTSUP:
    case ESHUTDOWN:
      return errno
    case EPERM:
    case EROFS:
      return EPERM
    case EDQUOT:
    case EFBIG:
    case ENOSPC:
      return ENOSPC
    default:
      return EINVAL
  }
}

/** What a client makes of an error value of a server: one that may not occur is EINVAL (doc/proto.md, "Error values"). */
export function errnoOfWire(value: number): Errno {
  switch (value) {
    case OK:
    case EPERM:
    case EIO:
    case ENOMEM:
    case ENOSPC:
    case EOVERFLOW:
    case ENOTSUP:
    case ESHUTDOWN:
      return value
    default:
      return EINVAL
  }
}
