/**
 * Two conversations about the same plan, compared: answers letter by letter, events in their order, what the guest read, the
 * counters of the job whenever it is at rest, and the images that are left: content, allocation, soundness.
 */
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { DiskName } from '../../sim/plan'
import { checkImage, mapOf } from '../against/judge'
import type { Programs } from '../against/programs'
import type { Conversed, Line } from './conversation'
import type { ConformancePlan } from './plans'

export type Kind = Line['kind'] | 'content' | 'allocation' | 'check' | 'course'

export interface Difference {
  readonly kind: Kind
  readonly asked: string
  /** Where in an answer or in events: `return/source/image/actual-size`; nodes by name. Empty: all of it. */
  readonly at: string
  readonly ours: string
  readonly theirs: string
}

export interface ImageState {
  readonly name: DiskName
  /** A digest of what a guest sees, or why it cannot be read. */
  readonly content: string
  /** Sectors that take space in the image itself. */
  readonly allocated: Uint8Array
  readonly check: string
}

const SECTOR_BYTES = 512

/** What a conversation has left, as told by the same programs for both. */
export async function imagesAfter(
  { source, destination }: Conversed,
  { plan }: ConformancePlan,
  programs: Programs,
): Promise<ImageState[]> {
  const states: ImageState[] = []
  for (const name of ['source', 'destination'] as const) {
    const [files, disk] = [name === 'source' ? source : destination, plan[name]]
    const allocated = new Uint8Array(disk.lengthBytes / SECTOR_BYTES)
    for (const { start, length, data, depth } of await mapOf(programs, files, disk)) {
      if (data && depth === 0) allocated.fill(1, start / SECTOR_BYTES, Math.ceil((start + length) / SECTOR_BYTES))
    }
    const format = disk.format === undefined ? 'raw' : 'qcow2'
    const content = await contentOf(files.image, format, programs)
    const finding = format === 'qcow2' && fs.existsSync(files.image) ? await checkImage(programs, name, files) : null
    states.push({ name, content, allocated, check: finding === null ? 'sound' : finding.key })
  }
  return states
}

async function contentOf(image: string, format: string, programs: Programs): Promise<string> {
  const plain = path.join(path.dirname(image), 'plain')
  fs.rmSync(plain, { force: true })
  const { status, stderr } = await programs.run('qemu-img', ['convert', '-f', format, '-O', 'raw', image, plain])
  if (status !== 0) return `cannot be read: ${stderr.trim().replaceAll(path.dirname(path.dirname(image)), 'FOLDER')}`
  return createHash('sha1').update(fs.readFileSync(plain)).digest('hex')
}

export function compareLines(ours: readonly Line[], theirs: readonly Line[]): Difference[] {
  const differences: Difference[] = []
  for (let index = 0; index < Math.max(ours.length, theirs.length); index++) {
    const [mine, other] = [ours[index], theirs[index]]
    if (mine === undefined || other === undefined || mine.asked !== other.asked || mine.kind !== other.kind) {
      const text = (line: Line | undefined): string => (line === undefined ? 'nothing' : `${line.asked}: ${line.said}`)
      // From here on they speak of different things.
      differences.push({
        kind: 'course',
        asked: ours[index - 1]?.asked ?? 'start',
        at: '',
        ours: text(mine),
        theirs: text(other),
      })
      break
    }
    if (mine.said === other.said) continue
    const { kind, asked } = mine
    const [left, right] = [treeOf(mine), treeOf(other)]
    if (left === null || right === null) differences.push({ kind, asked, at: '', ours: mine.said, theirs: other.said })
    else for (const { at, ours, theirs } of treeDifferences(left, right, '')) differences.push({ kind, asked, at, ours, theirs })
  }
  return differences
}

type Json = null | boolean | number | string | Json[] | { [member: string]: Json }
type TreeDifference = Pick<Difference, 'at' | 'ours' | 'theirs'>

/** Null: it is plain text. */
function treeOf({ kind, said }: Line): Json | null {
  if (kind === 'events') return said === '' ? [] : said.split('\n').map((line) => JSON.parse(line) as Json)
  return kind === 'answer' || kind === 'progress' ? (JSON.parse(said) as Json) : null
}

/** Each member that only one has, each value that is not the same, and members that come in another order. */
export function treeDifferences(ours: Json, theirs: Json, at: string): TreeDifference[] {
  if (Array.isArray(ours) && Array.isArray(theirs)) return listDifferences(ours, theirs, at)
  const areObjects = [ours, theirs].every((each) => typeof each === 'object' && each !== null && !Array.isArray(each))
  if (!areObjects) return ours === theirs ? [] : [{ at, ours: JSON.stringify(ours), theirs: JSON.stringify(theirs) }]
  const [left, right] = [ours, theirs] as Array<{ [member: string]: Json }>
  const differences: TreeDifference[] = []
  for (const name of new Set([...Object.keys(left!), ...Object.keys(right!)])) {
    const [mine, other] = [left![name], right![name]]
    const inner = at === '' ? name : `${at}/${name}`
    if (mine === undefined || other === undefined) differences.push({ at: inner, ours: textOf(mine), theirs: textOf(other) })
    else differences.push(...treeDifferences(mine, other, inner))
  }
  const [mine, other] = [Object.keys(left!).filter((name) => name in right!), Object.keys(right!).filter((name) => name in left!)]
  if (String(mine) !== String(other)) differences.push({ at: `${at}/order`, ours: String(mine), theirs: String(other) })
  return differences
}

/** Nodes are known by their names, events and jobs by what they are; of other lists each place counts. */
function listDifferences(ours: readonly Json[], theirs: readonly Json[], at: string): TreeDifference[] {
  const [mine, other] = [ours.map(nameOf), theirs.map(nameOf)]
  if (String(mine) !== String(other)) {
    const differences: TreeDifference[] = [{ at: `${at}/list`, ours: mine.join(' '), theirs: other.join(' ') }]
    for (const [index, name] of mine.entries()) {
      const place = other.indexOf(name)
      const isKnown = name !== '' && place >= 0 && mine.indexOf(name) === index
      if (isKnown) differences.push(...treeDifferences(ours[index]!, theirs[place]!, `${at}/${name}`))
    }
    return differences
  }
  return ours.flatMap((each, index) => treeDifferences(each, theirs[index]!, `${at}/${mine[index] || index}`))
}

function nameOf(value: Json): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return ''
  const data = (value['data'] ?? {}) as { [member: string]: Json }
  const name = value['node-name'] ?? value['event'] ?? value['id'] ?? value['device'] ?? ''
  return data['status'] === undefined ? String(name) : `${String(name)}:${String(data['status'])}`
}

function textOf(value: Json | undefined): string {
  return value === undefined ? 'absent' : JSON.stringify(value)
}

/** `withCopy`: the destination, too. */
export function compareImages(ours: readonly ImageState[], theirs: readonly ImageState[], withCopy: boolean): Difference[] {
  const differences: Difference[] = []
  for (const [index, mine] of ours.entries()) {
    const other = theirs[index]!
    if (mine.name === 'destination' && !withCopy) continue
    for (const kind of ['content', 'check'] as const) {
      if (mine[kind] !== other[kind]) differences.push({ kind, asked: mine.name, at: '', ours: mine[kind], theirs: other[kind] })
    }
    const more = count(mine.allocated, other.allocated)
    const less = count(other.allocated, mine.allocated)
    if (more > 0) differences.push({ kind: 'allocation', asked: mine.name, at: 'more', ours: `${more} sectors`, theirs: '0' })
    if (less > 0) differences.push({ kind: 'allocation', asked: mine.name, at: 'less', ours: '0', theirs: `${less} sectors` })
  }
  return differences
}

/** Sectors that are in the first and not in the second. */
function count(first: Uint8Array, second: Uint8Array): number {
  let sectors = 0
  for (let index = 0; index < first.length; index++) if (first[index] === 1 && second[index] === 0) sectors++
  return sectors
}
