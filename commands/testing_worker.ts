/** A thread as fleet_worker.ts, with scripted worlds: the profile is the script. */
import { workerData } from 'node:worker_threads'
import type { WorkerSetup } from './fleet'
import { serveRanges } from './fleet_serve'
import { scriptedSubject } from './testing'

const setup = workerData as WorkerSetup
serveRanges(setup, scriptedSubject(JSON.parse(setup.profile)))
