/**
 * A campaign in a PostgreSQL database. The owner holds an advisory lock, which the server gives up with the connection, so a
 * killed campaign blocks nobody.
 */
import { UsageError } from '../cli'
import { type CampaignStore, retried, type StoreMode } from './store'

const SCHEMA = `CREATE TABLE IF NOT EXISTS campaign_records
  (campaign TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (campaign, name))`
/** Tells our locks from those of other programs. */
const LOCK_CLASS = 0x6d697273
const CONNECT_MS = 5000
const DEFAULT_NAME = 'campaign'

/** What we use of the package, which brings no types. */
interface Client {
  connect(): Promise<void>
  query(text: string, values?: readonly unknown[]): Promise<{ rows: Array<Record<string, unknown>> }>
  end(): Promise<void>
  on(event: 'error', listener: (error: Error) => void): void
}

class PostgresStore implements CampaignStore {
  private readonly client: Client
  private readonly name: string
  private readonly place: string

  constructor(client: Client, name: string, place: string) {
    this.client = client
    this.name = name
    this.place = place
  }

  async read(): Promise<Map<string, string>> {
    const { rows } = await this.asked('SELECT name, body FROM campaign_records WHERE campaign = $1 ORDER BY name', [this.name])
    return new Map(rows.map(({ name, body }) => [String(name), String(body)]))
  }

  async write(changes: ReadonlyMap<string, string | null>): Promise<void> {
    const set = [...changes].filter(([, body]) => body !== null)
    const removed = [...changes].flatMap(([name, body]) => (body === null ? [name] : []))
    await this.asked('BEGIN')
    try {
      await this.asked(
        `INSERT INTO campaign_records SELECT $1, name, body FROM unnest($2::text[], $3::text[]) AS given (name, body)
          ON CONFLICT (campaign, name) DO UPDATE SET body = EXCLUDED.body`,
        [this.name, set.map(([name]) => name), set.map(([, body]) => body)],
      )
      await this.asked('DELETE FROM campaign_records WHERE campaign = $1 AND name = ANY ($2::text[])', [this.name, removed])
      await this.asked('COMMIT')
    } catch (error) {
      // Where the connection is gone there is nothing to take back.
      await this.client.query('ROLLBACK').catch(() => {})
      throw error
    }
  }

  async close(): Promise<void> {
    await this.client.end()
  }

  private async asked(text: string, values: readonly unknown[] = []): ReturnType<Client['query']> {
    try {
      return await this.client.query(text, values)
    } catch (error) {
      throw new UsageError(
        `${this.place}: ${error instanceof Error ? error.message : error}: look after the server and start again`,
      )
    }
  }
}

/** Without the password. */
function shownPlace(place: string): string {
  return place.replace(/:[^:@/]*@/, '@')
}

function clientFor(url: string, place: string): Client {
  let pg: { Client: new (options: object) => Client }
  try {
    pg = require('pg')
  } catch {
    throw new UsageError(`${place}: the package pg is not installed: npm install pg`)
  }
  return new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_MS })
}

export async function openPostgresStore(place: string, mode: StoreMode): Promise<CampaignStore> {
  const [url = '', name = DEFAULT_NAME] = place.split('#')
  const shown = shownPlace(place)
  const client = clientFor(url, shown)
  // A connection that breaks while nobody asks: the next question tells.
  client.on('error', () => {})
  try {
    await client.connect()
    if (mode === 'own') await prepare(client, name, shown)
  } catch (error) {
    await client.end().catch(() => {})
    if (error instanceof UsageError) throw error
    throw new UsageError(`${shown}: ${error instanceof Error ? error.message : error}: give the URL of a database that answers`)
  }
  return new PostgresStore(client, name, shown)
}

async function prepare(client: Client, name: string, shown: string): Promise<void> {
  await retried(
    async () => {
      const { rows } = await client.query('SELECT pg_try_advisory_lock($1, hashtext($2)) AS got', [LOCK_CLASS, name])
      return rows[0]?.['got'] === true ? true : null
    },
    () => `${shown}: another process runs this campaign: end it, or give another name after #`,
  )
  await client.query(SCHEMA)
}
