/** A thread of the fleet with the real worlds. */
import { workerData } from 'node:worker_threads'
import { runRange, type WorkerSetup } from './campaign_chunks'
import { serveRanges } from './fleet_serve'
import { type ProfileName, subjectOf } from './subject'

const setup = workerData as WorkerSetup
const subject = subjectOf(setup.profile as ProfileName)
serveRanges((range) => runRange(subject, setup, range))
