/**
 * The mirror's promise as a property for fast-check: `fc.assert(mirrorProperty({ profile: 'default' }))`. Each run is a
 * whole world under all checkers. A failure is shrunk here, with its decisions, as any other (shrink.ts), and written as a
 * report before fast-check hears of it; what fast-check then shows is that plan, and the path of the report.
 *
 * What may fail: writing the report, which the error then says in place of the path. The property fails all the same.
 */
import fc from 'fast-check'
import { makeReport, reportFileName, writeReport } from '../reports/format'
import { DecisionRecorder } from '../sim/decider'
import type { OwnFault } from '../sim/faults'
import type { CheckerFactory } from '../sim/observer'
import type { Plan } from '../sim/plan'
import { recordedDecider } from '../sim/schedules'
import type { WorldResult } from '../sim/verdict'
import { runWorld } from '../sim/world'
import { ALL_CHECKERS } from './checkers'
import type { ProfileName } from './plans'
import { planArbitrary } from './plans/arbitrary'
import { type Decisions, type Shrunk, shrinkFailure } from './shrink'
import { WorldFailed } from './world_failed'

/** Where reports go, relative to the working directory. */
const REPORT_FOLDER = 'reports/out'

export interface MirrorPropertyOptions {
  /** Part of the mixture: `default` when left out. */
  profile?: ProfileName
  /** All checkers when left out. */
  checkers?: readonly CheckerFactory[]
  /** Faults that are brought along, for plans that `change` puts them into. */
  faults?: readonly OwnFault[]
  /** Makes another plan of each that was generated: the same of the same. It must be one that can run. */
  change?: (plan: Plan) => Plan
  /** `reports/out` in the working directory when left out; null: no report is written. */
  reportFolder?: string | null
}

/** Fails with `WorldFailed` at the first world that breaks a promise. */
export function mirrorProperty(options: MirrorPropertyOptions = {}): fc.IPropertyWithHooks<[Plan]> {
  const checkers = options.checkers ?? ALL_CHECKERS.map(({ make }) => make)
  const { profile = 'default', reportFolder = REPORT_FOLDER, faults = [], change } = options
  const run = (plan: Plan, decisions?: Decisions): WorldResult =>
    runWorld(plan, {
      checkers,
      faults,
      trace: 'last',
      ...(decisions === undefined ? {} : { decider: recordedDecider(plan, decisions) }),
    })
  const decisionsOf = (plan: Plan, decisions: Decisions = {}): Decisions => {
    const recorder = new DecisionRecorder(recordedDecider(plan, decisions))
    runWorld(plan, { checkers, faults, decider: recorder })
    return recorder.decisions
  }
  const arbitrary = planArbitrary(profile, change)
  return fc.property(arbitrary, (plan) => {
    const result = run(plan)
    if (result.failure === null) return
    // What fast-check tries next is what was found here, and fails again.
    const known = arbitrary.errorOf(plan)
    if (known !== null) throw known
    const shrunk = shrinkFailure(plan, result, { run, decisionsOf })
    const error = failed(plan, shrunk, profile, reportFolder)
    arbitrary.learn(plan, shrunk, error)
    throw error
  })
}

function failed(plan: Plan, shrunk: Shrunk, profile: string, folder: string | null): WorldFailed {
  const { failure } = shrunk.result
  if (failure === null) throw new Error('what was shrunk fails')
  if (folder === null) return new WorldFailed(shrunk.plan, failure, null, '')
  const file = `${folder}/${reportFileName(failure.key, plan.seed).replace(/\.json$/, '.small.json')}`
  try {
    const label = {
      seed: plan.seed,
      profile,
      revision: 'unknown',
      command: `fc.assert(mirrorProperty({ profile: '${profile}' }))`,
    }
    writeReport(file, makeReport(shrunk.plan, shrunk.result, label, shrunk.decisions))
    return new WorldFailed(shrunk.plan, failure, file, '')
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error)
    return new WorldFailed(shrunk.plan, failure, null, `\n  ${file} cannot be written: ${reason}`)
  }
}
