/**
 * What the other rooms use of the coroutines. Every name is listed: in CommonJS, `export *` would make this object a hash
 * table, and the assertions of all hot paths are looked up in it.
 */
export { AssertionFailure, assert } from './assert'
export {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAGAIN,
  EBADF,
  EBUSY,
  ECANCELED,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EDQUOT,
  EEXIST,
  EFBIG,
  EHOSTUNREACH,
  EINVAL,
  EIO,
  EISDIR,
  ELOOP,
  EMFILE,
  ENETUNREACH,
  ENFILE,
  ENODEV,
  ENOENT,
  ENOMEDIUM,
  ENOMEM,
  ENOSPC,
  ENOTCONN,
  ENOTDIR,
  ENOTSUP,
  ENOTTY,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  EPIPE,
  ERANGE,
  EROFS,
  type Errno,
  ESHUTDOWN,
  ESPIPE,
  ETIMEDOUT,
  ETXTBSY,
  EXDEV,
  errnoName,
  errnoOfName,
  OK,
  strerror,
} from './errno'
export { type Clockwork, type Co, Coroutine, CoroutineState, describeWait, Kernel, type WaitReason } from './kernel'
export { hashText, type Label, makeLabel, mix32, numberedLabel } from './label'
export { Mutex, WaitQueue } from './queue'
export { type Clock, SteppedClock } from './stepped_clock'
export {
  type ByteStream,
  describeAddress,
  type SocketAddress,
  type StreamHost,
  type StreamListener,
  type TlsCredentials,
} from './stream'
export { type LinkOptions, type StreamPair, streamPair } from './stream_pair'
export { findWaitCycle } from './waits'
