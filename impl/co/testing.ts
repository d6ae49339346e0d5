/**
 * For tests: virtual time in a sorted list, first come first served at one instant. Small and obvious rather than fast; the
 * world has a clockwork of its own.
 */
import { type Clockwork, type Coroutine, Kernel } from './kernel'

export class VirtualClock implements Clockwork {
  /** In order of time. */
  readonly queue: Array<{ coroutine: Coroutine; parkSerial: number; atNs: number }> = []
  kernel!: Kernel
  private timeNs = 0

  nowNs(): number {
    return this.timeNs
  }
  schedule(coroutine: Coroutine, parkSerial: number, atNs: number): void {
    let at = this.queue.length
    while (at > 0 && this.queue[at - 1]!.atNs > atNs) at--
    this.queue.splice(at, 0, { coroutine, parkSerial, atNs })
  }

  /** Takes the first wake-up off the queue, which is not empty. False: it was stale, and the clock has not moved. */
  step(): boolean {
    const { coroutine, parkSerial, atNs } = this.queue.shift()!
    if (coroutine.parkSerial !== parkSerial) return false
    this.timeNs = atNs
    return this.kernel.resume(coroutine, parkSerial)
  }

  /** Runs until nothing is queued, or `untilNs`; throws what a coroutine threw. Returns the number of events. */
  run(untilNs = Number.MAX_SAFE_INTEGER, eventsMax = 100_000): number {
    let events = 0
    while (this.queue.length > 0 && this.queue[0]!.atNs <= untilNs) {
      if (this.step() && ++events > eventsMax) throw new Error('the test world does not come to rest')
      if (this.kernel.failure !== null) throw this.kernel.failure.error
    }
    if (untilNs !== Number.MAX_SAFE_INTEGER) this.timeNs = Math.max(this.timeNs, untilNs)
    return events
  }
}

/** A kernel, and `run` that takes events off its queue until none is left, whatever they throw. Returns how many ran. */
export function testKernel(): { kernel: Kernel; clock: VirtualClock; run: () => number } {
  const clock = new VirtualClock()
  const kernel = new Kernel(clock)
  clock.kernel = kernel
  const run = (): number => {
    let events = 0
    while (clock.queue.length > 0) if (clock.step()) events++
    return events
  }
  return { kernel, clock, run }
}
