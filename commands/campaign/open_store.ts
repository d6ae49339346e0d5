/** Files and databases alike, by where they are. */
import { UsageError } from '../cli'
import type { CampaignStore, StoreMode } from './store'

/** `place`: a file, or `postgres://USER@HOST/DATABASE#NAME`, where NAME tells campaigns of one database apart. */
export async function openStore(place: string, mode: StoreMode): Promise<CampaignStore> {
  if (/^postgres(ql)?:/.test(place)) {
    const { openPostgresStore }: typeof import('./postgres_store') = require('./postgres_store')
    return openPostgresStore(place, mode)
  }
  if (/^[a-z]+:\/\//.test(place)) throw new UsageError(`--store ${place}: give a file or a postgres:// URL`)
  const { openSqliteStore }: typeof import('./sqlite_store') = require('./sqlite_store')
  return openSqliteStore(place, mode)
}
