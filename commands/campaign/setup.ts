/** What makes a campaign the one that it is. Worlds that differ in any of this do not add up, so a store has one setup for ever. */
import * as v from 'valibot'
import { UsageError } from '../cli'
import type { Shard } from './shards'

export interface CampaignSetup {
  format: 'mirrorsim-campaign'
  version: 1
  seed: string
  firstIndex: number
  profile: string
  replayPercent: number
  /** Of the sources. */
  revision: string
  /** The planted bug, by MIRRORSIM_MUTANT; null: none. */
  mutant: string | null
  shard: Shard
}

/** The name that people know each part of a setup by. */
const NAMES: ReadonlyArray<readonly [name: keyof CampaignSetup, shown: string]> = [
  ['seed', '--seed'],
  ['firstIndex', '--first'],
  ['profile', '--profile'],
  ['replayPercent', '--replay-share'],
  ['revision', 'revision'],
  ['mutant', 'MIRRORSIM_MUTANT'],
]

/** Throws a `UsageError` that names what is different, if anything is; shards are the caller's to compare. */
export function expectSameSetup(place: string, stored: CampaignSetup, wanted: CampaignSetup): void {
  for (const [name, shown] of NAMES) {
    if (stored[name] === wanted[name]) continue
    throw new UsageError(
      `${place} holds a campaign with ${shown} ${stored[name] ?? 'not set'}, and not ${wanted[name] ?? 'without'}: ` +
        'their worlds do not add up; give another store',
    )
  }
}

const SETUP = v.object({
  format: v.literal('mirrorsim-campaign'),
  version: v.literal(1),
  seed: v.string(),
  firstIndex: v.number(),
  profile: v.string(),
  replayPercent: v.number(),
  revision: v.string(),
  mutant: v.nullable(v.string()),
  shard: v.object({ parts: v.array(v.number()), of: v.number() }),
})

/** Throws a `UsageError` if it is none that this program knows. */
export function parseSetup(place: string, text: string | undefined): CampaignSetup {
  try {
    return v.parse(SETUP, JSON.parse(text ?? ''))
  } catch {
    throw new UsageError(`${place}: this is no store of a campaign that this program knows: give another one`)
  }
}
