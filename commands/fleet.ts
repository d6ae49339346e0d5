/**
 * Hands ranges of indexes out to worker threads, or runs them right here. Ranges go out in order and each one that has
 * gone out comes back whole, so at any stop what is done is one range from the first index on.
 *
 * A worker whose world hangs says so, and is replaced; the rest of its chunk goes to another one.
 */
import { isMainThread, Worker } from 'node:worker_threads'
import { finishesWithin } from './guard'

/** A world takes a millisecond; what takes this long does not end. */
export const HANG_SECONDS = 20

/** A process that got less of the machine than this share of the time was kept waiting: its world may be a good one. */
const STALLED_SHARE = 0.5
/** After so many stalls in one range it is the world all the same. */
const STALLS_MAX = 3

export interface Range {
  firstIndex: number
  count: number
  /** How often it was given up because the machine stood still; absent: never. */
  stalls?: number
}

/** What came of a range: a tally of any kind, and what is left of the range if a world hung. No tally: all is to be done again. */
export interface RangeResult<Tally> {
  tally: Tally | null
  left: Range | null
}

/** What a worker answers to a range. */
export type RangeAnswer<Tally> = RangeResult<Tally> | { broken: string }

/** Work that goes on step by step through the indexes of a range, adding up in a tally. */
export interface Stepper<Tally> {
  readonly tally: Tally
  /** As it was given. */
  readonly range: Range
  /** False when the range is at its end. */
  step(): boolean
  /** The step that was stopped goes down as a hang; gives what is left of the range. */
  hung(): Range
}

export interface FleetOptions<Tally> {
  /** 0: no threads. */
  workers: number
  /** The program of the threads, and what it is started with. */
  workerFile: string
  workerData: unknown
  /** Without threads: runs a range here. Called first when there is one. */
  here: () => (range: Range) => RangeResult<Tally>
  /** The next range, or null when there is no more to do. Asked again after each answer. */
  next: () => Range | null
  /** A range has come back. */
  done: (tally: Tally) => void
}

/**
 * Takes all steps; after one that hangs it stops, and says what is left. `stretch` steps together have to end in time: to
 * watch over each of many short ones costs more than they do. In a thread, which can be replaced, a range that did not get
 * the machine is given back as it was.
 */
export function runSteps<Tally>(stepper: Stepper<Tally>, hangSeconds: number, stretch: number): RangeResult<Tally> {
  for (let isOver = false; !isOver; ) {
    const before = process.cpuUsage()
    const finished = finishesWithin(hangSeconds * 1000, () => {
      for (let count = 0; count < stretch && !isOver; count++) isOver = !stepper.step()
    })
    if (finished) continue
    const { user, system } = process.cpuUsage(before)
    const stalls = (stepper.range.stalls ?? 0) + 1
    const isStall = (user + system) / 1e6 < hangSeconds * STALLED_SHARE && stalls <= STALLS_MAX && !isMainThread
    return isStall ? { tally: null, left: { ...stepper.range, stalls } } : { tally: stepper.tally, left: stepper.hung() }
  }
  return { tally: stepper.tally, left: null }
}

/** Resolves when every range that was handed out has come back; rejects when the harness itself is broken. */
export async function runFleet<Tally>(options: FleetOptions<Tally>): Promise<void> {
  if (options.workers === 0) return runHere(options)
  const left: Range[] = []
  const next = (): Range | null => left.shift() ?? options.next()
  await Promise.all(
    Array.from({ length: options.workers }, async () => {
      for (let range = next(); range !== null; range = next()) await serve(options, range, next, left)
    }),
  )
}

/** Between chunks the event loop turns, so that signals arrive. After a hang this thread is of no further use. */
async function runHere<Tally>({ here, next, done }: FleetOptions<Tally>): Promise<void> {
  const run = here()
  for (let range = next(); range !== null; range = next()) {
    const { tally, left } = run(range)
    if (tally !== null) done(tally)
    if (left !== null) return
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Feeds one worker from `first` on until there is no more to do, or until it has to be replaced. */
function serve<Tally>(options: FleetOptions<Tally>, first: Range, next: () => Range | null, left: Range[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(options.workerFile, { workerData: options.workerData })
    let isOver = false
    const end = (error?: Error): void => {
      if (isOver) return
      isOver = true
      worker.terminate().then(() => (error === undefined ? resolve() : reject(error)), reject)
    }
    worker.on('error', end)
    worker.on('exit', (code) => end(new Error(`a worker left with exit code ${code}`)))
    worker.on('message', (answer: RangeAnswer<Tally>) => {
      if ('broken' in answer) return end(new Error(answer.broken))
      if (answer.tally !== null) options.done(answer.tally)
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
