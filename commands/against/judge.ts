/**
 * What must be true of the images when a lifecycle is over: the guest's disk is what the guest made it, a finished copy
 * reads as its original, and the images are sound. Sparseness at the level that QEMU promises: nothing is allocated around
 * which neither the source nor the guest had anything.
 */
import { AllocationBound } from '../../model/allocation'
import type { ReferenceDisk } from '../../model/disk'
import { describeSector } from '../../model/disk'
import { writerNames } from '../../properties/checkers/shared'
import { type DiskName, type DiskPlan, type Plan, SECTOR_BYTES } from '../../sim/plan'
import type { Finding } from '../../sim/verdict'
import type { RealGuest } from './guest'
import { type DiskFiles, readFiles } from './images'
import type { RealOperator } from './operator'
import type { RealOptions } from './options'
import type { Programs } from './programs'

export type Ended = Pick<RealOperator, 'end' | 'asked' | 'endedBefore' | 'begunBefore' | 'startRefusal' | 'wasReady'> & {
  /** The guest is on the destination. */
  readonly isPivoted: boolean
}

export interface JudgedSubject {
  readonly plan: Plan
  readonly options: RealOptions
  readonly source: DiskFiles
  readonly destination: DiskFiles
  readonly model: ReferenceDisk
  readonly guest: RealGuest
  readonly ended: Ended
  readonly isAttached: boolean
}

type Count = (name: string) => void

export async function judgeImages(subject: JudgedSubject, programs: Programs, count: Count): Promise<Finding[]> {
  const { plan, ended, model } = subject
  const findings: Finding[] = []
  const unexpected = unexpectedEnd(subject)
  if (unexpected !== null) findings.push(unexpected)
  const source = readOr(findings, 'source', subject.source, plan.source)
  if (source === null) return findings
  const { end, isPivoted } = ended
  const isCopy = end !== null && end.error === null && end.event === 'BLOCK_JOB_COMPLETED'
  if (!isPivoted) push(findings, whole(subject, 'source', model, source))
  if (!isCopy) return findings
  count('judged/copies')
  const isNew = subject.options.command === 'drive-mirror-absolute-paths'
  const files = isNew ? { ...subject.destination, backing: subject.source.backing } : subject.destination
  const destination = readOr(findings, 'destination', files, seenDestination(subject))
  if (destination === null) return findings
  if (isPivoted && plan.mirror.sync !== 'none') push(findings, whole(subject, 'destination', model, destination))
  if (plan.mirror.sync === 'none') push(findings, compareChanged(subject, source, destination))
  else push(findings, compare(subject, source, destination))
  if (end.offset !== end.len) {
    const text = `the job ends with offset ${end.offset} and length ${end.len}`
    findings.push({ class: 'protocol', key: 'job/progress-at-end', text })
  }
  const excess = await sparseness(subject, programs, count)
  if (excess !== null) findings.push(excess)
  return findings
}

/** Null, with a finding, where the image cannot be opened or read. */
function readOr(findings: Finding[], disk: DiskName, files: DiskFiles, plan: DiskPlan): Uint8Array | null {
  try {
    return readFiles(disk, files, plan)
  } catch (error) {
    const text = `the ${disk} cannot be read afresh: ${(error as Error).message}`
    findings.push({ class: 'content', key: `content/${disk}-unreadable`, text, disk })
    return null
  }
}

function push(findings: Finding[], finding: Finding | null): void {
  if (finding !== null) findings.push(finding)
}

/** A job that fails where no disk has an error. */
function unexpectedEnd({ plan, ended }: JudgedSubject): Finding | null {
  const { end, startRefusal } = ended
  const mayFail =
    plan.faults.length > 0 ||
    plan.source.lengthBytes !== plan.destination.lengthBytes ||
    plan.destination.node.readOnly === true ||
    plan.mirror.replaces !== undefined
  if (mayFail) return null
  if (startRefusal !== null && end === null) {
    return { class: 'protocol', key: 'job/not-started', text: `the mirror is refused: ${startRefusal}` }
  }
  if (end === null || end.error === null) return null
  return {
    class: 'protocol',
    key: 'job/failed-without-fault',
    text: `the job fails with "${end.error}", and no disk has an error`,
  }
}

/** How the destination is opened afresh: a backing image that only its header knows counts where QEMU promises it. */
function seenDestination({ plan, options, isAttached }: JudgedSubject): DiskPlan {
  const { destination, source } = plan
  if (destination.format === undefined) return destination
  const { backing, ...alone } = destination.format
  if (options.command === 'drive-mirror-absolute-paths') {
    const below = plan.mirror.sync === 'top' ? source.format?.backing : undefined
    return { ...destination, format: { ...alone, dataFile: 'none', ...(below === undefined ? {} : { backing: below }) } }
  }
  const isShown =
    backing !== undefined &&
    (!backing.isDetached ||
      isAttached ||
      (plan.mirror.sync === 'top' && source.format?.backing !== undefined) ||
      options.command !== 'blockdev-mirror')
  return isShown ? destination : { ...destination, format: alone }
}

function whole({ plan }: JudgedSubject, disk: DiskName, model: ReferenceDisk, bytes: Uint8Array): Finding | null {
  const mismatch = model.checkWhole(bytes.subarray(0, plan.source.lengthBytes))
  if (mismatch === null) return null
  const { sectorIndex, expected, actual } = mismatch
  return {
    class: 'content',
    key: `content/${disk}-afresh`,
    text: `the ${disk}, opened afresh, holds ${actual} where the guest must find ${expected}`,
    disk,
    offsetBytes: sectorIndex * SECTOR_BYTES,
    lengthBytes: SECTOR_BYTES,
    expected,
    actual,
  }
}

/** Sectors of changes that may have come after the copy was finished. */
function lateSectors({ guest, ended }: JudgedSubject, sectors: number): Uint8Array {
  const late = new Uint8Array(sectors)
  for (const [id, change] of guest.changes) {
    if (ended.endedBefore?.has(id) !== true) late.fill(1, change.firstSector, change.endSector)
  }
  return late
}

function compare(subject: JudgedSubject, source: Uint8Array, destination: Uint8Array): Finding | null {
  const sectors = subject.plan.source.lengthBytes / SECTOR_BYTES
  const late = lateSectors(subject, sectors)
  for (let sector = 0; sector < sectors; sector++) {
    if (late[sector] === 1 || isSame(source, destination, sector)) continue
    return difference(subject, source, destination, sector, 'content/copy-differs')
  }
  return null
}

/** Of a mirror without a first copy: what was surely changed while it ran. */
function compareChanged(subject: JudgedSubject, source: Uint8Array, destination: Uint8Array): Finding | null {
  const { guest, ended, plan } = subject
  const late = lateSectors(subject, plan.source.lengthBytes / SECTOR_BYTES)
  for (const [id, change] of guest.changes) {
    if (ended.begunBefore.has(id) || !change.isCertain) continue
    for (let sector = change.firstSector; sector < change.endSector; sector++) {
      if (late[sector] === 1 || isSame(source, destination, sector)) continue
      return difference(subject, source, destination, sector, 'content/copy-of-changes-differs')
    }
  }
  return null
}

function isSame(left: Uint8Array, right: Uint8Array, sector: number): boolean {
  const at = sector * SECTOR_BYTES
  return Buffer.compare(left.subarray(at, at + SECTOR_BYTES), right.subarray(at, at + SECTOR_BYTES)) === 0
}

function difference({ plan }: JudgedSubject, source: Uint8Array, destination: Uint8Array, sector: number, key: string): Finding {
  const at = sector * SECTOR_BYTES
  const [expected, actual] = [source, destination].map((bytes) => describeSector(bytes, at, sector, writerNames(plan))) as [
    string,
    string,
  ]
  return {
    class: 'content',
    key,
    text: `the copy holds ${actual} where the source holds ${expected}, and nobody has written there since the end was asked for`,
    disk: 'destination',
    offsetBytes: at,
    lengthBytes: SECTOR_BYTES,
    expected,
    actual,
  }
}

// ----------------------------------------------------------------------------------------------------------- sparseness

export interface MapEntry {
  readonly start: number
  readonly length: number
  readonly data: boolean
  readonly depth: number
}

/** Everything that anybody had anything to do with may take space, with what shares a chunk or a cluster with it. */
async function sparseness(subject: JudgedSubject, programs: Programs, count: Count): Promise<Finding | null> {
  const { plan, options, destination: files } = subject
  const { destination, source, mirror } = plan
  const isBare = destination.initial.length === 0 || options.command === 'drive-mirror-absolute-paths'
  const isThin = destination.node.discard === 'unmap' && mirror.unmap && destination.writeZeroes !== 'none'
  const hasLimits =
    destination.format === undefined && (destination.writeZeroesAlignmentBytes > 0 || destination.requestAlignmentBytes > 512)
  const isPreallocated =
    destination.format !== undefined && (destination.format.preallocation !== 'off' || destination.format.dataFile !== 'none')
  if (!isBare || !isThin || hasLimits || isPreallocated || destination.format?.backing !== undefined || plan.faults.length > 0)
    return null
  count('judged/sparseness')
  const chunkBytes = mirror.granularityBytes > 0 ? mirror.granularityBytes : 65_536
  const clusterBytes = Math.max(destination.format?.clusterBytes ?? 4096, 4096)
  const sourceBlock = Math.max(source.format?.clusterBytes ?? 4096, 4096)
  const bound = new AllocationBound(destination.lengthBytes, SECTOR_BYTES, [sourceBlock, chunkBytes, clusterBytes, 65_536])
  for (const { offsetBytes, lengthBytes } of [...(source.format?.backing?.initial ?? []), ...source.initial, ...plan.guest]) {
    const endBytes = Math.min(offsetBytes + lengthBytes, destination.lengthBytes)
    if (endBytes > offsetBytes) bound.allow(offsetBytes, endBytes)
  }
  if (source.format !== undefined && source.format.preallocation !== 'off') bound.allowAll()

  // A new plain file is given its first block, for others to find out how it must be aligned.
  if (options.command === 'drive-mirror-absolute-paths' && destination.format === undefined)
    bound.allow(0, Math.min(4096, destination.lengthBytes))
  // A hole that is shorter than a chunk is copied as data, and so is a short chunk at the end.
  const tailBytes = destination.lengthBytes % chunkBytes
  if (tailBytes > 0) bound.allow(destination.lengthBytes - tailBytes, destination.lengthBytes)
  const allocated = new Uint8Array(destination.lengthBytes / SECTOR_BYTES)
  for (const { start, length, data, depth } of await mapOf(programs, files, destination)) {
    if (data && depth === 0) allocated.fill(1, start / SECTOR_BYTES, Math.ceil((start + length) / SECTOR_BYTES))
  }
  const excess = bound.firstExcess(allocated)
  if (excess < 0) return null
  const at = excess * SECTOR_BYTES
  const text = `the copy has space at ${at}, where neither the source nor the guest ever had anything`
  return { class: 'sparseness', key: 'sparseness/excess', text, disk: 'destination', offsetBytes: at, lengthBytes: SECTOR_BYTES }
}

/** What `qemu-img map` says of an image; nothing where it cannot open it. */
export async function mapOf(programs: Programs, { image }: DiskFiles, { format }: DiskPlan): Promise<MapEntry[]> {
  const args = ['map', '--output=json', '-f', format === undefined ? 'raw' : 'qcow2', image]
  const { status, stdout } = await programs.run('qemu-img', args)
  return status === 0 ? (JSON.parse(stdout) as MapEntry[]) : []
}

/** Leaks are no corruption, but nobody has died here: there must be none. */
export async function checkImage(programs: Programs, disk: DiskName, { image, folder }: DiskFiles): Promise<Finding | null> {
  const { status, stdout, stderr } = await programs.run('qemu-img', ['check', '-q', '-f', 'qcow2', image], folder)
  if (status === 0) return null
  const what = status === 3 ? 'leaks' : 'corrupt'
  const said = `${stdout}${stderr}`.trim().slice(0, 2000)
  return {
    class: 'invariant',
    key: `image/${disk}-${what}`,
    text: `qemu-img check of the ${disk} exits with ${status}: ${said}`,
    disk,
  }
}
