/** The simulator for pages of worlds with mirrors between NBD servers. */
import { filmBriefly } from '../../sim/film_brief'
import type { Film } from '../../sim/film_frames'
import { runNbd } from '../../sim/nbd_run'
import type { Plan } from '../../sim/plan'
import { type Decisions, deciderOfReport } from './decisions'

export function filmOfNbd(plan: Plan, decisions: Decisions): Film {
  return filmBriefly(plan, (eye) => runNbd(plan, deciderOfReport(plan, decisions), eye))
}

Object.assign(globalThis, { mirrorsimFilm: filmOfNbd })
