/** The thread of one mutant: its environment holds the edit, so every module that it loads is the mutated one. */
import { parentPort, workerData } from 'node:worker_threads'
import type { FailureClass } from '../sim/verdict'
import { finishesWithin } from './guard'
import { attribute, type Kill, peel } from './mutant_hunt'
import { CHECKER_NAMES, type ProfileName, subjectOf } from './subject'

export interface MutantTask {
  profile: string
  seed: string
  worldsMax: number
  /** null: take the first failure, of whatever class. */
  expect: FailureClass | null
  attribute: boolean
  secondsMax: number
}

export interface MutantAnswer {
  kills: Kill[]
  attribution: Record<string, number> | null
  isHung: boolean
}

const task = workerData as MutantTask
const subjectWithout = (off: readonly string[]): ReturnType<typeof subjectOf> => subjectOf(task.profile as ProfileName, off)
const answer: MutantAnswer = { kills: [], attribution: null, isHung: false }
answer.isHung = !finishesWithin(task.secondsMax * 1000, () => {
  answer.kills = peel(subjectWithout, task.expect === null ? [] : CHECKER_NAMES, task.expect ?? 'harness', task)
  if (task.attribute) answer.attribution = attribute(subjectWithout, CHECKER_NAMES, task)
})
parentPort?.postMessage(answer)
