/**
 * The switch of operator mutants in a running process: which one is on, which ones execution has come by, and a bound on
 * how often it may, so that a loop that no longer ends does.
 *
 * `installSwitches` must be called before the files are loaded; the loader (scripts/tsreg.cjs) asks for the rewritten text.
 */
import * as path from 'node:path'
import { mutantsOf, type OperatorMutant, withSwitches } from './operator_mutants'

/** Where the loader looks for a function from a file and its text to the text that is compiled. */
const REWRITE = Symbol.for('mirrorsim.rewrite')
const SLOT = '__mirrorsimOperators'

/** Nothing is mutated. */
export const NO_MUTANT = -1

/** Thrown each time once the bound is passed. */
export class StepBoundPassed extends Error {
  constructor() {
    super('the mutant goes on far beyond where the code ends')
    this.name = 'StepBoundPassed'
  }
}

/** What a mutated expression gives; it may throw where the code's own does not. */
function mutatedIsOther(mutated: () => unknown, value: unknown): boolean {
  try {
    return !Object.is(mutated(), value)
  } catch {
    return true
  }
}

/** Shared by all rewritten files of this thread. */
class Switches {
  active = NO_MUTANT
  steps = 0
  stepsMax = Number.POSITIVE_INFINITY
  met = new Uint8Array(0)

  readonly is = (number: number): boolean => {
    this.met[number] = 1
    if (++this.steps > this.stepsMax) throw new StepBoundPassed()
    return number === this.active
  }

  readonly seen = <T>(number: number, mutated: () => unknown, value: T): T => {
    this.steps++
    if (this.met[number] === 0 && mutatedIsOther(mutated, value)) this.met[number] = 1
    return value
  }
}

export const switches = new Switches()

/**
 * Rewrites files (by path from `root`, with their texts) when they are loaded; gives their mutants by number. With
 * `isLooking` no mutant of a pure expression can be on; instead `met` says which of them have given another value.
 */
export function installSwitches(root: string, texts: ReadonlyMap<string, string>, isLooking: boolean): OperatorMutant[] {
  const slots = { is: `globalThis.${SLOT}.is`, ...(isLooking ? { seen: `globalThis.${SLOT}.seen` } : {}) }
  const mutants: OperatorMutant[] = []
  const rewritten = new Map<string, string>()
  for (const [file, text] of texts) {
    rewritten.set(path.resolve(root, file), withSwitches(file, text, mutants.length, slots))
    mutants.push(...mutantsOf(file, text))
  }
  switches.met = new Uint8Array(mutants.length)
  const scope = globalThis as unknown as Record<string | symbol, unknown>
  scope[SLOT] = switches
  scope[REWRITE] = (file: string, text: string): string => rewritten.get(file) ?? text
  return mutants
}
