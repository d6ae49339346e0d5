/**
 * What the mirror does at the moment, and who waits for whom. Each chunk belongs to one operation at most, so that no two
 * writes to the same chunk of the target are ever on the way together.
 *
 * An operation claims all its chunks at once or none: one that waits holds nothing, so nobody waits for it and there is
 * no circle. Claims are granted in order of arrival where they overlap, so nobody starves.
 */
import { DirtyBitmap } from '../../block/dirty_bitmap'
import { assert, type Co, type Coroutine, type Kernel, type WaitReason } from '../../co'
import type { MirrorOperationView } from './inspect'

export class MirrorOperation implements MirrorOperationView, WaitReason {
  kind: MirrorOperationView['kind']
  offsetBytes: number
  lengthBytes: number
  isInFlight = false
  /** What an active copy failed at: reading what surrounds the change, or writing. */
  hasFailedToRead = false
  /** A change that does not claim chunks has ended here since: nobody knows which of the two the source has kept. */
  isOvertaken = false
  /** What is claimed: whole chunks, clipped at the end of the disk; at least the range itself. */
  claimBytes: number
  claimEndBytes: number
  owner: Coroutine | null = null
  private readonly operations: MirrorOperations

  constructor(
    operations: MirrorOperations,
    kind: MirrorOperationView['kind'],
    offsetBytes: number,
    lengthBytes: number,
    claimBytes: number,
    claimEndBytes: number,
  ) {
    this.operations = operations
    this.kind = kind
    this.offsetBytes = offsetBytes
    this.lengthBytes = lengthBytes
    this.claimBytes = claimBytes
    this.claimEndBytes = claimEndBytes
  }

  overlaps(claimBytes: number, claimEndBytes: number): boolean {
    return this.claimBytes < claimEndBytes && claimBytes < this.claimEndBytes
  }
  describe(): string {
    return `waits for chunks in ${this.claimBytes}..${this.claimEndBytes}`
  }
  heldBy(): Iterable<Coroutine> {
    return this.operations.holders(this)
  }
}

export class MirrorOperations {
  readonly inFlight: DirtyBitmap
  private readonly kernel: Kernel
  /** In flight and waiting; the order means nothing. */
  private readonly all: MirrorOperation[] = []
  /** In order of arrival. */
  private readonly waiting: MirrorOperation[] = []

  constructor(kernel: Kernel, lengthBytes: number, granularityBytes: number) {
    this.kernel = kernel
    this.inFlight = new DirtyBitmap(lengthBytes, granularityBytes)
    assert(this.inFlight.count === 0, 'nothing-in-flight')
  }

  get list(): Iterable<MirrorOperationView> {
    return this.all
  }
  get isEmpty(): boolean {
    return this.all.length === 0
  }

  /** Whoever keeps `operation` from its claim. */
  *holders(operation: MirrorOperation): Iterable<Coroutine> {
    for (const other of this.all) {
      if (other === operation || other.owner === null || !other.overlaps(operation.claimBytes, operation.claimEndBytes)) continue
      if (other.isInFlight || this.waiting.indexOf(other) < this.waiting.indexOf(operation)) yield other.owner
    }
  }

  /** True if nobody has a chunk of the range, or had asked for one before the waiting operation number `rank`. */
  private isFree(claimBytes: number, claimEndBytes: number, rank: number): boolean {
    for (let index = 0; index < rank; index++) if (this.waiting[index]!.overlaps(claimBytes, claimEndBytes)) return false
    const busyBytes = this.inFlight.nextDirty(claimBytes)
    return busyBytes < 0 || busyBytes >= claimEndBytes
  }

  private take(operation: MirrorOperation): void {
    assert(!operation.isInFlight, 'claim-once')
    operation.isInFlight = true
    this.inFlight.set(operation.claimBytes, operation.claimEndBytes - operation.claimBytes)
  }

  /** Claims the operation's chunks if they are free; otherwise the caller has to `waitForClaim`. */
  tryClaim(operation: MirrorOperation): boolean {
    assert(operation.claimBytes < operation.claimEndBytes, 'claim-not-empty')
    operation.owner = this.kernel.current
    this.all.push(operation)
    if (!this.isFree(operation.claimBytes, operation.claimEndBytes, this.waiting.length)) return false
    this.take(operation)
    return true
  }

  /** Parks until the chunks have been granted. */
  *waitForClaim(operation: MirrorOperation): Co<void> {
    assert(!operation.isInFlight, 'wait-without-claim')
    this.waiting.push(operation)
    while (!operation.isInFlight) {
      this.kernel.willPark(operation)
      yield
    }
  }

  /** How far a claim that ends at `fromBytes` could grow, up to `limitBytes`, without touching what others have or want. */
  freeUntil(fromBytes: number, limitBytes: number): number {
    const busyBytes = this.inFlight.nextDirty(fromBytes)
    let untilBytes = busyBytes < 0 ? limitBytes : Math.min(busyBytes, limitBytes)
    for (const other of this.waiting) {
      if (other.claimEndBytes > fromBytes) untilBytes = Math.min(untilBytes, Math.max(other.claimBytes, fromBytes))
    }
    assert(untilBytes >= fromBytes, 'grow-forward')
    return untilBytes
  }

  /** Adds free chunks at the end of a claim. */
  grow(operation: MirrorOperation, claimEndBytes: number): void {
    assert(operation.isInFlight && claimEndBytes > operation.claimEndBytes, 'grow-claim')
    assert(!this.inFlight.isAnySet(operation.claimEndBytes, claimEndBytes - operation.claimEndBytes), 'grow-free')
    this.inFlight.set(operation.claimEndBytes, claimEndBytes - operation.claimEndBytes)
    operation.claimEndBytes = claimEndBytes
    operation.lengthBytes = claimEndBytes - operation.offsetBytes
  }

  /** Hands the first `lengthBytes` of a run to an operation of their own. The run ends when nothing of it is left. */
  split(run: MirrorOperation, kind: MirrorOperationView['kind'], lengthBytes: number): MirrorOperation {
    assert(run.isInFlight && run.offsetBytes === run.claimBytes, 'split-run')
    assert(lengthBytes > 0 && lengthBytes <= run.lengthBytes, 'split-inside', () => `${lengthBytes} of ${run.lengthBytes}`)
    const endBytes = run.offsetBytes + lengthBytes
    const piece = new MirrorOperation(this, kind, run.offsetBytes, lengthBytes, run.offsetBytes, endBytes)
    piece.isInFlight = true
    this.all.push(piece)
    run.offsetBytes = endBytes
    run.claimBytes = endBytes
    run.lengthBytes -= lengthBytes
    if (run.lengthBytes === 0) this.forget(run)
    return piece
  }

  /** A change of the source that has claimed nothing has ended. */
  overtake(offsetBytes: number, lengthBytes: number): void {
    assert(lengthBytes > 0, 'overtake-not-empty')
    for (const operation of this.all) if (operation.overlaps(offsetBytes, offsetBytes + lengthBytes)) operation.isOvertaken = true
  }

  /** Gives the chunks back and grants them to whoever has waited longest. */
  release(operation: MirrorOperation): void {
    assert(operation.isInFlight, 'release-claimed')
    this.inFlight.reset(operation.claimBytes, operation.claimEndBytes - operation.claimBytes)
    this.forget(operation)
    for (let rank = 0; rank < this.waiting.length; ) {
      const next = this.waiting[rank]!
      if (this.isFree(next.claimBytes, next.claimEndBytes, rank)) {
        this.waiting.splice(rank, 1)
        this.take(next)
        assert(next.owner !== null, 'waiter-known')
        this.kernel.wake(next.owner)
      } else rank++
    }
  }

  private forget(operation: MirrorOperation): void {
    const index = this.all.indexOf(operation)
    assert(index >= 0, 'operation-known')
    const last = this.all.pop()!
    if (last !== operation) this.all[index] = last
    operation.isInFlight = false
  }
}
