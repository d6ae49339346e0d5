/** Puts the system under test together for the commands: generator of plans, world, checkers. */
import type { Subject } from '../properties/campaign'
import { ALL_CHECKERS } from '../properties/checkers'
import { PROFILES, planOfSeed } from '../properties/plans'
import { runWorld } from '../sim/world'

export type ProfileName = Parameters<typeof planOfSeed>[1]

export const PROFILE_NAMES: readonly string[] = Object.keys(PROFILES)
export const CHECKER_NAMES: readonly string[] = ALL_CHECKERS.map(({ name }) => name)

/** Runs worlds of a profile under all checkers but those named in `checkersOff`. */
export function subjectOf(profile: ProfileName, checkersOff: readonly string[] = []): Subject {
  const checkers = ALL_CHECKERS.filter(({ name }) => !checkersOff.includes(name)).map(({ make }) => make)
  return {
    planOf: (seed) => planOfSeed(seed, profile),
    run: (plan, trace) => runWorld(plan, { checkers, trace }),
  }
}

export function isProfile(name: string): name is ProfileName {
  return PROFILE_NAMES.includes(name)
}
