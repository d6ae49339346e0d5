/**
 * What a monitor has to tell its client, on its way over a stream.
 *
 * What never may: memory that grows because a client reads nothing: who leaves `OUTPUT_BYTES_MAX` waiting is cut off.
 */
import { assert, type ByteStream, type Co, type Kernel, makeLabel, OK, WaitQueue } from '../co'

const OUTPUT_BYTES_MAX = 64 * 1024 * 1024
const WRITER = makeLabel('monitor-writer')

export class SessionOutput {
  private readonly stream: ByteStream
  private readonly changed: WaitQueue
  private parts: Uint8Array[] = []
  private bytes = 0
  hasEnded = false

  /** Starts to write at once. */
  constructor(kernel: Kernel, stream: ByteStream) {
    this.stream = stream
    this.changed = new WaitQueue(kernel)
    kernel.spawn(this.writeAll(), WRITER)
  }

  send(bytes: Uint8Array): void {
    if (this.hasEnded) return
    this.parts.push(bytes)
    this.bytes += bytes.length
    if (this.bytes > OUTPUT_BYTES_MAX) this.end()
    this.changed.wakeAll()
  }

  private *writeAll(): Co<void> {
    while (!this.hasEnded) {
      if (this.parts.length === 0) {
        yield* this.changed.wait({ describe: () => 'waits for something to tell a client' })
        continue
      }
      const { parts, bytes } = this
      this.parts = []
      const errno = yield* this.stream.writeParts(parts)
      this.bytes -= Math.min(bytes, this.bytes)
      if (errno !== OK) this.end()
      this.changed.wakeAll()
    }
  }

  /** Waits until no more than `bytes` are left, or the client has gone. */
  *drain(bytes = 0): Co<void> {
    while (this.bytes > bytes && !this.hasEnded) {
      yield* this.changed.wait({ describe: () => 'waits for a client to take what was said' })
    }
  }

  /** Ends the session at once. */
  end(): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.parts = []
    this.bytes = 0
    this.stream.close()
    this.changed.wakeAll()
    assert(this.hasEnded, 'session-ended')
  }
}
