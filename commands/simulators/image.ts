/** The simulator for pages of damaged images. */
import { runDamaged } from '../../sim/damage'
import { filmBriefly } from '../../sim/film_brief'
import type { Film } from '../../sim/film_frames'
import type { Plan } from '../../sim/plan'

/** Nobody measures memory here. */
export function filmOfImage(plan: Plan): Film {
  return filmBriefly(plan, (eye) => runDamaged(plan, undefined, eye))
}

Object.assign(globalThis, { mirrorsimFilm: filmOfImage })
