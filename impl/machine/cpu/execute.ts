/**
 * The loop that executes the records of one page. What is most frequent stands in the loop itself, and so do jumps; all
 * else are handlers, by their place in the table of encodings.
 *
 * What `makeExecute` makes leaves `pcLow`, `pcHigh` and `count` of the state exact: at the instruction that trapped or is not decoded, and
 * behind the last one otherwise.
 */
import { INSTRUCTIONS } from '../isa'
import { BITS } from './bits'
import { FIRST_CODE, Special } from './code'
import type { Core, Handler, Handlers } from './core'
import { FLOATS } from './floats'
import { carryHigh, lessSigned, lessUnsigned } from './int64'
import { INTEGER } from './integer'
import { LOADS } from './loads'
import type { Memory } from './memory'
import { Cause, JUMP, NEXT, SYNC, TRAP } from './state'
import { SYSTEM } from './system'

/** Two outcomes besides those of handlers: nothing was executed, for the record is none yet, or crosses into the next page. */
export const UNDECODED = 4
export const CROSSING = 5

const FIRST_HOT = 8
/** In the order of their codes. The loop has the codes as literals: only then is its switch a table of jumps to the engine. */
const HOT_NAMES = 'jal jalr beq bne blt bge bltu bgeu addi add addiw ld lw lbu sd sw'.split(' ')
const codeOf = (name: string): number => FIRST_HOT + HOT_NAMES.indexOf(name)
const CODE_BLT = codeOf('blt')
const CODE_BGE = codeOf('bge')
const CODE_BLTU = codeOf('bltu')
const CODE_LW = codeOf('lw')
const CODE_SD = codeOf('sd')
/** These have no handler: only the loop knows where it goes on. */
const JUMPS: ReadonlySet<string> = new Set(HOT_NAMES.slice(0, 8))
/** No call of `execute` is longer, so that its counter stays a small integer. */
const LONGEST = 0x100000

/** Handlers that touch registers alone: they neither trap nor read anything else. */
const PURE: Handlers = { ...INTEGER, ...BITS }
const HANDLERS: Handlers = { ...PURE, ...LOADS, ...SYSTEM, ...FLOATS }
const FIRST_IMPURE = FIRST_CODE + INSTRUCTIONS.length

/** What a record of each instruction of the table says. */
export const CODES = Int32Array.from(INSTRUCTIONS, ({ mnemonic, index }) => {
  const hot = HOT_NAMES.indexOf(mnemonic)
  if (hot >= 0) return FIRST_HOT + hot
  return (PURE[mnemonic] === undefined ? FIRST_IMPURE : FIRST_CODE) + index
})

const illegal: Handler = ({ state }) => state.raise(Cause.illegal, 0, 0)
const byCode: Handler[] = new Array<Handler>(FIRST_IMPURE + INSTRUCTIONS.length).fill(illegal)
byCode[Special.undecoded] = () => UNDECODED
byCode[Special.crossing] = () => CROSSING
for (const { mnemonic, index } of INSTRUCTIONS) byCode[CODES[index]!] = HANDLERS[mnemonic] ?? illegal

/** Instructions of the table that nothing executes, for the test that there is none. */
export const unhandled = (): string[] =>
  INSTRUCTIONS.map(({ mnemonic }) => mnemonic).filter((mnemonic) => HANDLERS[mnemonic] === undefined && !JUMPS.has(mnemonic))

/** An instruction outside the loop: the state is made exact first. */
function handle(core: Core, records: Int32Array, at: number, pcLow: number, count: number): number {
  const { state } = core
  state.pcLow = pcLow
  state.count = count
  const packed = records[at + 1]!
  const outcome = byCode[records[at]!]!(core, packed & 255, (packed >> 8) & 255, (packed >> 16) & 255, records[at + 2]!)
  if (outcome === TRAP && state.trapCause === Cause.illegal) state.trapLow = records[at + 3]!
  return outcome
}

/** Puts the address behind an instruction into its destination. */
function link(x: Int32Array, d: number, pcLow: number, pcHigh: number, bytes: number): void {
  const low = (pcLow + bytes) | 0
  x[d] = low
  x[d + 1] = carryHigh(pcLow, pcHigh, 0, low)
}

/** Where the page that begins at `low`, `high` is left by `inPage` bytes from its begin. */
function leave({ state }: Core, low: number, high: number, inPage: number, count: number): void {
  state.pcLow = (low + inPage) | 0
  state.pcHigh = carryHigh(low, high, inPage >> 31, state.pcLow)
  state.count = count
}

/** Leaves the loop behind an instruction with an outcome, or at it where it was not done. */
function finish(core: Core, outcome: number, pageLow: number, pageHigh: number, inPage: number, count: number): number {
  if (outcome === NEXT || outcome === SYNC) leave(core, pageLow, pageHigh, inPage, count)
  if (outcome === JUMP) core.state.count = count
  return outcome
}

/**
 * Executes records from the program counter on, until it leaves the page, `limit` is the count, or something else is to be
 * done first: the outcome says what.
 */
export type Execute = (records: Int32Array, limit: number) => number

/** A function of its own for each hart: as long as there is one, its registers are constants to the engine's compiler. */
export function makeExecute(core: Core): Execute {
  const { state } = core
  const loop = makeLoop(core)
  return (records, limit) =>
    loop(records, state.pcLow & -4096, state.pcHigh, state.pcLow & 4095, Math.min(limit - state.count, LONGEST))
}

function makeLoop(core: Core): (records: Int32Array, pageLow: number, pageHigh: number, start: number, most: number) => number {
  const { x, memory, state } = core
  return (records, pageLow, pageHigh, start, most) => {
    const base = state.count
    let inPage = start
    for (let done = 0; done < most; done++) {
      const packed = records[(inPage << 1) + 1]!
      const imm = records[(inPage << 1) + 2]!
      const code = records[inPage << 1]!
      let step = packed >>> 24
      let outcome = NEXT
      switch (code) {
        case 16: // addi
          addImmediate(x, packed, imm)
          break
        case 18: // addiw
          putWord(x, packed & 255, x[(packed >> 8) & 255]! + imm)
          break
        case 17: // add
          addPairs(x, packed)
          break
        case 10: // beq
          if (areEqual(x, packed)) step = imm
          break
        case 11: // bne
          if (!areEqual(x, packed)) step = imm
          break
        case 12: // blt
        case 13: // bge
        case 14: // bltu
        case 15: // bgeu
          if (isTaken(code, x, packed)) step = imm
          break
        case 8: // jal
          link(x, packed & 255, pageLow | inPage, pageHigh, step)
          step = imm
          break
        case 9: // jalr
          step = jumpTo(core, packed, imm, pageLow | inPage, pageHigh, step)
          if (step === AWAY) return away(core, base + done + 1)
          break
        case 19: // ld
          if (!loadDouble(memory, x, packed, imm)) outcome = SLOW
          break
        case 20: // lw
        case 21: // lbu
          if (!loadHot(memory, code, x, packed, imm)) outcome = SLOW
          break
        case 22: // sd
        case 23: // sw
          if (!storeHot(memory, code, x, packed, imm)) outcome = SLOW
          break
        default:
          if (code >= FIRST_IMPURE || code < FIRST_CODE) outcome = SLOW
          else byCode[code]!(core, packed & 255, (packed >> 8) & 255, (packed >> 16) & 255, imm)
      }
      if (outcome === SLOW) outcome = handle(core, records, inPage << 1, pageLow | inPage, base + done)
      inPage += step
      if (outcome !== NEXT || inPage >>> 12 !== 0) return finish(core, outcome, pageLow, pageHigh, inPage, base + done + 1)
    }
    return finish(core, NEXT, pageLow, pageHigh, inPage, base + most)
  }
}

/** The loop cannot do it: its handler must. */
const SLOW = 6

/** No step has this size: the jump went to another page, and the state has where. */
const AWAY = 0x7fffffff

/** `jalr`: links, and says how far the target is where it is in the same page. */
function jumpTo(core: Core, packed: number, imm: number, pcLow: number, pcHigh: number, bytes: number): number {
  const { x, state } = core
  const a = (packed >> 8) & 255
  const sum = (x[a]! + imm) | 0
  const high = carryHigh(x[a]!, x[a + 1]!, imm >> 31, sum)
  link(x, packed & 255, pcLow, pcHigh, bytes)
  if (((sum ^ pcLow) & -4096) === 0 && high === pcHigh) return (sum & ~1) - pcLow
  state.pcLow = sum & ~1
  state.pcHigh = high
  return AWAY
}

function away({ state }: Core, count: number): number {
  state.count = count
  return NEXT
}

function areEqual(x: Int32Array, packed: number): boolean {
  const a = (packed >> 8) & 255
  const b = (packed >> 16) & 255
  return x[a] === x[b] && x[a + 1] === x[b + 1]
}

function isTaken(code: number, x: Int32Array, packed: number): boolean {
  const a = (packed >> 8) & 255
  const b = (packed >> 16) & 255
  const isLess =
    code <= CODE_BGE ? lessSigned(x[a]!, x[a + 1]!, x[b]!, x[b + 1]!) : lessUnsigned(x[a]!, x[a + 1]!, x[b]!, x[b + 1]!)
  return isLess === (code === CODE_BLT || code === CODE_BLTU)
}

/** A load that finds its page in the cache; false: nothing was done. */
function loadDouble(memory: Memory, x: Int32Array, packed: number, imm: number): boolean {
  const a = (packed >> 8) & 255
  const low = (x[a]! + imm) | 0
  const at = memory.readFast(low, carryHigh(x[a]!, x[a + 1]!, imm >> 31, low), 7) >> 2
  if (at < 0) return false
  x[packed & 255] = memory.words[at]!
  x[(packed & 255) + 1] = memory.words[at + 1]!
  return true
}

function loadHot(memory: Memory, code: number, x: Int32Array, packed: number, imm: number): boolean {
  const a = (packed >> 8) & 255
  const low = (x[a]! + imm) | 0
  const at = memory.readFast(low, carryHigh(x[a]!, x[a + 1]!, imm >> 31, low), code === CODE_LW ? 3 : 0)
  if (at < 0) return false
  // A byte has no sign here: its high half is zero as that of a positive word.
  putWord(x, packed & 255, code === CODE_LW ? memory.words[at >> 2]! : memory.bytes[at]!)
  return true
}

function storeHot(memory: Memory, code: number, x: Int32Array, packed: number, imm: number): boolean {
  const a = (packed >> 8) & 255
  const b = (packed >> 16) & 255
  const low = (x[a]! + imm) | 0
  const at = memory.writeFast(low, carryHigh(x[a]!, x[a + 1]!, imm >> 31, low), code === CODE_SD ? 7 : 3) >> 2
  if (at < 0) return false
  memory.words[at] = x[b]!
  if (code === CODE_SD) memory.words[at + 1] = x[b + 1]!
  return true
}

function addImmediate(x: Int32Array, packed: number, imm: number): void {
  const a = (packed >> 8) & 255
  const low = (x[a]! + imm) | 0
  x[(packed & 255) + 1] = carryHigh(x[a]!, x[a + 1]!, imm >> 31, low)
  x[packed & 255] = low
}

function addPairs(x: Int32Array, packed: number): void {
  const a = (packed >> 8) & 255
  const b = (packed >> 16) & 255
  const low = (x[a]! + x[b]!) | 0
  x[(packed & 255) + 1] = carryHigh(x[a]!, x[a + 1]!, x[b + 1]!, low)
  x[packed & 255] = low
}

function putWord(x: Int32Array, d: number, value: number): void {
  x[d] = value
  x[d + 1] = (value | 0) >> 31
}
