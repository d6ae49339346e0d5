/**
 * A campaign in an SQLite file. SQLite runs as WebAssembly and writes real files. Its lock is the folder FILE.lock, which only
 * one process can have, readers too; a killed process leaves it behind. A transaction that was cut off is taken back by the next
 * process that opens the file.
 */
import { Database } from 'node-sqlite3-wasm'
import { UsageError } from '../cli'
import { giveUpOwnership, livingOwner, renewOwnership, takeOwnership } from './owner'
import { type CampaignStore, retried, STORE_WAIT_MS, type StoreMode } from './store'

// The very module that the package uses, for `alone`.
const fs: typeof import('node:fs') = require('node:fs')

const SCHEMA = 'CREATE TABLE IF NOT EXISTS campaign_records (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID'
/** Says what the file is to those who look at its head. */
const APPLICATION_ID = 0x6d697273
/** Transactions last some milliseconds; a lock that is the same one for so long belongs to nobody. */
const STALE_LOCK_MS = STORE_WAIT_MS / 2

const lockFolder = (file: string): string => `${file}.lock`

/**
 * Runs `action` so that SQLite finds a transaction that was cut off. Before it takes one back it asks whether another process is
 * writing, and the package (0.8) says so whenever the lock is there, which is its own. Who has the lock is alone: the answer
 * is always no. Without this a kill in the middle of a commit leaves half of it.
 */
function alone<T>(action: () => T): T {
  const { accessSync } = fs
  fs.accessSync = (place, mode) => {
    if (String(place).endsWith('.lock')) throw new Error('nobody else')
    return accessSync(place, mode)
  }
  try {
    return action()
  } finally {
    fs.accessSync = accessSync
  }
}

/** Locks are folders, made anew each time: the same one is still held. */
class LockWatch {
  private readonly file: string
  private seen = ''
  private sinceMs = 0

  constructor(file: string) {
    this.file = file
  }

  /** Called when it is held; removes one that nobody can be holding. An owner's is left alone by all but the owner. */
  held(): void {
    const stat = fs.statSync(lockFolder(this.file), { throwIfNoEntry: false })
    const identity = stat === undefined ? '' : `${stat.ino} ${stat.ctimeMs}`
    if (identity !== this.seen) {
      this.seen = identity
      this.sinceMs = Date.now()
    } else if (Date.now() - this.sinceMs >= STALE_LOCK_MS && livingOwner(this.file) === null) removeLock(this.file)
  }
}

function removeLock(file: string): void {
  fs.rmSync(lockFolder(file), { recursive: true, force: true })
}

class SqliteStore implements CampaignStore {
  private readonly database: Database
  private readonly file: string
  private readonly isOwner: boolean

  constructor(database: Database, file: string, isOwner: boolean) {
    this.database = database
    this.file = file
    this.isOwner = isOwner
  }

  async read(): Promise<Map<string, string>> {
    const rows = await free(this.file, () => this.database.all('SELECT name, body FROM campaign_records ORDER BY name'))
    return new Map(rows.map(({ name, body }) => [String(name), String(body)]))
  }

  async write(changes: ReadonlyMap<string, string | null>): Promise<void> {
    await free(this.file, () => this.writeNow(changes))
  }

  async close(): Promise<void> {
    this.database.close()
    if (this.isOwner) giveUpOwnership(this.file)
  }

  private writeNow(changes: ReadonlyMap<string, string | null>): void {
    if (this.isOwner) renewOwnership(this.file)
    this.database.exec('BEGIN IMMEDIATE')
    try {
      for (const [name, body] of changes) {
        if (body === null) this.database.run('DELETE FROM campaign_records WHERE name = ?', [name])
        else this.database.run('INSERT OR REPLACE INTO campaign_records (name, body) VALUES (?, ?)', [name, body])
      }
      this.database.exec('COMMIT')
    } catch (error) {
      if (this.database.inTransaction) this.database.exec('ROLLBACK')
      throw error
    }
  }
}

/** Waits while another process reads or writes. */
async function free<T>(file: string, action: () => T): Promise<T> {
  const watch = new LockWatch(file)
  const attempt = (): { result: T } | null => {
    try {
      return { result: alone(action) }
    } catch (error) {
      if (error instanceof UsageError) throw error
      const text = error instanceof Error ? error.message : String(error)
      if (!/locked|busy/i.test(text)) throw new UsageError(`${file}: ${text}: give a store of a campaign, on a disk that works`)
      watch.held()
      return null
    }
  }
  return (await retried(attempt, () => `${file}: it stays locked: end the process that reads it`)).result
}

/** Makes the table; refuses files that are something else. */
function prepare(database: Database, file: string, isNewAllowed: boolean): void {
  const id = Number(database.get('PRAGMA application_id')?.['application_id'])
  const tables = Number(database.get('SELECT count(*) AS count FROM sqlite_master')?.['count'])
  if (id === APPLICATION_ID && tables > 0) return
  if (tables > 0 || !isNewAllowed) throw new UsageError(`${file}: this is no store of a campaign: give another file`)
  database.exec('BEGIN IMMEDIATE')
  database.exec(SCHEMA)
  database.exec(`PRAGMA application_id = ${APPLICATION_ID}`)
  database.exec('COMMIT')
}

function openDatabase(file: string, mode: StoreMode): Database {
  try {
    // Where the last owner was killed its lock is in the way.
    if (mode === 'own' ? takeOwnership(file).wasLeft : livingOwner(file) === null && fs.existsSync(`${file}.owner`)) {
      removeLock(file)
    }
    return new Database(file)
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError(`${file}: ${error instanceof Error ? error.message : error}: give a file that can be written`)
  }
}

export async function openSqliteStore(file: string, mode: StoreMode): Promise<CampaignStore> {
  if (mode !== 'own' && !fs.existsSync(file)) throw new UsageError(`${file}: there is no such store`)
  const database = openDatabase(file, mode)
  try {
    await free(file, () => {
      prepare(database, file, mode === 'own')
      database.exec('PRAGMA synchronous = FULL')
    })
  } catch (error) {
    database.close()
    if (mode === 'own') giveUpOwnership(file)
    throw error
  }
  return new SqliteStore(database, file, mode === 'own')
}
