/**
 * What is known at one event, in lines and rows of plain text: the page puts them into elements, the terminal debugger
 * prints them. Plain data in, plain data out; whatever may be long is cut at a bound.
 */
import { type Film, type FilmLane, type Frame, isMarked } from '../../sim/film_frames'
import type { Plan } from '../../sim/plan'
import type { Report } from '../format'
import { eventText, grouped, timeText } from '../text'
import { firstAfter, frameIndexAt, isSameSector, type StoryLine, sectorText } from './story'
import type { Viewing } from './viewing'

const SECTOR_BYTES = 512
const SECTOR_ROWS_MAX = 16
const EVENTS_BEFORE = 10
export const EVENTS_SHOWN = 24
const WAITS_SHOWN_MAX = 40

export const BITS = ['dirty', 'inFlight', 'zero', 'cow'] as const
export type Bit = (typeof BITS)[number]

export function bitName(bit: Bit): string {
  return bit === 'inFlight' ? 'in flight' : bit
}

/** The names of the bits that are set for a chunk. */
export function bitsOf({ mirror }: Frame, chunkIndex: number): string[] {
  return BITS.filter((bit) => isMarked(mirror?.[bit] ?? null, chunkIndex)).map(bitName)
}

/** How many chunks are marked in a map. */
export function markedCount({ mirror }: Frame, bit: Bit): number {
  let count = 0
  for (let chunk = 0; chunk < (mirror?.chunkCount ?? 0); chunk++) if (isMarked(mirror![bit], chunk)) count++
  return count
}

/** Lines of the trace around the present event. `count` in all. */
export function eventsAround({ film, frame }: Viewing, count = EVENTS_SHOWN): StoryLine[] {
  const all = film.lines
  const first = firstAfter(all, frame.step - 1)
  const from = Math.max(0, first - Math.min(EVENTS_BEFORE, count >> 1))
  return all.slice(from, from + count).map((record) => ({
    step: record.step,
    // Damaged images have no time.
    text: film.kind === 'file' ? `#${record.step}  ${record.text}` : eventText(record).trim().replace(/ {2,}/g, '  '),
  }))
}

export interface SectorRow {
  /** `16`, or `16-31` where several hold the same. */
  sectors: string
  source: string
  destination: string
  isEqual: boolean
}

/** What both disks hold in the chunk, by ranges of sectors that hold the same; `more` sectors are left out. */
export function chunkSectors({ film, frame, chunkIndex, chunkBytes }: Viewing): { rows: SectorRow[]; more: number } {
  const first = Math.floor((chunkIndex * chunkBytes) / SECTOR_BYTES)
  const end = Math.min(frame.source.sectors.length, first + Math.ceil(chunkBytes / SECTOR_BYTES))
  const rows: SectorRow[] = []
  let at = first
  while (at < end && rows.length < SECTOR_ROWS_MAX) {
    const start = at
    const source = frame.source.sectors[at] ?? 0
    const destination = frame.destination.sectors[at] ?? 0
    while (at < end && (frame.source.sectors[at] ?? 0) === source && (frame.destination.sectors[at] ?? 0) === destination) at++
    rows.push({
      sectors: at - start === 1 ? String(start) : `${start}-${at - 1}`,
      source: sectorText(film, source),
      destination: sectorText(film, destination),
      isEqual: isSameSector(source, destination),
    })
  }
  return { rows, more: end - at }
}

/** The state of the job and its counters. */
export function jobRows(frame: Frame): Array<readonly [name: string, value: string]> {
  const { mirror } = frame
  const job: Array<readonly [string, string]> = [
    ['event', String(frame.step)],
    ['time', timeText(frame.timeNs)],
    ['job', frame.jobStatus],
    ['progress', `${frame.jobOffsetBytes} of ${frame.jobLengthBytes} bytes`],
    ['the guest’s disk', frame.guestDisk],
  ]
  if (mirror === null) return [...job, ['mirror', 'not there']]
  return [
    ...job,
    ['phase', mirror.phase],
    ['copy mode', mirror.copyMode],
    ['actively synced', mirror.activelySynced ? 'yes' : 'no'],
    ['was READY', mirror.wasReady ? 'yes' : 'no'],
    ['granularity', `${mirror.granularityBytes} bytes`],
    ['dirty chunks', `${markedCount(frame, 'dirty')} of ${mirror.chunkCount}`],
    ['copied', `${mirror.copiedBytes} bytes`],
    ['zeroed', `${mirror.zeroedBytes} bytes`],
    ['discarded', `${mirror.discardedBytes} bytes`],
    ['zeroes skipped', `${mirror.skippedZeroBytes} bytes`],
  ]
}

/** What is under way at one lane. */
export function queueLines(film: Film, step: number, lane: FilmLane): string[] {
  return film.spans
    .filter((span) => span.lane === lane && span.fromStep <= step && step < span.toStep)
    .map(
      ({ id, kind, offsetBytes, lengthBytes, fromStep }) =>
        `${id === kind ? '' : `${id}: `}${kind} ${offsetBytes}+${lengthBytes}, since #${fromStep}`,
    )
}

/** Every coroutine that waits, and for what. */
export function waitLines({ waits }: Frame): readonly string[] {
  return waits.slice(0, WAITS_SHOWN_MAX)
}

/** JSON on one line, with blanks where it may be broken. */
function lineOf(value: unknown): string {
  return JSON.stringify(value, null, 1).replace(/\n */g, ' ')
}

/** A plan as JSON in which each operation has a line. */
export function planText(plan: Plan, decisions: Readonly<Record<string, number>> | undefined): string {
  const rows = Object.entries(plan).map(([name, value]) => {
    const isList = Array.isArray(value) && value.length > 0
    const text = isList ? `[\n${value.map((one) => `    ${lineOf(one)}`).join(',\n')}\n  ]` : lineOf(value)
    return `  ${JSON.stringify(name)}: ${text}`
  })
  const decided = decisions === undefined ? '' : `\n\nwith the decisions\n${JSON.stringify(decisions, null, 1)}`
  return `{\n${rows.join(',\n')}\n}${decided}`
}

/** One sentence about the event that is looked at. */
export function momentText(viewing: Viewing): string {
  const { frame, film } = viewing
  const { lines } = film
  const present = lines.slice(firstAfter(lines, frame.step - 1), firstAfter(lines, frame.step))
  const happened = present.map(({ lane, text }) => `${lane}: ${text}`)
  const isFailure = film.result.failure !== null && frameIndexAt(film, film.result.failure.step) === viewing.frameIndex
  const what = happened.length === 0 ? 'something inside went on' : happened.join('; ')
  return `${isFailure ? 'The failure was found here. ' : ''}${what}`
}

/** What has changed since the report was written; empty: nothing. `code`: where the code that ran lies. */
export function changeNote(report: Report, film: Film, code: string): string {
  const { failure, hash } = film.result
  if (report.against !== undefined)
    return `The failure is one of ${report.against.program} in real time; this is our own world of the same plan, with the code ${code}.`
  if (film.kind !== 'file' && film.frames.length < film.result.events)
    return `Only the first ${grouped(film.frames.length)} of ${grouped(film.result.events)} events are kept to be looked at.`
  if (failure === null && report.failure.key === 'image/memory') return 'Memory is not measured where worlds are filmed.'
  if (failure === null) return `The world does not fail any more with the code ${code}.`
  if (failure.key !== report.failure.key) return `The world fails otherwise now: ${failure.key}: ${failure.text}`
  return hash === report.trace.hash
    ? ''
    : 'The world fails alike, after other events than those in the report: the code has changed since.'
}
