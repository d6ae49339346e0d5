/** All checkers, by name. The key of what a checker finds begins with its name, so that findings lead back to it. */
import type { CheckerFactory } from '../../sim/observer'
import { makeChunkChecker } from './chunks'
import { makeContentChecker } from './content'
import { makeDiscardChecker } from './discards'
import { makeDurabilityChecker } from './durability'
import { makeErrorChecker } from './errors'
import { makeGuestChecker } from './guest'
import { makeJobChecker } from './job'
import { makeOperationChecker } from './operations'
import { makePowerChecker } from './power'
import { makeQcow2Checker } from './qcow2'
import { makeReadPathChecker } from './read_path'
import { makeSparsenessChecker } from './sparseness'
import { makeZeroBitChecker } from './zero_bits'

export interface NamedChecker {
  readonly name: string
  readonly make: CheckerFactory
}

export const ALL_CHECKERS: readonly NamedChecker[] = [
  { name: 'content', make: makeContentChecker },
  { name: 'zero-bits', make: makeZeroBitChecker },
  { name: 'chunks', make: makeChunkChecker },
  { name: 'sparseness', make: makeSparsenessChecker },
  { name: 'discards', make: makeDiscardChecker },
  { name: 'operations', make: makeOperationChecker },
  { name: 'durability', make: makeDurabilityChecker },
  { name: 'errors', make: makeErrorChecker },
  { name: 'guest', make: makeGuestChecker },
  { name: 'job', make: makeJobChecker },
  { name: 'read-path', make: makeReadPathChecker },
  { name: 'power', make: makePowerChecker },
  { name: 'qcow2', make: makeQcow2Checker },
]

/** All but one, to see what it alone finds. Throws if there is none of that name. */
export function checkersExcept(name: string): CheckerFactory[] {
  if (!ALL_CHECKERS.some((checker) => checker.name === name)) throw new Error(`there is no checker "${name}"`)
  return ALL_CHECKERS.filter((checker) => checker.name !== name).map(({ make }) => make)
}
