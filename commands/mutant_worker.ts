/** The thread of one mutant: its environment holds the edit, so every module that it loads is the mutated one. */
import { parentPort, workerData } from 'node:worker_threads'
import { runOrCatch } from '../properties/campaign'
import type { FailureClass } from '../sim/verdict'
import { type Attribution, attribute, isHang, type Kill, peel } from './mutant_hunt'
import { CHECKER_NAMES, type ProfileName, subjectOf } from './subject'

export interface HuntTask {
  kind: 'hunt'
  profile: string
  seed: string
  worldsMax: number
  expect: FailureClass
  attribute: boolean
}

/** Worlds in which mutants were found, to be run without any. */
export interface BaselineTask {
  kind: 'baseline'
  worlds: ReadonlyArray<{ profile: string; seed: string }>
}

export interface HuntAnswer {
  kills: Kill[]
  attribution: Attribution | null
}

/** What the code fails with by itself, or null. */
export interface BaselineAnswer {
  unsound: string | null
}

function huntFor(task: HuntTask): HuntAnswer {
  const subjectWithout = (off: readonly string[]): ReturnType<typeof subjectOf> => subjectOf(task.profile as ProfileName, off)
  const kills = peel(subjectWithout, CHECKER_NAMES, task.expect, task)
  const [first] = kills
  if (first === undefined || !task.attribute) return { kills, attribution: null }
  const attribution = kills.some(isHang)
    ? { worlds: 1, found: { world: 1 } }
    : attribute(subjectWithout, CHECKER_NAMES, task, first.worlds - 1)
  return { kills, attribution }
}

function baselineOf({ worlds }: BaselineTask): BaselineAnswer {
  for (const { profile, seed } of worlds) {
    const subject = subjectOf(profile as ProfileName)
    const { failure } = runOrCatch(subject, subject.planOf(seed), 'last')
    if (failure !== null) return { unsound: `${failure.key} in world ${seed} of profile ${profile}` }
  }
  return { unsound: null }
}

const task = workerData as HuntTask | BaselineTask
parentPort?.postMessage(task.kind === 'hunt' ? huntFor(task) : baselineOf(task))
