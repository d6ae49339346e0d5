/**
 * Hands the chunks of a campaign out to worker threads, or runs them right here. Chunks go out in the order of their
 * indexes and each one that has gone out comes back whole, so at any stop the worlds done are [first, first + worlds).
 *
 * A worker whose world hangs says so, and is replaced; the rest of its chunk goes to another one.
 */
import * as path from 'node:path'
import { Worker } from 'node:worker_threads'
import { type CampaignOptions, Chunk, type Subject, type Tally } from '../properties/campaign'
import { finishesWithin } from './guard'

/** Some 30 ms of worlds: often enough for progress and for Ctrl-C, rarely enough to cost nothing. */
export const CHUNK_WORLDS = 32
/** A world takes a millisecond; what takes this long does not end. */
export const HANG_SECONDS = 20

export interface Range {
  firstIndex: number
  count: number
}

/** What a worker is started with. */
export interface WorkerSetup {
  profile: string
  campaign: CampaignOptions
  hangSeconds: number
}

/** What a worker answers to a range: the tally, and what is left of the range if a world hung. */
export type ChunkAnswer = { tally: Tally; left: Range | null } | { broken: string }

export interface FleetOptions {
  /** 0: no threads. */
  workers: number
  setup: WorkerSetup
  /** The next range, or null when there is no more to do. Asked again after each answer. */
  next: () => Range | null
  /** A chunk has come back. */
  done: (tally: Tally) => void
  /** The program of the threads. */
  workerFile?: string
}

const WORKER_FILE = path.join(__dirname, 'fleet_worker.ts')

/** Runs a range; in a world that hangs it stops, and says what is left. */
export function runRange(subject: Subject, setup: WorkerSetup, range: Range): { tally: Tally; left: Range | null } {
  const chunk = new Chunk(subject, setup.campaign, range.firstIndex, range.count)
  const finished = finishesWithin(setup.hangSeconds * 1000, () => {
    while (chunk.step());
  })
  if (finished) return { tally: chunk.tally, left: null }
  chunk.recordHang(setup.hangSeconds)
  return { tally: chunk.tally, left: { firstIndex: chunk.index, count: chunk.endIndex - chunk.index } }
}

/** Resolves when every range that was handed out has come back; rejects when the harness itself is broken. */
export async function runFleet(options: FleetOptions, subject: () => Subject): Promise<void> {
  if (options.workers === 0) return runHere(options, subject())
  const left: Range[] = []
  const next = (): Range | null => left.shift() ?? options.next()
  await Promise.all(
    Array.from({ length: options.workers }, async () => {
      for (let range = next(); range !== null; range = next()) await serve(options, range, next, left)
    }),
  )
}

/** Between chunks the event loop turns, so that signals arrive. After a hang this thread is of no further use. */
async function runHere({ setup, next, done }: FleetOptions, subject: Subject): Promise<void> {
  for (let range = next(); range !== null; range = next()) {
    const { tally, left } = runRange(subject, setup, range)
    done(tally)
    if (left !== null) return
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Feeds one worker from `first` on until there is no more to do, or until it has to be replaced. */
function serve(options: FleetOptions, first: Range, next: () => Range | null, left: Range[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(options.workerFile ?? WORKER_FILE, { workerData: options.setup })
    let isOver = false
    const end = (error?: Error): void => {
      if (isOver) return
      isOver = true
      worker.terminate().then(() => (error === undefined ? resolve() : reject(error)), reject)
    }
    worker.on('error', end)
    worker.on('exit', (code) => end(new Error(`a worker left with exit code ${code}`)))
    worker.on('message', (answer: ChunkAnswer) => {
      if ('broken' in answer) return end(new Error(answer.broken))
      options.done(answer.tally)
      if (answer.left !== null) {
        if (answer.left.count > 0) left.push(answer.left)
        return end()
      }
      const range = next()
      if (range === null) end()
      else worker.postMessage(range)
    })
    worker.postMessage(first)
  })
}
