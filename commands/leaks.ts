/**
 * Leaks of nondeterminism that are planted to see whether they are noticed: one file each under scenarios/leaks, edits of
 * sources as mutants are.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Edit } from './planted_thread'

const FOLDER = path.join(__dirname, '../scenarios/leaks')

/** What notices a leak: what is out of reach throws; the rest shows when a world is run a second time. */
export type LeakCatcher = 'tripwire' | 'second run'

export interface Leak {
  readonly id: string
  /** What decides that must not. */
  readonly what: string
  readonly caughtBy: LeakCatcher
  readonly edits: readonly Edit[]
}

/** All leaks, by id. Throws one line about the first file that is none. */
export function readLeaks(folder: string = FOLDER): Leak[] {
  return fs
    .readdirSync(folder)
    .sort()
    .map((name) => {
      const leak = JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')) as Leak
      const isLeak = `${leak.id}.json` === name && leak.what.length > 0 && leak.edits.length > 0
      if (!isLeak || !['tripwire', 'second run'].includes(leak.caughtBy)) throw new Error(`${name}: not a leak`)
      return leak
    })
}
