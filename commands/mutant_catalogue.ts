/**
 * The catalogue of mutants: bugs that mirrors have really had, or could have, as one edit of one source file each. The
 * edit is applied when the file is loaded (scripts/tsreg.cjs), so the product carries no switches.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { EXIT_CODES, type FailureClass } from '../sim/verdict'

export interface Mutant {
  id: string
  /** Relative to the root of the repository. */
  file: string
  /** A snippet that occurs in the file exactly once. */
  find: string
  replace: string
  /** What goes wrong, in a sentence; with the upstream bug where there was one. */
  bug: string
  /** The class of failure that must be found. */
  expect: FailureClass
  /** Worlds within which it must be found. */
  worldsMax: number
  /** Plans to run it with; absent: `default`. */
  profile?: string
  /** Why no world can tell it from the code as it stands; nothing may be found then. */
  equivalent?: string
}

const FIELDS = ['id', 'file', 'find', 'replace', 'bug', 'expect', 'worldsMax', 'profile', 'equivalent']

/** All mutants of a folder, by id. Throws one line about the first file that is not a mutant. */
export function readMutants(folder: string): Mutant[] {
  const files = fs.readdirSync(folder).filter((name) => name.endsWith('.json'))
  return files.sort().map((name) => {
    const mutant = JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')) as Mutant
    const reason = whyNoMutant(mutant, name)
    if (reason !== null) throw new Error(`${name}: ${reason}`)
    return mutant
  })
}

function whyNoMutant(mutant: Mutant, fileName: string): string | null {
  for (const field of FIELDS.slice(0, 6)) {
    if (typeof mutant[field as keyof Mutant] !== 'string') return `"${field}" is no text`
  }
  const unknown = Object.keys(mutant).find((field) => !FIELDS.includes(field))
  if (unknown !== undefined) return `"${unknown}" is not known`
  if (`${mutant.id}.json` !== fileName) return `the id ${mutant.id} is not the file's name`
  if (!Object.hasOwn(EXIT_CODES, mutant.expect)) return `there is no class of failures "${mutant.expect}"`
  if (!Number.isSafeInteger(mutant.worldsMax) || mutant.worldsMax < 1) return '"worldsMax" is no positive number'
  if (mutant.find === mutant.replace || mutant.find === '') return 'the edit changes nothing'
  return null
}

/** Bugs of the mirror itself, and of nothing below or around it: every world has them, and the exhaustive search can be asked. */
export function isOfMirror({ file, equivalent }: Mutant): boolean {
  return file.startsWith('impl/jobs/mirror/') && equivalent === undefined
}

/** How often the snippet occurs in the file as it stands; 1 is right. */
export function occurrences(mutant: Mutant, root: string): number {
  return fs.readFileSync(path.join(root, mutant.file), 'utf8').split(mutant.find).length - 1
}
