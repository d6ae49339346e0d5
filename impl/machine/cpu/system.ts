/**
 * Instructions of the system: control registers, traps and returns, waiting, fences (Unprivileged ISA, "Zicsr", "Zifencei";
 * Privileged ISA, "Machine-Mode Privileged Instructions"). A handler that answers TRAP with the cause `illegal` leaves the
 * trap value to the interpreter, which knows the bits.
 */
import type { Core, Handler, Handlers } from './core'
import { registerAt, value } from './csr'
import { carryHigh } from './int64'
import { Cause, JUMP, NEXT, Privilege, Status, SYNC } from './state'
import { returnFromMachine, returnFromSupervisor } from './traps'

export const illegal = ({ state }: Core): number => state.raise(Cause.illegal, 0, 0)

/** How a register changes: written, set, cleared. */
const enum Change {
  write,
  set,
  clear,
}

function access(core: Core, d: number, imm: number, how: Change, low: number, high: number): number {
  const number = imm & 0xfff
  // Set and clear with x0, or with zero as immediate, do not write at all.
  const isWrite = how === Change.write || imm >> 12 !== 0
  const register = registerAt(core, number, isWrite)
  if (register === undefined) return illegal(core)
  register.read(core)
  const oldLow = value[0]!
  const oldHigh = value[1]!
  if (isWrite && register.write !== undefined) {
    if (how === Change.write) register.write(core, low, high)
    else {
      register.readForChange?.(core)
      const [fromLow, fromHigh] = [value[0]!, value[1]!]
      if (how === Change.set) register.write(core, fromLow | low, fromHigh | high)
      else register.write(core, fromLow & ~low, fromHigh & ~high)
    }
  }
  core.x[d] = oldLow
  core.x[d + 1] = oldHigh
  return isWrite && register.isQuiet !== true ? SYNC : NEXT
}

const byRegister =
  (how: Change): Handler =>
  (core, d, a, _b, imm) =>
    access(core, d, imm, how, core.x[a]!, core.x[a + 1]!)
const byImmediate =
  (how: Change): Handler =>
  (core, d, _a, _b, imm) =>
    access(core, d, imm, how, imm >> 12, 0)

export const SYSTEM: Handlers = {
  csrrw: byRegister(Change.write),
  csrrs: byRegister(Change.set),
  csrrc: byRegister(Change.clear),
  csrrwi: byImmediate(Change.write),
  csrrsi: byImmediate(Change.set),
  csrrci: byImmediate(Change.clear),
  /** Here and not in the loop: only the state knows where the instruction is. */
  auipc({ x, state }, d, _a, _b, imm) {
    const low = (state.pcLow + imm) | 0
    x[d] = low
    x[d + 1] = carryHigh(state.pcLow, state.pcHigh, imm >> 31, low)
    return NEXT
  },
  ecall: ({ state }) => state.raise(Cause.userCall + state.privilege, 0, 0),
  ebreak: ({ state }) => state.raise(Cause.breakpoint, state.pcLow, state.pcHigh),
  mret(core) {
    if (core.state.privilege !== Privilege.Machine) return illegal(core)
    returnFromMachine(core.state)
    core.memory.changeContext()
    return JUMP
  },
  sret(core) {
    const { privilege, mstatus } = core.state
    if (privilege === Privilege.User) return illegal(core)
    if (privilege === Privilege.Supervisor && (mstatus & Status.TSR) !== 0) return illegal(core)
    returnFromSupervisor(core.state)
    core.memory.changeContext()
    return JUMP
  },
  /** In S mode it waits unless TW is set, in U mode it is illegal: both may be so at once, after a bounded time of zero. */
  wfi(core) {
    const { privilege, mstatus } = core.state
    if (privilege === Privilege.User) return illegal(core)
    if (privilege === Privilege.Supervisor && (mstatus & Status.TW) !== 0) return illegal(core)
    core.state.isWaiting = true
    return SYNC
  },
  'sfence.vma'(core, _d, a, _b) {
    const { privilege, mstatus } = core.state
    if (privilege === Privilege.User) return illegal(core)
    if (privilege === Privilege.Supervisor && (mstatus & Status.TVM) !== 0) return illegal(core)
    if (a === 0) core.memory.flush()
    else core.memory.flushAddress(core.x[a]!, core.x[a + 1]!)
    return SYNC
  },
  fence: () => NEXT,
  // Records of code follow every store at once; there is nothing to do.
  'fence.i': () => NEXT,
}
