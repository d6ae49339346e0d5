import type { Plan } from '../sim/plan'
import type { Failure } from '../sim/verdict'

/** A world that broke a promise, as fast-check reports it. */
export class WorldFailed extends Error {
  readonly failure: Failure
  /** The smallest world that fails in the same way; null where none was written. */
  readonly reportFile: string | null

  constructor(plan: Plan, failure: Failure, reportFile: string | null, reason: string) {
    const replay = reportFile === null ? reason : `\n  npm run replay -- ${reportFile}`
    super(`${failure.key}: ${failure.text} (seed ${plan.seed}, event ${failure.step})${replay}`)
    this.name = 'WorldFailed'
    this.failure = failure
    this.reportFile = reportFile
  }
}
