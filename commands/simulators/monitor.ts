/** The simulator for pages of worlds with mirrors under monitors. */
import { filmBriefly } from '../../sim/film_brief'
import type { Film } from '../../sim/film_frames'
import { runMonitor } from '../../sim/monitor_run'
import type { Plan } from '../../sim/plan'
import { type Decisions, deciderOfReport } from './decisions'

export function filmOfMonitor(plan: Plan, decisions: Decisions): Film {
  return filmBriefly(plan, (eye) => runMonitor(plan, deciderOfReport(plan, decisions), eye))
}

Object.assign(globalThis, { mirrorsimFilm: filmOfMonitor })
