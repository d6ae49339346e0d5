/**
 * The real copy: a sparse raw file through our program and through qemu-img, in CPU seconds of the whole child (user and
 * system, as the shell's `times` tells after waiting for it) and in peak resident memory (VmHWM, read while it runs).
 */
import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { killedWithUs } from './interrupt'

const DATA_BYTES = 1024 * 1024
const PERIOD_BYTES = 4 * DATA_BYTES
const POLL_MS = 20
/** Its `times` tells milliseconds, those of other shells only hundredths of a second. */
const SHELL = fs.existsSync('/bin/bash') ? '/bin/bash' : 'sh'

export interface ChildUsage {
  cpuSeconds: number
  wallSeconds: number
  peakBytes: number
}

/** Creates a sparse file in which the first quarter of each 4 MiB is data. */
export function createSparseFile(file: string, lengthBytes: number): void {
  const data = Buffer.alloc(DATA_BYTES)
  const descriptor = fs.openSync(file, 'w')
  try {
    fs.ftruncateSync(descriptor, lengthBytes)
    for (let offsetBytes = 0; offsetBytes < lengthBytes; offsetBytes += PERIOD_BYTES) {
      for (let at = 0; at < DATA_BYTES; at += 8) data.writeDoubleLE(offsetBytes + at + 1, at)
      fs.writeSync(descriptor, data, 0, DATA_BYTES, offsetBytes)
    }
  } finally {
    fs.closeSync(descriptor)
  }
}

/** Runs a program to its end, with a file as its input. Rejects, with what it printed, if it fails. */
export function measureChild(program: string, args: readonly string[], input = '/dev/null'): Promise<ChildUsage> {
  const script = 'input=$1; shift; "$@" <"$input" >&2 & echo $!; wait $!; code=$?; times; exit $code'
  const startMs = performance.now()
  return new Promise((resolve, reject) => {
    const shell = killedWithUs(spawn(SHELL, ['-c', script, 'sh', input, program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] }))
    let output = ''
    let complaint = ''
    let peakBytes = 0
    const poll = setInterval(() => {
      const pid = /^(\d+)\n/.exec(output)?.[1]
      if (pid !== undefined) peakBytes = Math.max(peakBytes, peakOf(pid))
    }, POLL_MS)
    shell.stdout.on('data', (text) => {
      output += text
    })
    shell.stderr.on('data', (text) => {
      complaint = (complaint + text).slice(-1000)
    })
    shell.on('error', reject)
    shell.on('close', (code) => {
      clearInterval(poll)
      if (code !== 0) return reject(new Error(`${program} ${args[0]} fails with code ${code}: ${complaint.trim()}`))
      resolve({ cpuSeconds: childSeconds(output), wallSeconds: (performance.now() - startMs) / 1000, peakBytes })
    })
  })
}

/** The second line of `times`: what the shell's children used, such as `0m1.250000s 0m0.330000s`. */
function childSeconds(output: string): number {
  const last = output.trim().split('\n').at(-1) ?? ''
  const parts = [...last.matchAll(/(\d+)m([\d.]+)s/g)]
  if (parts.length !== 2) throw new Error(`the shell's times are not understood: ${last}`)
  return parts.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0)
}

function peakOf(pid: string): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))
    return match === null ? 0 : Number(match[1]) * 1024
  } catch {
    // It has just ended.
    return 0
  }
}

export interface CopyResult {
  lengthBytes: number
  /** Of the destination; the source is raw. */
  format: 'raw' | 'qcow2'
  ours: ChildUsage
  /** null: qemu-img is not there. */
  peer: ChildUsage | null
  /** CPU seconds of ours over those of the peer. */
  ratio: number | null
  /** The least and the largest ratio of one round. */
  ratioMin: number | null
  ratioMax: number | null
}

/** Copies `rounds` times with each program, in turns, onto a fresh file each time; the medians by CPU seconds. */
export async function benchCopy(
  program: string,
  folder: string,
  lengthBytes: number,
  rounds: number,
  format: CopyResult['format'],
): Promise<CopyResult> {
  const source = path.join(folder, 'source.raw')
  const destination = path.join(folder, `destination.${format}`)
  const hasPeer = spawnSync('qemu-img', ['--version'], { stdio: 'ignore' }).status === 0
  // What people run: the built program, unless it cannot be built here.
  spawnSync(process.execPath, [path.join(path.dirname(program), '../scripts/build.cjs'), '--optional'], { stdio: 'ignore' })
  createSparseFile(source, lengthBytes)
  const ours: ChildUsage[] = []
  const peers: ChildUsage[] = []
  for (let round = 0; round < rounds; round++) {
    fs.rmSync(destination, { force: true })
    ours.push(await measureChild(process.execPath, [program, 'mirror', '--no-verify', '--format', format, source, destination]))
    if (!hasPeer) continue
    fs.rmSync(destination, { force: true })
    peers.push(await measureChild('qemu-img', ['convert', '-f', 'raw', '-O', format, source, destination]))
  }
  const peer = hasPeer ? medianOf(peers) : null
  const mine = medianOf(ours)
  const ratios = peers.map(({ cpuSeconds }, round) => ours[round]!.cpuSeconds / cpuSeconds)
  const ratio = peer === null ? null : mine.cpuSeconds / peer.cpuSeconds
  const [ratioMin, ratioMax] = peer === null ? [null, null] : [Math.min(...ratios), Math.max(...ratios)]
  return { lengthBytes, format, ours: mine, peer, ratio, ratioMin, ratioMax }
}

function medianOf(usages: readonly ChildUsage[]): ChildUsage {
  const sorted = [...usages].sort((a, b) => a.cpuSeconds - b.cpuSeconds)
  return { ...sorted[sorted.length >> 1]!, peakBytes: Math.max(...usages.map(({ peakBytes }) => peakBytes)) }
}
