/**
 * The clockwork of the real machine: the same coroutines as in a world, over a monotonic clock and the engine's event
 * loop. Ready coroutines run in the order in which they were woken, for a slice of time; then the machine's own events
 * (completed I/O, signals, the terminal) get their turn.
 *
 * What may fail: a coroutine, by an exception, which ends `run` with it; a run in which everybody waits for somebody else,
 * which ends `run` with who waits for what.
 * What never may: a clock that moves while a coroutine runs, or backwards.
 */
import {
  assert,
  type Clockwork,
  type Co,
  type Coroutine,
  describeWait,
  findWaitCycle,
  Kernel,
  type Label,
  makeLabel,
} from '../co'

/** Coroutines run for so long before signals and completed I/O are looked at. */
const SLICE_NS = 5_000_000
const NS_PER_MS = 1_000_000
/** The longest time-out that the engine takes; a longer wait is cut in parts. */
const TIMEOUT_MAX_MS = 0x7fffffff
const MAIN = makeLabel('main')

interface WakeUp {
  readonly coroutine: Coroutine
  readonly parkSerial: number
  readonly atNs: number
}

export class HostLoop implements Clockwork {
  readonly kernel: Kernel
  private readonly origin = process.hrtime()
  private timeNs = 0
  /** Wake-ups that are due, from `readyHead` on, in order of arrival. */
  private ready: WakeUp[] = []
  private readyHead = 0
  /** Wake-ups of the future, the next one last: there are few of them. */
  private readonly timers: WakeUp[] = []
  private isTurning = false
  private immediate: NodeJS.Immediate | null = null
  private timeout: NodeJS.Timeout | null = null
  private ioInFlight = 0
  /** Ends the present `run` badly; null when nothing is run for anybody. */
  private fail: ((error: unknown) => void) | null = null

  constructor() {
    this.kernel = new Kernel(this)
  }

  /** Nanoseconds since the loop was made; stands still while a coroutine runs. */
  nowNs(): number {
    if (!this.isTurning) this.readClock()
    return this.timeNs
  }

  private readClock(): number {
    const [seconds, nanoseconds] = process.hrtime(this.origin)
    const nowNs = seconds * 1e9 + nanoseconds
    assert(nowNs >= this.timeNs, 'clock-monotonic')
    this.timeNs = nowNs
    return nowNs
  }

  schedule(coroutine: Coroutine, parkSerial: number, atNs: number): void {
    const wakeUp = { coroutine, parkSerial, atNs }
    if (atNs <= this.timeNs) this.ready.push(wakeUp)
    else this.insertTimer(wakeUp)
    if (!this.isTurning) this.arm()
  }

  private insertTimer(wakeUp: WakeUp): void {
    let index = this.timers.length
    while (index > 0 && this.timers[index - 1]!.atNs <= wakeUp.atNs) index--
    this.timers.splice(index, 0, wakeUp)
  }

  /**
   * Runs `body` as a coroutine, and everything that it starts, until it has returned. Rejects with what it throws. One
   * run at a time; coroutines that are left stand still until the next one.
   */
  run<T>(body: Co<T>, label: Label = MAIN): Promise<T> {
    assert(this.fail === null, 'one-run-at-a-time')
    return new Promise<T>((resolve, reject) => {
      this.fail = reject
      this.kernel.spawn(this.main(body, resolve), label)
    })
  }

  private *main<T>(body: Co<T>, resolve: (value: T) => void): Co<void> {
    let finish: () => void
    try {
      const value = yield* body
      finish = () => resolve(value)
    } catch (error) {
      const { fail } = this
      finish = () => fail?.(error)
    }
    finish()
    this.fail = null
  }

  /** Something that the machine does for a coroutine has begun; its callback calls `endIo`. */
  beginIo(): void {
    this.ioInFlight++
  }
  endIo(coroutine: Coroutine): void {
    assert(this.ioInFlight > 0 && !this.isTurning, 'io-ends-outside')
    this.ioInFlight--
    this.kernel.wake(coroutine)
  }

  /** `coroutine`, which waits for the machine, is to wait no more; called by another one, and no callback will come. */
  abandonIo(coroutine: Coroutine): void {
    assert(this.ioInFlight > 0, 'io-in-flight')
    this.ioInFlight--
    this.kernel.wake(coroutine)
  }

  /** What `beginIo` has announced does not come, and nobody waits for it. */
  endWait(): void {
    assert(this.ioInFlight > 0, 'io-in-flight')
    this.ioInFlight--
  }

  private readonly turn = (): void => {
    this.disarm()
    this.isTurning = true
    const endNs = this.readClock() + SLICE_NS
    do {
      this.takeDueTimers()
      const next = this.ready[this.readyHead]
      if (next === undefined) break
      this.readyHead++
      this.kernel.resume(next.coroutine, next.parkSerial)
    } while (this.kernel.failure === null && this.fail !== null && this.readClock() < endNs)
    this.compact()
    this.isTurning = false
    if (this.kernel.failure !== null) this.giveUp(this.kernel.failure.error)
    else this.arm()
  }

  private takeDueTimers(): void {
    for (let next = this.timers.at(-1); next !== undefined && next.atNs <= this.timeNs; next = this.timers.at(-1)) {
      this.ready.push(next)
      this.timers.pop()
    }
  }

  private compact(): void {
    if (this.readyHead === this.ready.length) this.ready.length = 0
    else this.ready = this.ready.slice(this.readyHead)
    this.readyHead = 0
  }

  private disarm(): void {
    if (this.immediate !== null) clearImmediate(this.immediate)
    if (this.timeout !== null) clearTimeout(this.timeout)
    this.immediate = null
    this.timeout = null
  }

  private arm(): void {
    if (this.fail === null || this.immediate !== null) return
    if (this.timeout !== null) clearTimeout(this.timeout)
    this.timeout = null
    if (this.readyHead < this.ready.length) {
      this.immediate = setImmediate(this.turn)
      return
    }
    // A wake-up that has been overtaken would only keep a stuck program waiting.
    for (let last = this.timers.at(-1); last !== undefined && isStale(last); last = this.timers.at(-1)) this.timers.pop()
    const next = this.timers.at(-1)
    if (next !== undefined) {
      const delayMs = Math.ceil((next.atNs - this.timeNs) / NS_PER_MS)
      this.timeout = setTimeout(this.turn, Math.min(Math.max(delayMs, 0), TIMEOUT_MAX_MS))
    } else if (this.ioInFlight === 0) this.giveUp(new Error(this.describeStuck()))
  }

  private giveUp(error: unknown): void {
    const { fail } = this
    this.fail = null
    fail?.(error)
  }

  private describeStuck(): string {
    const cycle = findWaitCycle(this.kernel.live)
    const waiting = [...(cycle ?? this.kernel.live)].map(describeWait)
    return `nothing can go on: ${waiting.join('; ')}`
  }
}

function isStale({ coroutine, parkSerial }: WakeUp): boolean {
  return coroutine.parkSerial !== parkSerial
}
