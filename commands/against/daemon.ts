/**
 * One storage daemon that is kept alive for many lifecycles, with a monitor and an NBD server on unix sockets.
 *
 * What may fail: the start, by an Error; later everything that the daemon does, which is what is looked for: `fate` says how
 * it ended, `takeComplaints` what it wrote to its standard error.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { killedWithUs } from '../interrupt'
import { QmpClient } from '../qmp_client'
import { type Capabilities, capabilitiesOf, type Programs } from './programs'

const START_MS_MAX = 20_000
const QUIT_MS_MAX = 10_000
const POLL_MS = 2
const COMPLAINT_BYTES_MAX = 16 * 1024

/** Freed and fresh memory is filled, and the heap is checked: what is used after it was freed shows. */
export const MALLOC_ENVIRONMENT = { MALLOC_PERTURB_: '165', MALLOC_CHECK_: '3' } as const

export interface DaemonFate {
  readonly code: number | null
  readonly signal: string | null
}

export class Daemon {
  fate: DaemonFate | null = null
  /** Is called when the daemon has ended. */
  onEnd: (() => void) | null = null
  lifecycles = 0
  private complaints = ''
  private readonly ended: Promise<void>

  private constructor(
    private readonly child: ChildProcess,
    readonly nbdSocket: string,
  ) {
    child.stderr!.on('data', (bytes) => {
      if (this.complaints.length < COMPLAINT_BYTES_MAX) this.complaints += bytes
    })
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.fate = { code, signal }
        this.onEnd?.()
      })
      child.once('close', () => resolve())
      child.once('error', (error) => {
        this.complaints += String(error)
        this.fate ??= { code: null, signal: null }
        resolve()
      })
    })
  }

  monitor!: QmpClient
  capabilities!: Capabilities

  /** Sockets lie in `folder`, whose path must be short. */
  static async start(programs: Programs, folder: string): Promise<Daemon> {
    const [qmp, nbd] = [path.join(folder, 'qmp'), path.join(folder, 'nbd')]
    for (const socket of [qmp, nbd]) fs.rmSync(socket, { force: true })
    const args = [
      ...['--chardev', `socket,path=${qmp},server=on,wait=off,id=monitor`, '--monitor', 'chardev=monitor'],
      ...['--nbd-server', `addr.type=unix,addr.path=${nbd},max-connections=0`],
    ]
    const environment = { ...process.env, ...MALLOC_ENVIRONMENT }
    const child = spawn(...programs.command('qemu-storage-daemon', args), {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: environment,
    })
    const daemon = new Daemon(killedWithUs(child), nbd)
    const endMs = Date.now() + START_MS_MAX
    while (!fs.existsSync(qmp) || !fs.existsSync(nbd)) {
      if (daemon.fate !== null || Date.now() > endMs) {
        await daemon.kill()
        throw new Error(`qemu-storage-daemon does not start: ${daemon.complaints.trim()}`)
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
    daemon.monitor = await QmpClient.open(qmp)
    const [version, schema] = [await daemon.monitor.run('query-version'), await daemon.monitor.run('query-qmp-schema')]
    daemon.capabilities = capabilitiesOf(version, schema)
    return daemon
  }

  get processId(): number {
    return this.child.pid!
  }

  /** What has been written to standard error since the last call. */
  takeComplaints(): string {
    const text = this.complaints
    this.complaints = ''
    return text.trim()
  }

  /** Asks the daemon to quit and waits for its end; kills it if it does not. False: it had to be killed. */
  async quit(): Promise<boolean> {
    this.monitor.run('quit').catch(() => {})
    const isOver = await Promise.race([this.ended.then(() => true), later(QUIT_MS_MAX)])
    await this.kill()
    return isOver
  }

  /** Ends the daemon at once. */
  async kill(): Promise<void> {
    if (this.fate === null) this.child.kill('SIGKILL')
    await this.ended
    this.monitor?.close()
  }

  /** Waits a little for the end of a daemon whose connections have broken. */
  async settle(milliseconds: number): Promise<void> {
    await Promise.race([this.ended, later(milliseconds)])
  }
}

async function later(milliseconds: number): Promise<false> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds).unref())
  return false
}
