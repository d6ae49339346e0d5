/**
 * The tiers of the exhaustive search: which grid is searched how deep. What one tier visits, the tiers together visit
 * once; the counts are the same on every machine and stand in `scenarios/exhaustive.json`, so that a tier that shrinks
 * unnoticed fails a test.
 */
import type { SearchBounds } from '../../sim/bounded_search'
import { Grid, OTHER_FAULTS, SETTING_FAULTS, WRITE_FAULTS } from './grid'
import { SETTINGS } from './settings'

export interface Tier {
  readonly name: string
  readonly grid: Grid
  readonly bounds: SearchBounds
}

const BOTH = ['background', 'write-blocking'] as const
/** More decisions than any world of a grid has: it is the deviations that bound the search. */
const DECISIONS_MAX = 400

function tier(name: string, grid: Grid, deviationsMax: number): Tier {
  return { name, grid, bounds: { deviationsMax, decisionsMax: DECISIONS_MAX } }
}

export const TIERS: readonly Tier[] = [
  tier('mirror-alone', new Grid(0, [...WRITE_FAULTS, ...OTHER_FAULTS], BOTH), 3),
  tier('one-operation', new Grid(1, WRITE_FAULTS, BOTH), 2),
  tier('one-operation-other-faults', new Grid(1, OTHER_FAULTS, BOTH), 1),
  tier('one-operation-settings', new Grid(1, SETTING_FAULTS, BOTH, SETTINGS), 1),
  tier('two-operations', new Grid(2, WRITE_FAULTS, BOTH), 1),
  tier('three-operations', new Grid(3, [null], ['write-blocking']), 0),
]

/** Where a cell of all tiers together lies. */
export interface Place {
  tier: Tier
  index: number
}

export const CELL_COUNT: number = TIERS.reduce((sum, { grid }) => sum + grid.size, 0)

/** The cells of a tier. */
export function tierRange(name: string): { firstIndex: number; count: number } {
  let firstIndex = 0
  for (const tier of TIERS) {
    if (tier.name === name) return { firstIndex, count: tier.grid.size }
    firstIndex += tier.grid.size
  }
  throw new RangeError(`there is no tier ${name}`)
}

/** Of an index in [0, CELL_COUNT). */
export function placeOf(cellIndex: number): Place {
  let index = cellIndex
  for (const tier of TIERS) {
    if (index < tier.grid.size) return { tier, index }
    index -= tier.grid.size
  }
  throw new RangeError(`there is no cell ${cellIndex}`)
}
