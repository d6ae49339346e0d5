/** What a run of operator mutants has come to, as text. */
import { grouped } from '../reports/text'
import type { OperatorMutant } from './operator_mutants'
import type { Kill } from './operator_pool'

export interface OperatorOutcome {
  mutant: OperatorMutant
  kill: Kill | null
  /** Why it cannot be found, or null. */
  equivalent: string | null
  /** To how many killers it makes a difference at its place. */
  reach: number
}

export interface OperatorCounts {
  mutants: number
  /** Killed by tests, by worlds. */
  tests: number
  worlds: number
  /** Of both: those that hang, and those that break a thread. */
  hangs: number
  survived: number
  equivalent: number
  /** Said to be equivalent, and killed. */
  refuted: number
  /** Killed of those that are not equivalent, in percent. */
  score: number
}

export function countOutcomes(outcomes: readonly OperatorOutcome[]): OperatorCounts {
  const count = (is: (outcome: OperatorOutcome) => boolean): number => outcomes.filter(is).length
  const killed = count(({ kill }) => kill !== null)
  const equivalent = count(({ kill, equivalent }) => kill === null && equivalent !== null)
  const counted = outcomes.length - equivalent
  return {
    mutants: outcomes.length,
    tests: count(({ kill }) => kill?.kind === 'test'),
    worlds: count(({ kill }) => kill?.kind === 'world'),
    hangs: count(({ kill }) => kill?.class === 'hang' || kill?.class === 'crash'),
    survived: counted - killed,
    equivalent,
    refuted: count(({ kill, equivalent }) => kill !== null && equivalent !== null),
    score: counted === 0 ? 100 : (100 * killed) / counted,
  }
}

const COLUMNS: ReadonlyArray<keyof OperatorCounts> = ['mutants', 'tests', 'worlds', 'hangs', 'survived', 'equivalent']
const WIDTH = 12

/** One line a file and one for all of them. */
export function tableLines(outcomes: readonly OperatorOutcome[]): string[] {
  const files = [...new Set(outcomes.map(({ mutant }) => mutant.file))]
  const nameWidth = Math.max(...files.map((file) => file.length), 'file'.length) + 1
  const line = (name: string, cells: readonly string[]): string =>
    name.padEnd(nameWidth) + cells.map((cell) => cell.padStart(WIDTH)).join('')
  const row = (name: string, of: readonly OperatorOutcome[]): string => {
    const counts = countOutcomes(of)
    return line(name, [...COLUMNS.map((column) => grouped(counts[column])), `${counts.score.toFixed(1)} %`])
  }
  const rows = files.map((file) =>
    row(
      file,
      outcomes.filter(({ mutant }) => mutant.file === file),
    ),
  )
  return [line('file', [...COLUMNS, 'score']), ...rows, row('all', outcomes)]
}

/** A survivor as a change of its line. */
export function survivorLines({ mutant, reach }: OperatorOutcome): string[] {
  const { file, line, column, operator, within, source, from, to } = mutant
  const place = `${file}:${line}:${column} ${operator}${within === '' ? '' : ` in ${within}`}`
  const met = reach === 0 ? 'nobody comes by it, or never with another value' : `${grouped(reach)} come by it`
  const isOneLine = !from.includes('\n')
  const after = to === '' ? '(left out)' : to
  return [
    `${place}: ${met}`,
    `  - ${isOneLine ? from : source}`,
    `  + ${isOneLine || to === '' ? after : to.replace(/\s+/g, ' ')}`,
  ]
}
