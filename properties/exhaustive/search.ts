/**
 * Runs every schedule of every cell in a range. A range gives a tally of plain data, as chunks of a campaign do; tallies
 * add up to the same whoever ran which range.
 *
 * What may go wrong inside a world is in the tally; a search that meets another decision than in the run before throws,
 * because the worlds are no worlds then.
 */
import { BoundedSearch } from '../../sim/bounded_search'
import { type Decider, DecisionRecorder } from '../../sim/decider'
import type { Plan } from '../../sim/plan'
import type { WorldResult } from '../../sim/verdict'
import { addCounts, emptyTally, groupOf, hangResult, KEPT_PER_KEY, mergeTally, type Tally } from '../campaign'
import { planOf } from './grid'
import { placeOf } from './tiers'

export type RunWith = (plan: Plan, decider: Decider) => WorldResult

/** `worlds` are executions: cells times schedules. */
export interface SearchTally extends Tally {
  cells: number
  /** By the tier's name. */
  executions: Record<string, number>
}

export function emptySearchTally(): SearchTally {
  return { ...emptyTally(), cells: 0, executions: {} }
}

/** Adds `from` to `into`. */
export function mergeSearchTally(into: SearchTally, from: SearchTally): void {
  mergeTally(into, from)
  into.cells += from.cells
  addCounts(into.executions, from.executions)
}

export class Search {
  readonly tally = emptySearchTally()
  cellIndex: number
  readonly endIndex: number
  private readonly run: RunWith

  constructor(run: RunWith, firstIndex: number, count: number) {
    this.run = run
    this.cellIndex = firstIndex
    this.endIndex = firstIndex + count
  }

  /** Runs all schedules of the next cell; false when there is none. */
  step(): boolean {
    if (this.cellIndex >= this.endIndex) return false
    const { tier, index } = placeOf(this.cellIndex)
    const plan = planOf(tier.grid.cell(index))
    const search = new BoundedSearch(tier.bounds)
    let executions = 0
    do {
      executions++
      this.add(plan, search, this.run(plan, search))
    } while (search.next())
    this.endCell(tier.name, executions)
    return true
  }

  private endCell(tierName: string, executions: number): void {
    const { tally } = this
    tally.executions[tierName] = (tally.executions[tierName] ?? 0) + executions
    tally.cells++
    this.cellIndex++
  }

  /** Records that a world of the present cell did not come back after `seconds` of real time, and goes past the cell. */
  recordHang(seconds: number): void {
    const { tally } = this
    const { tier, index } = placeOf(this.cellIndex)
    const { failure, events, timeNs, hash, checkpoints, trace } = hangResult(seconds)
    const group = groupOf(tally, failure!.class, failure!.key)
    group.count++
    const plan = planOf(tier.grid.cell(index))
    const seed = this.seedOfCell()
    group.found.push({ index: this.cellIndex, seed, plan, failure: failure!, events, timeNs, hash, checkpoints, trace })
    this.endCell(tier.name, 1)
  }

  private seedOfCell(): string {
    return `cell.${this.cellIndex}`
  }

  private add(plan: Plan, search: BoundedSearch, result: WorldResult): void {
    const { tally } = this
    tally.worlds++
    tally.events += result.events
    tally.simulatedNs += result.timeNs
    for (const name in result.probes) tally.probes[name] = (tally.probes[name] ?? 0) + 1
    for (const id in result.faultsFired) tally.faults[id] = (tally.faults[id] ?? 0) + result.faultsFired[id]!
    if (result.failure !== null) this.addFailure(plan, search)
  }

  /** Runs the schedule once more, to write down its decisions: a report must not need the search. */
  private addFailure(plan: Plan, search: BoundedSearch): void {
    const recorder = new DecisionRecorder(search.again())
    const result = this.run(plan, recorder)
    const { failure, events, timeNs, hash, checkpoints, trace } = result
    if (failure === null) throw new Error('exhaustive: a schedule fails only the first time')
    const group = groupOf(this.tally, failure.class, failure.key)
    group.count++
    if (group.found.length === KEPT_PER_KEY) return
    const { decisions } = recorder
    const seed = this.seedOfCell()
    group.found.push({ index: this.cellIndex, seed, plan, failure, events, timeNs, hash, checkpoints, trace, decisions })
  }
}
