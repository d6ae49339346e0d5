/**
 * The requests in flight at one node, and who must wait for whom. Ordinary requests may overlap each other freely: the
 * order of concurrent writes to one sector is nobody's promise. A *serialising* request (read-modify-write of a block that
 * it does not cover, or a change of length) excludes everything that overlaps it.
 *
 * What never may happen: two requests that wait for each other. A request waits only before its first access to the
 * driver and looks again after every wake-up, so a request that waits itself is passed over: it will find us.
 */
import { assert, type Co, type Coroutine, type Kernel, WaitQueue } from '../co'

/** One request in flight. The object is reused after `end`; nobody may keep it. */
export class TrackedRequest {
  /** What must not overlap a serialising request: the range asked for, widened by `serialise`. */
  offsetBytes = 0
  endBytes = 0
  isSerialising = false
  isWaiting = false
  /** Somebody waits for the end of this one. */
  isAwaited = false
  owner: Coroutine | null = null
  /** Place in the list, for removal without a search. */
  slot = 0
}

export class TrackedRequests {
  private readonly kernel: Kernel
  /** The first `count` are in flight, the others are spare. */
  private readonly slots: TrackedRequest[] = []
  private readonly waiting: WaitQueue
  private used = 0
  private serialising = 0

  constructor(kernel: Kernel) {
    this.kernel = kernel
    this.waiting = new WaitQueue(kernel)
  }

  /** Number of requests in flight. */
  get count(): number {
    return this.used
  }
  /** False means that no ordinary request needs to look for conflicts. */
  get hasSerialising(): boolean {
    return this.serialising > 0
  }

  begin(offsetBytes: number, lengthBytes: number): TrackedRequest {
    const owner = this.kernel.current
    assert(owner !== null, 'request-inside-coroutine')
    assert(offsetBytes >= 0 && lengthBytes >= 0, 'request-range')
    let request = this.slots[this.used]
    if (request === undefined) {
      request = new TrackedRequest()
      request.slot = this.used
      this.slots.push(request)
    }
    this.used++
    request.offsetBytes = offsetBytes
    request.endBytes = offsetBytes + lengthBytes
    request.owner = owner
    return request
  }

  end(request: TrackedRequest): void {
    assert(request.owner !== null && this.slots[request.slot] === request, 'request-in-flight')
    assert(!request.isWaiting, 'request-ends-running')
    if (request.isSerialising) this.serialising--
    const isAwaited = request.isAwaited
    request.isSerialising = false
    request.isAwaited = false
    request.owner = null
    const last = this.slots[--this.used]!
    this.slots[request.slot] = last
    last.slot = request.slot
    this.slots[this.used] = request
    request.slot = this.used
    if (isAwaited) this.waiting.wakeAll()
  }

  /** Makes `request` exclude all that touches its range, rounded outwards to `alignmentBytes`. Wait afterwards. */
  serialise(request: TrackedRequest, alignmentBytes: number): void {
    assert(request.owner !== null, 'request-in-flight')
    if (!request.isSerialising) this.serialising++
    request.isSerialising = true
    request.offsetBytes -= request.offsetBytes % alignmentBytes
    const over = request.endBytes % alignmentBytes
    if (over !== 0) request.endBytes += alignmentBytes - over
    assert(this.serialising <= this.used, 'serialising-in-flight')
  }

  /** Parks until nothing that excludes `request` is running. Call before the first access to the driver only. */
  *waitForConflicts(request: TrackedRequest): Co<void> {
    let conflict = this.conflictOf(request)
    while (conflict !== null) {
      const blocker = conflict
      blocker.isAwaited = true
      request.isWaiting = true
      yield* this.waiting.wait({
        describe: () => `waits for another request in ${request.offsetBytes}..${request.endBytes}`,
        heldBy: () => (blocker.owner === null ? [] : [blocker.owner]),
      })
      request.isWaiting = false
      conflict = this.conflictOf(request)
    }
  }

  private conflictOf(request: TrackedRequest): TrackedRequest | null {
    for (let slot = 0; slot < this.used; slot++) {
      const other = this.slots[slot]!
      if (other === request || !(request.isSerialising || other.isSerialising)) continue
      if (other.offsetBytes >= request.endBytes || request.offsetBytes >= other.endBytes) continue
      // A request inside another one of the same coroutine would wait for itself.
      assert(other.owner !== request.owner, 'request-not-recursive', () => `${other.offsetBytes}..${other.endBytes}`)
      if (!other.isWaiting) return other
    }
    return null
  }

  /** The coroutines whose requests are in flight, for reports. */
  *owners(): Iterable<Coroutine> {
    for (let slot = 0; slot < this.used; slot++) yield this.slots[slot]!.owner!
  }
}
