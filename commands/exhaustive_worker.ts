/** A thread of the exhaustive search. */
import { workerData } from 'node:worker_threads'
import { searchRange } from './exhaustive_ranges'
import { serveRanges } from './fleet_serve'
import { runWithDecider } from './subject'

const { hangSeconds } = workerData as { hangSeconds: number }
const run = runWithDecider()
serveRanges((range) => searchRange(run, hangSeconds, range))
