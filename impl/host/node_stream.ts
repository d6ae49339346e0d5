/**
 * A byte stream over what the engine calls streams: sockets, pipes, terminals.
 *
 * What may fail: every transfer, as an errno (see co/stream.ts). What never may: more than `READ_AHEAD_BYTES` and one
 * piece held for a reader; a write that returns before the system has taken its bytes.
 */
import type { Readable, Writable } from 'node:stream'
import { assert, type ByteStream, type Co, type Coroutine, ECANCELED, EPIPE, type Errno, OK, type WaitReason } from '../co'
import { errnoOf } from './errors'
import type { HostLoop } from './loop'

/** The engine is told to stop reading when so much waits for the reader. */
const READ_AHEAD_BYTES = 256 * 1024

export interface NodeStreamParts {
  readonly loop: HostLoop
  readonly peer: string
  readonly readable: Readable
  readonly writable: Writable
  /** Gives both up. */
  readonly destroy: () => void
}

export class NodeStream implements ByteStream {
  readonly peer: string
  private readonly loop: HostLoop
  private readonly readable: Readable
  private readonly writable: Writable
  private readonly destroy: () => void
  /** What has arrived and was not read: `chunks` from `head` on, the first of them from `headAt` on. */
  private chunks: Uint8Array[] = []
  private head = 0
  private headAt = 0
  private heldBytes = 0
  private isPaused = false
  private isAtEnd = false
  private hasEnded = false
  private isClosed = false
  /** Another stream has taken the socket over. */
  private isHandedOver = false
  /** What broke the stream, or OK. */
  private failure: Errno = OK
  private writesPending = 0
  private reader: Coroutine | null = null
  private writer: Coroutine | null = null
  private readonly readReason: WaitReason
  private readonly writeReason: WaitReason

  constructor(parts: NodeStreamParts) {
    this.loop = parts.loop
    this.peer = parts.peer
    this.readable = parts.readable
    this.writable = parts.writable
    this.destroy = parts.destroy
    this.readReason = { describe: () => `waits for bytes from ${this.peer}` }
    this.writeReason = { describe: () => `waits for ${this.peer} to take bytes` }
    this.readable.on('data', this.onData)
    this.readable.on('end', this.onEnd)
    this.readable.on('close', this.onEnd)
    this.readable.on('error', this.onError)
    // A socket that was accepted stands still until somebody wants it.
    this.readable.resume()
    if ((this.writable as unknown) !== this.readable) this.writable.on('error', this.onError)
  }

  private readonly onData = (chunk: Uint8Array): void => {
    if (this.isClosed) return
    this.chunks.push(chunk)
    this.heldBytes += chunk.length
    if (this.heldBytes >= READ_AHEAD_BYTES && !this.isPaused) {
      this.isPaused = true
      this.readable.pause()
    }
    this.wakeReader()
  }
  private readonly onEnd = (): void => {
    this.isAtEnd = true
    this.wakeReader()
  }
  private readonly onError = (error: unknown): void => {
    if (this.failure === OK) this.failure = errnoOf(error)
    this.wakeReader()
    this.wakeWriter()
  }
  private readonly onWritten = (): void => {
    this.writesPending--
    assert(this.writesPending >= 0, 'writes-pending', () => this.peer)
    if (this.writesPending === 0) this.wakeWriter()
  }

  private wakeReader(): void {
    const reader = this.reader
    this.reader = null
    if (reader !== null) this.loop.endIo(reader)
  }
  private wakeWriter(): void {
    const writer = this.writer
    this.writer = null
    if (writer !== null) this.loop.endIo(writer)
  }

  *read(buffer: Uint8Array): Co<number> {
    assert(buffer.length > 0, 'stream-read-not-empty', () => this.peer)
    assert(!this.isHandedOver && this.reader === null, 'stream-one-reader', () => this.peer)
    while (true) {
      if (this.isClosed) return -ECANCELED
      if (this.heldBytes > 0) return this.take(buffer)
      if (this.failure !== OK) return -this.failure
      if (this.isAtEnd) return 0
      this.reader = this.loop.kernel.willPark(this.readReason)
      this.loop.beginIo()
      yield
    }
  }

  private take(buffer: Uint8Array): number {
    let at = 0
    while (at < buffer.length && this.head < this.chunks.length) {
      const chunk = this.chunks[this.head]!
      const bytes = Math.min(chunk.length - this.headAt, buffer.length - at)
      buffer.set(bytes === chunk.length ? chunk : chunk.subarray(this.headAt, this.headAt + bytes), at)
      at += bytes
      this.headAt += bytes
      if (this.headAt < chunk.length) break
      this.head++
      this.headAt = 0
    }
    if (this.head === this.chunks.length) {
      this.chunks.length = 0
      this.head = 0
    }
    this.heldBytes -= at
    assert(at > 0 && this.heldBytes >= 0, 'stream-held-bytes', () => this.peer)
    if (this.isPaused && !this.isHandedOver && this.heldBytes < READ_AHEAD_BYTES / 2) {
      this.isPaused = false
      this.readable.resume()
    }
    return at
  }

  *write(buffer: Uint8Array): Co<Errno> {
    const errno = this.writeErrno()
    if (errno !== OK || buffer.length === 0) return errno
    this.writesPending++
    this.writable.write(buffer, this.onWritten)
    // In most cases the system has taken it all at once; the engine's notice of it comes much later.
    return this.writable.writableLength === 0 ? this.failure : yield* this.finishWrite()
  }

  *writeParts(parts: readonly Uint8Array[]): Co<Errno> {
    const errno = this.writeErrno()
    if (errno !== OK) return errno
    this.writable.cork()
    for (const part of parts) {
      if (part.length === 0) continue
      this.writesPending++
      this.writable.write(part, this.onWritten)
    }
    this.writable.uncork()
    return this.writable.writableLength === 0 ? this.failure : yield* this.finishWrite()
  }

  private writeErrno(): Errno {
    assert(!this.isHandedOver && this.writer === null, 'stream-one-writer', () => this.peer)
    if (this.isClosed) return ECANCELED
    if (this.failure !== OK) return this.failure
    return this.hasEnded || this.writable.destroyed ? EPIPE : OK
  }

  private *finishWrite(): Co<Errno> {
    while (this.writesPending > 0 && !this.isClosed && this.failure === OK) {
      this.writer = this.loop.kernel.willPark(this.writeReason)
      this.loop.beginIo()
      yield
    }
    return this.isClosed ? ECANCELED : this.failure
  }

  *endWrite(): Co<Errno> {
    if (this.hasEnded && !this.isClosed) return this.failure
    const errno = this.writeErrno()
    if (errno !== OK) return errno
    this.hasEnded = true
    this.writesPending++
    this.writable.end(this.onWritten)
    return yield* this.finishWrite()
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.chunks.length = 0
    this.heldBytes = 0
    if (this.reader !== null) this.loop.abandonIo(this.reader)
    if (this.writer !== null) this.loop.abandonIo(this.writer)
    this.reader = this.writer = null
    this.destroy()
  }

  /**
   * Leaves the socket to somebody else, with what has arrived and was not read; nothing but `close` may be done with this
   * stream then. False: it is dead already.
   */
  handOver(): boolean {
    assert(this.reader === null && this.writer === null, 'stream-idle', () => this.peer)
    if (this.isClosed || this.isHandedOver || this.failure !== OK) return false
    this.isHandedOver = true
    this.readable.pause()
    this.readable.off('data', this.onData)
    this.readable.off('end', this.onEnd)
    this.readable.off('close', this.onEnd)
    this.readable.off('error', this.onError)
    if (this.heldBytes > 0) {
      const held = new Uint8Array(this.heldBytes)
      const bytes = this.take(held)
      assert(bytes === held.length, 'stream-handed-over-whole')
      this.readable.unshift(held)
    }
    return true
  }
}
