/** Puts the system under test together for the commands: generator of plans, world, checkers. */
import { getHeapStatistics } from 'node:v8'
import type { Subject } from '../properties/campaign'
import { ALL_CHECKERS } from '../properties/checkers'
import { PROFILES, planOfSeed } from '../properties/plans'
import { damagedPlanOfSeed } from '../properties/plans/damage'
import { jobPlanOfSeed } from '../properties/plans/jobs'
import { monitorPlanOfSeed } from '../properties/plans/monitor'
import { nbdPlanOfSeed } from '../properties/plans/nbd'
import { runDamaged } from '../sim/damage'
import { type Decider, DecisionRecorder } from '../sim/decider'
import { runJob } from '../sim/job_run'
import { runNbd } from '../sim/nbd_run'
import type { Plan } from '../sim/plan'
import { recordedDecider } from '../sim/schedules'
import type { WorldResult } from '../sim/verdict'
import { runWorld, type WorldOptions } from '../sim/world'

/** Damaged images: no worlds, but plans, reports and replays like any other. */
const IMAGE_PROFILE = 'image'
/** Commits, streams and backups, in worlds of their own. */
const JOBS_PROFILE = 'jobs'
/** Guests, source and destination of a mirror over NBD. */
const NBD_PROFILE = 'nbd'
/** A mirror that is driven over QMP. */
const MONITOR_PROFILE = 'monitor'
/** The name of a profile, which says what kind of plans are drawn. */
export type ProfileName =
  | Parameters<typeof planOfSeed>[1]
  | typeof IMAGE_PROFILE
  | typeof JOBS_PROFILE
  | typeof NBD_PROFILE
  | typeof MONITOR_PROFILE

/** All profiles: mixtures that plans are drawn from. */
export const PROFILE_NAMES: readonly string[] = [
  ...Object.keys(PROFILES),
  IMAGE_PROFILE,
  JOBS_PROFILE,
  NBD_PROFILE,
  MONITOR_PROFILE,
]
/** The checkers of mirrorsim, by name. */
export const CHECKER_NAMES: readonly string[] = ALL_CHECKERS.map(({ name }) => name)

/** Heap and buffers of this thread alone, in bytes. */
function memoryInUse(): number {
  const { used_heap_size: heapBytes, external_memory: bufferBytes } = getHeapStatistics()
  return heapBytes + bufferBytes
}

/** The plan of a seed in a profile; any text is a seed. */
export function planOf(seed: string, profile: ProfileName): Plan {
  if (profile === JOBS_PROFILE) return jobPlanOfSeed(seed)
  if (profile === NBD_PROFILE) return nbdPlanOfSeed(seed)
  if (profile === MONITOR_PROFILE) return monitorPlanOfSeed(seed)
  return profile === IMAGE_PROFILE ? damagedPlanOfSeed(seed) : planOfSeed(seed, profile)
}

/** Runs a plan in the kind of world that it is for. `decider`: absent, what the plan's seed gives. */
export function runPlan(plan: Plan, options: WorldOptions): WorldResult {
  if (plan.damage !== undefined) return runDamaged(plan, memoryInUse)
  if (plan.nbd !== undefined) return runNbd(plan, options.decider)
  if (plan.monitor !== undefined) {
    // Half of `impl` more: whoever does not need it does not wait for it.
    const { runMonitor }: typeof import('../sim/monitor_run') = require('../sim/monitor_run')
    return runMonitor(plan, options.decider)
  }
  return plan.job === undefined ? runWorld(plan, options) : runJob(plan, options.decider)
}

/** Runs worlds of a profile under all checkers but those named in `checkersOff`. */
export function subjectOf(profile: ProfileName, checkersOff: readonly string[] = []): Subject {
  const checkers = ALL_CHECKERS.filter(({ name }) => !checkersOff.includes(name)).map(({ make }) => make)
  return {
    planOf: (seed) => planOf(seed, profile),
    run: (plan, trace, decisions) => {
      const decider = decisions === undefined ? {} : { decider: recordedDecider(plan, decisions) }
      return runPlan(plan, { checkers, trace, ...decider })
    },
  }
}

/** Runs worlds under all checkers with a decider of the caller's. */
export function runWithDecider(): (plan: Plan, decider: Decider) => WorldResult {
  const checkers = ALL_CHECKERS.map(({ make }) => make)
  return (plan, decider) => runPlan(plan, { checkers, decider })
}

/** What the world of a plan decides, without what is dull. `options`: all checkers, and no fault from outside, if left out. */
export function decisionsOf(
  plan: Plan,
  decisions: Readonly<Record<string, number>> = {},
  options: WorldOptions = { checkers: ALL_CHECKERS.map(({ make }) => make) },
): Record<string, number> {
  const recorder = new DecisionRecorder(recordedDecider(plan, decisions))
  runPlan(plan, { ...options, decider: recorder })
  return recorder.decisions
}

/** Whether there is a profile of that name. */
export function isProfile(name: string): name is ProfileName {
  return PROFILE_NAMES.includes(name)
}
