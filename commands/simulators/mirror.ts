/** The simulator as the page of a report carries it: runs a plan under all checkers and films it. */
import { ALL_CHECKERS } from '../../properties/checkers'
import { filmWorld } from '../../sim/film'
import type { Film } from '../../sim/film_frames'
import type { CheckerFactory } from '../../sim/observer'
import type { Plan } from '../../sim/plan'
import { type Decisions, deciderOfReport } from './decisions'

/** `more`: checkers beside all of ours. */
export function filmOfMirror(plan: Plan, decisions: Decisions, more: readonly CheckerFactory[] = []): Film {
  const checkers = [...ALL_CHECKERS.map(({ make }) => make), ...more]
  const decider = deciderOfReport(plan, decisions)
  return filmWorld(plan, { checkers, ...(decider === undefined ? {} : { decider }) })
}

Object.assign(globalThis, { mirrorsimFilm: (plan: Plan, decisions: Decisions) => filmOfMirror(plan, decisions) })
