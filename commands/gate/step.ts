/**
 * What a gate is made of: steps, each with a budget that is counted and not timed, and cases, each with its outcome. A step
 * never throws for what it finds; what it throws is a fault of the harness, and fails the gate as such.
 */
import type { FailureClass } from '../../sim/verdict'

export interface GateFailure {
  readonly class: FailureClass | 'coverage' | 'performance'
  /** The same for all failures of one kind; without offsets and ids. */
  readonly key: string
  /** One line. */
  readonly text: string
  /** The command that shows it again. */
  readonly reproduce: string
  /** Relative to the root of the repository. */
  readonly file?: string
  /** In the folder of artifacts. */
  readonly report?: string
}

export interface GateCase {
  /** Unique in its step. */
  readonly name: string
  readonly seconds: number
  /** null: as it should be. */
  readonly failure: GateFailure | null
  /** Present: not tried, and why; it counts as nothing. */
  readonly skipped?: string
}

export interface StepContext {
  /** Where everything goes that somebody may want to look at. */
  readonly artifacts: string
  /** Seeds are made of it: another commit runs other worlds, the same one the same. */
  readonly commit: string
  readonly workers: number
  /** Multiplies the number of worlds; 1 as a rule. */
  readonly scale: number
  tell(text: string): void
}

export interface GateStep {
  readonly name: string
  /** In worlds, executions or mutants. */
  budget(context: Pick<StepContext, 'scale'>): string
  run(context: StepContext): Promise<GateCase[]>
}

export interface StepOutcome {
  readonly step: string
  readonly budget: string
  readonly seconds: number
  readonly cases: readonly GateCase[]
}

/** Runs `work` and gives what it makes of the seconds that it took. */
export async function timed<T>(work: () => T | Promise<T>): Promise<{ value: T; seconds: number }> {
  const startMs = performance.now()
  const value = await work()
  return { value, seconds: (performance.now() - startMs) / 1000 }
}

/** A command that has not printed what it should have. */
export function brokenCase(name: string, reproduce: string, errors: string): GateCase {
  const last = errors.trim().split('\n').at(-1) ?? ''
  const text = `it gave no result${last === '' ? '' : `: ${last}`}`
  return { name, seconds: 0, failure: { class: 'harness', key: 'gate/no-result', text, reproduce } }
}
