/**
 * Virtual time. Wake-ups lie in a heap by time; those that are due now stand in line, and the decider says who of the
 * line runs next. Nothing is allocated for an event.
 *
 * What never may happen: time that goes back; a coroutine that is overtaken for ever (see OVERTAKEN_MAX); a decision about
 * a wake-up that is stale, as it would be one without a meaning.
 */
import { assert, type Clockwork, type Coroutine, CoroutineState, type Kernel } from '../impl/co'
import { Attempts, type Decider, Site } from './decider'

/** Whoever waits longest runs after it has been passed over this often in a row, whatever the decider says. */
const OVERTAKEN_MAX = 16

/** A wake-up is dropped when its coroutine has been resumed for another reason meanwhile. */
function isStale(coroutine: Coroutine, parkSerial: number): boolean {
  return coroutine.parkSerial !== parkSerial || coroutine.state === CoroutineState.Done
}

/** Wake-ups of the future: a binary heap over parallel arrays, by time and then by order of arrival. */
export class WakeHeap {
  private readonly times: number[] = []
  private readonly sequences: number[] = []
  private readonly coroutines: Coroutine[] = []
  private readonly parkSerials: number[] = []
  private nextSequence = 0

  get size(): number {
    return this.times.length
  }
  /** Time of the first one; Infinity if there is none. */
  get firstNs(): number {
    return this.times.length === 0 ? Infinity : this.times[0]!
  }
  get firstCoroutine(): Coroutine {
    return this.coroutines[0]!
  }
  get firstParkSerial(): number {
    return this.parkSerials[0]!
  }

  push(coroutine: Coroutine, parkSerial: number, atNs: number): void {
    let at = this.times.length
    this.times.push(atNs)
    const sequence = this.nextSequence++
    this.sequences.push(sequence)
    this.coroutines.push(coroutine)
    this.parkSerials.push(parkSerial)
    while (at > 0) {
      const parent = (at - 1) >> 1
      // Nothing that is in the heap already has come later.
      if (this.times[parent]! <= atNs) break
      this.move(parent, at)
      at = parent
    }
    this.put(at, atNs, sequence, coroutine, parkSerial)
  }

  removeFirst(): void {
    const last = this.times.length - 1
    assert(last >= 0, 'heap-not-empty')
    const atNs = this.times.pop()!
    const sequence = this.sequences.pop()!
    const coroutine = this.coroutines.pop()!
    const parkSerial = this.parkSerials.pop()!
    if (last === 0) return
    let at = 0
    while (true) {
      let child = 2 * at + 1
      if (child >= last) break
      if (child + 1 < last && this.isBefore(child + 1, this.times[child]!, this.sequences[child]!)) child++
      if (!this.isBefore(child, atNs, sequence)) break
      this.move(child, at)
      at = child
    }
    this.put(at, atNs, sequence, coroutine, parkSerial)
  }

  private isBefore(at: number, timeNs: number, sequence: number): boolean {
    const other = this.times[at]!
    return other < timeNs || (other === timeNs && this.sequences[at]! < sequence)
  }
  private move(from: number, to: number): void {
    this.put(to, this.times[from]!, this.sequences[from]!, this.coroutines[from]!, this.parkSerials[from]!)
  }
  private put(at: number, timeNs: number, sequence: number, coroutine: Coroutine, parkSerial: number): void {
    this.times[at] = timeNs
    this.sequences[at] = sequence
    this.coroutines[at] = coroutine
    this.parkSerials[at] = parkSerial
  }
}

export class VirtualClockwork implements Clockwork {
  private readonly decider: Decider
  private readonly attempts = new Attempts()
  private readonly future = new WakeHeap()
  /** In line for the present instant, the one that waits longest first. */
  private readonly due: Coroutine[] = []
  private readonly dueParkSerials: number[] = []
  private overtakenCount = 0
  private timeNs = 0

  constructor(decider: Decider) {
    this.decider = decider
  }

  nowNs(): number {
    return this.timeNs
  }

  schedule(coroutine: Coroutine, parkSerial: number, atNs: number): void {
    assert(atNs >= this.timeNs, 'schedule-not-in-past')
    if (atNs > this.timeNs) this.future.push(coroutine, parkSerial, atNs)
    else {
      this.due.push(coroutine)
      this.dueParkSerials.push(parkSerial)
    }
  }

  /** Time of the next event, which may lie in the future; Infinity if nothing will ever happen again. */
  nextNs(): number {
    this.dropStale()
    if (this.due.length > 0) return this.timeNs
    const { future } = this
    while (future.size > 0 && isStale(future.firstCoroutine, future.firstParkSerial)) future.removeFirst()
    return future.firstNs
  }

  /** Resumes one coroutine and returns it. `atNs` is what `nextNs` has just returned, and not Infinity. */
  step(kernel: Kernel, atNs: number): Coroutine {
    if (this.due.length === 0) this.advance(atNs)
    const index = this.choose()
    const coroutine = this.due[index]!
    const parkSerial = this.dueParkSerials[index]!
    this.removeDue(index)
    const ran = kernel.resume(coroutine, parkSerial)
    assert(ran || kernel.failure !== null, 'step-resumes')
    return coroutine
  }

  private advance(toNs: number): void {
    const { future } = this
    assert(toNs > this.timeNs, 'time-goes-on')
    this.timeNs = toNs
    while (future.firstNs === toNs) {
      if (!isStale(future.firstCoroutine, future.firstParkSerial)) {
        this.due.push(future.firstCoroutine)
        this.dueParkSerials.push(future.firstParkSerial)
      }
      future.removeFirst()
    }
  }

  private choose(): number {
    const { due } = this
    if (due.length === 1 || this.overtakenCount === OVERTAKEN_MAX) {
      this.overtakenCount = 0
      return 0
    }
    const subject = due[0]!.label
    const index = this.decider.decide(Site.Order, subject, this.attempts.next(subject), due.length, due)
    assert(index >= 0 && index < due.length, 'decision-in-range')
    this.overtakenCount = index === 0 ? 0 : this.overtakenCount + 1
    return index
  }

  private removeDue(index: number): void {
    const { due, dueParkSerials } = this
    for (let at = index + 1; at < due.length; at++) {
      due[at - 1] = due[at]!
      dueParkSerials[at - 1] = dueParkSerials[at]!
    }
    due.pop()
    dueParkSerials.pop()
  }

  private dropStale(): void {
    const { due, dueParkSerials } = this
    let kept = 0
    for (let at = 0; at < due.length; at++) {
      const coroutine = due[at]!
      const parkSerial = dueParkSerials[at]!
      if (isStale(coroutine, parkSerial)) continue
      due[kept] = coroutine
      dueParkSerials[kept++] = parkSerial
    }
    if (kept === due.length) return
    due.length = kept
    dueParkSerials.length = kept
    this.overtakenCount = 0
  }
}
