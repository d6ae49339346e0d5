/** Films of worlds of every kind; each kind is a file, so that a page carries only what its own world needs. */
import type { Film } from '../../sim/film_frames'
import type { CheckerFactory } from '../../sim/observer'
import type { Plan } from '../../sim/plan'
import type { Decisions } from './decisions'

export type SimulatorName = 'mirror' | 'jobs' | 'nbd' | 'monitor' | 'image'

/** The file of the simulator that runs a plan. */
export function simulatorOf({ damage, nbd, monitor, job }: Plan): SimulatorName {
  if (damage !== undefined) return 'image'
  if (nbd !== undefined) return 'nbd'
  if (monitor !== undefined) return 'monitor'
  return job === undefined ? 'mirror' : 'jobs'
}

/** `more`: checkers beside all of ours, for worlds that have some. */
export function filmOf(plan: Plan, decisions: Decisions, more: readonly CheckerFactory[] = []): Film {
  // Only one kind is needed at a time, and monitors alone bring half of `impl`.
  switch (simulatorOf(plan)) {
    case 'image':
      return (require('./image') as typeof import('./image')).filmOfImage(plan)
    case 'nbd':
      return (require('./nbd') as typeof import('./nbd')).filmOfNbd(plan, decisions)
    case 'monitor':
      return (require('./monitor') as typeof import('./monitor')).filmOfMonitor(plan, decisions)
    case 'jobs':
      return (require('./jobs') as typeof import('./jobs')).filmOfJobs(plan, decisions)
    default:
      return (require('./mirror') as typeof import('./mirror')).filmOfMirror(plan, decisions, more)
  }
}
