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
}

export const switches = new Switches()

/** Rewrites `files` (by path from `root`, with their texts) when they are loaded; gives their mutants by number. */
export function installSwitches(root: string, texts: ReadonlyMap<string, string>): OperatorMutant[] {
  const mutants: OperatorMutant[] = []
  const rewritten = new Map<string, string>()
  for (const [file, text] of texts) {
    rewritten.set(path.resolve(root, file), withSwitches(file, text, mutants.length, `globalThis.${SLOT}`))
    mutants.push(...mutantsOf(file, text))
  }
  switches.met = new Uint8Array(mutants.length)
  const scope = globalThis as unknown as Record<string | symbol, unknown>
  scope[SLOT] = switches.is
  scope[REWRITE] = (file: string, text: string): string => rewritten.get(file) ?? text
  return mutants
}
