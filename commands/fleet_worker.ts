/** A thread of the fleet: runs the ranges that it is sent, until a world hangs. */
import { parentPort, workerData } from 'node:worker_threads'
import { type ChunkAnswer, type Range, runRange, type WorkerSetup } from './fleet'
import { type ProfileName, subjectOf } from './subject'

const setup = workerData as WorkerSetup
const subject = subjectOf(setup.profile as ProfileName)

parentPort?.on('message', (range: Range) => {
  let answer: ChunkAnswer
  try {
    answer = runRange(subject, setup, range)
  } catch (error) {
    answer = { broken: error instanceof Error ? error.message : String(error) }
  }
  parentPort?.postMessage(answer)
})
