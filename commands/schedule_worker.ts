/** The thread in which one bug is hunted under all schedules. */
import { parentPort, workerData } from 'node:worker_threads'
import { finishesWithin } from './guard'
import { runTrials, type Trials, type TrialTable } from './schedule_trials'
import { type ProfileName, runWithDecider, subjectOf } from './subject'

export interface ScheduleTask extends Trials {
  profile: string
  secondsMax: number
}

/** null: the bug makes worlds that never come back, or it took too long. */
function answer(task: ScheduleTask): TrialTable | null {
  let table: TrialTable | null = null
  const work = (): void => {
    table = runTrials(subjectOf(task.profile as ProfileName), runWithDecider(), task)
  }
  return finishesWithin(task.secondsMax * 1000, work) ? table : null
}

parentPort?.postMessage(answer(workerData as ScheduleTask))
