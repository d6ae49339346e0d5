/** What a gate says on a terminal or in a pipe, and what its exit code is. */
import { EXIT_CODES } from '../../sim/verdict'
import { EXIT_COVERAGE, EXIT_OK } from '../cli'
import type { GateFailure, StepOutcome } from './step'

const EXIT_FAILED = 1

export interface Paint {
  good(text: string): string
  bad(text: string): string
  dim(text: string): string
}
export const PLAIN: Paint = { good: (text) => text, bad: (text) => text, dim: (text) => text }

export function stepLine({ step, budget, cases, seconds }: StepOutcome, { good, bad, dim }: Paint): string {
  const failed = cases.filter(({ failure }) => failure !== null).length
  const skipped = cases.filter((one) => one.skipped !== undefined)
  const all = skipped.length === cases.length && skipped.length > 0
  const mark = failed > 0 ? bad('FAILED ') : all ? dim('skipped') : good('ok     ')
  const counts = failed > 0 ? `${failed} of ${cases.length} failed` : all ? skipped[0]!.skipped! : `${cases.length} cases`
  return `${mark} ${step.padEnd(12)}${counts.padEnd(22)} ${dim(`${seconds.toFixed(1)} s, ${budget}`)}\n`
}

export function failureLines({ key, text, reproduce, report }: GateFailure, { bad, dim }: Paint): string {
  const page = report === undefined ? '' : `    ${dim(`page: ${report.replace(/\.json$/, '.html')}`)}\n`
  return `  ${bad(key)}: ${text}\n    ${reproduce}\n${page}`
}

/** 0; 3 where only situations, coverage or speed are missing; 1 for anything that fails. A fault of the harness counts as failing. */
export function exitCodeOf(outcomes: readonly StepOutcome[]): number {
  const classes = outcomes.flatMap(({ cases }) => cases.flatMap(({ failure }) => failure?.class ?? []))
  if (classes.length === 0) return EXIT_OK
  return classes.every((one) => !Object.hasOwn(EXIT_CODES, one)) ? EXIT_COVERAGE : EXIT_FAILED
}
