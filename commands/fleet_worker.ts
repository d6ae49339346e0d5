/** A thread of the fleet with the real worlds. */
import { workerData } from 'node:worker_threads'
import type { WorkerSetup } from './fleet'
import { serveRanges } from './fleet_serve'
import { type ProfileName, subjectOf } from './subject'

const setup = workerData as WorkerSetup
serveRanges(setup, subjectOf(setup.profile as ProfileName))
