/**
 * Snapshots, bitmaps and options of images, made by us or by qemu-img in turn: both list the same, every snapshot reads the
 * same, and the image is sound after each step.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { Choices, type Table } from '../properties/plans/choices'
import { NAMES, type OurImages } from './interop_ours'
import { drawInterop, type InteropImage } from './interop_plan'
import type { TheirImages } from './interop_theirs'

type StepKind = 'write' | 'snapshot' | 'apply' | 'delete' | 'bitmap' | 'forget' | 'amend'

export interface MetadataStep {
  by: 'ours' | 'theirs'
  kind: StepKind
  /** Which of those that are there, modulo their number. */
  index: number
  name: string
}

export interface MetadataImage {
  seed: string
  image: InteropImage
  steps: MetadataStep[]
}

const KIND: Table<StepKind> = [
  ['write', 30, 1],
  ['snapshot', 22, 1],
  ['apply', 12, 1],
  ['delete', 12, 1],
  ['bitmap', 10, 1],
  ['forget', 4, 1],
  ['amend', 10, 1],
]
const STEPS_MAX = 10

export function drawMetadata(seed: string): MetadataImage {
  const choices = new Choices(seed, 'metadata', 'uniform')
  const drawn = drawInterop(`${seed}.image`)
  const image: InteropImage = {
    ...{ ...drawn, dataFile: 'none', compressionType: 'zlib', preallocation: 'off', backing: null },
    clusterBytes: Math.min(drawn.clusterBytes, 65536),
    refcountBits: drawn.version === 2 ? 16 : Math.max(8, drawn.refcountBits),
    extendedL2: drawn.extendedL2 && choices.chance(50),
    // Compressed data takes free clusters only.
    operations: drawn.operations.filter(({ kind }) => kind !== 'compressed'),
  }
  const steps = Array.from({ length: choices.between(3, STEPS_MAX) }, (_, number): MetadataStep => {
    const by = choices.chance(50) ? 'ours' : 'theirs'
    return { by, kind: choices.pick(KIND), index: choices.below(1000), name: `n${number}` }
  })
  return { seed, image, steps }
}

/** What is there, as far as both are asked. */
interface Known {
  snapshots: string[]
  bitmaps: string[]
}

/** Null, or what differs. */
export async function runMetadata(
  { image, steps }: MetadataImage,
  folder: string,
  ours: OurImages,
  theirs: TheirImages,
): Promise<string | null> {
  if (image.creator === 'ours') await ours.create(image)
  else theirs.create(image)
  const known: Known = { snapshots: [], bitmaps: [] }
  for (const [number, step] of steps.entries()) {
    await doStep(step, image, known, step.by === 'ours' ? ours : theirs)
    theirs.check()
    const difference = await listDifference(known, folder, ours, theirs)
    if (difference !== null) return `after step ${number} (${step.kind} by ${step.by}): ${difference}`
  }
  return null
}

/** What both sides can do to an image. */
export interface MetadataPeer {
  write(image: InteropImage, operation: number): Promise<void> | void
  snapshot(kind: 'create' | 'apply' | 'delete', name: string): Promise<void> | void
  bitmap(kind: 'add' | 'remove', name: string): Promise<void> | void
  amend(options: { lazyRefcounts?: boolean; refcountBits?: number }): Promise<void> | void
}

async function doStep(step: MetadataStep, image: InteropImage, known: Known, peer: MetadataPeer): Promise<void> {
  const { kind, index, name } = step
  const { snapshots, bitmaps } = known
  const chosen = snapshots[index % Math.max(1, snapshots.length)]
  if (kind === 'write') await peer.write(image, index)
  else if (kind === 'snapshot' && bitmaps.length === 0) {
    await peer.snapshot('create', name)
    snapshots.push(name)
  } else if (kind === 'apply' && chosen !== undefined && bitmaps.length === 0) await peer.snapshot('apply', chosen)
  else if (kind === 'delete' && chosen !== undefined) {
    await peer.snapshot('delete', chosen)
    snapshots.splice(snapshots.indexOf(chosen), 1)
  } else if (kind === 'bitmap' && image.version === 3) {
    await peer.bitmap('add', name)
    bitmaps.push(name)
  } else if (kind === 'forget' && bitmaps.length > 0) {
    const forgotten = bitmaps.splice(index % bitmaps.length, 1)[0]!
    await peer.bitmap('remove', forgotten)
  } else if (kind === 'amend' && image.version === 3) {
    await peer.amend(index % 2 === 0 ? { lazyRefcounts: index % 4 === 0 } : { refcountBits: [16, 32, 64][index % 3]! })
  }
}

async function listDifference(known: Known, folder: string, ours: OurImages, theirs: TheirImages): Promise<string | null> {
  const mine = await ours.list()
  const other = theirs.list()
  const lists = [mine, other].map(({ snapshots, bitmaps }) => JSON.stringify({ snapshots, bitmaps }))
  if (lists[0] !== lists[1]) return `we list ${lists[0]}, qemu-img ${lists[1]}`
  const names = mine.snapshots.map(({ name }) => name).join()
  if (names !== known.snapshots.join()) return `there are snapshots ${names}, not ${known.snapshots.join()}`
  for (const name of [null, ...known.snapshots]) {
    const bytes = await ours.readSnapshot(name)
    const plain = theirs.readSnapshot(name)
    const at = Buffer.compare(bytes, fs.readFileSync(path.join(folder, plain)))
    if (at !== 0) return `${name === null ? 'the disk' : `snapshot ${name}`} reads otherwise for qemu-img`
  }
  return fs.existsSync(path.join(folder, NAMES.top)) ? null : 'the image is gone'
}
