/**
 * Clocks that coroutines wait by. The kernel is one; a stepped clock is another, which stands still until somebody moves it:
 * the virtual clock of a machine whose processor never runs.
 */
import { assert } from './assert'
import type { Coroutine, Kernel } from './kernel'

export interface Clock {
  /** Nanoseconds, an integer below 2^53. */
  nowNs(): number
  /** Wakes `coroutine`, which is about to park, at `atNs`, unless it has been resumed before. */
  wakeAt(coroutine: Coroutine, atNs: number): void
}

interface Waiting {
  readonly coroutine: Coroutine
  readonly parkSerial: number
  readonly atNs: number
}

export class SteppedClock implements Clock {
  private readonly kernel: Kernel
  private timeNs = 0
  private waiting: Waiting[] = []

  constructor(kernel: Kernel) {
    this.kernel = kernel
  }

  nowNs(): number {
    return this.timeNs
  }

  wakeAt(coroutine: Coroutine, atNs: number): void {
    assert(atNs >= this.timeNs, 'wake-in-future')
    this.waiting.push({ coroutine, parkSerial: coroutine.parkSerial, atNs })
  }

  /** When somebody wants to be woken next, or null. */
  nextNs(): number | null {
    this.waiting = this.waiting.filter(({ coroutine, parkSerial }) => coroutine.parkSerial === parkSerial)
    return this.waiting.reduce<number | null>((least, { atNs }) => (least === null || atNs < least ? atNs : least), null)
  }

  /** Moves the clock to `timeNs` at most, and wakes whoever waits for a moment until then. */
  moveTo(timeNs: number): void {
    assert(timeNs >= this.timeNs, 'clock-monotonic')
    this.timeNs = timeNs
    const due = this.waiting.filter(({ atNs }) => atNs <= timeNs)
    this.waiting = this.waiting.filter(({ atNs }) => atNs > timeNs)
    for (const { coroutine, parkSerial } of due.sort((a, b) => a.atNs - b.atNs)) {
      if (coroutine.parkSerial === parkSerial) this.kernel.wake(coroutine)
    }
  }
}
