/**
 * What the code of an instruction sees of the hart, and the shape of that code. A handler does one instruction, whose
 * mnemonic is its key, and says what is left to do (NEXT, TRAP, SYNC, JUMP of state.ts). It gets indices of register pairs
 * and the immediate (code.ts). With TRAP nothing that software sees has changed.
 */
import type { VirtualClock } from './bus'
import type { FloatUnit } from './float_unit'
import type { Memory } from './memory'
import type { HartState } from './state'

export interface Core {
  readonly state: HartState
  readonly x: Int32Array
  readonly f: Int32Array
  readonly memory: Memory
  readonly clock: VirtualClock
  readonly float: FloatUnit | undefined
}

export type Handler = (core: Core, d: number, a: number, b: number, imm: number) => number
export type Handlers = Readonly<Record<string, Handler>>
