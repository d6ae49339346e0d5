/** A PostgreSQL server of a test's own, in a scratch folder and on a socket there; null where none is installed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'

export interface TestServer {
  /** Of a database; a name of a campaign may be added after `#`. */
  url: string
  stop(): Promise<void>
}

const INSTALLED = '/usr/lib/postgresql'
const START_MS = 30_000

function binaries(): string | null {
  const folders = fs.existsSync(INSTALLED) ? fs.readdirSync(INSTALLED).map((version) => path.join(INSTALLED, version, 'bin')) : []
  return folders.find((folder) => fs.existsSync(path.join(folder, 'initdb'))) ?? null
}

/** The server refuses to run as root. */
function account(): { uid?: number; gid?: number } | null {
  if (process.getuid?.() !== 0) return {}
  const ids = ['-u', '-g'].map((what) => spawnSync('id', [what, 'postgres'], { encoding: 'utf8' }))
  return ids.every(({ status }) => status === 0) ? { uid: Number(ids[0]!.stdout), gid: Number(ids[1]!.stdout) } : null
}

async function isUp(child: ChildProcess, socket: string): Promise<void> {
  for (let waitedMs = 0; !fs.existsSync(socket); waitedMs += 50) {
    if (child.exitCode !== null || waitedMs > START_MS) throw new Error(`the server does not start: ${child.exitCode}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

export async function startPostgres(): Promise<TestServer | null> {
  const folder = binaries()
  const owner = account()
  if (folder === null || owner === null) return null
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'postgres-'))
  if (owner.uid !== undefined) fs.chownSync(scratch, owner.uid, owner.gid!)
  const data = path.join(scratch, 'data')
  const made = spawnSync(path.join(folder, 'initdb'), ['-D', data, '-U', 'tester', '-A', 'trust', '-N'], {
    ...owner,
    cwd: scratch,
  })
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`)
  const words = ['-D', data, '-k', scratch, '-c', 'listen_addresses=']
  const child = spawn(path.join(folder, 'postgres'), words, { ...owner, cwd: scratch, stdio: 'ignore' })
  await isUp(child, path.join(scratch, '.s.PGSQL.5432'))
  return {
    url: `postgres://tester@/postgres?host=${scratch}`,
    stop: async () => {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGINT')
      await ended
      fs.rmSync(scratch, { recursive: true, force: true })
    },
  }
}
