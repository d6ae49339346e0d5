/** Properties of worlds, for whoever writes tests with fast-check. */
export { type MirrorPropertyOptions, mirrorProperty } from './bridge'
export { PROFILES, type ProfileName, planOfSeed } from './plans'
export { planArbitrary } from './plans/arbitrary'
export { shrinkFailure } from './shrink'
export { WorldFailed } from './world_failed'
