/**
 * What goes out on one stream, message after message, from many coroutines: messages never mix, and what has gathered while
 * others ran goes in one call.
 *
 * What may fail: the stream, once and for all. What never may: a sender that goes on before its bytes have left, so that it
 * may use its buffers again.
 */
import { assert, type ByteStream, type Co, type Errno, type Kernel, OK, WaitQueue, type WaitReason } from '../co'

const SENDING: WaitReason = { describe: () => 'waits for its message to be sent' }

export class Outbox {
  private parts: Uint8Array[] = []
  private queued = 0
  private sent = 0
  private isFlushing = false
  /** What broke the stream, or OK. */
  failure: Errno = OK
  private readonly waiting: WaitQueue

  constructor(
    private readonly kernel: Kernel,
    private readonly stream: ByteStream,
  ) {
    this.waiting = new WaitQueue(kernel)
  }

  /** Sends one message, of one or two parts. OK, or what broke the stream. */
  *send(head: Uint8Array, body: Uint8Array | null): Co<Errno> {
    if (this.failure !== OK) return this.failure
    assert(head.length > 0, 'message-not-empty')
    this.parts.push(head)
    if (body !== null) this.parts.push(body)
    const serial = ++this.queued
    if (this.isFlushing) {
      while (this.sent < serial && this.failure === OK) yield* this.waiting.wait(SENDING)
      return this.failure
    }
    this.isFlushing = true
    // Whoever can go on now has its say first: one call for all of them.
    yield* this.kernel.sleepNs(0)
    while (this.parts.length > 0 && this.failure === OK) yield* this.flush()
    this.isFlushing = false
    return this.failure
  }

  private *flush(): Co<void> {
    const { parts, queued } = this
    this.parts = []
    this.failure = parts.length === 1 ? yield* this.stream.write(parts[0]!) : yield* this.stream.writeParts(parts)
    if (this.failure !== OK) this.parts = []
    assert(queued > this.sent, 'outbox-progress')
    this.sent = queued
    this.waiting.wakeAll()
  }
}
