/**
 * Coroutines on a trampoline of our own. All of `impl` above this room is written as generators: `yield` parks, and
 * every wake-up goes through the one queue of the `Clockwork`, which decides what runs next and when. The world orders
 * wake-ups by its decider in virtual time; the host orders them by arrival over real I/O. The same code runs in both.
 *
 * What may fail here: nothing a user does. A coroutine that throws is a defect of ours (or a failed assertion); the
 * kernel records it, stops, and hands it to whoever drives the loop.
 * What never may: a coroutine resumed twice for one park; a park without a reason; a wake-up that runs code at once in
 * the waker's stack instead of through the queue.
 */
import { assert } from './assert'
import type { Label } from './label'

/** A coroutine body that returns T. It yields only to park; nothing is passed in or out by `yield`. */
export type Co<T> = Generator<undefined, T, undefined>

/** Why a coroutine is parked. Stuck worlds print these, and the cycle of coroutines that they form. */
export interface WaitReason {
  /** In words, present tense: "waits for the slot of chunk 3". Called only when somebody looks. */
  describe(): string
  /** The coroutines that must move before this one can, as far as known. */
  heldBy?(): Iterable<Coroutine>
}

/** Orders all wake-ups. The kernel calls it; the world and the host implement it. */
export interface Clockwork {
  /** Virtual or monotonic real time in nanoseconds, an integer below 2^53. */
  nowNs(): number
  /** Queue `coroutine` to be resumed at `atNs` (not before now) if it is still at park number `parkSerial` then. */
  schedule(coroutine: Coroutine, parkSerial: number, atNs: number): void
}

export const enum CoroutineState {
  Ready = 0,
  Running = 1,
  Parked = 2,
  Done = 3,
}

/** One coroutine: its body, its label, and what it waits for. Made by `Kernel.spawn` only. */
export class Coroutine {
  readonly label: Label
  readonly serial: number
  state: CoroutineState = CoroutineState.Ready
  /** Raised at each resume: a wake-up that was queued for an earlier park finds another number and is dropped. */
  parkSerial = 0
  /** True when a wake-up for the present park is queued already; a second one would be lost work. */
  wakeQueued = false
  waitsFor: WaitReason | null = null
  readonly body: Co<void>
  /** Coroutines parked in `join`. */
  joiners: Coroutine[] | null = null
  /** Neighbours in the list of those that live. */
  before: Coroutine | null = null
  after: Coroutine | null = null

  constructor(label: Label, serial: number, body: Co<void>) {
    this.label = label
    this.serial = serial
    this.body = body
  }
}

/** The coroutines that have not ended, in order of their start. Joining and leaving cost a few assignments. */
export class LiveCoroutines {
  size = 0
  private first: Coroutine | null = null
  private last: Coroutine | null = null

  has(coroutine: Coroutine): boolean {
    return coroutine.state !== CoroutineState.Done
  }

  add(coroutine: Coroutine): void {
    assert(coroutine.before === null && coroutine.after === null && this.first !== coroutine, 'live-once')
    coroutine.before = this.last
    if (this.last === null) this.first = coroutine
    else this.last.after = coroutine
    this.last = coroutine
    this.size++
  }

  delete(coroutine: Coroutine): void {
    const { before, after } = coroutine
    assert(before !== null || this.first === coroutine, 'live-known')
    if (before === null) this.first = after
    else before.after = after
    if (after === null) this.last = before
    else after.before = before
    coroutine.before = coroutine.after = null
    this.size--
    assert(this.size >= 0, 'live-count')
  }

  *[Symbol.iterator](): Iterator<Coroutine> {
    for (let coroutine = this.first; coroutine !== null; coroutine = coroutine.after) yield coroutine
  }
}

const STARTING: WaitReason = { describe: () => 'is about to start' }

/** How a parked coroutine reads in a report. */
export function describeWait(coroutine: Coroutine): string {
  return `${coroutine.label.id} ${coroutine.waitsFor === null ? 'runs' : coroutine.waitsFor.describe()}`
}

export class Kernel {
  readonly clockwork: Clockwork
  /** The coroutine that runs now; null between resumes. */
  current: Coroutine | null = null
  /** The first exception that left a coroutine; no coroutine runs after it. */
  failure: { error: unknown; coroutine: Coroutine } | null = null
  /** All coroutines that have not ended, in order of their start. */
  readonly live = new LiveCoroutines()
  private nextSerial = 0

  constructor(clockwork: Clockwork) {
    this.clockwork = clockwork
  }

  nowNs(): number {
    return this.clockwork.nowNs()
  }

  /** Starts `body` through the queue, at the present time. Without a label it works for whatever the spawner works for. */
  spawn(body: Co<void>, label?: Label): Coroutine {
    const inherited = label ?? this.current?.label
    assert(inherited !== undefined, 'spawn-has-label')
    const coroutine = new Coroutine(inherited, this.nextSerial++, body)
    coroutine.state = CoroutineState.Parked
    coroutine.waitsFor = STARTING
    this.live.add(coroutine)
    this.wake(coroutine)
    return coroutine
  }

  /**
   * Called right before `yield`, as `kernel.willPark(reason); yield`. Two steps instead of one helper coroutine,
   * because a generator frame on every park is a measurable share of a world.
   */
  willPark(reason: WaitReason): Coroutine {
    const coroutine = this.current
    assert(coroutine !== null, 'park-inside-coroutine', reason.describe)
    assert(coroutine.waitsFor === null, 'park-once')
    coroutine.waitsFor = reason
    return coroutine
  }

  /** Queues a parked coroutine to run at the present time. A second wake-up for the same park does nothing. */
  wake(coroutine: Coroutine): void {
    if (coroutine.state === CoroutineState.Done || coroutine.wakeQueued) return
    assert(coroutine.waitsFor !== null, 'wake-parked', () => coroutine.label.id)
    coroutine.wakeQueued = true
    this.clockwork.schedule(coroutine, coroutine.parkSerial, this.clockwork.nowNs())
  }

  /** Queues a wake-up at `atNs`; it is dropped if the coroutine has been resumed for another reason before. */
  wakeAt(coroutine: Coroutine, atNs: number): void {
    assert(coroutine.waitsFor !== null, 'wake-parked', () => coroutine.label.id)
    assert(atNs >= this.clockwork.nowNs(), 'wake-in-future')
    this.clockwork.schedule(coroutine, coroutine.parkSerial, atNs)
  }

  /**
   * Runs `coroutine` to its next park or its end. Called by the clockwork alone. Returns false when the wake-up was
   * stale (the coroutine has been resumed meanwhile, or has ended), in which case nothing ran.
   */
  resume(coroutine: Coroutine, parkSerial: number): boolean {
    if (coroutine.parkSerial !== parkSerial || coroutine.state === CoroutineState.Done || this.failure !== null) return false
    assert(this.current === null, 'resume-from-queue-only')
    assert(coroutine.state === CoroutineState.Parked, 'resume-parked')
    coroutine.parkSerial++
    coroutine.wakeQueued = false
    coroutine.waitsFor = null
    coroutine.state = CoroutineState.Running
    this.current = coroutine
    try {
      if (coroutine.body.next().done === true) this.finish(coroutine)
      else coroutine.state = CoroutineState.Parked
    } catch (error) {
      this.failure = { error, coroutine }
      coroutine.state = CoroutineState.Done
      this.live.delete(coroutine)
    }
    this.current = null
    assert(coroutine.state !== CoroutineState.Parked || coroutine.waitsFor !== null, 'park-has-reason', () => coroutine.label.id)
    return true
  }

  private finish(coroutine: Coroutine): void {
    coroutine.state = CoroutineState.Done
    this.live.delete(coroutine)
    const joiners = coroutine.joiners
    coroutine.joiners = null
    if (joiners !== null) for (const joiner of joiners) this.wake(joiner)
  }

  /** Waits until `coroutine` has ended. */
  *join(coroutine: Coroutine): Co<void> {
    while (coroutine.state !== CoroutineState.Done) {
      const self = this.willPark({
        describe: () => `waits for the end of ${coroutine.label.id}`,
        heldBy: () => [coroutine],
      })
      coroutine.joiners ??= []
      coroutine.joiners.push(self)
      yield
    }
  }

  /** As `join`, but not beyond `untilNs`. False: it runs on. */
  *joinUntil(coroutine: Coroutine, untilNs: number): Co<boolean> {
    while (coroutine.state !== CoroutineState.Done && this.clockwork.nowNs() < untilNs) {
      const self = this.willPark({
        describe: () => `waits for a time for the end of ${coroutine.label.id}`,
        heldBy: () => [coroutine],
      })
      this.wakeAt(self, untilNs)
      coroutine.joiners ??= []
      coroutine.joiners.push(self)
      yield
    }
    return coroutine.state === CoroutineState.Done
  }

  /**
   * Parks for `durationNs`, or until somebody wakes the coroutine earlier. A duration of 0 lets everything run that is
   * queued before it.
   */
  *sleepNs(durationNs: number): Co<void> {
    assert(Number.isSafeInteger(durationNs) && durationNs >= 0, 'sleep-duration', () => String(durationNs))
    const self = this.willPark({ describe: () => `sleeps for ${durationNs} ns` })
    this.wakeAt(self, this.clockwork.nowNs() + durationNs)
    yield
  }

  /**
   * Ends every coroutine where it stands, as a power cut does: the generators are returned, so `finally` blocks run but
   * must not park or start I/O.
   */
  destroy(): void {
    assert(this.current === null, 'destroy-from-outside')
    for (const coroutine of [...this.live]) {
      coroutine.state = CoroutineState.Done
      coroutine.body.return(undefined as never)
      this.live.delete(coroutine)
    }
  }
}
