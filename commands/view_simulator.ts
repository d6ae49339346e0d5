/** The simulator as the page of a report carries it: runs a plan under all checkers and films it. */
import { ALL_CHECKERS } from '../properties/checkers'
import { filmWorld } from '../sim/film'
import type { Film } from '../sim/film_frames'
import type { CheckerFactory } from '../sim/observer'
import type { Plan } from '../sim/plan'
import { recordedDecider } from '../sim/schedules'

/** null for plans of other kinds of worlds. `more`: checkers beside all of ours. */
export function filmOf(
  plan: Plan,
  decisions: Readonly<Record<string, number>> | undefined,
  more: readonly CheckerFactory[] = [],
): Film | null {
  const { damage, nbd, monitor, job } = plan
  if (damage !== undefined || nbd !== undefined || monitor !== undefined || job !== undefined) return null
  const checkers = [...ALL_CHECKERS.map(({ make }) => make), ...more]
  return filmWorld(plan, { checkers, ...(decisions === undefined ? {} : { decider: recordedDecider(plan, decisions) }) })
}

Object.assign(globalThis, {
  mirrorsimFilm: (plan: Plan, decisions: Readonly<Record<string, number>> | undefined) => filmOf(plan, decisions),
})
