/**
 * The interpreter: executes instructions one after another, counts them exactly, takes exceptions and interrupts at the very
 * instruction where they belong. `run` stops at a count, never before it except where a hart that waits has nothing that could wake it.
 */
import { decodeInto, PAGE_BYTES, RECORD_WORDS } from './code'
import type { Core } from './core'
import { updateTimer } from './csr'
import { CODES, CROSSING, type Execute, makeExecute, UNDECODED } from './execute'
import { toNumber } from './int64'
import { Access } from './pmp'
import { Interrupt, NEXT, SYNC, TRAP } from './state'
import { enterTrap, interruptToTake } from './traps'

export class Interpreter {
  /** For instructions that are not predecoded: crossing pages, outside RAM, in pages protected in part. */
  readonly #scratch = new Int32Array((PAGE_BYTES / 2) * RECORD_WORDS)

  /** Where the present run ends at the latest; a device may bring it forward. */
  #end = 0

  readonly #execute: Execute

  constructor(readonly core: Core) {
    this.#execute = makeExecute(core)
  }

  /** From within `run`: end it at this count, or behind the present instruction where that is later. */
  stopAt(count: number): void {
    this.#end = Math.min(this.#end, count)
  }

  /**
   * Executes until `count` is `until`, or what `stopAt` said. Returns true; or false where the hart waits for an interrupt
   * that only others can raise, with `count` moved there as well.
   */
  run(until: number): boolean {
    const { state } = this.core
    this.#end = until
    while (state.count < this.#end) {
      const limit = Math.min(this.#end, this.#timerCount())
      if (this.#isAsleep()) {
        this.#skip(limit)
        if (state.count >= this.#end) return this.#wakesAlone()
        continue
      }
      let outcome: number
      do outcome = this.#stretch(limit)
      while (outcome === NEXT && state.count < limit)
    }
    updateTimer(this.core)
    return true
  }

  /** The count at which the timer of S mode runs out; Infinity where it has or is off. */
  #timerCount(): number {
    const { state, clock } = this.core
    updateTimer(this.core)
    if (!state.isStimecmpEnabled || state.hasTimerFired) return Infinity
    return clock.instructionsAt(toNumber(state.stimecmp.low, state.stimecmp.high))
  }

  /** Whether a hart that waits will go on although nobody raises a line. */
  #wakesAlone(): boolean {
    const { state } = this.core
    const hasTimer = this.#timerCount() < Infinity && (state.mie & Interrupt.STI) !== 0
    return hasTimer || (state.pending() & state.mie) !== 0
  }

  /** Whether the hart waits; if not, an interrupt that is due is taken. */
  #isAsleep(): boolean {
    const { state, memory } = this.core
    // Waiting ends with any interrupt that is enabled by itself, be it taken or not.
    if (state.isWaiting && (state.pending() & state.mie) === 0) return true
    state.isWaiting = false
    const number = interruptToTake(state)
    if (number >= 0) {
      enterTrap(state, number, true, 0, 0)
      memory.changeContext()
    }
    return false
  }

  #skip(limit: number): void {
    const { state } = this.core
    state.idled += limit - state.count
    state.count = limit
  }

  /** A trap takes the time of an instruction, so that handlers that trap for ever end too. */
  #takeTrap(): number {
    const { state, memory } = this.core
    const cause = state.trapCause
    state.trapCause = -1
    state.count++
    state.trapped++
    enterTrap(state, cause, false, state.trapLow, state.trapHigh)
    memory.changeContext()
    return SYNC
  }

  /** Executes some instructions of one page. SYNC: interrupts and the timer are to be looked at before the next. */
  #stretch(limit: number): number {
    const { state, memory } = this.core
    let place = memory.fetchFast(state.pcLow, state.pcHigh)
    if (place < 0) {
      if (memory.translate(state.pcLow, state.pcHigh, 2, Access.fetch) < 0) return this.#takeTrap()
      place = memory.fetchFast(state.pcLow, state.pcHigh)
      if (place < 0) return this.#single()
    }
    if (!memory.code.holds(place)) memory.watch(place)
    const page = memory.code.pageAt(place)
    const outcome = this.#execute(page.records, limit)
    switch (outcome) {
      case TRAP:
        return this.#takeTrap()
      case UNDECODED:
        memory.code.decodeAt(page, state.pcLow & (PAGE_BYTES - 1))
        return NEXT
      case CROSSING:
        return this.#single()
    }
    return outcome
  }

  /** Fetches one instruction anew and executes it. */
  #single(): number {
    const { state, memory } = this.core
    const first = memory.fetchHalf(state.pcLow, state.pcHigh)
    if (first < 0) return this.#takeTrap()
    let bits = first
    if ((first & 3) === 3) {
      const low = (state.pcLow + 2) | 0
      const second = memory.fetchHalf(low, (state.pcHigh + (low === 0 ? 1 : 0)) | 0)
      if (second < 0) return this.#takeTrap()
      bits |= second << 16
    }
    decodeInto(this.#scratch, ((state.pcLow & (PAGE_BYTES - 1)) >> 1) * RECORD_WORDS, bits, CODES)
    const outcome = this.#execute(this.#scratch, state.count + 1)
    return outcome === TRAP ? this.#takeTrap() : outcome
  }
}
