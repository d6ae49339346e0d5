/** What a thread of the fleet does: answers each range that it is sent. */
import { parentPort } from 'node:worker_threads'
import type { Range, RangeAnswer, RangeResult } from './fleet'

/** Serves the parent until it terminates the thread. */
export function serveRanges<Tally>(run: (range: Range) => RangeResult<Tally>): void {
  parentPort?.on('message', (range: Range) => {
    let answer: RangeAnswer<Tally>
    try {
      answer = run(range)
    } catch (error) {
      answer = { broken: error instanceof Error ? error.message : String(error) }
    }
    parentPort?.postMessage(answer)
  })
}
