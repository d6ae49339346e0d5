/** All schedules, by the kind that a plan asks for. A new one is a file here and a line below. */
import { type Decider, dullDecider, RecordedDecider } from '../decider'
import type { Plan, SchedulePlan } from '../plan'
import { few } from './few'
import { latency } from './latency'
import { pct } from './pct'
import { pos } from './pos'
import type { Schedule } from './schedule'
import { uniform } from './uniform'

export const SCHEDULES: Readonly<Record<SchedulePlan['kind'], Schedule>> = {
  latency,
  uniform,
  pct: pct as Schedule,
  pos,
  few,
}

const LATENCY: SchedulePlan = { kind: 'latency' }

export function scheduleProbe(kind: string): string {
  return `schedule/${kind}`
}

/** What decides in the world of a plan: its schedule under its seed. */
export function deciderOf({ seed, schedule = LATENCY }: Pick<Plan, 'seed' | 'schedule'>): Decider {
  return seed === '' ? dullDecider : SCHEDULES[schedule.kind].decider(seed, schedule)
}

/** The same, but for the decisions that a report names. */
export function recordedDecider(
  plan: Pick<Plan, 'seed' | 'schedule'>,
  decisions: Readonly<Record<string, number>>,
): RecordedDecider {
  return new RecordedDecider(decisions, deciderOf(plan))
}
