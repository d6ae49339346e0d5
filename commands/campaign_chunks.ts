/** Campaigns as work for the fleet: a range of world indexes is a chunk. */
import { type CampaignOptions, Chunk, type Subject, type Tally } from '../properties/campaign'
import { type Range, type RangeResult, runSteps } from './fleet'

/** Some 30 ms of worlds: often enough for progress and for Ctrl-C, rarely enough to cost nothing. */
export const CHUNK_WORLDS = 32

/** What a worker is started with. */
export interface WorkerSetup {
  profile: string
  campaign: CampaignOptions
  hangSeconds: number
}

/** Runs a range of worlds; in one that hangs it stops, and says what is left. */
export function runRange(subject: Subject, { campaign, hangSeconds }: WorkerSetup, range: Range): RangeResult<Tally> {
  const chunk = new Chunk(subject, campaign, range.firstIndex, range.count)
  return runSteps(
    {
      range,
      tally: chunk.tally,
      step: () => chunk.step(),
      hung: () => {
        chunk.recordHang(hangSeconds)
        return { firstIndex: chunk.index, count: chunk.endIndex - chunk.index }
      },
    },
    hangSeconds,
    CHUNK_WORLDS,
  )
}
