/**
 * What to do with each part of a source that is copied: take its data, make zeroes, or leave it to the image below. Sources
 * follow each other; a part never crosses from one to the next.
 *
 * What may fail: asking for the status, as an errno.
 */
import { type BlockBackend, type BlockNode, StatusFlag } from '../../../block'
import { assert, type Co, type Errno, OK } from '../../../co'

export interface CopySource {
  backend: BlockBackend
  filename: string
  /** Where it begins in what all of them make together. */
  startBytes: number
  lengthBytes: number
}

export type PartKind = 'data' | 'zero' | 'backing'

export interface Part {
  errno: Errno
  kind: PartKind
  source: CopySource
  lengthBytes: number
}

export interface PlanOptions {
  sources: readonly CopySource[]
  /** The target shows this one where nothing is written; null: it has none. */
  backingOf: ((source: CopySource) => BlockNode | null) | null
  /** What cannot be asked for its status is read in pieces of this length. */
  salvageBytes: number
  isSalvaging: boolean
}

const STATUS_MAX_BYTES = 2 ** 30

export class CopyPlan {
  private readonly options: PlanOptions
  readonly lengthBytes: number

  constructor(options: PlanOptions) {
    this.options = options
    const last = options.sources.at(-1)
    assert(last !== undefined, 'copy-has-source')
    this.lengthBytes = last.startBytes + last.lengthBytes
  }

  sourceAt(atBytes: number): CopySource {
    const source = this.options.sources.find(({ startBytes, lengthBytes }) => atBytes < startBytes + lengthBytes)
    assert(source !== undefined && atBytes >= source.startBytes, 'copy-inside', () => String(atBytes))
    return source
  }

  /** The part that begins at `atBytes`. */
  *partAt(atBytes: number): Co<Part> {
    const source = this.sourceAt(atBytes)
    const insideBytes = atBytes - source.startBytes
    const restBytes = Math.min(source.lengthBytes - insideBytes, STATUS_MAX_BYTES)
    const node = source.backend.root!.node
    const base = this.options.backingOf?.(source) ?? null
    const hasBacking = this.options.backingOf !== null
    const status = yield* node.blockStatusAbove(base, 'want-zero', insideBytes, restBytes)
    if (status.errno !== OK) {
      if (!this.options.isSalvaging) return { errno: status.errno, kind: 'data', source, lengthBytes: 0 }
      return { errno: OK, kind: 'data', source, lengthBytes: Math.min(restBytes, this.options.salvageBytes) }
    }
    assert(status.bytes > 0 && status.bytes <= restBytes, 'copy-progress')
    const isHidden = hasBacking && (status.flags & (StatusFlag.Data | StatusFlag.Zero)) === 0
    const isZero = (status.flags & StatusFlag.Zero) !== 0
    const kind = isHidden ? 'backing' : isZero ? 'zero' : 'data'
    return { errno: OK, kind, source, lengthBytes: status.bytes }
  }
}

/** A run of a buffer that is all data or all zeroes, in bytes of the buffer. */
export interface Run {
  isZero: boolean
  startBytes: number
  endBytes: number
}

/**
 * Cuts a buffer into data and zeroes. `unitBytes` is what can be zeroes on its own, at multiples of it in the image; shorter
 * runs of zeroes than `leastBytes` count as data.
 */
export function splitAtZeroes(buffer: Uint8Array, atBytes: number, unitBytes: number, leastBytes: number): Run[] {
  assert(unitBytes > 0 && leastBytes > 0, 'zero-units')
  const runs: Run[] = []
  for (let at = 0; at < buffer.length; ) {
    const end = Math.min(buffer.length, at + unitBytes - ((atBytes + at) % unitBytes))
    const isZero = isZeroRange(buffer, at, end)
    const last = runs[runs.length - 1]
    if (last !== undefined && last.isZero === isZero) last.endBytes = end
    else runs.push({ isZero, startBytes: at, endBytes: end })
    at = end
  }
  const merged: Run[] = []
  for (const run of runs) {
    const isShort = run.isZero && run.endBytes - run.startBytes < leastBytes && run.endBytes < buffer.length
    const isZero = run.isZero && !(isShort && merged.length > 0)
    const last = merged[merged.length - 1]
    if (last !== undefined && last.isZero === isZero) last.endBytes = run.endBytes
    else merged.push({ ...run, isZero })
  }
  return merged
}

function isZeroRange(buffer: Uint8Array, startBytes: number, endBytes: number): boolean {
  const offset = buffer.byteOffset + startBytes
  if (offset % 4 === 0 && (endBytes - startBytes) % 4 === 0) {
    const words = new Uint32Array(buffer.buffer, offset, (endBytes - startBytes) / 4)
    for (let index = 0; index < words.length; index++) if (words[index] !== 0) return false
    return true
  }
  for (let at = startBytes; at < endBytes; at++) if (buffer[at] !== 0) return false
  return true
}
