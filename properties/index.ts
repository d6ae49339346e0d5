/**
 * The mirror's promise as a property for fast-check: `fc.assert(mirrorProperty({ profile: 'default' }))`. Each run is a
 * whole world under all checkers; a counterexample is a plan, shrunk to what the failure needs.
 */
import fc from 'fast-check'
import type { CheckerFactory } from '../sim/observer'
import type { Plan } from '../sim/plan'
import type { Failure } from '../sim/verdict'
import { runWorld } from '../sim/world'
import { ALL_CHECKERS } from './checkers'
import type { ProfileName } from './plans'
import { planArbitrary } from './plans/arbitrary'

export { PROFILES, type ProfileName, planOfSeed } from './plans'
export { planArbitrary } from './plans/arbitrary'
export { shrinkFailure } from './shrink'

export interface MirrorPropertyOptions {
  /** Part of the mixture: `default` when left out. */
  profile?: ProfileName
  /** All checkers when left out. */
  checkers?: readonly CheckerFactory[]
}

/** A world that broke a promise, as fast-check reports it. */
export class WorldFailed extends Error {
  readonly failure: Failure

  constructor(plan: Plan, failure: Failure) {
    super(`${failure.key}: ${failure.text} (seed ${plan.seed}, event ${failure.step})`)
    this.name = 'WorldFailed'
    this.failure = failure
  }
}

export function mirrorProperty(options: MirrorPropertyOptions = {}): fc.IPropertyWithHooks<[Plan]> {
  const checkers = options.checkers ?? ALL_CHECKERS.map(({ make }) => make)
  return fc.property(planArbitrary(options.profile ?? 'default'), (plan) => {
    const { failure } = runWorld(plan, { checkers })
    if (failure !== null) throw new WorldFailed(plan, failure)
  })
}
