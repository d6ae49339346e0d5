/**
 * The limit for changes that guests wait for: each gets its place in time when it comes, in order of arrival, and waits for
 * it before anything is claimed. So the burst is one request, and a slow one keeps no chunk from others.
 *
 * What never may happen: a drained section, a forced end or a change of the limit that waits for somebody's place. Those who
 * wait are let go then, and ask again in which mode they are.
 */
import { assert, type Co, type Coroutine, type Kernel, type WaitReason } from '../../co'
import { RateLimit } from '../rate_limit'

const PACED: WaitReason = { describe: () => 'waits for the speed limit of active writes' }

export class Pace {
  readonly limit = new RateLimit()
  private readonly kernel: Kernel
  private readonly waiting = new Set<Coroutine>()

  constructor(kernel: Kernel, bytesPerSecond: number) {
    this.kernel = kernel
    this.limit.setSpeed(bytesPerSecond)
  }

  /** Waits until `lengthBytes` may be changed, or until `mayWait` is false. */
  *take(lengthBytes: number, mayWait: () => boolean): Co<void> {
    assert(lengthBytes > 0, 'pace-bytes')
    const arrivedNs = this.kernel.nowNs()
    const dueNs = arrivedNs + this.limit.delayNs(arrivedNs)
    this.limit.account(arrivedNs, lengthBytes)
    const { speed } = this.limit
    while (this.kernel.nowNs() < dueNs && this.limit.speed === speed && mayWait()) {
      const self = this.kernel.willPark(PACED)
      this.waiting.add(self)
      this.kernel.wakeAt(self, dueNs)
      yield
      this.waiting.delete(self)
    }
  }

  setSpeed(bytesPerSecond: number): void {
    this.limit.setSpeed(bytesPerSecond)
    this.reconsider()
  }

  /** Those who wait look again whether they have to. */
  reconsider(): void {
    for (const coroutine of this.waiting) this.kernel.wake(coroutine)
  }
}
