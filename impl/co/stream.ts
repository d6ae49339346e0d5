/**
 * Byte streams between two ends: what an NBD server, an NBD client and a monitor need of a socket, a pipe or a terminal.
 * `impl/host` implements them over the real machine, `stream_pair.ts` in memory, the world over links that delay and break.
 *
 * What may fail: every transfer, as an errno; the other end may go at any time. ECONNRESET: the connection broke. EPIPE:
 * the other end takes nothing any more. ECANCELED: this end has been closed by somebody here.
 * What never may: bytes that arrive twice, out of order or not at all while later ones do; memory that grows with what the
 * other end sends before it is read; a coroutine that stays parked in a stream that was closed.
 */
import type { Errno } from './errno'
import type { Co } from './kernel'

/** One reader and one writer at a time; both directions are independent of each other. */
export interface ByteStream {
  /** Who is at the other end, for texts: `unix:/run/nbd.sock`, `127.0.0.1:40312`, `fd 5`. */
  readonly peer: string
  /**
   * Waits until there is something to read, and puts what there is into `buffer`, which is not empty. The number of bytes;
   * 0 at the end of the stream, then and ever after; or a negative errno.
   */
  read(buffer: Uint8Array): Co<number>
  /** Writes all of `buffer`, which must not change meanwhile. Success says that it left here, not that it arrived. */
  write(buffer: Uint8Array): Co<Errno>
  /** Writes all parts, in order, with as few calls as possible. None may change meanwhile. */
  writeParts(parts: readonly Uint8Array[]): Co<Errno>
  /** Nothing more will be written: the other end reads to the end of what was. A second call does nothing. */
  endWrite(): Co<Errno>
  /** Gives the stream up at once. Who waits in it is woken with ECANCELED. A second call does nothing. */
  close(): void
}

/** Where to listen or whom to call, as QEMU's SocketAddress. */
export type SocketAddress =
  | { readonly type: 'unix'; readonly path: string }
  | { readonly type: 'inet'; readonly host: string; readonly port: number }
  /** A descriptor that was inherited: a connected socket, a pipe or a terminal; or a listening socket. */
  | { readonly type: 'fd'; readonly descriptor: number }

/** Takes connections. */
export interface StreamListener {
  /** Where it listens, with the port that was chosen if 0 was asked for. */
  readonly address: SocketAddress
  /** Waits for the next connection; null once the listener is closed. */
  accept(): Co<ByteStream | null>
  /** No more connections; who waits in `accept` is woken. Connections that were accepted stay. */
  close(): void
}

/** Makes streams. Wrong addresses and failing calls throw BlockError with QEMU's text and the errno. */
export interface StreamHost {
  connect(address: SocketAddress): Co<ByteStream>
  listen(address: SocketAddress): Co<StreamListener>
}

/** One side's keys and certificates. What they hold is the host's matter. */
export interface TlsCredentials {
  readonly endpoint: 'server' | 'client'
  /**
   * Shakes hands on `stream`, which nothing has been read from ahead, and gives the stream inside, which owns the outer
   * one. `hostname` is whom a client wants to talk to: null takes the address. Throws BlockError, and closes `stream`.
   */
  upgrade(stream: ByteStream, hostname: string | null): Co<ByteStream>
}

/** How an address reads in messages. */
export function describeAddress(address: SocketAddress): string {
  switch (address.type) {
    case 'unix':
      return address.path
    case 'inet':
      return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`
    case 'fd':
      return `fd ${address.descriptor}`
  }
}
