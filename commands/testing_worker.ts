/** A thread as fleet_worker.ts, with scripted worlds: the profile is the script. */
import { workerData } from 'node:worker_threads'
import { runRange, type WorkerSetup } from './campaign_chunks'
import { serveRanges } from './fleet_serve'
import { scriptedSubject } from './testing'

const setup = workerData as WorkerSetup
const subject = scriptedSubject(JSON.parse(setup.profile))
serveRanges((range) => runRange(subject, setup, range))
