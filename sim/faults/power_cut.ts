import type { Fault } from './fault'

/** Planned by the control operation of that name; `sim/power.ts` does it. */
export const powerCut: Fault = {
  name: 'power-cut',
  about: 'everything stops, and of what was not flushed any legal subset is on the media',
  promise: 'survived',
  excuses: [{ checker: 'content', why: 'what is there afterwards is judged by the checker of power cuts, from the media alone' }],
}
