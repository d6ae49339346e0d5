/**
 * One hart: RV64IMAC with Zicsr, Zifencei, Zba, Zbb, Zbs, with F and D where a float unit is given; M, S and U modes, Sv39
 * and Sv48, physical memory protection, Sstc. It executes until a count of instructions and no further; devices raise
 * interrupts between runs, or from within when the hart reads or writes them.
 */
import { type Bus, VirtualClock } from './bus'
import type { Core } from './core'
import { CODES } from './execute'
import type { FloatUnit } from './float_unit'
import { Interpreter } from './interpreter'
import { Memory } from './memory'
import { HartState, Interrupt } from './state'

const LINES = Interrupt.MSI | Interrupt.MTI | Interrupt.SEI | Interrupt.MEI

export interface HartOptions {
  hartId?: number
  clock?: VirtualClock
  float?: FloatUnit
}

export class Hart implements Core {
  readonly state: HartState
  readonly x: Int32Array
  readonly f: Int32Array
  readonly memory: Memory
  readonly clock: VirtualClock
  readonly float: FloatUnit | undefined
  readonly #interpreter: Interpreter

  /** Throws RangeError where the bus's RAM is not whole pages below 2 GiB. */
  constructor(bus: Bus, options: HartOptions = {}) {
    this.float = options.float
    this.clock = options.clock ?? new VirtualClock()
    this.state = new HartState(options.hartId ?? 0, options.float !== undefined)
    this.x = this.state.x
    this.f = this.state.f
    this.memory = new Memory(this.state, bus, CODES)
    this.#interpreter = new Interpreter(this)
  }

  /** Instructions so far, with those that trapped and those that passed while it waited. */
  get count(): number {
    return this.state.count
  }

  /** Begins anew in M mode at an address; registers keep what they hold. */
  reset(pc: number): void {
    this.state.reset(pc)
    this.memory.protection.update()
    this.memory.flush()
    this.memory.changeContext()
  }

  /**
   * Executes until the count is `until`, which is finite. True: done, or waiting for its own timer. False: the hart waits for
   * an interrupt (wfi) that only others can raise, and time went on to `until` without one; the next run goes on where an
   * interrupt that is enabled has come.
   */
  run(until: number): boolean {
    return this.#interpreter.run(until)
  }

  /** From within `run`, by a device: go no farther than this count, or than the present instruction. */
  stopAt(count: number): void {
    this.#interpreter.stopAt(count)
  }

  /** `time` is now so many ticks ahead of what the count alone gives. From within `run` it takes effect at once. */
  setTimeOffset(ticks: number): void {
    this.clock.offsetTicks = ticks
  }

  /** A device's line: bit 3 MSIP, 7 MTIP, 9 SEIP, 11 MEIP of mip. */
  setInterrupt(bit: number, isRaised: boolean): void {
    const mask = 1 << bit
    if ((mask & LINES) === 0) throw new RangeError(`interrupt ${bit} is no device's line: 3, 7, 9 and 11 are`)
    this.state.lines = isRaised ? this.state.lines | mask : this.state.lines & ~mask
  }

  /** To be called after a device or a loader wrote RAM past the hart; addresses outside RAM are no matter. */
  ramChanged(address: number, bytes: number): void {
    const first = Math.max(0, address - this.memory.ramBase)
    const end = Math.min(this.memory.bytes.length, address - this.memory.ramBase + bytes)
    if (first < end) this.memory.wrote(first, end - first)
  }
}
