/** The exhaustive search as work for the fleet: a range of cell indexes. */
import { type RunWith, Search, type SearchTally } from '../properties/exhaustive/search'
import { type Range, type RangeResult, runSteps } from './fleet'

export const RANGE_CELLS = 8

/** Runs all schedules of a range of cells; in a cell that hangs it stops, and says what is left. */
export function searchRange(run: RunWith, hangSeconds: number, range: Range): RangeResult<SearchTally> {
  const search = new Search(run, range.firstIndex, range.count)
  return runSteps(
    {
      range,
      tally: search.tally,
      step: () => search.step(),
      hung: () => {
        search.recordHang(hangSeconds)
        return { firstIndex: search.cellIndex, count: search.endIndex - search.cellIndex }
      },
    },
    hangSeconds,
    1,
  )
}
