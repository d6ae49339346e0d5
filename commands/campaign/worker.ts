/** A thread of a campaign: what comes back says which worlds it is of. */
import { workerData } from 'node:worker_threads'
import type { Tally } from '../../properties/campaign'
import { runRange, type WorkerSetup } from '../campaign_chunks'
import { serveRanges } from '../fleet_serve'
import { type ProfileName, subjectOf } from '../subject'

export interface Part {
  firstIndex: number
  tally: Tally
}

function serve(): void {
  const setup = workerData as WorkerSetup
  const subject = subjectOf(setup.profile as ProfileName)
  serveRanges<Part>((range) => {
    const { tally, left } = runRange(subject, setup, range)
    return { tally: tally === null ? null : { firstIndex: range.firstIndex, tally }, left }
  })
}

serve()
