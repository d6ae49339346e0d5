/**
 * Throttle groups: limits that several users share. Requests that come too early wait in their member's queue, one queue a
 * direction. In each direction at most one request waits for the clock, at the head of the queue of the member whose turn
 * it is; when it goes, the turn passes round robin to the next member that has somebody waiting.
 *
 * What may fail: new limits that make no sense (BlockError). A request never fails here.
 * What never may: a request that waits while nobody waits for the clock in its direction; one that waits in a drained
 * section of its member.
 */
import { assert, type Clock, type Co, type Coroutine, type Kernel } from '../../co'
import { LeakyBucket } from './bucket'
import { BUCKET_NAMES, type BucketName, checkLimits, completeLimits, type LimitName, type ThrottleLimits } from './limits'

export const enum Direction {
  Read = 0,
  Write = 1,
}

export class ThrottleGroup {
  readonly name: string
  readonly kernel: Kernel
  readonly clock: Clock
  /** In order of joining; the turn goes round in it. */
  readonly members: ThrottleMember[] = []
  /** By direction: the member whose first waiting request waits for the clock; null while nobody waits. */
  private readonly turns: [ThrottleMember | null, ThrottleMember | null] = [null, null]
  private readonly buckets = BUCKET_NAMES.map(() => new LeakyBucket())
  /** The buckets that limit something, for each direction; the first of a pair counts bytes, the second operations. */
  private limiting: ReadonlyArray<{ readonly bytes: readonly LeakyBucket[]; readonly operations: readonly LeakyBucket[] }> = []
  private current: Record<LimitName, number>

  /** Throws BlockError for limits that make no sense. */
  constructor(kernel: Kernel, name: string, limits: ThrottleLimits = {}, clock: Clock = kernel) {
    this.kernel = kernel
    this.clock = clock
    this.name = name
    this.current = completeLimits({})
    this.setLimits(limits)
  }

  /** All limits, defaults included. */
  get limits(): Readonly<Record<LimitName, number>> {
    return this.current
  }

  /** Replaces all limits; the past is forgotten, and who waits for the clock looks at it again. Throws BlockError. */
  setLimits(limits: ThrottleLimits): void {
    checkLimits(limits)
    this.current = completeLimits(limits)
    for (const [index, name] of BUCKET_NAMES.entries()) {
      this.buckets[index]!.configure(this.current[name], this.current[`${name}-max`], this.current[`${name}-max-length`])
    }
    this.limiting = (['read', 'write'] as const).map((direction) => ({
      bytes: this.limitingOf('bps-total', `bps-${direction}`),
      operations: this.limitingOf('iops-total', `iops-${direction}`),
    }))
    assert(this.limiting.length === this.turns.length, 'throttle-directions')
    this.turns[Direction.Read]?.wakeFirst(Direction.Read)
    this.turns[Direction.Write]?.wakeFirst(Direction.Write)
  }

  private limitingOf(...names: BucketName[]): LeakyBucket[] {
    return names.map((name) => this.buckets[BUCKET_NAMES.indexOf(name)]!).filter((bucket) => bucket.isLimited)
  }

  /** How long the next request of a direction has to wait from now. */
  waitNs(direction: Direction): number {
    const { bytes, operations } = this.limiting[direction]!
    const nowNs = this.clock.nowNs()
    let waitNs = 0
    for (const bucket of bytes) waitNs = Math.max(waitNs, bucket.waitNs(nowNs))
    for (const bucket of operations) waitNs = Math.max(waitNs, bucket.waitNs(nowNs))
    return waitNs
  }

  /** A request starts. One that is longer than `iops-size` counts as that many, in fractions. */
  account(direction: Direction, requestBytes: number): void {
    const { bytes, operations } = this.limiting[direction]!
    const nowNs = this.clock.nowNs()
    for (const bucket of bytes) bucket.account(nowNs, requestBytes, 1)
    const unitBytes = this.current['iops-size']
    const isLong = unitBytes > 0 && requestBytes > unitBytes
    for (const bucket of operations) bucket.account(nowNs, isLong ? requestBytes : 1, isLong ? unitBytes : 1)
  }

  /** True if a new request of the direction has to wait: for its turn, or for the clock. */
  mustWait(direction: Direction): boolean {
    return this.turns[direction] !== null || this.waitNs(direction) > 0
  }

  /** `member` has got its first waiting request; it takes the turn if nobody has it. */
  enqueued(member: ThrottleMember, direction: Direction): void {
    assert(this.members.includes(member), 'throttle-member')
    this.turns[direction] ??= member
  }

  hasTurn(member: ThrottleMember, direction: Direction): boolean {
    return this.turns[direction] === member
  }

  /** A request of `member`, whose turn it was, has gone: the next member with somebody waiting has the turn. */
  passTurn(member: ThrottleMember, direction: Direction): void {
    assert(this.turns[direction] === member, 'turn-passed-by-holder')
    const count = this.members.length
    const own = this.members.indexOf(member)
    this.turns[direction] = null
    for (let step = 1; step <= count; step++) {
      const next = this.members[(own + step) % count]!
      if (!next.hasWaiting(direction)) continue
      this.turns[direction] = next
      next.wakeFirst(direction)
      return
    }
  }
}

/** One user of a group: a throttle node or a backend. */
export class ThrottleMember {
  readonly group: ThrottleGroup
  private readonly queues: readonly [Coroutine[], Coroutine[]] = [[], []]
  /** Drained sections, nested: limits do not hold meanwhile. */
  private unlimited = 0

  constructor(group: ThrottleGroup) {
    this.group = group
    group.members.push(this)
  }

  /** Leaves the group. Nothing may be waiting: drain before. */
  leave(): void {
    const index = this.group.members.indexOf(this)
    assert(index >= 0, 'throttle-member')
    assert(!this.hasWaiting(Direction.Read) && !this.hasWaiting(Direction.Write), 'throttle-leaves-idle')
    this.group.members.splice(index, 1)
  }

  hasWaiting(direction: Direction): boolean {
    return this.queues[direction]!.length > 0
  }
  wakeFirst(direction: Direction): void {
    const first = this.queues[direction]![0]
    assert(first !== undefined, 'turn-has-waiter')
    this.group.kernel.wake(first)
  }

  /** Lets everything through that waits and that comes, until the matching `limit`. What goes is accounted all the same. */
  unlimit(): void {
    this.unlimited++
    if (this.unlimited > 1) return
    for (const queue of this.queues) for (const coroutine of queue) this.group.kernel.wake(coroutine)
  }
  limit(): void {
    assert(this.unlimited > 0, 'throttle-unlimited-count')
    this.unlimited--
  }

  /** Waits until a request of `requestBytes` may start, and accounts it. */
  *admit(direction: Direction, requestBytes: number): Co<void> {
    const { group } = this
    if (this.unlimited === 0 && group.mustWait(direction)) yield* this.waitForTurn(direction)
    group.account(direction, requestBytes)
  }

  private *waitForTurn(direction: Direction): Co<void> {
    const { group } = this
    const { kernel, clock } = group
    const queue = this.queues[direction]!
    const self = kernel.current
    assert(self !== null, 'throttle-inside-coroutine')
    queue.push(self)
    group.enqueued(this, direction)
    while (this.unlimited === 0) {
      const isNext = queue[0] === self && group.hasTurn(this, direction)
      const waitNs = isNext ? group.waitNs(direction) : 0
      if (isNext && waitNs === 0) break
      kernel.willPark({ describe: () => `waits for its turn in throttle group '${group.name}'` })
      if (isNext) clock.wakeAt(self, clock.nowNs() + waitNs)
      yield
    }
    const index = queue.indexOf(self)
    assert(index >= 0, 'throttle-waiter-queued')
    queue.splice(index, 1)
    if (group.hasTurn(this, direction)) group.passTurn(this, direction)
  }
}
