/**
 * Memory of requests. `BufferPool` keeps buffers for the next request: fresh memory costs more than most requests.
 * `MemoryBudget` bounds what clients can make a server hold.
 *
 * What never may happen: more bytes kept than `KEPT_MAX_BYTES`; a client without a request that has to wait for others.
 */
import { assert, type Co, type Kernel, WaitQueue, type WaitReason } from '../co'

const SMALLEST_BYTES = 4096
const KEPT_MAX_BYTES = 32 * 1024 * 1024

export class BufferPool {
  /** By class: class n holds buffers of 4096 << n bytes. */
  private readonly kept: Uint8Array[][] = []
  private keptBytes = 0

  constructor(private readonly allocate: (bytes: number) => Uint8Array) {}

  private classOf(bytes: number): number {
    return bytes <= SMALLEST_BYTES ? 0 : 32 - Math.clz32(Math.ceil(bytes / SMALLEST_BYTES) - 1)
  }

  /** At least so many bytes, of any content. */
  take(bytes: number): Uint8Array {
    const size = this.classOf(bytes)
    const buffer = this.kept[size]?.pop()
    if (buffer === undefined) return this.allocate(SMALLEST_BYTES * 2 ** size)
    this.keptBytes -= buffer.length
    assert(buffer.length >= bytes && this.keptBytes >= 0, 'buffer-large-enough', () => String(bytes))
    return buffer
  }

  /** Takes back what `take` gave; nobody uses it any more. */
  give(buffer: Uint8Array): void {
    if (this.keptBytes + buffer.length > KEPT_MAX_BYTES) return
    const size = this.classOf(buffer.length)
    assert(buffer.length === SMALLEST_BYTES * 2 ** size, 'buffer-of-pool', () => String(buffer.length))
    this.kept[size] ??= []
    this.kept[size].push(buffer)
    this.keptBytes += buffer.length
  }
}

const FULL: WaitReason = { describe: () => 'waits for other requests to give memory back' }

export class MemoryBudget {
  private usedBytes = 0
  private readonly waiting: WaitQueue

  constructor(
    kernel: Kernel,
    private readonly limitBytes: number,
  ) {
    this.waiting = new WaitQueue(kernel)
  }

  /** Waits until there is room. `isOnly`: the client has no other request, and does not wait. */
  *take(bytes: number, isOnly: () => boolean): Co<void> {
    while (this.usedBytes > 0 && this.usedBytes + bytes > this.limitBytes && !isOnly()) yield* this.waiting.wait(FULL)
    this.usedBytes += bytes
  }
  give(bytes: number): void {
    this.usedBytes -= bytes
    assert(this.usedBytes >= 0, 'budget-used')
    if (bytes > 0) this.waiting.wakeAll()
  }
}
