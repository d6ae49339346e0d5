/** The simulator for pages of worlds with jobs on chains of images. */
import { filmBriefly } from '../../sim/film_brief'
import type { Film } from '../../sim/film_frames'
import { runJob } from '../../sim/job_run'
import type { Plan } from '../../sim/plan'
import { type Decisions, deciderOfReport } from './decisions'

export function filmOfJobs(plan: Plan, decisions: Decisions): Film {
  return filmBriefly(plan, (eye) => runJob(plan, deciderOfReport(plan, decisions), eye))
}

Object.assign(globalThis, { mirrorsimFilm: filmOfJobs })
