/** The thread of one mutant whose failures are to be kept as reports, and asked again later. */
import { parentPort, workerData } from 'node:worker_threads'
import { Chunk, type FoundFailure, runOrCatch } from '../properties/campaign'
import { readReport } from '../reports/format'
import { judgeReplay, type Verdict } from '../reports/verdict'
import type { Plan } from '../sim/plan'
import { finishesWithin } from './guard'
import { type ProfileName, subjectOf } from './subject'

/** What takes this long does not end; nothing of the thread may be used afterwards. */
const HANG_SECONDS = 20
/** Operations of one plan that are deleted, one at a time; of longer plans these many, evenly spread. */
const DELETIONS_MAX = 12

/** The first failures of a profile's worlds. */
export interface GatherTask {
  kind: 'gather'
  profile: string
  seed: string
  worldsMax: number
  failuresMax: number
}

export interface Gathered {
  found: FoundFailure
  /** Plans with one guest operation less, and how many of them fail under the same key. */
  deletions: number
  kept: number
}

/** Reads reports as anybody would, and runs them. */
export interface AgainTask {
  kind: 'again'
  profile: string
  files: readonly string[]
}

export interface Again {
  verdict: Verdict
  /** Whether the generator makes another plan of the report's seed than it did. */
  hasOtherPlan: boolean
}

export type StabilityTask = GatherTask | AgainTask

function gather({ profile, seed, worldsMax, failuresMax }: GatherTask): Gathered[] {
  const subject = subjectOf(profile as ProfileName)
  const chunk = new Chunk(subject, { seed, replayPercent: 0 }, 0, worldsMax)
  const found = (): FoundFailure[] => chunk.tally.groups.flatMap((group) => group.found)
  let isGoingOn = true
  while (isGoingOn && found().length < failuresMax) {
    if (!finishesWithin(HANG_SECONDS * 1000, () => (isGoingOn = chunk.step()))) break
  }
  return found().map((one) => {
    const plans = withoutOneOperation(one.plan)
    const fails = (plan: Plan): boolean => runOrCatch(subject, plan, 'last').failure?.key === one.failure.key
    return { found: one, deletions: plans.length, kept: plans.filter(fails).length }
  })
}

function withoutOneOperation(plan: Plan): Plan[] {
  const { guest } = plan
  const count = Math.min(guest.length, DELETIONS_MAX)
  return Array.from({ length: count }, (_, number) => {
    const left = Math.floor((number * guest.length) / count)
    return { ...plan, guest: guest.filter((_operation, index) => index !== left) }
  })
}

function askAgain({ profile, files }: AgainTask): Again[] {
  const subject = subjectOf(profile as ProfileName)
  return files.map((file) => {
    const reading = readReport(file)
    if (!reading.ok) return { verdict: 'stale', hasOtherPlan: false }
    const { plan, decisions, label } = reading.report
    const result = runOrCatch({ run: (one, trace) => subject.run(one, trace, decisions) }, plan, 'last')
    const hasOtherPlan = JSON.stringify(subject.planOf(label.seed)) !== JSON.stringify(plan)
    return { verdict: judgeReplay(reading.report, result).verdict, hasOtherPlan }
  })
}

const task = workerData as StabilityTask
parentPort?.postMessage(task.kind === 'gather' ? gather(task) : askAgain(task))
