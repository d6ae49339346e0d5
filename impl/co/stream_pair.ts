/**
 * Two byte streams that are each other's ends, in memory and in the clockwork's time: for tests, for worlds, and for
 * clients and servers in one program.
 *
 * What may fail: what a broken or closed end makes fail (see stream.ts). What never may: more than `capacityBytes` under
 * way in one direction.
 */
import { assert } from './assert'
import { ECANCELED, ECONNRESET, EPIPE, type Errno, OK } from './errno'
import type { Co, Kernel } from './kernel'
import { WaitQueue } from './queue'
import type { ByteStream } from './stream'

const CAPACITY_BYTES = 256 * 1024

export interface LinkOptions {
  /** Most bytes that one direction holds; a writer waits for room. 256 KiB if absent. */
  capacityBytes?: number
  /** What the next piece of so many bytes is under way. Pieces keep their order. None if absent. */
  delayNs?: (direction: 0 | 1, bytes: number) => number
  /** How many of `bytes` go in one piece, at least 1; a reader may see the end of it alone. All if absent. */
  pieceBytes?: (direction: 0 | 1, bytes: number) => number
}

interface Piece {
  readonly bytes: Uint8Array
  readonly arrivesNs: number
}

/** One direction. */
class Pipe {
  private readonly pieces: Piece[] = []
  /** Of the first piece, how much has been read. */
  private readBytes = 0
  private heldBytes = 0
  private lastArrivalNs = 0
  /** The writer has ended, the reader has gone, or the link broke. */
  isEnded = false
  private isUnread = false
  private isBroken = false
  private readonly readers: WaitQueue
  private readonly writers: WaitQueue

  constructor(
    private readonly kernel: Kernel,
    private readonly direction: 0 | 1,
    private readonly options: LinkOptions,
    private readonly name: string,
  ) {
    this.readers = new WaitQueue(kernel)
    this.writers = new WaitQueue(kernel)
  }

  private get capacityBytes(): number {
    return this.options.capacityBytes ?? CAPACITY_BYTES
  }
  private wakeAll(): void {
    this.readers.wakeAll()
    this.writers.wakeAll()
  }

  /** `isClosed` of the reader's own end. */
  *read(buffer: Uint8Array, end: { readonly isClosed: boolean }): Co<number> {
    assert(buffer.length > 0, 'stream-read-not-empty', () => this.name)
    while (true) {
      if (end.isClosed) return -ECANCELED
      if (this.isBroken) return -ECONNRESET
      const first = this.pieces[0]
      if (first === undefined) {
        if (this.isEnded) return 0
        yield* this.readers.wait({ describe: () => `waits for bytes from ${this.name}` })
        continue
      }
      if (first.arrivesNs <= this.kernel.nowNs()) return this.take(buffer)
      yield* this.readers.waitUntil(first.arrivesNs, { describe: () => `waits for bytes under way from ${this.name}` })
    }
  }

  private take(buffer: Uint8Array): number {
    const nowNs = this.kernel.nowNs()
    let at = 0
    for (let first = this.pieces[0]; first !== undefined && at < buffer.length; first = this.pieces[0]) {
      if (first.arrivesNs > nowNs) break
      const part = first.bytes.subarray(this.readBytes, this.readBytes + buffer.length - at)
      buffer.set(part, at)
      at += part.length
      this.readBytes += part.length
      if (this.readBytes < first.bytes.length) break
      this.pieces.shift()
      this.readBytes = 0
    }
    this.heldBytes -= at
    assert(at > 0 && this.heldBytes >= 0, 'stream-held-bytes', () => this.name)
    this.writers.wakeAll()
    return at
  }

  *write(buffer: Uint8Array, end: { readonly isClosed: boolean }): Co<Errno> {
    for (let at = 0; at < buffer.length; ) {
      if (end.isClosed) return ECANCELED
      if (this.isBroken) return ECONNRESET
      if (this.isUnread) return EPIPE
      assert(!this.isEnded, 'stream-write-before-end', () => this.name)
      const room = Math.min(this.capacityBytes - this.heldBytes, buffer.length - at)
      if (room <= 0) {
        yield* this.writers.wait({ describe: () => `waits for ${this.name} to take bytes` })
        continue
      }
      const bytes = Math.max(1, Math.min(room, this.options.pieceBytes?.(this.direction, room) ?? room))
      this.put(buffer.slice(at, at + bytes))
      at += bytes
    }
    return OK
  }

  private put(bytes: Uint8Array): void {
    const delayNs = this.options.delayNs?.(this.direction, bytes.length) ?? 0
    assert(Number.isSafeInteger(delayNs) && delayNs >= 0, 'link-delay', () => String(delayNs))
    this.lastArrivalNs = Math.max(this.lastArrivalNs, this.kernel.nowNs() + delayNs)
    this.pieces.push({ bytes, arrivesNs: this.lastArrivalNs })
    this.heldBytes += bytes.length
    assert(this.heldBytes <= this.capacityBytes, 'stream-capacity', () => this.name)
    this.readers.wakeAll()
  }

  /** The writer ends; the reader reads what there is. */
  end(): void {
    this.isEnded = true
    this.wakeAll()
  }
  /** The reader goes: what is under way is lost. */
  abandon(): void {
    this.isUnread = true
    this.drop()
  }
  break(): void {
    this.isBroken = true
    this.drop()
  }
  private drop(): void {
    this.pieces.length = 0
    this.readBytes = 0
    this.heldBytes = 0
    this.wakeAll()
  }
}

class MemoryStream implements ByteStream {
  isClosed = false

  constructor(
    readonly peer: string,
    private readonly incoming: Pipe,
    private readonly outgoing: Pipe,
  ) {}

  read(buffer: Uint8Array): Co<number> {
    return this.incoming.read(buffer, this)
  }
  write(buffer: Uint8Array): Co<Errno> {
    return this.outgoing.write(buffer, this)
  }
  *writeParts(parts: readonly Uint8Array[]): Co<Errno> {
    for (const part of parts) {
      const errno = yield* this.outgoing.write(part, this)
      if (errno !== OK) return errno
    }
    return OK
  }
  *endWrite(): Co<Errno> {
    if (this.isClosed) return ECANCELED
    this.outgoing.end()
    return OK
  }
  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.outgoing.end()
    this.incoming.abandon()
  }
}

export interface StreamPair {
  readonly near: ByteStream
  readonly far: ByteStream
  /** Breaks the link: both ends lose what is under way, and everything fails with ECONNRESET. */
  cut(): void
}

/** `near` writes in direction 0, `far` in direction 1. `name` is for texts. */
export function streamPair(kernel: Kernel, name: string, options: LinkOptions = {}): StreamPair {
  const outward = new Pipe(kernel, 0, options, `${name}, outward`)
  const homeward = new Pipe(kernel, 1, options, `${name}, homeward`)
  assert((options.capacityBytes ?? CAPACITY_BYTES) > 0, 'link-capacity', () => name)
  return {
    near: new MemoryStream(`far end of ${name}`, homeward, outward),
    far: new MemoryStream(`near end of ${name}`, outward, homeward),
    cut: () => {
      outward.break()
      homeward.break()
    },
  }
}
