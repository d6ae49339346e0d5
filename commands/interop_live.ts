/**
 * The live part of `npm run interop`: our storage daemon mirrors a disk while QEMU's qemu-io writes to it over NBD, from
 * several processes at once, and the images are then opened by QEMU's programs; and the daemon is killed in the middle,
 * after which everything that a client has flushed must be there.
 */
import { spawn } from 'node:child_process'
import * as fs from 'node:fs'
import type { NbdCheck, NbdInterop } from './interop_nbd'
import { QmpClient } from './qmp_client'

const KIB = 1024
const MIB = 1024 * KIB
const DISK_BYTES = 16 * MIB
const WRITERS = 3
/** Each writer has a part of the disk of its own, so that one knows what it must hold. */
const PART_BYTES = 4 * MIB
const BATCHES = 4
const KILL_ROUNDS = 8
const KILL_AFTER_MS_MAX = 900
const SPEED_BYTES = 24 * MIB
/** Of holes that a mirror may fill: chunks that are data in part. */
const CHUNK_BYTES = 64 * KIB

type Sync = 'full' | 'top' | 'none'
interface LiveCase {
  copyMode: 'background' | 'write-blocking'
  format: 'raw' | 'qcow2'
  sync: Sync
  end: 'complete' | 'cancel' | 'force'
  /** The destination is an export of qemu-nbd. */
  isRemote?: boolean
}

const uri = (socket: string): string => `nbd+unix:///disk?socket=${socket}`

/** Runs a program beside us. */
function runAside(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    child.stdout.on('data', (bytes) => (text += bytes))
    child.stderr.on('data', (bytes) => (text += bytes))
    child.on('close', (status) => {
      // qemu-io tells of what failed in words only.
      if (status === 0 && !/failed|error|Connection/i.test(text)) resolve(text)
      else reject(new Error(`${program}: ${text.trim()}`))
    })
  })
}

/** Commands of a writer for one batch, all inside its part. */
function batchOf(writer: number, batch: number): string[] {
  const start = writer * PART_BYTES + ((batch * 7) % 13) * 64 * KIB
  const pattern = 1 + writer * 60 + batch
  return [
    `write -P ${pattern} ${start} ${192 * KIB}`,
    `write -P ${pattern + 1} ${start + 33 * KIB} ${5 * KIB}`,
    `write -z -u ${start + 512 * KIB} ${256 * KIB}`,
    `discard ${start + 1024 * KIB} ${128 * KIB}`,
    `write -z ${start + 70 * KIB} ${3 * KIB}`,
    'flush',
  ]
}

function arguments_(commands: readonly string[], target: string, format: string): string[] {
  return ['-f', format, ...commands.flatMap((command) => ['-c', command]), target]
}

/** Makes the source, and a raw file beside it that is written like it and nothing else. */
function makeSource(bench: NbdInterop, { format, sync }: LiveCase): { source: string; reference: string } {
  const reference = bench.at('reference')
  fs.writeFileSync(reference, '')
  fs.truncateSync(reference, DISK_BYTES)
  const source = bench.at('source')
  const first = [`write -P 200 0 ${3 * MIB}`, `write -P 201 ${9 * MIB} ${MIB}`]
  bench.run('qemu-io', ...arguments_(first, reference, 'raw'))
  if (sync === 'full') bench.run('qemu-img', 'convert', '-f', 'raw', '-O', format, reference, source)
  else {
    bench.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', reference, bench.at('base'))
    bench.run('qemu-img', 'create', '-f', 'qcow2', '-b', bench.at('base'), '-F', 'qcow2', source)
    const above = [`write -P 202 ${MIB} ${MIB}`]
    bench.run('qemu-io', ...arguments_(above, source, 'qcow2'))
    bench.run('qemu-io', ...arguments_(above, reference, 'raw'))
  }
  return { source, reference }
}

/** What the destination holds before: nothing, or for the other modes a layer above what the source shows below. */
function makeDestination(bench: NbdInterop, live: LiveCase, source: string): { file: string; format: string } {
  const file = bench.at('destination')
  if (live.sync === 'full') {
    bench.run('qemu-img', 'create', '-f', live.format, file, String(DISK_BYTES))
    return { file, format: live.format }
  }
  let below = bench.at('base')
  if (live.sync === 'none') {
    // All that is there when the job starts.
    below = bench.at('frozen')
    bench.run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'qcow2', source, below)
  }
  bench.run('qemu-img', 'create', '-f', 'qcow2', '-b', below, '-F', 'qcow2', file)
  return { file, format: 'qcow2' }
}

const formatOf = ({ format, sync }: LiveCase): string => (sync === 'full' ? format : 'qcow2')

function node(name: string, format: string, file: string): string {
  return JSON.stringify({
    driver: format,
    'node-name': name,
    discard: 'unmap',
    file: { driver: 'file', filename: file, discard: 'unmap' },
  })
}

/** The daemon with the source under an export, and its monitor. */
async function startDaemon(bench: NbdInterop, format: string, source: string): Promise<{ monitor: QmpClient; nbd: string }> {
  const nbd = await bench.serveDaemon((qmp, socket) => [
    ...['--blockdev', node('source', format, source)],
    ...['--chardev', `socket,path=${qmp},server=on,wait=off,id=monitor`, '--monitor', 'chardev=monitor'],
    ...['--nbd-server', `addr.type=unix,addr.path=${socket}`],
    ...['--export', 'type=nbd,id=export,node-name=source,name=disk,writable=on'],
  ])
  return { monitor: await QmpClient.open(`${nbd}.qmp`), nbd }
}

async function runLive(bench: NbdInterop, live: LiveCase): Promise<void> {
  const { source, reference } = makeSource(bench, live)
  const { file, format } = makeDestination(bench, live, source)
  const { monitor, nbd } = await startDaemon(bench, formatOf(live), source)
  if (live.isRemote === true) {
    const far = await bench.serveQemu(file, '-x', 'disk', '--discard=unmap')
    const server = { type: 'unix', path: far }
    const remote = { driver: 'nbd', 'node-name': 'target', server, export: 'disk', discard: 'unmap' }
    await monitor.run('blockdev-add', remote)
  } else await monitor.run('blockdev-add', JSON.parse(node('target', format, file)))
  await monitor.run('blockdev-mirror', {
    'job-id': 'job',
    device: 'source',
    target: 'target',
    sync: live.sync,
    'copy-mode': live.copyMode,
    speed: SPEED_BYTES,
  })
  const writers = Array.from({ length: WRITERS }, async (_, writer) => {
    for (let batch = 0; batch < BATCHES; batch++) await runAside('qemu-io', arguments_(batchOf(writer, batch), uri(nbd), 'raw'))
  })
  await Promise.all(writers)
  await monitor.run('block-job-set-speed', { device: 'job', speed: 0 })
  if (live.end !== 'force') await monitor.hear('BLOCK_JOB_READY')
  if (live.end === 'complete') await monitor.run('block-job-complete', { device: 'job' })
  else await monitor.run('block-job-cancel', { device: 'job', force: live.end === 'force' })
  const ended = await monitor.hear('BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED')
  if (ended['error'] !== undefined) throw new Error(`the job ends with ${JSON.stringify(ended)}`)
  // After the switch guests are on the destination.
  if (live.end === 'complete') await runAside('qemu-io', arguments_(batchOf(0, BATCHES), uri(nbd), 'raw'))
  await monitor.run('quit')
  await bench.ended()
  monitor.close()
  bench.stop()
  judge(bench, live, { source, reference, file, format })
}

interface Outcome {
  source: string
  reference: string
  file: string
  format: string
}

/** By QEMU's programs, from images that are opened afresh. */
function judge(bench: NbdInterop, live: LiveCase, { source, reference, file, format }: Outcome): void {
  for (let writer = 0; writer < WRITERS; writer++) {
    for (let batch = 0; batch < BATCHES; batch++) bench.run('qemu-io', ...arguments_(batchOf(writer, batch), reference, 'raw'))
  }
  const sourceFormat = formatOf(live)
  if (live.end !== 'complete') bench.run('qemu-img', 'compare', '-f', 'raw', '-F', sourceFormat, reference, source)
  if (live.end === 'complete') bench.run('qemu-io', ...arguments_(batchOf(0, BATCHES), reference, 'raw'))
  if (sourceFormat === 'qcow2') bench.run('qemu-img', 'check', '-q', source)
  if (format === 'qcow2') bench.run('qemu-img', 'check', '-q', file)
  if (live.end === 'force') return
  bench.run('qemu-img', 'compare', '-f', 'raw', '-F', format, reference, file)
  if (live.sync !== 'full') return
  const [mine, wanted] = [dataBytesOf(bench, file, format), dataBytesOf(bench, reference, 'raw')]
  // Whole chunks are copied, and clusters are larger than what is written: one more at both ends of each range.
  const slackBytes = 2 * CHUNK_BYTES * (4 + WRITERS * (BATCHES + 1) * 3)
  if (mine > wanted + slackBytes) throw new Error(`the destination has ${mine} bytes of data, the disk only ${wanted}`)
}

function dataBytesOf(bench: NbdInterop, file: string, format: string): number {
  const map = JSON.parse(bench.run('qemu-img', 'map', '--output=json', '-f', format, file)) as Array<{
    length: number
    data: boolean
    zero: boolean
  }>
  return map.reduce((sum, { length, data, zero }) => sum + (data && !zero ? length : 0), 0)
}

/** Rounds of writing, mirroring and dying. */
async function runKilled(bench: NbdInterop, format: 'raw' | 'qcow2'): Promise<void> {
  const live: LiveCase = { copyMode: 'write-blocking', format, sync: 'full', end: 'force' }
  const { source } = makeSource(bench, live)
  /** By place: the pattern that is surely there; null while one is on its way. */
  const known = new Map<number, number | null>()
  for (let round = 0; round < KILL_ROUNDS; round++) {
    const target = bench.at(`target${round}`)
    bench.run('qemu-img', 'create', '-f', format, target, String(DISK_BYTES))
    const { monitor, nbd } = await startDaemon(bench, format, source)
    await monitor.run('blockdev-add', JSON.parse(node('target', format, target)))
    const job = { 'job-id': 'job', device: 'source', target: 'target', sync: 'full', speed: SPEED_BYTES }
    await monitor.run('blockdev-mirror', { ...job, 'copy-mode': round % 2 === 0 ? 'write-blocking' : 'background' })
    const writers = Array.from({ length: WRITERS }, (_, writer) => writeUntilKilled(nbd, writer, round, known))
    await new Promise((resolve) => setTimeout(resolve, 100 + ((round * 397) % KILL_AFTER_MS_MAX)))
    await bench.kill()
    await Promise.all(writers)
    monitor.close()
    if (format === 'qcow2') checkForCorruption(bench, source)
    const reads = [...known].flatMap(([at, pattern]) => (pattern === null ? [] : [`read -P ${pattern} ${at} ${64 * KIB}`]))
    const text = bench.run('qemu-io', ...arguments_(reads, source, format))
    if (/Pattern verification failed/.test(text)) throw new Error(`round ${round}: ${text}`)
  }
  if (known.size < KILL_ROUNDS) throw new Error(`only ${known.size} places were written to in ${KILL_ROUNDS} rounds`)
}

async function writeUntilKilled(nbd: string, writer: number, round: number, known: Map<number, number | null>): Promise<void> {
  for (let index = 0; ; index++) {
    const at = writer * PART_BYTES + ((index * 5 + round) % 60) * 64 * KIB
    const pattern = 1 + ((round * 31 + index * 3 + writer) % 250)
    known.set(at, null)
    try {
      // Half of them by FUA.
      const commands = index % 2 === 0 ? [`write -P ${pattern} ${at} 64k`, 'flush'] : [`write -f -P ${pattern} ${at} 64k`]
      await runAside('qemu-io', arguments_(commands, uri(nbd), 'raw'))
      known.set(at, pattern)
    } catch {
      return
    }
  }
}

/** Leaks are what a crash may leave; 3 is qemu-img's word for them. */
function checkForCorruption(bench: NbdInterop, file: string): void {
  try {
    bench.run('qemu-img', 'check', '--output=json', '-f', 'qcow2', file)
  } catch (error) {
    // It prints no JSON where it cannot even open the image.
    const [json] = /\{.*\}/s.exec((error as Error).message) ?? []
    if (json === undefined) throw error
    const { corruptions, 'check-errors': errors } = JSON.parse(json) as { corruptions?: number; 'check-errors': number }
    if ((corruptions ?? 0) > 0 || errors > 0) throw error
  }
}

const LIVE_CASES: readonly LiveCase[] = [
  { copyMode: 'background', format: 'raw', sync: 'full', end: 'complete' },
  { copyMode: 'write-blocking', format: 'raw', sync: 'full', end: 'complete' },
  { copyMode: 'background', format: 'qcow2', sync: 'full', end: 'complete' },
  { copyMode: 'write-blocking', format: 'qcow2', sync: 'full', end: 'cancel' },
  { copyMode: 'background', format: 'raw', sync: 'full', end: 'cancel' },
  { copyMode: 'background', format: 'qcow2', sync: 'top', end: 'complete' },
  { copyMode: 'write-blocking', format: 'qcow2', sync: 'none', end: 'complete' },
  { copyMode: 'background', format: 'qcow2', sync: 'full', end: 'force' },
  { copyMode: 'write-blocking', format: 'raw', sync: 'full', end: 'complete', isRemote: true },
  { copyMode: 'background', format: 'raw', sync: 'full', end: 'cancel', isRemote: true },
]

function nameOf({ copyMode, format, sync, end, isRemote }: LiveCase): string {
  const where = isRemote === true ? 'onto an export of qemu-nbd' : `onto ${format}`
  return `a live mirror over QMP, ${WRITERS} qemu-io writing: ${copyMode}, sync ${sync}, ${where}, ${end}`
}

export const LIVE_CHECKS: readonly NbdCheck[] = [
  ...LIVE_CASES.map(
    (live): NbdCheck => ({
      name: nameOf(live),
      needs: ['qemu-io', 'qemu-img', ...(live.isRemote === true ? ['qemu-nbd'] : [])],
      run: (bench) => runLive(bench, live),
    }),
  ),
  ...(['raw', 'qcow2'] as const).map(
    (format): NbdCheck => ({
      name: `kill -9 of the daemon, ${KILL_ROUNDS} times in the middle of a mirror and of writes to ${format}`,
      needs: ['qemu-io', 'qemu-img'],
      run: (bench) => runKilled(bench, format),
    }),
  ),
]
