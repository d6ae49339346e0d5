/** The thread of one planted leak: runs worlds twice until something is noticed. */
import { parentPort, workerData } from 'node:worker_threads'
import { Chunk } from '../properties/campaign'
import type { Failure } from '../sim/verdict'
import { subjectOf } from './subject'

export interface LeakTask {
  seed: string
  worldsMax: number
}

/** null: nothing in all worlds. */
export interface LeakAnswer {
  failure: Failure | null
  worlds: number
}

const { seed, worldsMax } = workerData as LeakTask
const chunk = new Chunk(subjectOf('default'), { seed, replayPercent: 100 }, 0, worldsMax)
while (chunk.tally.groups.length === 0 && chunk.step());
const answer: LeakAnswer = { failure: chunk.tally.groups[0]?.found[0]?.failure ?? null, worlds: chunk.tally.worlds }
parentPort?.postMessage(answer)
