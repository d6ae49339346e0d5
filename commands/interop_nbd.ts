/**
 * The NBD part of `npm run interop`: our server under the clients of libnbd and QEMU, our client on the servers of QEMU and
 * nbdkit, in the clear and with TLS. Each check is skipped by name where one of its programs is not installed.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { LIVE_CHECKS } from './interop_live'
import { killedWithUs, makeScratch, removeScratch, turnLoop } from './interrupt'

const MIB = 1024 * 1024
const DISK_BYTES = 8 * MIB
const PROGRAM = path.resolve(__dirname, '../bin/mirrorsim.cjs')
const START_MS_MAX = 20_000
const RUN_MS_MAX = 60_000

export interface NbdCheck {
  readonly name: string
  /** What must be installed. */
  readonly needs: readonly string[]
  run(bench: NbdInterop): Promise<void>
}

export type NbdOutcome = { name: string; result: 'ok' | 'skipped' | 'failed'; text: string }

/** A folder with images, and the servers that were started on them. */
export class NbdInterop {
  private readonly servers: ChildProcess[] = []
  private nextSocket = 0

  constructor(readonly folder: string) {}

  at(name: string): string {
    return path.join(this.folder, name)
  }
  /** A file with data at its ends and a hole in the middle. */
  makeDisk(name: string): string {
    const file = this.at(name)
    const data = Buffer.alloc(MIB)
    for (let at = 0; at < MIB; at += 4) data.writeUInt32LE(Math.imul(at + name.length, 2654435761) >>> 0, at)
    fs.writeFileSync(file, data)
    const descriptor = fs.openSync(file, 'r+')
    fs.ftruncateSync(descriptor, DISK_BYTES)
    fs.writeSync(descriptor, data, 0, MIB, 6 * MIB)
    fs.closeSync(descriptor)
    return file
  }
  /** Runs a program to its end; throws an Error with what it said if it fails. */
  run(program: string, ...args: string[]): string {
    const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', cwd: this.folder, timeout: RUN_MS_MAX })
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${(stderr + stdout).trim()}`)
    return stdout
  }
  ours(tool: 'nbd' | 'io', ...args: string[]): string {
    return this.run(process.execPath, PROGRAM, tool, ...args)
  }
  /** Starts a server that makes `socket`, and waits until it has. */
  private async start(program: string, args: readonly string[], socket: string): Promise<void> {
    const child = killedWithUs(spawn(program, args, { cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'] }))
    let complaint = ''
    child.stderr?.on('data', (text) => {
      complaint += text
    })
    this.servers.push(child)
    const endMs = Date.now() + START_MS_MAX
    while (!fs.existsSync(socket)) {
      if (child.exitCode !== null || Date.now() > endMs)
        throw new Error(`${program} ${args.join(' ')} does not start: ${complaint}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  private newSocket(): string {
    return this.at(`s${this.nextSocket++}`)
  }
  /** Serves a file with ours; gives the socket. */
  async serveOurs(file: string, ...options: string[]): Promise<string> {
    const socket = this.newSocket()
    await this.start(process.execPath, [PROGRAM, 'nbd', '-t', '-e', '0', '-k', socket, '-f', 'raw', ...options, file], socket)
    return socket
  }
  async serveQemu(file: string, ...options: string[]): Promise<string> {
    const socket = this.newSocket()
    await this.start('qemu-nbd', ['-t', '-e', '0', '-k', socket, '-f', 'raw', ...options, file], socket)
    return socket
  }
  async serveNbdkit(...options: string[]): Promise<string> {
    const socket = this.newSocket()
    await this.start('nbdkit', ['-f', '-U', socket, ...options], socket)
    return socket
  }
  /** Our storage daemon with the options that name its two sockets: `.qmp` behind the one that is given back, and that one. */
  async serveDaemon(options: (qmp: string, nbd: string) => readonly string[]): Promise<string> {
    const socket = this.newSocket()
    const qmp = `${socket}.qmp`
    await this.start(process.execPath, [PROGRAM, 'storage-daemon', ...options(qmp, socket)], qmp)
    return socket
  }
  /** Waits until the server that was started first has ended by itself; throws if it failed. */
  async ended(): Promise<void> {
    const [server] = this.servers
    if (server !== undefined && server.exitCode === null) await new Promise((resolve) => server.once('exit', resolve))
    if (server?.exitCode !== 0) throw new Error(`the server ends with ${server?.exitCode ?? server?.signalCode}`)
  }
  /** Kills all servers, and waits until they are gone. */
  async kill(): Promise<void> {
    const gone = this.servers.map((server) => new Promise((resolve) => server.once('exit', resolve)))
    this.stop()
    await Promise.all(gone)
  }
  stop(): void {
    for (const server of this.servers.splice(0)) server.kill('SIGKILL')
  }
}

const uri = (socket: string, name = ''): string => `nbd+unix:///${name}?socket=${socket}`

function expectEqual(actual: unknown, expected: unknown, what: string): void {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (left !== right) throw new Error(`${what}: ${left}, expected ${right}`)
}
function expectSameFiles(left: string, right: string): void {
  if (!fs.readFileSync(left).equals(fs.readFileSync(right))) throw new Error(`${left} and ${right} differ`)
}
const DISK_MAP = [
  { offset: 0, length: MIB, type: 0, description: 'data' },
  { offset: MIB, length: 5 * MIB, type: 3, description: 'hole,zero' },
  { offset: 6 * MIB, length: MIB, type: 0, description: 'data' },
  { offset: 7 * MIB, length: MIB, type: 3, description: 'hole,zero' },
]

const PYTHON = '/usr/bin/python3'
const LIBNBD_SCRIPT = `
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
data = b"x" * 65536
h.pwrite(data, 65536, nbd.CMD_FLAG_FUA)
assert h.pread(65536, 65536) == data
h.zero(4096, 65536, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(8192, 65536) == b"\\0" * 4096 + b"x" * 4096
h.trim(65536, 131072)
h.cache(65536, 0)
h.flush()
assert h.can_df() and h.can_fast_zero() and h.can_multi_conn() and h.get_structured_replies_negotiated()
pieces = []
def take(buf, offset, status, error):
    pieces.append((offset, len(buf), status))
h.pread_structured(2 * 1024 * 1024, 0, take)
assert sum(p[1] for p in pieces) == 2 * 1024 * 1024 and len(pieces) > 1
def refused(body):
    try:
        body()
    except nbd.Error as error:
        return error.errno
h.set_strict_mode(0)
assert refused(lambda: h.pread(512, h.get_size())) == "EINVAL"
assert refused(lambda: h.pwrite(b"y" * 512, h.get_size())) == "ENOSPC"
assert refused(lambda: h.trim(512, h.get_size())) == "EINVAL"
h.shutdown()
`

export const NBD_CHECKS: readonly NbdCheck[] = [
  {
    name: 'nbdinfo shows our export, its flags and its map',
    needs: ['nbdinfo'],
    async run(bench) {
      const socket = await bench.serveOurs(bench.makeDisk('a'), '-x', 'name', '-D', 'words', '-A')
      const { exports } = JSON.parse(bench.run('nbdinfo', '--json', uri(socket, 'name')))
      const { 'export-size': size, description, contexts, can_multi_conn: multi, can_fast_zero: fast } = exports[0]
      const all = ['base:allocation', 'qemu:allocation-depth']
      expectEqual([size, description, contexts, multi, fast], [DISK_BYTES, 'words', all, true, true], 'nbdinfo')
      expectEqual(JSON.parse(bench.run('nbdinfo', '--map', '--json', uri(socket, 'name'))), DISK_MAP, 'the map')
    },
  },
  {
    name: 'nbdcopy copies from and to our export, through four connections',
    needs: ['nbdcopy'],
    async run(bench) {
      const file = bench.makeDisk('a')
      const target = bench.at('target')
      fs.writeFileSync(target, Buffer.alloc(DISK_BYTES, 1))
      const from = await bench.serveOurs(file)
      const to = await bench.serveOurs(target, '--discard=unmap')
      bench.run('nbdcopy', '--flush', uri(from), uri(to))
      expectSameFiles(file, target)
      bench.run('nbdcopy', uri(from), bench.at('copy'))
      expectSameFiles(file, bench.at('copy'))
    },
  },
  {
    name: 'nbdinfo starts our server by socket activation',
    needs: ['nbdinfo'],
    async run(bench) {
      const file = bench.makeDisk('a')
      const size = bench.run('nbdinfo', '--size', '--', '[', process.execPath, PROGRAM, 'nbd', '-f', 'raw', file, ']')
      expectEqual(Number(size), DISK_BYTES, 'the size')
    },
  },
  {
    name: 'a script over libnbd uses every command, and hears of what is refused',
    needs: ['python3-libnbd'],
    async run(bench) {
      const socket = await bench.serveOurs(bench.makeDisk('a'), '--discard=unmap')
      bench.run(PYTHON, '-c', LIBNBD_SCRIPT, uri(socket))
    },
  },
  {
    name: 'qemu-img and qemu-io use our export by nbd: and nbd+unix:, and qemu-nbd lists it',
    needs: ['qemu-img', 'qemu-io', 'qemu-nbd'],
    async run(bench) {
      const file = bench.makeDisk('a')
      const socket = await bench.serveOurs(file, '-x', 'name', '--discard=unmap')
      bench.run('qemu-io', '-f', 'raw', '-c', 'write -P 7 1M 64k', '-c', 'write -z -u 0 64k', '-c', 'flush', uri(socket, 'name'))
      bench.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', '-U', file, `nbd:unix:${socket}:exportname=name`)
      bench.run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', uri(socket, 'name'), bench.at('copy'))
      expectSameFiles(file, bench.at('copy'))
      const list = bench.run('qemu-nbd', '-L', '-k', socket)
      if (!list.includes("export: 'name'") || !list.includes('base:allocation')) throw new Error(list)
    },
  },
  {
    name: 'our client reads and writes what qemu-nbd serves',
    needs: ['qemu-nbd', 'qemu-img'],
    async run(bench) {
      const file = bench.makeDisk('a')
      const socket = await bench.serveQemu(file, '-x', 'name', '--discard=unmap')
      const commands = ['write -P 9 1M 1M', 'read -P 9 1M 1M', 'write -z 2M 64k', 'read -P 0 2M 64k', 'discard 0 64k', 'flush']
      bench.ours('io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri(socket, 'name'))
      const list = bench.ours('nbd', '-L', '-k', socket)
      if (!list.includes("export: 'name'") || !list.includes('transaction size: 32-bit')) throw new Error(list)
      // One behind the other: our server over our client.
      const outer = await bench.serveOurs(uri(socket, 'name'), '-r')
      bench.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', '-U', file, uri(outer))
    },
  },
  {
    name: 'our client reads and writes what nbdkit serves, with every handshake and block size',
    needs: ['nbdkit'],
    async run(bench) {
      const commands = [
        'write -P 9 0 1M',
        'read -P 9 0 1M',
        'write -z 64k 64k',
        'read -P 0 64k 64k',
        'read -P 9 128k 64k',
        'flush',
      ]
      const args = ['-f', 'raw', ...commands.flatMap((command) => ['-c', command])]
      for (const options of [
        ['memory', '4M'],
        ['--no-sr', 'memory', '4M'],
        ['--mask-handshake=0', 'memory', '4M'],
        ['--mask-handshake=1', '--no-sr', 'memory', '4M'],
        [
          '--filter=blocksize-policy',
          'memory',
          '4M',
          'blocksize-minimum=4096',
          'blocksize-maximum=64K',
          'blocksize-error-policy=error',
        ],
        ['--filter=delay', 'memory', '4M', 'rdelay=1ms', 'wdelay=1ms'],
      ]) {
        const text = bench.ours('io', ...args, uri(await bench.serveNbdkit(...options)))
        if (text.includes('failed')) throw new Error(`${options.join(' ')}: ${text}`)
      }
    },
  },
  {
    name: 'TLS with a shared key: nbdinfo and our server, our client and our server',
    needs: ['nbdinfo'],
    async run(bench) {
      fs.writeFileSync(bench.at('keys.psk'), `qemu:${'0123456789abcdef'.repeat(4)}\n`, { mode: 0o600 })
      const server = ['--object', `tls-creds-psk,id=tls0,endpoint=server,dir=${bench.folder}`, '--tls-creds', 'tls0']
      const socket = await bench.serveOurs(bench.makeDisk('a'), ...server)
      const secret = `nbds+unix://qemu@/?socket=${socket}&tls-psk-file=${bench.at('keys.psk')}`
      expectEqual(Number(bench.run('nbdinfo', '--size', secret)), DISK_BYTES, 'the size')
      const { status } = spawnSync('nbdinfo', ['--size', uri(socket)], { stdio: 'ignore', timeout: RUN_MS_MAX })
      if (status === 0) throw new Error('a client in the clear was let in')
      const client = ['--object', `tls-creds-psk,id=tls0,endpoint=client,dir=${bench.folder}`]
      const options = `driver=nbd,server.type=unix,server.path=${socket},tls-creds=tls0`
      bench.ours('io', ...client, '--image-opts', '-c', 'write -P 3 0 1M', '-c', 'read -P 3 0 1M', options)
    },
  },
]

function isInstalled(program: string): boolean {
  // The module belongs to the system's own interpreter, which need not be the first one found.
  if (program === 'python3-libnbd') return spawnSync(PYTHON, ['-c', 'import nbd'], { stdio: 'ignore' }).status === 0
  return spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status === 0
}

/** Runs all checks, each in a folder of its own. `tell` hears of each as it ends. */
export async function interopNbd(tell: (outcome: NbdOutcome) => void): Promise<NbdOutcome[]> {
  execFileSync(process.execPath, [path.resolve(__dirname, '../scripts/build.cjs'), '--optional'], { stdio: 'ignore' })
  const outcomes: NbdOutcome[] = []
  for (const { name, needs, run } of [...NBD_CHECKS, ...LIVE_CHECKS]) {
    await turnLoop()
    const missing = needs.filter((program) => !isInstalled(program))
    let outcome: NbdOutcome = { name, result: 'ok', text: '' }
    if (missing.length > 0) outcome = { name, result: 'skipped', text: `${missing.join(', ')} not installed` }
    else {
      const bench = new NbdInterop(makeScratch(os.tmpdir(), 'mirrorsim-nbd-'))
      try {
        await run(bench)
      } catch (error) {
        outcome = { name, result: 'failed', text: (error as Error).message }
      } finally {
        bench.stop()
        removeScratch(bench.folder)
      }
    }
    outcomes.push(outcome)
    tell(outcome)
  }
  return outcomes
}
