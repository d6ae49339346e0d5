/**
 * qcow2 against qemu-utils: CPU seconds for the same requests on the same image, in turns. The peer is `qemu-img bench` for
 * reads and writes, and a script for `qemu-io` for zeroes, which the former does not know. What a program needs to start, to
 * open the image and to read its script is measured by itself (one request, or as many empty ones) and taken off.
 */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { measureChild } from './bench_copy'
import type { Operation, Qcow2Work } from './bench_qcow2_ours'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB

/** `mapped`: clusters in the tables and none in the file; `overlay`: nothing written yet above an image that is. */
type ImageKind = 'written' | 'new' | 'mapped' | 'overlay'

/** How images are made; 64 KiB and no extended L2 entries where the user says nothing else. */
export interface Qcow2Shape {
  clusterBytes: number
  extendedL2: boolean
}

/** A row of the table. */
interface Row {
  name: string
  operation: Operation
  isRandom: boolean
  depth: number
  image: ImageKind
}

/** What is measured for one request size of a row. */
export interface Qcow2Cell {
  row: string
  depth: number
  requestBytes: number
  count: number
  /** Medians of CPU microseconds a request; the peer's null: qemu-utils is not there. */
  oursUs: number
  peerUs: number | null
  /** Of the medians; how far the ratios of single rounds are apart. */
  ratio: number | null
  ratioMin: number | null
  ratioMax: number | null
}

/** Requests of each size, for something like half a second of work; never more than fill a new image. */
const REQUESTS: ReadonlyArray<readonly [requestBytes: number, count: number, zeroCount: number]> = [
  [4 * KIB, 60_000, 60_000],
  [64 * KIB, 16_000, 100_000],
  [MIB, 1000, 60_000],
]

const IMAGE_BYTES = { written: GIB, new: GIB, overlay: GIB, mapped: 64 * GIB } as const

const ROWS: readonly Row[] = [
  ...rowsOf('read', 'read', 'written'),
  ...rowsOf('write', 'write', 'written'),
  ...rowsOf('allocating write', 'write', 'new'),
  ...rowsOf('copy on write', 'write', 'overlay').filter(({ depth }) => depth === 1),
  ...rowsOf('zero', 'zero', 'mapped').filter(({ depth }) => depth === 1),
]

function rowsOf(name: string, operation: Operation, image: ImageKind): Row[] {
  return [false, true].flatMap((isRandom) =>
    [1, 16].map((depth) => ({ name: `${name}, ${isRandom ? 'random' : 'sequential'}`, operation, isRandom, depth, image })),
  )
}

export function hasRow(part: string): boolean {
  return ROWS.some(({ name }) => name.includes(part))
}

/** Far apart, and none twice before all have been visited: by the golden ratio, and coprime to their number. */
export function stepOf(isRandom: boolean, requestBytes: number, imageBytes: number): number {
  if (!isRandom) return requestBytes
  const places = imageBytes / requestBytes
  const near = Math.floor(places * 0.618)
  // The number of places is a power of two.
  return (near % 2 === 0 ? near + 1 : near) * requestBytes
}

type Program = readonly [program: string, args: readonly string[]]

/** How our side is started: as one file, if it can be made, otherwise from the sources. */
export async function ourProgram(root: string, folder: string): Promise<Program> {
  const entry = path.join(root, 'commands/bench_qcow2_ours.ts')
  let bundler: typeof import('esbuild')
  try {
    bundler = require('esbuild')
  } catch {
    return [process.execPath, ['-r', path.join(root, 'scripts/tsreg.cjs'), entry]]
  }
  const outfile = path.join(folder, 'ours.js')
  const koffi: import('esbuild').Plugin = {
    name: 'koffi',
    setup(build) {
      // It finds its own binary by where it lies.
      build.onResolve({ filter: /^koffi$/ }, () => ({ path: resolved('koffi'), external: true }))
    },
  }
  await bundler.build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'cjs',
    plugins: [koffi],
    logLevel: 'warning',
  })
  return [process.execPath, [outfile]]
}

function resolved(name: string): string {
  try {
    return require.resolve(name)
  } catch {
    return name
  }
}

export class Qcow2Bench {
  private readonly hasPeer = spawnSync('qemu-img', ['--version'], { stdio: 'ignore' }).status === 0

  private constructor(
    private readonly folder: string,
    private readonly ours: Program,
    private readonly shape: Qcow2Shape,
  ) {}

  /** Files are made in `folder`, two gibibytes at a time at most. */
  static async open(root: string, folder: string, shape: Qcow2Shape): Promise<Qcow2Bench> {
    return new Qcow2Bench(folder, await ourProgram(root, folder), shape)
  }

  /** All cells of the rows whose name contains `only`. */
  async run(rounds: number, only: string, progress: (cell: Qcow2Cell) => void): Promise<Qcow2Cell[]> {
    const cells: Qcow2Cell[] = []
    for (const row of ROWS) {
      if (!row.name.includes(only)) continue
      for (const [requestBytes, count, zeroCount] of REQUESTS) {
        const repeats = row.image === 'written' && requestBytes >= MIB ? 5 : 1
        const cell = await this.measure(row, requestBytes, row.operation === 'zero' ? zeroCount : count * repeats, rounds)
        progress(cell)
        cells.push(cell)
      }
    }
    return cells
  }

  private async measure(row: Row, requestBytes: number, count: number, rounds: number): Promise<Qcow2Cell> {
    const file = this.fileOf(row.image)
    const stepBytes = stepOf(row.isRandom, requestBytes, IMAGE_BYTES[row.image])
    const work: Qcow2Work = { file, operation: row.operation, requestBytes, stepBytes, count, depth: row.depth }
    const ours: number[] = []
    const peers: number[] = []
    for (let round = 0; round < rounds; round++) {
      // Who comes second may find memory that the first has made the system fetch.
      if (this.hasPeer && round % 2 === 1) peers.push(await this.net(row, work, (job) => this.runPeer(job)))
      ours.push(await this.net(row, work, (job) => this.runOurs(job)))
      if (this.hasPeer && round % 2 === 0) peers.push(await this.net(row, work, (job) => this.runPeer(job)))
    }
    const oursUs = (median(ours) / count) * 1e6
    const peerUs = this.hasPeer ? (median(peers) / count) * 1e6 : null
    const ratios = peers.map((seconds, round) => ours[round]! / seconds)
    return {
      row: row.name,
      depth: row.depth,
      requestBytes,
      count,
      oursUs,
      peerUs,
      ratio: peerUs === null ? null : oursUs / peerUs,
      ratioMin: peerUs === null ? null : Math.min(...ratios),
      ratioMax: peerUs === null ? null : Math.max(...ratios),
    }
  }

  /** CPU seconds of the requests alone. */
  private async net(row: Row, work: Qcow2Work, run: (work: Qcow2Work) => Promise<number>): Promise<number> {
    this.provide(row.image, work.file)
    const whole = await run(work)
    const start = await run({ ...work, count: 1 })
    return Math.max(whole - start, 1e-6)
  }

  private provide(image: ImageKind, file: string): void {
    if (image === 'overlay') this.provide('written', this.fileOf('written'))
    if (image === 'written' && fs.existsSync(file)) return
    const sizeBytes = IMAGE_BYTES[image]
    fs.rmSync(file, { force: true })
    const blank: Qcow2Work = { file, operation: 'write', requestBytes: MIB, stepBytes: MIB, count: 0, depth: 1 }
    const backing = image === 'overlay' ? { backingName: 'written.qcow2', backingFormat: 'qcow2' } : {}
    const preallocation = image === 'mapped' ? 'metadata' : 'off'
    this.prepare({ ...blank, create: { ...this.shape, ...backing, sizeBytes, preallocation } })
    if (image === 'written') this.prepare({ ...blank, count: sizeBytes / MIB })
  }
  private fileOf(image: ImageKind): string {
    return path.join(this.folder, `${image}.qcow2`)
  }

  private prepare(work: Qcow2Work): void {
    const [program, args] = this.ours
    const { status, stderr } = spawnSync(program, [...args, JSON.stringify(work)], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`cannot make ${work.file}: ${stderr.trim()}`)
  }

  private async runOurs(work: Qcow2Work): Promise<number> {
    const [program, args] = this.ours
    return (await measureChild(program, [...args, JSON.stringify(work)])).cpuSeconds
  }

  private async runPeer(work: Qcow2Work): Promise<number> {
    if (work.operation === 'zero') return await this.runScript(work)
    const { file, operation, requestBytes, stepBytes, count, depth } = work
    const numbers = ['-c', `${count}`, '-s', `${requestBytes}`, '-S', `${stepBytes}`, '-d', `${depth}`]
    const args = ['bench', '-q', '-f', 'qcow2', ...(operation === 'write' ? ['-w'] : []), ...numbers, file]
    return (await measureChild('qemu-img', args)).cpuSeconds
  }

  /** A count of 1 stands for as many lines that do nothing. */
  private async runScript(work: Qcow2Work): Promise<number> {
    const script = path.join(this.folder, 'script')
    const lines: string[] = []
    const imageBytes = IMAGE_BYTES.mapped
    const entry = REQUESTS.find(([requestBytes]) => requestBytes === work.requestBytes)
    const total = entry?.[2] ?? work.count
    for (let index = 0, offsetBytes = 0; index < total; index++) {
      lines.push(`write -q -z ${offsetBytes} ${work.count === 1 ? 0 : work.requestBytes}\n`)
      offsetBytes = (offsetBytes + work.stepBytes) % imageBytes
    }
    fs.writeFileSync(script, lines.join(''))
    return (await measureChild('qemu-io', ['-f', 'qcow2', work.file], script)).cpuSeconds
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right)
  return sorted[sorted.length >> 1]!
}

function sizeText(bytes: number): string {
  if (bytes < KIB) return `${bytes} B`
  return bytes < MIB ? `${bytes / KIB} KiB` : `${bytes / MIB} MiB`
}

/** The cells as a table: a line for each row, a column for each size. */
export function qcow2Text(cells: readonly Qcow2Cell[], { clusterBytes, extendedL2 }: Qcow2Shape): string {
  const sizes = [...new Set(cells.map(({ requestBytes }) => requestBytes))]
  const head = sizes.map((bytes) => sizeText(bytes).padStart(24)).join('')
  const rows = new Map<string, Qcow2Cell[]>()
  for (const cell of cells) {
    const key = `  ${cell.row.padEnd(29)}${String(cell.depth).padStart(5)}`
    rows.set(key, [...(rows.get(key) ?? []), cell])
  }
  const peerless = cells.some(({ peerUs }) => peerUs === null)
  return [
    'qcow2: CPU microseconds a request, ours and of qemu-utils, and their ratio',
    `  ${`clusters of ${sizeText(clusterBytes)}${extendedL2 ? ', extended' : ''}`.padEnd(29)}depth${head}`,
    ...[...rows].map(([key, row]) => key + row.map(cellText).join('')),
    ...(peerless ? ['  qemu-utils skipped: not installed'] : []),
  ].join('\n')
}

/** A cell by itself. */
export function qcow2CellText(cell: Qcow2Cell): string {
  return `  ${cell.row}, depth ${cell.depth}, ${cell.requestBytes} bytes:${cellText(cell)}`
}

function cellText({ oursUs, peerUs, ratio }: Qcow2Cell): string {
  const peer = peerUs === null ? 'skipped' : peerUs.toFixed(1)
  return `${oursUs.toFixed(1).padStart(8)}${peer.padStart(8)}${(ratio === null ? '' : ratio.toFixed(2)).padStart(8)}`
}
