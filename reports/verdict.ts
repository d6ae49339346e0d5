/**
 * What a replay says about a report: one of five verdicts, and nothing else. Two failures are the same if their keys are;
 * keys hold no ids and no offsets, so a report keeps its meaning while the code around it changes.
 */
import { EXIT_CODES, type WorldResult } from '../sim/verdict'
import type { Report } from './format'

/** How a report and its replay compare. */
export type Verdict =
  /** The same failure, and the same events up to it. */
  | 'reproduced'
  /** The same failure after other events: the code has moved on. */
  | 'reproduced-different-trace'
  /** The world ends without a failure. */
  | 'fixed'
  /** The world fails, in another way. */
  | 'other-failure'
  /** The report cannot be read, or not by this version. */
  | 'stale'

/** What is said of a report whose world has run again. */
export interface Judgement {
  verdict: Verdict
  /** 0 fixed; 2 stale; otherwise that of the failure's class. */
  exitCode: number
  /** One line. */
  text: string
}

export function judgeReplay(report: Report, result: Pick<WorldResult, 'failure' | 'hash' | 'events' | 'checkpoints'>): Judgement {
  const { failure } = result
  if (failure === null) {
    return { verdict: 'fixed', exitCode: 0, text: `fixed: ${report.failure.key} does not happen any more` }
  }
  const exitCode = EXIT_CODES[failure.class]
  if (failure.key !== report.failure.key) {
    return { verdict: 'other-failure', exitCode, text: `other-failure: ${failure.key} instead of ${report.failure.key}` }
  }
  if (result.hash === report.trace.hash && result.events === report.trace.events) {
    return { verdict: 'reproduced', exitCode, text: `reproduced: ${failure.key}, with the same ${result.events} events` }
  }
  return {
    verdict: 'reproduced-different-trace',
    exitCode,
    text: `reproduced-different-trace: ${failure.key}, the events differ ${whereTracesPart(report, result)}`,
  }
}

export function judgeStale(reason: string): Judgement {
  return { verdict: 'stale', exitCode: 2, text: `stale: ${reason}` }
}

const CHECKPOINT_EVENTS = 64

function whereTracesPart(report: Report, result: Pick<WorldResult, 'checkpoints'>): string {
  const then = report.trace.checkpoints
  const now = result.checkpoints
  const common = Math.min(then.length, now.length)
  for (let index = 0; index < common; index++) {
    if (then[index] !== now[index]) return `from one of ${index * CHECKPOINT_EVENTS} to ${(index + 1) * CHECKPOINT_EVENTS} on`
  }
  return `after the first ${common * CHECKPOINT_EVENTS}`
}
