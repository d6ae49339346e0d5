/**
 * What happened, as a hash and as lines. The hash takes in every event and is what two runs are compared by. Lines are kept
 * as numbers and are put into words only when somebody wants to read them.
 *
 * What never may happen: a value in the hash that differs from machine to machine or from run to run.
 */
import type { TraceRecord } from './verdict'

/** Lines kept while not all are asked for. */
export const LINES_KEPT = 100
const CHECKPOINT_EVENTS = 64
const HASH_START = 0x811c9dc5
const HASH_FACTOR = 0x9e3779b1
const WORD = 2 ** 32
const SAMPLE_STEP_BYTES = 512

/** Puts a line into words. */
export type LineFormat = (line: Line) => string

function formatNothing(): string {
  return ''
}

/** A line before it is put into words; what the fields mean is up to its format. */
export class Line {
  step = 0
  timeNs = 0
  lane = ''
  format: LineFormat = formatNothing
  subject = ''
  word = ''
  offsetBytes = 0
  lengthBytes = 0
  code = 0
}

/**
 * A hash of data that costs little: two words of each sector, which in a stamped sector say who wrote it. Unsigned 32 bits.
 */
export function sampleHash(data: Uint8Array): number {
  let hash = data.length
  const end = data.length - SAMPLE_STEP_BYTES
  for (let at = 0; at <= end; at += SAMPLE_STEP_BYTES) {
    const first = data[at + 4]! | (data[at + 5]! << 8) | (data[at + 6]! << 16) | (data[at + 7]! << 24)
    const last = data[at + 500]! | (data[at + 501]! << 8) | (data[at + 502]! << 16) | (data[at + 503]! << 24)
    hash = Math.imul(hash ^ first, HASH_FACTOR)
    hash = Math.imul(hash ^ (hash >>> 15) ^ last, HASH_FACTOR)
  }
  return hash >>> 0
}

export class Trace {
  /** Number of the event that runs now; 0 before the first. */
  step = 0
  timeNs = 0
  readonly checkpoints: string[] = []
  private hash = HASH_START
  private readonly keepsAll: boolean
  private readonly lines: Line[] = []
  private lineCount = 0

  constructor(keepsAll: boolean) {
    this.keepsAll = keepsAll
  }

  /** Takes an integer of 32 bits into the hash. */
  mix(value: number): void {
    const mixed = Math.imul(this.hash ^ value, HASH_FACTOR)
    this.hash = mixed ^ (mixed >>> 15)
  }

  mixText(text: string): void {
    for (let index = 0; index < text.length; index++) this.mix(text.charCodeAt(index))
  }

  /** An event at `timeNs` begins. */
  begin(timeNs: number): void {
    this.step++
    this.timeNs = timeNs
    this.mix(timeNs | 0)
    this.mix(Math.floor(timeNs / WORD))
  }

  /** It has ended; what ran has a label of this hash. */
  end(labelHash: number): void {
    this.mix(labelHash)
    if (this.step % CHECKPOINT_EVENTS === 0) this.checkpoints.push(this.hashText())
  }

  /** 8 hex digits. */
  hashText(): string {
    return (this.hash >>> 0).toString(16).padStart(8, '0')
  }

  line(
    lane: string,
    format: LineFormat,
    subject: string,
    word: string,
    offsetBytes: number,
    lengthBytes: number,
    code: number,
  ): void {
    const slot = this.keepsAll ? this.lineCount : this.lineCount % LINES_KEPT
    this.lineCount++
    if (slot === this.lines.length) this.lines.push(new Line())
    const line = this.lines[slot]!
    line.step = this.step
    line.timeNs = this.timeNs
    line.lane = lane
    line.format = format
    line.subject = subject
    line.word = word
    line.offsetBytes = offsetBytes
    line.lengthBytes = lengthBytes
    line.code = code
  }

  /** The kept lines in words, oldest first. */
  records(): TraceRecord[] {
    const isFull = !this.keepsAll && this.lineCount > LINES_KEPT
    const first = isFull ? this.lineCount % LINES_KEPT : 0
    return this.lines.map((_, index) => {
      const line = this.lines[(first + index) % this.lines.length]!
      return { step: line.step, timeNs: line.timeNs, lane: line.lane, text: line.format(line) }
    })
  }
}
