/**
 * Loads, stores and atomic operations (Unprivileged ISA, chapters "RV32I", "RV64I", "A"). A misaligned load or store works
 * in RAM; a misaligned atomic operation traps. The reservation set is the aligned eight bytes; any store conditional ends it.
 */
import type { Core, Handler, Handlers } from './core'
import { carryHigh, lessSigned, lessUnsigned } from './int64'
import { NEXT, SYNC, TRAP } from './state'

/** The low half of rs1 + imm; the high half follows from it. */
const lowOf = (x: Int32Array, a: number, imm: number): number => (x[a]! + imm) | 0
const highOf = (x: Int32Array, a: number, imm: number, low: number): number => carryHigh(x[a]!, x[a + 1]!, imm >> 31, low)

/** Loads into `memory.cell`, zeros above the width. */
function load({ x, memory }: Core, a: number, imm: number, width: 1 | 2 | 4 | 8): number {
  const low = lowOf(x, a, imm)
  if (!memory.load(low, highOf(x, a, imm, low), width)) return TRAP
  return memory.hasTouchedDevice ? SYNC : NEXT
}

type Extend = (low: number) => number
const signOf: Extend = (low) => low >> 31
const zero: Extend = () => 0

/** A load of less than eight bytes: what becomes of the low half, and the high half from that. */
const narrow =
  (width: 1 | 2 | 4, extend: Extend, highFrom: Extend): Handler =>
  (core, d, a, _b, imm) => {
    const { x, memory } = core
    const low = lowOf(x, a, imm)
    const at = memory.readFast(low, highOf(x, a, imm, low), width - 1)
    if (at >= 0) {
      const raw = width === 4 ? memory.words[at >> 2]! : width === 2 ? memory.halves[at >> 1]! : memory.bytes[at]!
      const value = extend(raw)
      x[d] = value
      x[d + 1] = highFrom(value)
      return NEXT
    }
    const outcome = load(core, a, imm, width)
    if (outcome === TRAP) return TRAP
    const value = extend(memory.cell[0]!)
    x[d] = value
    x[d + 1] = highFrom(value)
    return outcome
  }

const store =
  (width: 1 | 2 | 4 | 8): Handler =>
  (core, _d, a, b, imm) =>
    storePair(core, a, imm, width, core.x[b]!, core.x[b + 1]!)

/** Also for floats. */
export function storePair(core: Core, a: number, imm: number, width: 1 | 2 | 4 | 8, valueLow: number, valueHigh: number): number {
  const { x, memory } = core
  const low = lowOf(x, a, imm)
  const high = highOf(x, a, imm, low)
  const at = memory.writeFast(low, high, width - 1)
  if (at < 0) {
    if (!memory.store(low, high, width, valueLow, valueHigh)) return TRAP
    // The store may have changed the very instructions that follow: SYNC looks at them anew.
    return SYNC
  }
  if (width >= 4) {
    memory.words[at >> 2] = valueLow
    if (width === 8) memory.words[(at >> 2) + 1] = valueHigh
  } else if (width === 2) memory.halves[at >> 1] = valueLow
  else memory.bytes[at] = valueLow
  return NEXT
}

/** A load into a pair of registers given by their array: also for floats. */
export function loadPair(core: Core, to: Int32Array, d: number, a: number, imm: number): number {
  const { x, memory } = core
  const low = lowOf(x, a, imm)
  const at = memory.readFast(low, highOf(x, a, imm, low), 7)
  if (at >= 0) {
    to[d] = memory.words[at >> 2]!
    to[d + 1] = memory.words[(at >> 2) + 1]!
    return NEXT
  }
  const outcome = load(core, a, imm, 8)
  if (outcome === TRAP) return TRAP
  to[d] = memory.cell[0]!
  to[d + 1] = memory.cell[1]!
  return outcome
}

/** A load of 32 bits that leaves them in `memory.cell`: for floats. */
export const loadWord = (core: Core, a: number, imm: number): number => load(core, a, imm, 4)

const plain: Handlers = {
  lb: narrow(1, (low) => (low << 24) >> 24, signOf),
  lh: narrow(2, (low) => (low << 16) >> 16, signOf),
  lw: narrow(4, (low) => low, signOf),
  lbu: narrow(1, (low) => low, zero),
  lhu: narrow(2, (low) => low, zero),
  lwu: narrow(4, (low) => low, zero),
  ld: (core, d, a, _b, imm) => loadPair(core, core.x, d, a, imm),
  sb: store(1),
  sh: store(2),
  sw: store(4),
  sd: store(8),
}

/** Puts what was in memory into rd, and `low`, `high` into memory. */
function replace(core: Core, d: number, offset: number, width: 4 | 8, low: number, high: number): number {
  const { x, memory } = core
  const at = offset >> 2
  const oldLow = memory.words[at]!
  const oldHigh = width === 8 ? memory.words[at + 1]! : oldLow >> 31
  memory.words[at] = low
  if (width === 8) memory.words[at + 1] = high
  x[d] = oldLow
  x[d + 1] = oldHigh
  if (!memory.code.holds(offset)) return NEXT
  memory.wrote(offset, width)
  return SYNC
}

const combined = new Int32Array(2)
/** Puts the new value of memory into `combined`, from what it holds (m) and from rs2 (r). */
type Combine = (mLow: number, mHigh: number, rLow: number, rHigh: number) => void

const atomic =
  (width: 4 | 8, combine: Combine): Handler =>
  (core, d, a, b) => {
    const { x, memory } = core
    const offset = memory.locateAtomic(x[a]!, x[a + 1]!, width, false)
    if (offset < 0) return TRAP
    const low = memory.words[offset >> 2]!
    if (width === 8) combine(low, memory.words[(offset >> 2) + 1]!, x[b]!, x[b + 1]!)
    else combine(low, low >> 31, x[b]!, x[b]! >> 31)
    return replace(core, d, offset, width, combined[0]!, combined[1]!)
  }

const loadReserved =
  (width: 4 | 8): Handler =>
  ({ x, memory, state }, d, a) => {
    const offset = memory.locateAtomic(x[a]!, x[a + 1]!, width, true)
    if (offset < 0) return TRAP
    const low = memory.words[offset >> 2]!
    const high = width === 8 ? memory.words[(offset >> 2) + 1]! : low >> 31
    x[d] = low
    x[d + 1] = high
    state.reservation = offset & ~7
    return NEXT
  }

const storeConditional =
  (width: 4 | 8): Handler =>
  (core, d, a, b) => {
    const { x, memory, state } = core
    const offset = memory.locateAtomic(x[a]!, x[a + 1]!, width, false)
    if (offset < 0) return TRAP
    const succeeds = state.reservation === (offset & ~7)
    state.reservation = -1
    if (!succeeds) {
      x[d] = 1
      x[d + 1] = 0
      return NEXT
    }
    const outcome = replace(core, d, offset, width, x[b]!, x[b + 1]!)
    x[d] = 0
    x[d + 1] = 0
    return outcome
  }

function combineTo(low: number, high: number): void {
  combined[0] = low
  combined[1] = high
}
const choose =
  (keepsMemory: (mLow: number, mHigh: number, rLow: number, rHigh: number) => boolean): Combine =>
  (mLow, mHigh, rLow, rHigh) =>
    keepsMemory(mLow, mHigh, rLow, rHigh) ? combineTo(mLow, mHigh) : combineTo(rLow, rHigh)

const COMBINATIONS: Readonly<Record<string, Combine>> = {
  amoswap: (_mLow, _mHigh, rLow, rHigh) => combineTo(rLow, rHigh),
  amoadd(mLow, mHigh, rLow, rHigh) {
    const low = (mLow + rLow) | 0
    combineTo(low, carryHigh(mLow, mHigh, rHigh, low))
  },
  amoxor: (mLow, mHigh, rLow, rHigh) => combineTo(mLow ^ rLow, mHigh ^ rHigh),
  amoor: (mLow, mHigh, rLow, rHigh) => combineTo(mLow | rLow, mHigh | rHigh),
  amoand: (mLow, mHigh, rLow, rHigh) => combineTo(mLow & rLow, mHigh & rHigh),
  amomin: choose(lessSigned),
  amominu: choose(lessUnsigned),
  amomax: choose((mLow, mHigh, rLow, rHigh) => lessSigned(rLow, rHigh, mLow, mHigh)),
  amomaxu: choose((mLow, mHigh, rLow, rHigh) => lessUnsigned(rLow, rHigh, mLow, mHigh)),
}

function atomics(): Handlers {
  const made: Record<string, Handler> = {}
  for (const [suffix, width] of [
    ['w', 4],
    ['d', 8],
  ] as const) {
    for (const [name, combine] of Object.entries(COMBINATIONS)) made[`${name}.${suffix}`] = atomic(width, combine)
    made[`lr.${suffix}`] = loadReserved(width)
    made[`sc.${suffix}`] = storeConditional(width)
  }
  return made
}

export const LOADS: Handlers = { ...plain, ...atomics() }
