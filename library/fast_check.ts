/** The bridge to fast-check, which is loaded when it is used: most programs that run plans have no use for it. */
import type { IPropertyWithHooks } from 'fast-check'
import type { MirrorPropertyOptions as BridgeOptions } from '../properties/bridge'
import { ALL_CHECKERS } from '../properties/checkers'
import type { ProfileName } from '../properties/plans'
import type { PlanArbitrary } from '../properties/plans/arbitrary'
import type { Plan } from '../sim/plan'

/** Options of `mirrorProperty`; all may be left out. */
export interface MirrorPropertyOptions extends BridgeOptions {
  /** Checkers of the caller's, beside all those of mirrorsim. */
  checkers?: NonNullable<BridgeOptions['checkers']>
}

/**
 * The promise of the mirror as a property: `fc.assert(mirrorProperty())`. Each run is a world. What fails is made smaller,
 * written as a report (`reportFolder`), and thrown as `WorldFailed`. fast-check is a dependency of this package.
 */
export function mirrorProperty(options: MirrorPropertyOptions = {}): IPropertyWithHooks<[Plan]> {
  const bridge: typeof import('../properties/bridge') = require('../properties/bridge')
  const checkers = [...ALL_CHECKERS.map(({ make }) => make), ...(options.checkers ?? [])]
  return bridge.mirrorProperty({ ...options, checkers })
}

/** An arbitrary of fast-check that gives plans of a profile, each as `change` makes it. */
export function planArbitrary(profile: ProfileName = 'default', change?: (plan: Plan) => Plan): PlanArbitrary {
  const arbitrary: typeof import('../properties/plans/arbitrary') = require('../properties/plans/arbitrary')
  return arbitrary.planArbitrary(profile, change)
}
