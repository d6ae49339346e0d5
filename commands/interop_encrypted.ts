/**
 * Encrypted images: made by our programs or by QEMU's, written by both in turn, their passwords changed by either. After each
 * step both read the same bytes with the password that holds now, and an image of qcow2 is sound.
 */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { Choices, type Table } from '../properties/plans/choices'
import { FLAKE_TRIES_MAX, QEMU_FLAKE } from './interop_programs'

type Side = 'ours' | 'theirs'
type Format = 'luks' | 'qcow2-luks' | 'qcow2-aes'

interface EncryptedStep {
  by: Side
  kind: 'write' | 'zero' | 'discard' | 'password'
  offsetBytes: number
  lengthBytes: number
  pattern: number
}

export interface EncryptedImage {
  seed: string
  creator: Side
  format: Format
  lengthBytes: number
  /** Without keys. */
  options: string[]
  steps: EncryptedStep[]
}

const SECTOR_BYTES = 512
const DISK_BYTES_MAX = 2 ** 21
const STEPS_MAX = 6
const FORMAT: Table<Format> = [
  ['luks', 40, 1],
  ['qcow2-luks', 45, 1],
  ['qcow2-aes', 15, 1],
]
const CIPHER: Table<string> = [
  ['', 40, 1],
  ['cipher-alg=aes-128', 15, 1],
  // QEMU cannot make aes-192 in CBC: the material of a slot is no whole number of sectors.
  ['cipher-alg=aes-192', 10, 1],
  ['cipher-mode=cbc', 10, 1],
  ['cipher-mode=cbc,ivgen-alg=essiv', 15, 1],
  ['cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256', 5, 1],
  ['cipher-mode=ecb', 3, 1],
  ['ivgen-alg=plain', 5, 1],
]
const HASH: Table<string> = [
  ['', 50, 1],
  ['hash-alg=sha1', 20, 1],
  ['hash-alg=sha512', 20, 1],
  ['hash-alg=sha384', 5, 1],
  ['hash-alg=ripemd160', 5, 1],
]
const SHAPE: Table<string> = [
  ['', 30, 1],
  ['cluster_size=4096', 20, 1],
  ['cluster_size=512', 10, 1],
  ['compat=0.10', 10, 1],
  ['extended_l2=on', 20, 1],
  ['data_file=data.raw', 10, 1],
]
const KIND: Table<EncryptedStep['kind']> = [
  ['write', 60, 1],
  ['zero', 15, 1],
  ['discard', 10, 1],
  ['password', 15, 1],
]

export function drawEncrypted(seed: string): EncryptedImage {
  const choices = new Choices(seed, 'encrypted', 'uniform')
  const format = choices.pick(FORMAT)
  const prefix = format === 'luks' ? '' : 'encrypt.'
  const named = [choices.pick(CIPHER), choices.pick(HASH)].flatMap((text) => text.split(',')).filter((text) => text !== '')
  const options = format === 'qcow2-aes' ? [] : [...named, 'iter-time=10'].map((text) => `${prefix}${text}`)
  const shape = choices.pick(SHAPE)
  if (format !== 'luks') options.push(`encrypt.format=${format.slice('qcow2-'.length)}`, ...(shape === '' ? [] : [shape]))
  const lengthBytes = choices.between(1, DISK_BYTES_MAX / SECTOR_BYTES) * SECTOR_BYTES
  const steps = Array.from({ length: choices.between(2, STEPS_MAX) }, (): EncryptedStep => {
    const by = choices.chance(50) ? 'ours' : 'theirs'
    const kind = choices.pick(KIND)
    const offsetBytes = choices.below(lengthBytes)
    const bytes = choices.chance(50) ? choices.between(1, 2000) : choices.between(1, 300_000)
    const lengthOfStep = Math.min(bytes, lengthBytes - offsetBytes)
    const isPossible = kind !== 'password' || format !== 'qcow2-aes'
    return { by, kind: isPossible ? kind : 'write', offsetBytes, lengthBytes: lengthOfStep, pattern: choices.between(1, 255) }
  })
  return { seed, creator: choices.chance(50) ? 'ours' : 'theirs', format, lengthBytes, options, steps }
}

const OURS = path.join(path.resolve(__dirname, '..'), 'bin/mirrorsim.cjs')
const IMAGE = 'encrypted'

/** The programs of both sides over one image. */
class EncryptedImages {
  /** Of the present password. */
  private password = 'p0'
  private passwords = 1

  constructor(
    private readonly folder: string,
    private readonly image: EncryptedImage,
    private readonly commands: string[],
  ) {}

  private call(side: Side, program: 'img' | 'io', ...args: string[]): void {
    const secrets = Array.from({ length: this.passwords + 1 }, (_, index) => [
      '--object',
      `secret,id=p${index},data=word${index}`,
    ])
    const given = program === 'img' ? [args[0]!, ...secrets.flat(), ...args.slice(1)] : [...secrets.flat(), ...args]
    const [file, all] = side === 'ours' ? [process.execPath, [OURS, program, ...given]] : [`qemu-${program}`, given]
    this.commands.push([side === 'ours' ? `mirrorsim-${program}` : `qemu-${program}`, ...given].join(' '))
    for (let tries = 0; ; tries++) {
      const { status, stdout, stderr, error } = spawnSync(file, all, { cwd: this.folder, encoding: 'utf8' })
      if (error !== undefined) throw error
      if (status === 0) return
      if (stderr.includes(QEMU_FLAKE) && tries < FLAKE_TRIES_MAX) continue
      throw new Error(`${this.commands.at(-1)} exits with ${status}: ${stdout}${stderr}`)
    }
  }

  private get prefix(): string {
    return this.image.format === 'luks' ? '' : 'encrypt.'
  }
  private get opening(): string {
    const driver = this.image.format === 'luks' ? 'luks' : 'qcow2'
    return `driver=${driver},file.filename=${IMAGE},${this.prefix}key-secret=${this.password}`
  }

  create(): void {
    const { creator, format, options, lengthBytes } = this.image
    const all = [`${this.prefix}key-secret=${this.password}`, ...options].join(',')
    this.call(creator, 'img', 'create', '-q', '-f', format === 'luks' ? 'luks' : 'qcow2', '-o', all, IMAGE, String(lengthBytes))
  }

  step({ by, kind, offsetBytes, lengthBytes, pattern }: EncryptedStep): void {
    if (kind === 'password') {
      this.changePassword(by)
      return
    }
    const command = { write: `write -P ${pattern}`, zero: 'write -z', discard: 'discard' }[kind]
    this.call(by, 'io', '-d', 'unmap', '--image-opts', '-c', `${command} ${offsetBytes} ${lengthBytes}`, this.opening)
  }

  /** Adds another one, and erases the old one by itself. */
  private changePassword(by: Side): void {
    const next = `p${this.passwords}`
    const { prefix } = this
    const change = (text: string): void => this.call(by, 'img', 'amend', '-o', text, '--image-opts', this.opening)
    change(`${prefix}state=active,${prefix}new-secret=${next},${prefix}iter-time=10`)
    const old = this.password
    this.password = next
    this.passwords++
    change(`${prefix}state=inactive,${prefix}old-secret=${old}`)
  }

  check(): void {
    if (this.image.format === 'luks') return
    for (const side of ['ours', 'theirs'] as const) this.call(side, 'img', 'check', '-q', '--image-opts', this.opening)
  }

  read(side: Side): Uint8Array {
    this.call(side, 'img', 'convert', '-O', 'raw', '--image-opts', this.opening, `${side}.raw`)
    return fs.readFileSync(path.join(this.folder, `${side}.raw`))
  }
}

/** Null, or what differs. A discard leaves what it likes, so it is compared, too, but not with anything written. */
export async function runEncrypted(plan: EncryptedImage, folder: string, commands: string[]): Promise<string | null> {
  const images = new EncryptedImages(folder, plan, commands)
  images.create()
  let expected: Uint8Array | null = plan.format === 'luks' ? null : new Uint8Array(plan.lengthBytes)
  for (const [number, step] of plan.steps.entries()) {
    images.step(step)
    images.check()
    const [ours, theirs] = [images.read('ours'), images.read('theirs')]
    const where = `after step ${number} (${step.kind} by ${step.by})`
    if (Buffer.compare(ours, theirs) !== 0) return `${where}: we read other bytes than qemu-img`
    const { offsetBytes, lengthBytes, kind, pattern } = step
    expected ??= Uint8Array.from(ours)
    if (kind === 'discard') expected.set(ours.subarray(offsetBytes, offsetBytes + lengthBytes), offsetBytes)
    else if (kind !== 'password') expected.fill(kind === 'write' ? pattern : 0, offsetBytes, offsetBytes + lengthBytes)
    if (Buffer.compare(ours, expected) !== 0) return `${where}: what is read is not what was written`
  }
  return null
}
