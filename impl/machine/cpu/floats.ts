/**
 * F and D as far as the hart goes: loads, stores, moves, signs, boxes, rounding modes, flags. The arithmetic is the float
 * unit's; a hart without one, or with floats off (mstatus.FS), finds every instruction here illegal.
 */
import { INSTRUCTIONS, type Instruction } from '../isa'
import type { Core, Handler, Handlers } from './core'
import { loadPair, loadWord, storePair } from './loads'
import { NEXT, Status, TRAP } from './state'
import { illegal } from './system'

const CANONICAL_NAN = 0x7fc00000
const BOX = -1

const isOff = (core: Core): boolean => core.float === undefined || (core.state.mstatus & Status.FS) === 0

function put(core: Core, d: number, low: number, high: number): number {
  core.f[d] = low
  core.f[d + 1] = high
  core.state.mstatus |= Status.FS
  return NEXT
}

/** A single-precision operand: what is not boxed counts as the canonical NaN. */
const unboxed = (f: Int32Array, a: number): number => (f[a + 1] === BOX ? f[a]! : CANONICAL_NAN)

/** The handler where floats are on, and an illegal instruction otherwise. */
const guarded =
  (handler: Handler): Handler =>
  (core, d, a, b, imm) =>
    isOff(core) ? illegal(core) : handler(core, d, a, b, imm)

/** How the sign of the answer comes from both signs. */
type Sign = (a: number, b: number) => number
const SIGNS: Readonly<Record<string, Sign>> = { fsgnj: (_a, b) => b, fsgnjn: (_a, b) => ~b, fsgnjx: (a, b) => a ^ b }
const SIGN_BIT = 0x80000000 | 0
const REST = 0x7fffffff

const withSign = (half: number, sign: number): number => (half & REST) | (sign & SIGN_BIT)

const moves: Record<string, Handler> = {
  flw(core, d, a, _b, imm) {
    const outcome = loadWord(core, a, imm)
    if (outcome === TRAP) return TRAP
    put(core, d, core.memory.cell[0]!, BOX)
    return outcome
  },
  fld(core, d, a, _b, imm) {
    const outcome = loadPair(core, core.f, d, a, imm)
    if (outcome !== TRAP) core.state.mstatus |= Status.FS
    return outcome
  },
  fsw: (core, _d, a, b, imm) => storePair(core, a, imm, 4, core.f[b]!, 0),
  fsd: (core, _d, a, b, imm) => storePair(core, a, imm, 8, core.f[b]!, core.f[b + 1]!),
  'fmv.w.x': (core, d, a) => put(core, d, core.x[a]!, BOX),
  'fmv.d.x': (core, d, a) => put(core, d, core.x[a]!, core.x[a + 1]!),
  'fmv.x.w'({ x, f }, d, a) {
    x[d] = f[a]!
    x[d + 1] = f[a]! >> 31
    return NEXT
  },
  'fmv.x.d'({ x, f }, d, a) {
    x[d] = f[a]!
    x[d + 1] = f[a + 1]!
    return NEXT
  },
}
for (const [name, sign] of Object.entries(SIGNS)) {
  moves[`${name}.s`] = (core, d, a, b) => {
    const first = unboxed(core.f, a)
    return put(core, d, withSign(first, sign(first, unboxed(core.f, b))), BOX)
  }
  moves[`${name}.d`] = (core, d, a, b) => {
    const high = core.f[a + 1]!
    return put(core, d, core.f[a]!, withSign(high, sign(high, core.f[b + 1]!)))
  }
}

const operands = new Int32Array(6)

/** Whether sources and destination are of 32 bits, by the mnemonic: `fcvt.d.s` goes from single to double. */
function widthsOf({ mnemonic }: Instruction): { isSourceSingle: boolean; isResultSingle: boolean } {
  const parts = mnemonic.split('.')
  return { isSourceSingle: parts.at(-1) === 's', isResultSingle: parts[1] === 's' }
}

/** An instruction whose answer the float unit works out. */
function computed(entry: Instruction): Handler {
  const { mnemonic } = entry
  const names = entry.operands.map(({ name }) => name)
  const { isSourceSingle, isResultSingle } = widthsOf(entry)
  const [hasRounding, isToFloat, isFromInteger] = [names.includes('rm'), names.includes('fd'), names.includes('rs1')]
  const hasThird = names.includes('fs3')

  const fetch = (core: Core, slot: number, a: number): void => {
    operands[slot] = isSourceSingle ? unboxed(core.f, a) : core.f[a]!
    operands[slot + 1] = isSourceSingle ? 0 : core.f[a + 1]!
  }
  return (core, d, a, b, imm) => {
    const unit = core.float
    const operation = unit?.operations[mnemonic]
    const asked = imm & 7
    const mode = !hasRounding ? 0 : asked === 7 ? core.state.frm : asked
    if (unit === undefined || operation === undefined || mode > 4) return illegal(core)
    if (isFromInteger) {
      operands[0] = core.x[a]!
      operands[1] = core.x[a + 1]!
    } else {
      fetch(core, 0, a)
      fetch(core, 2, b)
      if (hasThird) fetch(core, 4, (imm >> 8) & 63)
    }
    unit.flags[0] = 0
    operation(operands, mode)
    if (unit.flags[0] !== 0) {
      core.state.fflags |= unit.flags[0]!
      core.state.mstatus |= Status.FS
    }
    if (isToFloat) return put(core, d, unit.result[0]!, isResultSingle ? BOX : unit.result[1]!)
    core.x[d] = unit.result[0]!
    core.x[d + 1] = unit.result[1]!
    return NEXT
  }
}

function floats(): Handlers {
  const made: Record<string, Handler> = {}
  for (const entry of INSTRUCTIONS) {
    if (entry.extension !== 'F' && entry.extension !== 'D') continue
    made[entry.mnemonic] = guarded(moves[entry.mnemonic] ?? computed(entry))
  }
  return made
}

export const FLOATS: Handlers = floats()
