/** What a thread of the fleet does: answers each range that it is sent. */
import { parentPort } from 'node:worker_threads'
import type { Subject } from '../properties/campaign'
import { type ChunkAnswer, type Range, runRange, type WorkerSetup } from './fleet'

/** Serves the parent until it terminates the thread. */
export function serveRanges(setup: WorkerSetup, subject: Subject): void {
  parentPort?.on('message', (range: Range) => {
    let answer: ChunkAnswer
    try {
      answer = runRange(subject, setup, range)
    } catch (error) {
      answer = { broken: error instanceof Error ? error.message : String(error) }
    }
    parentPort?.postMessage(answer)
  })
}
