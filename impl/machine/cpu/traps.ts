/**
 * Taking exceptions and interrupts, and returning from them (Privileged ISA, "Machine-Level CSRs", "Supervisor CSRs").
 * Interrupts of M mode come before those of S mode; within a mode external, software, timer; M's before S's of a kind.
 */
import { type HartState, MPP_SHIFT, type Pair, Privilege, Status } from './state'

const PRIORITY: readonly number[] = [11, 3, 7, 9, 1, 5]

/** The number of the interrupt that is to be taken now, or -1. */
export function interruptToTake(state: HartState): number {
  const ready = state.pending() & state.mie
  if (ready === 0) return -1
  const { privilege, mstatus, mideleg } = state
  const takesMachine = privilege < Privilege.Machine || (mstatus & Status.MIE) !== 0
  const forMachine = ready & ~mideleg
  if (takesMachine && forMachine !== 0) return PRIORITY.find((number) => (forMachine >> number) & 1)!
  const takesSupervisor = privilege < Privilege.Supervisor || (privilege === Privilege.Supervisor && (mstatus & Status.SIE) !== 0)
  const forSupervisor = ready & mideleg
  return takesSupervisor && forSupervisor !== 0 ? PRIORITY.find((number) => (forSupervisor >> number) & 1)! : -1
}

function jumpToVector(state: HartState, vector: Pair, number: number, isInterrupt: boolean): void {
  const base = vector.low & ~3
  const offset = isInterrupt && (vector.low & 3) === 1 ? number * 4 : 0
  const low = (base + offset) | 0
  state.pcHigh = (vector.high + (low >>> 0 < base >>> 0 ? 1 : 0)) | 0
  state.pcLow = low
}

/** Enters the handler; the program counter is that of the instruction that trapped or was not begun. */
export function enterTrap(state: HartState, number: number, isInterrupt: boolean, valueLow: number, valueHigh: number): void {
  const delegated = isInterrupt ? state.mideleg : state.medeleg
  const { privilege, mstatus } = state
  const high = isInterrupt ? 0x80000000 | 0 : 0
  if (privilege <= Privilege.Supervisor && ((delegated >> number) & 1) === 1) {
    state.scause.set(number, high)
    state.sepc.set(state.pcLow, state.pcHigh)
    state.stval.set(valueLow, valueHigh)
    const kept = mstatus & ~(Status.SPIE | Status.SIE | Status.SPP)
    state.mstatus = kept | (mstatus & Status.SIE ? Status.SPIE : 0) | (privilege === Privilege.Supervisor ? Status.SPP : 0)
    state.privilege = Privilege.Supervisor
    jumpToVector(state, state.stvec, number, isInterrupt)
    return
  }
  state.mcause.set(number, high)
  state.mepc.set(state.pcLow, state.pcHigh)
  state.mtval.set(valueLow, valueHigh)
  const kept = mstatus & ~(Status.MPIE | Status.MIE | Status.MPP)
  state.mstatus = kept | (mstatus & Status.MIE ? Status.MPIE : 0) | (privilege << MPP_SHIFT)
  state.privilege = Privilege.Machine
  jumpToVector(state, state.mtvec, number, isInterrupt)
}

export function returnFromMachine(state: HartState): void {
  const { mstatus } = state
  const previous = (mstatus & Status.MPP) >> MPP_SHIFT
  // MPP becomes the least mode, U; what is not M leaves no modified privilege behind.
  const kept = mstatus & ~(Status.MIE | Status.MPP | (previous === Privilege.Machine ? 0 : Status.MPRV))
  state.mstatus = kept | (mstatus & Status.MPIE ? Status.MIE : 0) | Status.MPIE
  state.privilege = previous
  state.pcLow = state.mepc.low
  state.pcHigh = state.mepc.high
}

export function returnFromSupervisor(state: HartState): void {
  const { mstatus } = state
  const kept = mstatus & ~(Status.SIE | Status.SPP | Status.MPRV)
  state.mstatus = kept | (mstatus & Status.SPIE ? Status.SIE : 0) | Status.SPIE
  state.privilege = mstatus & Status.SPP ? Privilege.Supervisor : Privilege.User
  state.pcLow = state.sepc.low
  state.pcHigh = state.sepc.high
}
