/**
 * Control and status registers (Privileged ISA, chapters 2 to 4, Sstc): which exist, who may reach them, what they read and
 * what a write leaves. Fields that cannot hold what is written keep a legal value (WARL). A register that is not here is an
 * illegal instruction, which firmware relies on when it probes.
 */
import type { Core } from './core'
import { toNumber } from './int64'
import { type HartState, Interrupt, MPP_SHIFT, type Pair, PMP_ENTRIES, Privilege, Status } from './state'

/** What a read gives: low and high half. */
export const value = new Int32Array(2)

export interface Register {
  /** False: not now (a counter that is not enabled, floats that are off): an illegal instruction. */
  isOpen?(core: Core): boolean
  read(core: Core): void
  /** None: read-only zero or constant, writes change nothing. */
  write?(core: Core, low: number, high: number): void
  /** What set and clear start from, where that is not what is read. */
  readForChange?(core: Core): void
  /** A write cannot raise an interrupt nor change translation or time. */
  isQuiet?: boolean
}

function give(low: number, high = 0): void {
  value[0] = low
  value[1] = high
}

const S_STATUS = Status.SIE | Status.SPIE | Status.SPP | Status.FS | Status.SUM | Status.MXR
const M_STATUS = S_STATUS | Status.MIE | Status.MPIE | Status.MPP | Status.MPRV | Status.TVM | Status.TW | Status.TSR
/** Exceptions that may be delegated: all but calls from M mode. */
const DELEGABLE = 0xb3ff
const S_INTERRUPTS = Interrupt.SSI | Interrupt.STI | Interrupt.SEI
const ALL_INTERRUPTS = S_INTERRUPTS | Interrupt.MSI | Interrupt.MTI | Interrupt.MEI
/** XLEN of 64 for S and U. */
const STATUS_HIGH = 2 | (2 << 2)

const dirtyHigh = ({ mstatus }: HartState): number => ((mstatus & Status.FS) === Status.FS ? 0x80000000 | 0 : 0)

function writeStatus({ state, memory }: Core, mask: number, low: number): void {
  const before = state.mstatus
  const mayWrite = state.hasFloat ? mask : mask & ~Status.FS
  let after = (before & ~mayWrite) | (low & mayWrite)
  // There is no mode 2: MPP keeps what it had.
  if ((after & Status.MPP) >> MPP_SHIFT === 2) after = (after & ~Status.MPP) | (before & Status.MPP)
  state.mstatus = after
  if (((before ^ after) & Status.MXR) !== 0) memory.flush()
  memory.changeContext()
}

const pair = (of: (state: HartState) => Pair, keepLow = -1, isQuiet = true): Register => ({
  read({ state }) {
    give(of(state).low, of(state).high)
  },
  write({ state }, low, high) {
    of(state).set(low & keepLow, high)
  },
  isQuiet,
})

/** Vectors: modes 2 and 3 are reserved, and such a write is dropped. */
const vector = (of: (state: HartState) => Pair): Register => ({
  ...pair(of),
  write({ state }, low, high) {
    if ((low & 2) === 0) of(state).set(low, high)
  },
})

type NumberField = 'medeleg' | 'mideleg' | 'mie' | 'mcounteren' | 'scounteren' | 'senvcfg'
const field = (name: NumberField, mask: number): Register => ({
  read: ({ state }) => give(state[name]),
  write({ state }, low) {
    state[name] = low & mask
  },
})

function givePlusOffset(count: number, offset: Pair): void {
  const low = count | 0
  const sum = (low + offset.low) | 0
  give(sum, (Math.floor(count / 0x1_0000_0000) + offset.high + (sum >>> 0 < low >>> 0 ? 1 : 0)) | 0)
}

function setOffset(offset: Pair, count: number, low: number, high: number): void {
  const difference = BigInt.asIntN(64, (BigInt(high) << 32n) + BigInt(low >>> 0) - BigInt(count))
  offset.set(Number(BigInt.asIntN(32, difference)), Number(difference >> 32n))
}

const retired = ({ count, trapped, idled }: HartState): number => count - trapped - idled
const mcycle: Register = {
  read: ({ state }) => givePlusOffset(state.count, state.cycleOffset),
  // The write takes the place of the count of the instruction that writes.
  write: ({ state }, low, high) => setOffset(state.cycleOffset, state.count + 1, low, high),
}
const minstret: Register = {
  read: ({ state }) => givePlusOffset(retired(state), state.instretOffset),
  write: ({ state }, low, high) => setOffset(state.instretOffset, retired(state) + 1, low, high),
}
const time: Register = {
  read({ state, clock }) {
    const ticks = clock.ticksAt(state.count)
    give(ticks | 0, Math.floor(ticks / 0x1_0000_0000) | 0)
  },
}
const zero: Register = { read: () => give(0), write: () => {}, isQuiet: true }

/** A counter of user mode: open where the modes above allow it. */
const counter = (index: number, of: Register): Register => ({
  read: of.read,
  isOpen({ state }) {
    if (state.privilege === Privilege.Machine) return true
    if (((state.mcounteren >>> index) & 1) === 0) return false
    return state.privilege === Privilege.Supervisor || ((state.scounteren >>> index) & 1) === 1
  },
})

/** Recomputes whether the S-mode timer has run out. */
export function updateTimer({ state, clock }: Core): void {
  const ticks = clock.ticksAt(state.count)
  const { low, high } = state.stimecmp
  state.hasTimerFired = state.isStimecmpEnabled && ticks >= toNumber(low, high)
}

const stimecmp: Register = {
  isOpen: ({ state }) => state.privilege === Privilege.Machine || (state.isStimecmpEnabled && (state.mcounteren & 2) !== 0),
  read: ({ state }) => give(state.stimecmp.low, state.stimecmp.high),
  write(core, low, high) {
    core.state.stimecmp.set(low, high)
    updateTimer(core)
  },
}

const menvcfg: Register = {
  read: ({ state }) => give(state.menvcfgLow, state.isStimecmpEnabled ? 0x80000000 | 0 : 0),
  write(core, low, high) {
    core.state.menvcfgLow = low & 1
    core.state.isStimecmpEnabled = high < 0
    updateTimer(core)
  },
}

function writePending({ state }: Core, mask: number, low: number): void {
  const mayWrite = state.isStimecmpEnabled ? mask & ~Interrupt.STI : mask
  state.softwarePending = (state.softwarePending & ~mayWrite) | (low & mayWrite)
}

const satp: Register = {
  isOpen: ({ state }) => state.privilege !== Privilege.Supervisor || (state.mstatus & Status.TVM) === 0,
  read: ({ state }) => give(state.satp.low, state.satp.high),
  write({ state, memory }, low, high) {
    const mode = high >>> 28
    // A mode that is not there leaves all of the register alone; there are no address-space identifiers.
    if (mode !== 0 && mode !== 8 && mode !== 9) return
    state.satp.set(low, high & 0xf0000fff)
    memory.flush()
  },
}

const isFloatOn = ({ state }: Core): boolean => state.hasFloat && (state.mstatus & Status.FS) !== 0

function floatRegister(read: (state: HartState) => number, write: (state: HartState, low: number) => void): Register {
  return {
    isOpen: isFloatOn,
    isQuiet: true,
    read: ({ state }) => give(read(state)),
    write({ state }, low) {
      write(state, low)
      state.mstatus |= Status.FS
    },
  }
}

/** Eight entries' configurations. Locked ones keep theirs; so does one that would be writable and not readable. */
function protectionConfig(first: number): Register {
  return {
    read({ state: { pmpConfig } }) {
      const half = (at: number): number =>
        pmpConfig[at]! | (pmpConfig[at + 1]! << 8) | (pmpConfig[at + 2]! << 16) | (pmpConfig[at + 3]! << 24)
      give(half(first), half(first + 4))
    },
    write({ state: { pmpConfig }, memory }, low, high) {
      for (let index = 0; index < 8; index++) {
        const config = ((index < 4 ? low : high) >>> ((index & 3) * 8)) & 0x9f
        if ((pmpConfig[first + index]! & 0x80) === 0 && (config & 3) !== 2) pmpConfig[first + index] = config
      }
      memory.protection.update()
      memory.flush()
    },
  }
}

function protectionAddress(index: number): Register {
  return {
    read({ state: { pmpAddress } }) {
      const address = pmpAddress[index]!
      give(address | 0, Math.floor(address / 0x1_0000_0000) | 0)
    },
    write({ state: { pmpAddress, pmpConfig }, memory }, low, high) {
      const above = index + 1 < PMP_ENTRIES ? pmpConfig[index + 1]! : 0
      // The address below a locked range from address to address is locked with it.
      if ((pmpConfig[index]! & 0x80) !== 0 || (above & 0x98) === 0x88) return
      pmpAddress[index] = toNumber(low, high & 0x7ffff)
      memory.protection.update()
      memory.flush()
    },
  }
}

/** Letters of extensions, bit 0 for A. */
const lettersOf = (letters: string): number => [...letters].reduce((sum, letter) => sum | (1 << (letter.charCodeAt(0) - 65)), 0)

const registers = new Map<number, Register>([
  [
    0x001,
    floatRegister(
      ({ fflags }) => fflags,
      (state, low) => {
        state.fflags = low & 31
      },
    ),
  ],
  [
    0x002,
    floatRegister(
      ({ frm }) => frm,
      (state, low) => {
        state.frm = low & 7
      },
    ),
  ],
  [
    0x003,
    floatRegister(
      ({ frm, fflags }) => (frm << 5) | fflags,
      (state, low) => {
        state.frm = (low >> 5) & 7
        state.fflags = low & 31
      },
    ),
  ],
  [
    0x100,
    {
      read: ({ state }) => give(state.mstatus & S_STATUS, 2 | dirtyHigh(state)),
      write: (core, low) => writeStatus(core, S_STATUS, low),
    },
  ],
  [
    0x104,
    {
      read: ({ state }) => give(state.mie & state.mideleg),
      write({ state }, low) {
        state.mie = (state.mie & ~state.mideleg) | (low & state.mideleg)
      },
    },
  ],
  [0x105, vector((state) => state.stvec)],
  [0x106, field('scounteren', -1)],
  [0x10a, field('senvcfg', 1)],
  [0x140, pair((state) => state.sscratch)],
  [0x141, pair((state) => state.sepc, ~1)],
  [0x142, pair((state) => state.scause)],
  [0x143, pair((state) => state.stval)],
  [
    0x144,
    {
      read: ({ state }) => give(state.pending() & state.mideleg),
      readForChange: ({ state }) => give(state.softwarePending & state.mideleg),
      write: (core, low) => writePending(core, core.state.mideleg & Interrupt.SSI, low),
    },
  ],
  [0x14d, stimecmp],
  [0x180, satp],
  [
    0x300,
    {
      read: ({ state }) => give(state.mstatus, STATUS_HIGH | dirtyHigh(state)),
      write: (core, low) => writeStatus(core, M_STATUS, low),
    },
  ],
  [0x301, { read: ({ state }) => give(lettersOf(state.hasFloat ? 'ACDFIMSU' : 'ACIMSU'), 0x80000000 | 0), write: () => {} }],
  [0x302, field('medeleg', DELEGABLE)],
  [0x303, field('mideleg', S_INTERRUPTS)],
  [0x304, field('mie', ALL_INTERRUPTS)],
  [0x305, vector((state) => state.mtvec)],
  [0x306, field('mcounteren', -1)],
  [0x30a, menvcfg],
  [0x320, zero],
  [0x340, pair((state) => state.mscratch)],
  [0x341, pair((state) => state.mepc, ~1)],
  [0x342, pair((state) => state.mcause)],
  [0x343, pair((state) => state.mtval)],
  [
    0x344,
    {
      read: ({ state }) => give(state.pending()),
      readForChange: ({ state }) => give(state.softwarePending),
      write: (core, low) => writePending(core, S_INTERRUPTS, low),
    },
  ],
  [0x3a0, protectionConfig(0)],
  [0x3a2, protectionConfig(8)],
  [0xb00, mcycle],
  [0xb02, minstret],
  [0xc00, counter(0, mcycle)],
  [0xc01, counter(1, time)],
  [0xc02, counter(2, minstret)],
  [0xf11, zero],
  [0xf12, zero],
  [0xf13, zero],
  [0xf14, { read: ({ state }) => give(state.hartId) }],
  [0xf15, zero],
])
for (let index = 0; index < PMP_ENTRIES; index++) registers.set(0x3b0 + index, protectionAddress(index))
for (let index = 3; index < 32; index++) {
  registers.set(0x320 + index, zero)
  registers.set(0xb00 + index, zero)
  registers.set(0xc00 + index, counter(index, zero))
}

const table: ReadonlyArray<Register | undefined> = Array.from({ length: 4096 }, (_, number) => registers.get(number))

/** The register that the hart may reach now; undefined: an illegal instruction. */
export function registerAt(core: Core, number: number, isWrite: boolean): Register | undefined {
  if ((number >> 8) % 4 > core.state.privilege) return undefined
  if (isWrite && number >> 10 === 3) return undefined
  const found = table[number]
  return found === undefined || found.isOpen?.(core) === false ? undefined : found
}
