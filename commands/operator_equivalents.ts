/**
 * Operator mutants that nobody can tell from the code as it stands, each with its argument. They are named by what they
 * are and not by their line, which any change above it would move.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { OperatorMutant } from './operator_mutants'

export interface Equivalent {
  file: string
  /** The innermost named function around it, or ''. */
  within: string
  /** The line as it stands, without the blanks around. */
  source: string
  operator: string
  /** What is there, and what is there instead; '' where something is left out. */
  from: string
  to: string
  /** Which one of those that are alike in all of this; absent: the first. */
  nth?: number
  reason: string
}

const FIELDS = ['file', 'within', 'source', 'operator', 'from', 'to', 'reason'] as const

function keyOf({ file, within, source, operator, from, to, nth = 1 }: Omit<Equivalent, 'reason'>): string {
  return [file, within, source, operator, from, to, nth].join('\0')
}

export const EQUIVALENTS_FILE = 'scenarios/operator_equivalents.json'

/** Throws one line about the first entry that is none. */
export function readEquivalents(root: string): Equivalent[] {
  const list = JSON.parse(fs.readFileSync(path.join(root, EQUIVALENTS_FILE), 'utf8')) as Equivalent[]
  for (const [index, entry] of list.entries()) {
    const wrong = FIELDS.find((field) => typeof entry[field] !== 'string')
    if (wrong !== undefined) throw new Error(`${EQUIVALENTS_FILE}: entry ${index}: "${wrong}" is no text`)
    if (entry.reason.length < 20) throw new Error(`${EQUIVALENTS_FILE}: entry ${index}: "reason" is no argument`)
  }
  return list
}

export class Equivalents {
  private readonly reasons = new Map<string, string>()

  constructor(list: readonly Equivalent[]) {
    for (const entry of list) this.reasons.set(keyOf(entry), entry.reason)
  }

  /** Why nobody can find this mutant, or null. */
  reasonOf(mutant: OperatorMutant): string | null {
    return this.reasons.get(keyOf(mutant)) ?? null
  }
}

/** Entries that match no mutant of the files as they stand: the code has moved on, and the argument has to be made again. */
export function staleEquivalents(list: readonly Equivalent[], mutants: readonly OperatorMutant[]): Equivalent[] {
  const present = new Set(mutants.map(keyOf))
  return list.filter((entry) => !present.has(keyOf(entry)))
}
