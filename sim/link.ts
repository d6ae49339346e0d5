/**
 * Links of a world: byte streams whose pieces are cut and delayed as the decider says, that break, and that nobody gets
 * through for a while after that. What goes over one may be taken apart by somebody who watches.
 */
import { BlockError } from '../impl/block'
import {
  type ByteStream,
  type Co,
  ECONNREFUSED,
  type Errno,
  type Kernel,
  type Label,
  makeLabel,
  type StreamHost,
  type StreamListener,
  type StreamPair,
  streamPair,
} from '../impl/co'
import { Attempts, type Decider, Site } from './decider'
import type { LinkPlan } from './plan'

/** Into how many sizes a message may be cut: whole, half, … */
const PIECE_CHOICES = 4

/** Who sees what goes over a link at its near end. */
export interface LinkWatcher {
  sent(bytes: Uint8Array): void
  received(bytes: Uint8Array): void
}

/** All connections from one caller to one server, one after the other. */
export class Link implements StreamHost {
  private readonly kernel: Kernel
  private readonly decider: Decider
  private readonly plan: LinkPlan
  private readonly label: Label
  private readonly serve: (stream: ByteStream) => void
  private readonly watch: (() => LinkWatcher) | null
  private readonly delays = new Attempts()
  private readonly pieces = new Attempts()
  private pair: StreamPair | null = null
  private downUntilNs = 0

  /** `serve` gets the far end of each connection; `watch` makes a watcher for each. */
  constructor(
    kernel: Kernel,
    decider: Decider,
    plan: LinkPlan,
    name: string,
    serve: (stream: ByteStream) => void,
    watch: (() => LinkWatcher) | null,
  ) {
    this.kernel = kernel
    this.decider = decider
    this.plan = plan
    this.label = makeLabel(`link-${name}`)
    this.serve = serve
    this.watch = watch
  }

  /** A connection, or null while nobody gets through. */
  open(): ByteStream | null {
    if (this.kernel.nowNs() < this.downUntilNs) return null
    const { plan } = this
    this.pair = streamPair(this.kernel, this.label.id, {
      capacityBytes: plan.capacityBytes,
      delayNs: () => this.delayNs(),
      pieceBytes: (_direction, bytes) => this.pieceBytes(bytes),
    })
    this.serve(this.pair.far)
    const { near } = this.pair
    return this.watch === null ? near : new WatchedStream(near, this.watch())
  }

  *connect(): Co<ByteStream> {
    const stream = this.open()
    if (stream === null) throw new BlockError('Failed to connect: Connection refused', { errno: ECONNREFUSED })
    return stream
  }
  *listen(): Co<StreamListener> {
    throw new BlockError('a link is called, and listens not')
  }

  /** Breaks the connection that there is. True if one was there. */
  cut(downNs: number): boolean {
    this.downUntilNs = Math.max(this.downUntilNs, this.kernel.nowNs() + downNs)
    const { pair } = this
    this.pair = null
    pair?.cut()
    return pair !== null
  }

  private delayNs(): number {
    const { steps, stepNs } = this.plan
    return steps < 2 ? 0 : stepNs * this.decider.decide(Site.LinkDelay, this.label, this.delays.next(this.label), steps)
  }
  private pieceBytes(bytes: number): number {
    if (!this.plan.isCut || bytes < 2) return bytes
    const choice = this.decider.decide(Site.LinkPiece, this.label, this.pieces.next(this.label), PIECE_CHOICES)
    return choice === 0 ? bytes : Math.max(1, bytes >> choice)
  }
}

class WatchedStream implements ByteStream {
  readonly peer: string
  private readonly inner: ByteStream
  private readonly watcher: LinkWatcher

  constructor(inner: ByteStream, watcher: LinkWatcher) {
    this.peer = inner.peer
    this.inner = inner
    this.watcher = watcher
  }
  *read(buffer: Uint8Array): Co<number> {
    const count = yield* this.inner.read(buffer)
    if (count > 0) this.watcher.received(buffer.subarray(0, count))
    return count
  }
  write(buffer: Uint8Array): Co<Errno> {
    this.watcher.sent(buffer)
    return this.inner.write(buffer)
  }
  writeParts(parts: readonly Uint8Array[]): Co<Errno> {
    for (const part of parts) this.watcher.sent(part)
    return this.inner.writeParts(parts)
  }
  endWrite(): Co<Errno> {
    return this.inner.endWrite()
  }
  close(): void {
    this.inner.close()
  }
}
