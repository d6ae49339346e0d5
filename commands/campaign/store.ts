/**
 * Where a campaign is kept: named texts, and changes to them that happen as a whole or not at all. What `write` has resolved for
 * survives kill -9. One process at a time may own a store; others may read it and set records that the owner does not, meanwhile.
 *
 * What may fail: any call, with a `UsageError` that says what to do. Nothing is retried for longer than STORE_WAIT_MS.
 */
import { UsageError } from '../cli'

export const STORE_WAIT_MS = 10_000
export const RETRY_MS = 50

export interface CampaignStore {
  /** All records, by name. */
  read(): Promise<Map<string, string>>
  /** Sets records, and removes those that are null. */
  write(changes: ReadonlyMap<string, string | null>): Promise<void>
  close(): Promise<void>
}

/** `own`: makes what is not there. `add` (some records beside an owner) and `read`: it must be there. */
export type StoreMode = 'own' | 'add' | 'read'

/** Calls `attempt` until it gives something other than null. */
export async function retried<T>(attempt: () => T | null | Promise<T | null>, whenNever: () => string): Promise<T> {
  for (let waitedMs = 0; ; waitedMs += RETRY_MS) {
    const result = await attempt()
    if (result !== null) return result
    if (waitedMs >= STORE_WAIT_MS) throw new UsageError(whenNever())
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}
