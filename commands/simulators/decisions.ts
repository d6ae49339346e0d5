/** What a report says of the choices in its world. */
import type { Decider } from '../../sim/decider'
import type { Plan } from '../../sim/plan'
import { recordedDecider } from '../../sim/schedules'

export type Decisions = Readonly<Record<string, number>> | undefined

/** undefined: all of them are as the plan's seed gives them. */
export function deciderOfReport(plan: Plan, decisions: Decisions): Decider | undefined {
  return decisions === undefined ? undefined : recordedDecider(plan, decisions)
}
