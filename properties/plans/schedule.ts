/** Draws how a plan's seed decides what the plan leaves open. */
import type { Plan } from '../../sim/plan'
import type { Choices } from './choices'
import type { Profile } from './mixture'

/** Everything else about the plan has been drawn. The usual schedule goes without saying. */
export function withSchedule(choices: Choices, plan: Plan, { schedules }: Profile): Plan {
  const schedule = choices.pick(schedules)
  return schedule.kind === 'latency' ? plan : { ...plan, version: 4, schedule }
}
