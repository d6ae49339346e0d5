/** The simulator as the page of a report carries it: runs a plan under all checkers and films it. */
import { ALL_CHECKERS } from '../properties/checkers'
import { filmWorld } from '../sim/film'
import type { Film } from '../sim/film_frames'
import type { Plan } from '../sim/plan'
import { recordedDecider } from '../sim/schedules'

/** null for plans of other kinds of worlds. */
export function filmOf(plan: Plan, decisions: Readonly<Record<string, number>> | undefined): Film | null {
  const { damage, nbd, monitor, job } = plan
  if (damage !== undefined || nbd !== undefined || monitor !== undefined || job !== undefined) return null
  const checkers = ALL_CHECKERS.map(({ make }) => make)
  return filmWorld(plan, { checkers, ...(decisions === undefined ? {} : { decider: recordedDecider(plan, decisions) }) })
}

Object.assign(globalThis, { mirrorsimFilm: filmOf })
