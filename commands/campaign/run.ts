/**
 * Runs a campaign from where its store stands, until it is told to stop. No failure that was told of is lost: it is in the store
 * within the time of one write, and what was not written runs again. A store that fails ends the campaign with a `UsageError`.
 */
import * as path from 'node:path'
import { grouped } from '../../reports/text'
import type { WorkerSetup } from '../campaign_chunks'
import type { Streams } from '../cli'
import { HANG_SECONDS, type Range, runFleet } from '../fleet'
import { failuresOf } from '../fuzz_campaign'
import { Progress } from '../progress'
import type { Ledger } from './ledger'
import { rangeOfChunk } from './shards'
import type { CampaignStore } from './store'
import type { Part } from './worker'

const WORKER_FILE = path.join(__dirname, 'worker.ts')
/** What is lost when the process is killed is so old at most, and runs again. */
const WRITE_MS = 1000

export interface RunOptions {
  workers: number
  /** Chunks of the whole campaign, of all shards; Infinity: for ever. */
  chunksMax: number
  /** Of this session; null: no limit. */
  secondsMax: number | null
  /** Of all sessions; 0: never. */
  stopAfterFailures: number
}

/** Writes one after the other, and never more than the last state. New keys are told of when they are in the store. */
class Writer {
  private running: Promise<void> | null = null
  private isAsked = false
  private readonly store: CampaignStore
  private readonly ledger: Ledger
  private readonly tell: (key: string) => void
  private untold: string[] = []
  private writtenMs = 0
  /** Why the store cannot be written any more. */
  error: unknown = null

  constructor(store: CampaignStore, ledger: Ledger, tell: (key: string) => void) {
    this.store = store
    this.ledger = ledger
    this.tell = tell
  }

  /** Writes soon, and at once if there is something new. */
  came(news: readonly string[]): void {
    this.untold.push(...news)
    if (news.length > 0 || Date.now() - this.writtenMs >= WRITE_MS) this.ask()
  }

  private ask(): void {
    this.isAsked = true
    this.running ??= this.writeAll().finally(() => {
      this.running = null
    })
  }

  /** All that is known is in the store. */
  async settle(): Promise<void> {
    this.ask()
    await this.running
    if (this.error !== null) throw this.error
  }

  private async writeAll(): Promise<void> {
    while (this.isAsked && this.error === null) {
      this.isAsked = false
      this.writtenMs = Date.now()
      const news = this.untold
      this.untold = []
      try {
        await this.store.write(this.ledger.takeChanges())
        news.forEach(this.tell)
      } catch (error) {
        this.error = error
      }
    }
  }
}

export async function runCampaign(
  store: CampaignStore,
  ledger: Ledger,
  options: RunOptions,
  { err }: Streams,
  stop: AbortSignal,
): Promise<void> {
  const { setup, tally } = ledger
  const progress = new Progress(err, performance.now.bind(performance))
  const writer = new Writer(store, ledger, (key) =>
    progress.print(`campaign: failure ${key} in world ${setup.seed}.${ledger.firstIndexes[key]}\n`),
  )
  ledger.history.begin(Date.now())
  await writer.settle()
  progress.print(
    `campaign: seed ${setup.seed}, profile ${setup.profile}, ${grouped(tally.worlds)} worlds done, ${options.workers} workers\n`,
  )
  const worldsBefore = tally.worlds
  const open = ledger.done.open(options.chunksMax)
  const workerData: WorkerSetup = {
    profile: setup.profile,
    campaign: { seed: setup.seed, replayPercent: setup.replayPercent, keep: 'smallest' },
    hangSeconds: HANG_SECONDS,
  }
  const isOver = (): boolean =>
    stop.aborted ||
    writer.error !== null ||
    (options.secondsMax !== null && progress.seconds() >= options.secondsMax) ||
    (options.stopAfterFailures > 0 && failuresOf(tally) >= options.stopAfterFailures)
  const next = (): Range | null => {
    if (isOver()) return null
    const { done, value } = open.next()
    return done === true ? null : rangeOfChunk(setup.firstIndex, value)
  }
  const done = (part: Part): void => {
    writer.came(ledger.add(part.firstIndex, part.tally, Date.now()))
    // Rates are of this session.
    progress.update({ ...tally, worlds: tally.worlds - worldsBefore }, shareOf(ledger, options, progress.seconds()))
  }
  const here = (): never => {
    throw new Error('a campaign runs in threads: a world that hangs must not end it')
  }
  try {
    await runFleet<Part>({ workers: options.workers, workerFile: WORKER_FILE, workerData, here, next, done })
  } finally {
    progress.clear()
    await writer.settle()
  }
}

function shareOf({ done, setup }: Ledger, { chunksMax, secondsMax }: RunOptions, seconds: number): number {
  const chunks = Object.values(done.parts).reduce((sum, { upTo, beyond }) => sum + upTo + beyond.length, 0)
  const ofChunks = (chunks * setup.shard.of) / (chunksMax * setup.shard.parts.length)
  return Math.max(ofChunks, secondsMax === null ? 0 : seconds / secondsMax)
}
