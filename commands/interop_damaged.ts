/**
 * Images of qemu-img that somebody has damaged, checked and repaired by both: the same counts, the same lines, the same end;
 * and what we have repaired is sound for qemu-img. Where qemu-img gives up, or loses snapshots in a repair, nothing is compared.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { CheckFix } from '../impl/block'
import { Choices, type Table } from '../properties/plans/choices'
import { NAMES, type OurImages } from './interop_ours'
import { drawInterop, type InteropImage } from './interop_plan'
import type { TheirImages } from './interop_theirs'

type Target = 'l1' | 'l2' | 'refcount-table' | 'refcounts' | 'snapshots' | 'snapshot-l1' | 'snapshot-pointer' | 'bitmaps' | 'cut'

export interface DamagedImage {
  seed: string
  image: InteropImage
  snapshots: number
  bitmaps: number
  damage: Array<{ target: Target; index: number; value: string; width: 1 | 8 }>
}

/** What a check says, by QEMU's names; the exit code as well. */
export interface CheckVerdict {
  exitCode: number
  counts: number[]
  lines: string[]
}

export const COUNT_NAMES = [
  ...(['corruptions', 'leaks', 'check-errors', 'corruptions-fixed', 'leaks-fixed', 'image-end-offset'] as const),
  ...(['total-clusters', 'allocated-clusters', 'fragmented-clusters', 'compressed-clusters'] as const),
]
export const CHECKED = { theirs: 'checked-theirs.qcow2', ours: 'checked-ours.qcow2' } as const

const TARGET: Table<Target> = [
  ['l1', 14, 1],
  ['l2', 30, 1],
  ['refcount-table', 10, 1],
  ['refcounts', 24, 1],
  ['snapshots', 8, 1],
  ['snapshot-l1', 4, 1],
  ['snapshot-pointer', 2, 1],
  ['bitmaps', 4, 1],
  ['cut', 4, 1],
]
const COUNT: Table<number> = [
  [1, 50, 1],
  [2, 30, 1],
  [3, 20, 1],
]
const DAMAGED_LENGTH_MAX = 512 * 1024
const OPERATIONS_MAX = 8
/** Hexadecimal digits of numbers that we do not tell exactly. */
const INEXACT = /[0-9a-f]{14}/

export function drawDamaged(seed: string): DamagedImage {
  const choices = new Choices(seed, 'damaged', 'uniform')
  const drawn = drawInterop(`${seed}.image`)
  const lengthBytes = Math.min(drawn.lengthBytes, DAMAGED_LENGTH_MAX)
  const preallocation = choices.chance(20) ? 'metadata' : 'off'
  const operations = drawn.operations
    .filter(({ offsetBytes, lengthBytes: bytes }) => offsetBytes + bytes <= lengthBytes)
    .filter(({ kind }) => kind !== 'compressed' || (preallocation === 'off' && drawn.preallocation === 'off'))
    .slice(0, OPERATIONS_MAX)
  const clusterBytes = Math.min(drawn.clusterBytes, 65536)
  const image: InteropImage = {
    ...{ ...drawn, lengthBytes, operations, clusterBytes, backing: null, dataFile: 'none', compressionType: 'zlib' },
    preallocation,
  }
  const canShare = image.version === 2 || image.refcountBits > 2
  return {
    seed,
    image,
    snapshots: canShare && choices.chance(40) ? choices.between(1, 2) : 0,
    bitmaps: image.version === 3 && choices.chance(25) ? 1 : 0,
    damage: Array.from({ length: choices.pick(COUNT) }, () => drawDamage(choices, clusterBytes)),
  }
}

function drawDamage(choices: Choices, clusterBytes: number): DamagedImage['damage'][number] {
  const target = choices.pick(TARGET)
  const place = BigInt(choices.below(64)) * BigInt(clusterBytes)
  const flag = [0n, 1n << 63n, 1n << 62n, 1n][choices.below(4)]!
  const values = [0n, BigInt(choices.below(300)), place, place + 512n, place | flag, 1n << BigInt(choices.below(52)), flag]
  // The pointer to the snapshot table is refused from 2^53 on, where QEMU reads zeroes behind the end of the file.
  const value = (target === 'snapshot-pointer' ? place : values[choices.below(values.length)]!).toString(16)
  return { target, index: choices.below(2 ** 20), value, width: target === 'refcounts' && choices.chance(70) ? 1 : 8 }
}

/** Changes the fields of the file. */
export function applyDamage(file: string, damage: DamagedImage['damage']): void {
  let bytes = fs.readFileSync(file)
  const offsetAt = (at: number): number => (at + 8 <= bytes.length ? Number(bytes.readBigUInt64BE(at) & 0x00fffffffffffe00n) : 0)
  const clusterBytes = 2 ** bytes.readUInt32BE(20)
  const [l1Entries, l1At, tableAt, snapshots, snapshotsAt] = [
    bytes.readUInt32BE(36),
    offsetAt(40),
    offsetAt(48),
    bytes.readUInt32BE(60),
    offsetAt(64),
  ]
  const ofFirst = (at: number, index: number, entries: number): number => (at === 0 ? 0 : at + (index % entries) * 8)
  for (const { target, index, value, width } of damage) {
    let at = 0
    if (target === 'l1' && l1Entries > 0) at = ofFirst(l1At, index, l1Entries)
    if (target === 'l2' && l1Entries > 0) at = ofFirst(offsetAt(l1At), index, Math.min(24, clusterBytes / 8))
    if (target === 'refcount-table') at = ofFirst(tableAt, index, 3)
    if (target === 'refcounts') at = ofFirst(offsetAt(tableAt), index, 8)
    if (target === 'snapshots' && snapshots > 0) at = ofFirst(snapshotsAt, index, 9)
    if (target === 'snapshot-l1' && snapshots > 0) at = ofFirst(offsetAt(snapshotsAt), index, Math.max(1, l1Entries))
    if (target === 'snapshot-pointer') at = 64
    if (target === 'bitmaps') at = ofFirst(directoryAt(bytes, clusterBytes), index, 3)
    if (target === 'cut') bytes = bytes.subarray(0, Math.max(clusterBytes, index % bytes.length))
    else if (at > 0 && at + width <= bytes.length) {
      const field = Buffer.alloc(8)
      field.writeBigUInt64BE(BigInt(`0x${value}`))
      field.copy(bytes, at, 8 - width)
    }
  }
  fs.writeFileSync(file, bytes)
}

/** Where the directory of bitmaps lies, or 0. */
function directoryAt(bytes: Buffer, clusterBytes: number): number {
  const at = bytes.subarray(0, clusterBytes).indexOf(Buffer.from([0x23, 0x85, 0x28, 0x75, 0, 0, 0, 24]))
  return at === -1 ? 0 : Number(bytes.readBigUInt64BE(at + 24))
}

/** Null, or what differs. */
export async function runDamaged(
  { image, snapshots, bitmaps, damage }: DamagedImage,
  folder: string,
  ours: OurImages,
  theirs: TheirImages,
): Promise<string | null> {
  theirs.create(image)
  theirs.change(image)
  theirs.furnish(snapshots, bitmaps)
  applyDamage(path.join(folder, NAMES.top), damage)
  // qemu-img forgets the snapshots of an image with bitmaps as soon as it is to repair it.
  const fixes: CheckFix[] = snapshots > 0 && bitmaps > 0 ? ['none'] : ['none', 'leaks', 'all']
  for (const fix of fixes) {
    for (const name of Object.values(CHECKED)) fs.copyFileSync(path.join(folder, NAMES.top), path.join(folder, name))
    const mine = await ours.checkTwice(CHECKED.ours, fix)
    const other = theirs.checkJson(CHECKED.theirs, fix)
    // We go on where it stops: until nothing more is wrong.
    const isBetter = fix === 'all' && mine.exitCode === 0 && other.exitCode > 0
    const difference = givesUp(other) || isBetter ? null : verdictDifference(mine, other)
    if (difference !== null) return `check (repair: ${fix}): ${difference}`
    if (fix !== 'all' || mine.exitCode !== 0) continue
    const again = theirs.checkJson(CHECKED.ours, 'none')
    if (again.exitCode !== 0) return `our repair is not sound: ${again.lines.join('; ')}`
  }
  return null
}

/** It has marked the image corrupt in the middle of its repair, was ended by a signal, or asks for files of many gigabytes. */
function givesUp({ exitCode, counts, lines }: CheckVerdict): boolean {
  return exitCode < 0 || lines.some((line) => /Marking image as corrupt|ould not resize/.test(line)) || (counts[5] ?? 0) > 2 ** 32
}

function verdictDifference(mine: CheckVerdict, other: CheckVerdict): string | null {
  const shown = ({ exitCode, counts, lines }: CheckVerdict): string =>
    `exit ${exitCode}, ${counts.map((count, index) => `${COUNT_NAMES[index]} ${count}`).join(' ')}; ${lines.slice(0, 6).join('; ')}`
  const isSame = mine.exitCode === other.exitCode && mine.counts.join() === other.counts.join()
  if (!isSame) return `ours: ${shown(mine)}; qemu-img: ${shown(other)}`
  // One that cannot be opened is told by its program.
  if (other.counts.length === 0) return null
  for (const [index, line] of other.lines.entries()) {
    if (line !== mine.lines[index] && !INEXACT.test(line)) return `line ${index} is '${mine.lines[index]}', qemu-img's '${line}'`
  }
  return null
}
