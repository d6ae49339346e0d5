/**
 * Floors of coverage: in how many of 10,000 worlds each situation must be met, by profile. They stand in
 * `scenarios/probe_floors.json`, a quarter of what was measured; what is so rare that chance alone could miss it has none.
 *
 * To measure them anew: `npm run fuzz -- --profile P --runs 20000 --json > P.json` for each profile, and
 * `node -r ./scripts/tsreg.cjs commands/probe_floors.ts P.json ...`, which sets the floors of the profiles that it is given.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { RequiredProbe } from './fuzz_campaign'

const FILE = path.join(__dirname, '../scenarios/probe_floors.json')

export type Floors = Record<string, Record<string, number>>

export function readFloors(): Floors {
  return JSON.parse(fs.readFileSync(FILE, 'utf8'))
}

export function requiredProbesOf(profile: string): RequiredProbe[] {
  return Object.entries(readFloors()[profile] ?? {}).map(([name, worldsPerTenThousandMin]) => ({ name, worldsPerTenThousandMin }))
}

/** Below this a quarter of the mean is within the reach of chance. */
const QUARTER_FROM = 28
const ONE_FROM = 8
/** Judged from 20,000 worlds on, and from 100,000. */
const HALF_FROM = 4
const TENTH_FROM = 0.8

/** The floor for what is met in so many of 10,000 worlds; 0 is none. */
export function floorFor(perTenThousand: number): number {
  if (perTenThousand >= QUARTER_FROM) return Math.floor(perTenThousand / 4)
  if (perTenThousand >= ONE_FROM) return 1
  if (perTenThousand >= HALF_FROM) return 0.5
  return perTenThousand >= TENTH_FROM ? 0.1 : 0
}

interface Measured {
  profile: string
  worlds: number
  probes: Record<string, number>
}

export function floorsOf({ worlds, probes }: Measured): Record<string, number> {
  const floors: Record<string, number> = {}
  for (const name of Object.keys(probes).sort()) {
    const floor = floorFor((probes[name]! * 10_000) / worlds)
    if (floor > 0) floors[name] = floor
  }
  return floors
}

/** Sets the floors of the profiles of which results are given. */
function main(files: readonly string[]): void {
  const floors = readFloors()
  for (const file of files) {
    const measured: Measured = JSON.parse(fs.readFileSync(file, 'utf8'))
    floors[measured.profile] = floorsOf(measured)
  }
  const sorted = Object.fromEntries(Object.entries(floors).sort(([left], [right]) => (left < right ? -1 : 1)))
  fs.writeFileSync(FILE, `${JSON.stringify(sorted, null, 2)}\n`)
}

if (require.main === module) main(process.argv.slice(2))
