/** The peer's side of an image pair: Debian's qemu-img and qemu-io, as a user would call them. Throws what they complain of. */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { type CheckVerdict, COUNT_NAMES } from './interop_damaged'
import { type Listed, type MapEntry, NAMES } from './interop_ours'
import type { InteropImage, InteropOperation } from './interop_plan'

/** What a command says, with the command itself for whoever wants to repeat it. */
export class TheirImages {
  private readonly folder: string
  /** Every command that was run, in order. */
  readonly commands: string[] = []

  constructor(folder: string) {
    this.folder = folder
  }

  /** The version of qemu-img, or null where it is absent. */
  static version(): string | null {
    const { stdout, error } = spawnSync('qemu-img', ['--version'], { encoding: 'utf8' })
    return error === undefined ? (/version ([\d.]+)/.exec(stdout)?.[1] ?? 'unknown') : null
  }

  private call(program: string, args: readonly string[]): string {
    this.commands.push([program, ...args.map((arg) => (/^[\w./=,:-]+$/.test(arg) ? arg : `'${arg}'`))].join(' '))
    const { status, stdout, stderr, error } = spawnSync(program, args, {
      cwd: this.folder,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    })
    if (error !== undefined) throw error
    if (status !== 0) throw new Error(`${program} ${args[0]} exits with ${status}: ${complaintOf(`${stdout}${stderr}`)}`)
    return stdout
  }

  create(image: InteropImage): void {
    const { backing } = image
    if (backing !== null) {
      this.call('qemu-img', ['create', '-q', '-f', backing.format, NAMES.backing, String(backing.lengthBytes)])
      this.operate(backing.format, NAMES.backing, backing.operations)
    }
    const options = [`cluster_size=${image.clusterBytes}`, `compat=${image.version === 2 ? '0.10' : '1.1'}`]
    if (image.extendedL2) options.push('extended_l2=on')
    if (image.version === 3) options.push(`refcount_bits=${image.refcountBits}`, `compression_type=${image.compressionType}`)
    if (image.lazyRefcounts) options.push('lazy_refcounts=on')
    if (image.preallocation !== 'off') options.push(`preallocation=${image.preallocation}`)
    if (image.dataFile !== 'none') options.push(`data_file=${NAMES.data}`)
    if (image.dataFile === 'raw') options.push('data_file_raw=on')
    if (backing !== null) options.push(`backing_file=${NAMES.backing}`, `backing_fmt=${backing.format}`)
    this.call('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options.join(','), NAMES.top, String(image.lengthBytes)])
  }

  change(image: InteropImage): void {
    this.operate('qcow2', NAMES.top, image.operations)
  }

  private operate(format: string, name: string, operations: readonly InteropOperation[]): void {
    if (operations.length === 0) return
    this.call('qemu-io', ['-f', format, '-d', 'unmap', ...operations.flatMap((operation) => ['-c', commandOf(operation)]), name])
  }

  /** Snapshots and bitmaps, each with something written after it. What cannot be is left out. */
  furnish(snapshots: number, bitmaps: number): void {
    for (let number = 0; number < snapshots; number++) {
      this.call('qemu-img', ['snapshot', '-c', `s${number}`, NAMES.top])
      this.call('qemu-io', ['-f', 'qcow2', '-c', `write -P ${number + 1} 0 512`, NAMES.top])
    }
    for (let number = 0; number < bitmaps; number++) this.call('qemu-img', ['bitmap', '--add', NAMES.top, `b${number}`])
  }

  checkJson(name: string, fix: 'none' | 'leaks' | 'all'): CheckVerdict {
    const repair = fix === 'none' ? [] : ['-r', fix]
    const args = ['check', '--output=json', ...repair, '-f', 'qcow2', name]
    this.commands.push(`qemu-img ${args.join(' ')}`)
    const { status, stdout, stderr } = spawnSync('qemu-img', args, { cwd: this.folder, encoding: 'utf8', maxBuffer: 64 << 20 })
    const at = stdout.indexOf('{')
    const result = at === -1 ? null : (JSON.parse(stdout.slice(at)) as Record<string, number>)
    const lines = stderr.split('\n').filter((line) => line !== '' && !/^qemu-img: (Check failed|Could not open)/.test(line))
    return {
      exitCode: status ?? -1,
      counts: result === null ? [] : COUNT_NAMES.map((key) => result[key] ?? 0),
      lines: lines.map((line) => line.replace(/^qemu-img: /, '')),
    }
  }

  write(image: InteropImage, index: number): void {
    const operation = image.operations[index % Math.max(1, image.operations.length)]
    if (operation !== undefined) this.operate('qcow2', NAMES.top, [operation])
  }

  snapshot(kind: 'create' | 'apply' | 'delete', name: string): void {
    this.call('qemu-img', ['snapshot', kind === 'create' ? '-c' : kind === 'apply' ? '-a' : '-d', name, NAMES.top])
  }

  bitmap(kind: 'add' | 'remove', name: string): void {
    this.call('qemu-img', ['bitmap', `--${kind}`, NAMES.top, name])
  }

  amend({ lazyRefcounts, refcountBits }: { lazyRefcounts?: boolean; refcountBits?: number }): void {
    const option =
      lazyRefcounts === undefined ? `refcount_bits=${refcountBits}` : `lazy_refcounts=${lazyRefcounts ? 'on' : 'off'}`
    this.call('qemu-img', ['amend', '-f', 'qcow2', '-o', option, NAMES.top])
  }

  list(): Listed {
    const info = JSON.parse(this.call('qemu-img', ['info', '--output=json', NAMES.top])) as {
      snapshots?: Listed['snapshots']
      'format-specific'?: { data?: { bitmaps?: Listed['bitmaps'] } }
    }
    return {
      snapshots: (info.snapshots ?? []).map(({ id, name }) => ({ id, name })),
      bitmaps: (info['format-specific']?.data?.bitmaps ?? []).map(({ name, granularity, flags }) => ({
        name,
        granularity,
        flags,
      })),
    }
  }

  /** Converts the disk, or a snapshot of it, and gives the name of the file. */
  readSnapshot(name: string | null): string {
    const plain = 'snapshot.raw'
    const from = name === null ? [] : ['-l', `snapshot.name=${name}`]
    this.call('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', ...from, NAMES.top, plain])
    return plain
  }

  /** Complains of corruption and of leaks. */
  check(): void {
    this.call('qemu-img', ['check', '-q', '-f', 'qcow2', NAMES.top])
  }

  read(): { bytes: Uint8Array; map: MapEntry[] } {
    const plain = path.join(this.folder, 'theirs.raw')
    this.call('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', NAMES.top, plain])
    const map = JSON.parse(this.call('qemu-img', ['map', '-f', 'qcow2', '--output=json', NAMES.top])) as MapEntry[]
    return { bytes: fs.readFileSync(plain), map }
  }

  /** Whether a raw file of ours reads as the image does. */
  compare(file: string): void {
    this.call('qemu-img', ['compare', '-q', '-f', 'qcow2', '-F', 'raw', NAMES.top, file])
  }
}

/** Without what qemu-io says of everything that went well. */
function complaintOf(text: string): string {
  const lines = text.split('\n').filter((line) => !/^(wrote|discard) \d|, \d+ ops;|^$/.test(line))
  return lines.join('; ').slice(-500)
}

function commandOf({ kind, offsetBytes, lengthBytes, pattern }: InteropOperation): string {
  switch (kind) {
    case 'write':
      return `write -P ${pattern} ${offsetBytes} ${lengthBytes}`
    case 'compressed':
      return `write -c -P ${pattern} ${offsetBytes} ${lengthBytes}`
    case 'write-zeroes':
      return `write -z ${offsetBytes} ${lengthBytes}`
    case 'unmap':
      return `write -z -u ${offsetBytes} ${lengthBytes}`
    case 'discard':
      return `discard ${offsetBytes} ${lengthBytes}`
  }
}
