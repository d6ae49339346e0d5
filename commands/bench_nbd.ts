/**
 * Our NBD server beside qemu-nbd, under the same client (fio's nbd engine) in turns: operations a second, and operations for
 * a CPU second of the server, which a busy machine changes less.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { killedWithUs, turnLoop } from './interrupt'

const MIB = 1024 * 1024
const DISK_BYTES = 256 * MIB
const START_MS_MAX = 20_000
const TICKS_PER_SECOND = 100
const PROGRAM = path.resolve(__dirname, '../bin/mirrorsim.cjs')

const ROWS = [
  ['randread', '4k', 1],
  ['randread', '4k', 16],
  ['randwrite', '4k', 1],
  ['randwrite', '4k', 16],
  ['read', '1m', 1],
  ['read', '1m', 16],
  ['write', '1m', 1],
  ['write', '1m', 16],
] as const

export interface NbdSample {
  operationsPerSecond: number
  operationsPerCpuSecond: number
}

export interface NbdRow {
  name: string
  ours: NbdSample
  peer: NbdSample
  /** Ours over the peer's. */
  ratio: number
  cpuRatio: number
}

interface Server {
  child: ChildProcess
  uri: string
}

function cpuSeconds({ child }: Server): number {
  // Fields 14 and 15 of the line, behind the name in brackets: time of all threads, in ticks.
  const fields = fs.readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

async function start(folder: string, name: string, program: string, args: readonly string[]): Promise<Server> {
  const socket = path.join(folder, `${name}.sock`)
  const file = path.join(folder, name)
  fs.writeFileSync(file, Buffer.alloc(DISK_BYTES, 'x'))
  const options = ['-t', '-e', '0', '-k', socket, '-f', 'raw', file]
  const child = killedWithUs(spawn(program, [...args, ...options], { stdio: ['ignore', 'ignore', 'inherit'] }))
  const endMs = Date.now() + START_MS_MAX
  while (!fs.existsSync(socket)) {
    if (child.exitCode !== null || Date.now() > endMs) throw new Error(`${program} does not start`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return { child, uri: `nbd+unix:///?socket=${socket}` }
}

function measure(server: Server, [kind, blockSize, depth]: (typeof ROWS)[number], runSeconds: number): NbdSample {
  const before = cpuSeconds(server)
  const job = [`--rw=${kind}`, `--bs=${blockSize}`, `--iodepth=${depth}`, `--size=${DISK_BYTES}`]
  const time = ['--time_based', `--runtime=${runSeconds}`, '--output-format=json']
  const args = ['--name=bench', '--ioengine=nbd', `--uri=${server.uri}`, ...job, ...time]
  const { status, stdout, stderr } = spawnSync('fio', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`fio fails: ${stderr}`)
  // A line of its own may stand before the report.
  const { jobs } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    jobs: Array<Record<'read' | 'write', { total_ios: number; iops: number }>>
  }
  const { read, write } = jobs[0]!
  const spent = Math.max(cpuSeconds(server) - before, 1 / TICKS_PER_SECOND)
  return { operationsPerSecond: read.iops + write.iops, operationsPerCpuSecond: (read.total_ios + write.total_ios) / spent }
}

function medianOf(samples: readonly NbdSample[], member: keyof NbdSample): number {
  return samples.map((sample) => sample[member]).sort((a, b) => a - b)[samples.length >> 1]!
}
function median(samples: readonly NbdSample[]): NbdSample {
  return {
    operationsPerSecond: medianOf(samples, 'operationsPerSecond'),
    operationsPerCpuSecond: medianOf(samples, 'operationsPerCpuSecond'),
  }
}

/** Null: fio or qemu-nbd is not installed. */
export async function benchNbd(
  folder: string,
  rounds: number,
  runSeconds: number,
  tell: (row: NbdRow) => void,
): Promise<NbdRow[] | null> {
  for (const program of ['fio', 'qemu-nbd']) if (spawnSync(program, ['--version'], { stdio: 'ignore' }).status !== 0) return null
  spawnSync(process.execPath, [path.resolve(__dirname, '../scripts/build.cjs'), '--optional'], { stdio: 'ignore' })
  const ours = await start(folder, 'ours', process.execPath, [PROGRAM, 'nbd'])
  const peer = await start(folder, 'theirs', 'qemu-nbd', [])
  try {
    const rows: NbdRow[] = []
    for (const row of ROWS) {
      const samples: { ours: NbdSample[]; peer: NbdSample[] } = { ours: [], peer: [] }
      for (let round = 0; round < rounds; round++) {
        await turnLoop()
        samples.ours.push(measure(ours, row, runSeconds))
        samples.peer.push(measure(peer, row, runSeconds))
      }
      const [mine, theirs] = [median(samples.ours), median(samples.peer)]
      const result = {
        name: `${row[0]} ${row[1]} depth ${row[2]}`,
        ours: mine,
        peer: theirs,
        ratio: mine.operationsPerSecond / theirs.operationsPerSecond,
        cpuRatio: mine.operationsPerCpuSecond / theirs.operationsPerCpuSecond,
      }
      tell(result)
      rows.push(result)
    }
    return rows
  } finally {
    ours.child.kill()
    peer.child.kill()
  }
}

const grouped = (value: number): string => Math.round(value).toLocaleString('en').padStart(9)

export const NBD_HEAD = `${'NBD server, operations a second'.padEnd(34)}     ours  qemu-nbd  ratio  ratio by CPU`

export function nbdRowText({ name, ours, peer, ratio, cpuRatio }: NbdRow): string {
  const values = `${grouped(ours.operationsPerSecond)} ${grouped(peer.operationsPerSecond)}`
  return `  ${name.padEnd(32)}${values}  ${ratio.toFixed(2).padStart(5)}  ${cpuRatio.toFixed(2).padStart(12)}`
}
