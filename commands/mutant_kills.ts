/**
 * The world in which each mutant was found last, as data: scenarios/mutant_kills.json. The fast tier begins with it. A record that
 * does not hold any more costs time and nothing else, for the hunt then goes on as if there were none.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'

const FILE = path.join(__dirname, '../scenarios/mutant_kills.json')

/** A world's name (see known_worlds.ts) by the mutant's id. */
export type KillRecord = Readonly<Record<string, string>>

/** Throws one line if the file is no record. */
export function readKills(file: string = FILE): KillRecord {
  const record: unknown = JSON.parse(fs.readFileSync(file, 'utf8'))
  const isRecord =
    typeof record === 'object' && record !== null && Object.values(record).every((world) => typeof world === 'string')
  if (!isRecord) throw new Error(`${file}: not a world's name by each mutant's id; make it again with --record`)
  return record as KillRecord
}

/** In order of the ids, so that two equal records are equal files. */
export function writeKills(record: KillRecord, file: string = FILE): void {
  const sorted = Object.fromEntries(Object.entries(record).sort(([left], [right]) => (left < right ? -1 : 1)))
  fs.writeFileSync(file, `${JSON.stringify(sorted, null, 2)}\n`)
}
