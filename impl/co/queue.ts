/**
 * Wait queues and locks. All of them are first come, first served at the queue itself; the order in which woken
 * coroutines really run is the clockwork's decision, so nothing may rely on running right after the wake-up: whoever
 * wakes re-checks its condition in a loop. `Mutex` hands over ownership instead, so that it is fair.
 */
import { assert } from './assert'
import type { Co, Coroutine, Kernel, WaitReason } from './kernel'

/** Coroutines waiting for some condition to change. */
export class WaitQueue {
  private readonly kernel: Kernel
  private waiting: Coroutine[] = []

  constructor(kernel: Kernel) {
    this.kernel = kernel
  }

  get length(): number {
    return this.waiting.length
  }

  isEmpty(): boolean {
    return this.waiting.length === 0
  }

  /** Parks until woken. Use in a loop that re-checks the condition. */
  *wait(reason: WaitReason): Co<void> {
    this.waiting.push(this.kernel.willPark(reason))
    yield
  }

  /** As `wait`, but not beyond `untilNs`: whoever is resumed looks whether that has come. */
  *waitUntil(untilNs: number, reason: WaitReason): Co<void> {
    const self = this.kernel.willPark(reason)
    this.waiting.push(self)
    this.kernel.wakeAt(self, untilNs)
    yield
    const index = this.waiting.indexOf(self)
    if (index >= 0) this.waiting.splice(index, 1)
  }

  /** Wakes the one that waits longest; returns whether there was one. */
  wakeOne(): boolean {
    const first = this.waiting.shift()
    if (first === undefined) return false
    this.kernel.wake(first)
    return true
  }

  wakeAll(): void {
    if (this.waiting.length === 0) return
    const woken = this.waiting
    this.waiting = []
    for (const coroutine of woken) this.kernel.wake(coroutine)
  }

  /** For wait-for graphs and inspection. */
  *[Symbol.iterator](): Iterator<Coroutine> {
    yield* this.waiting
  }
}

/** A mutual exclusion lock that knows its holder. Not recursive. */
export class Mutex {
  private readonly kernel: Kernel
  private readonly name: string
  private holder: Coroutine | null = null
  private readonly waiting: Coroutine[] = []

  constructor(kernel: Kernel, name: string) {
    this.kernel = kernel
    this.name = name
  }

  get isLocked(): boolean {
    return this.holder !== null
  }

  *lock(): Co<void> {
    const self = this.kernel.current
    assert(self !== null, 'lock-inside-coroutine')
    assert(this.holder !== self, 'mutex-not-recursive', () => this.name)
    if (this.holder === null) {
      this.holder = self
      return
    }
    this.kernel.willPark({
      describe: () => `waits for the lock of ${this.name}`,
      heldBy: () => (this.holder === null ? [] : [this.holder]),
    })
    this.waiting.push(self)
    while (true) {
      yield
      // Ownership was handed over by `unlock`; any other wake-up is spurious.
      if ((this.holder as Coroutine | null) === self) return
      this.kernel.willPark({ describe: () => `waits for the lock of ${this.name}` })
    }
  }

  unlock(): void {
    assert(this.holder !== null, 'unlock-locked', () => this.name)
    const next = this.waiting.shift()
    this.holder = next ?? null
    if (next !== undefined) this.kernel.wake(next)
  }
}
