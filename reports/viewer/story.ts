/**
 * What a film says in words: where things went wrong, and what happened there before. Plain data in, plain data out; the
 * page and the terminal debugger tell the same story.
 */
import {
  ANYTHING_SECTOR,
  CORRUPT_SECTOR,
  type Film,
  type Frame,
  isMarked,
  MISDIRECTED_SECTOR,
  NOTHING_SECTOR,
  type Span,
} from '../../sim/film_frames'

const SECTOR_BYTES = 512
const STORY_LINES_MAX = 40

/** How far a chunk is. */
export const ChunkState = {
  /** Both disks hold the same, and nobody works there. */
  Equal: 0,
  /** The mirror knows that there is something to do. */
  Dirty: 1,
  InFlight: 2,
  /** The mirror takes it for done, and the disks differ. */
  Wrong: 3,
  /** There is no mirror, or none any more, or it is not to copy this. */
  Outside: 4,
} as const
export type ChunkState = (typeof ChunkState)[keyof typeof ChunkState]

export function chunkCountOf({ lengthBytes, chunkBytes }: Film): number {
  return Math.max(1, Math.ceil(lengthBytes / chunkBytes))
}

/** Whether both disks hold the same in a chunk. */
export function isEqualChunk(frame: Frame, chunkIndex: number, chunkBytes: number): boolean {
  const first = (chunkIndex * chunkBytes) / SECTOR_BYTES
  const end = first + chunkBytes / SECTOR_BYTES
  const { source, destination } = frame
  for (let sector = Math.floor(first); sector < end && sector < source.sectors.length; sector++) {
    if (!isSameSector(source.sectors[sector], destination.sectors[sector])) return false
  }
  return true
}

/** A sector of which nobody can say what it must hold is as it should be. */
export function isSameSector(one: number | undefined, other: number | undefined): boolean {
  return one === other || one === ANYTHING_SECTOR || other === ANYTHING_SECTOR
}

export function chunkState(film: Film, frame: Frame, chunkIndex: number, chunkBytes: number): ChunkState {
  const { mirror } = frame
  // These two are to be the same at any time, whatever a job is at.
  if (film.kind === 'chain' && !isEqualChunk(frame, chunkIndex, chunkBytes)) return ChunkState.Wrong
  if (film.kind === 'file') return isEqualChunk(frame, chunkIndex, chunkBytes) ? ChunkState.Equal : ChunkState.Wrong
  if (film.kind === 'chain' && mirror === null) return ChunkState.Equal
  if (mirror === null || mirror.phase === 'starting' || mirror.phase === 'zeroing') return ChunkState.Outside
  if (isMarked(mirror.inFlight, chunkIndex)) return ChunkState.InFlight
  if (isMarked(mirror.dirty, chunkIndex)) return ChunkState.Dirty
  if (isEqualChunk(frame, chunkIndex, chunkBytes)) return ChunkState.Equal
  // When it has ended, guests go on with one of the two.
  if (mirror.phase === 'finished') return ChunkState.Outside
  if (mirror.phase === 'scanning' || film.plan.mirror.sync !== 'full') return ChunkState.Outside
  return ChunkState.Wrong
}

/** The index of the frame after event `step`, or of the last one before it. */
export function frameIndexAt(film: Film, step: number): number {
  return Math.max(0, firstAfter(film.frames, step) - 1)
}

/** The index of the last frame of a time, or of the last one before it. */
export function frameIndexAtTime({ frames }: Film, timeNs: number): number {
  return Math.max(0, firstBeyond(frames, (frame) => frame.timeNs > timeNs) - 1)
}

/** The chunk that the failure is about; null where it is about none. */
export function failingChunk(film: Film): number | null {
  const { failure } = film.result
  if (failure === null) return null
  if (failure.offsetBytes !== undefined) return Math.floor(failure.offsetBytes / film.chunkBytes)
  return failure.chunkIndex ?? null
}

/** Whether nobody works at a chunk, or ever will, and it differs: if it is the one that the failure is about, that is wrong. */
function isLeftDifferent(film: Film, frame: Frame, chunkIndex: number): boolean {
  const state = chunkState(film, frame, chunkIndex, film.chunkBytes)
  if (state !== ChunkState.Outside) return state === ChunkState.Wrong
  const phase = frame.mirror?.phase
  const isPast = phase === 'copying' || phase === 'completing' || phase === 'finished'
  return isPast && !isEqualChunk(frame, chunkIndex, film.chunkBytes)
}

/**
 * Where it began: the first frame from which on the failing chunk was wrong until the end, or, where the failure is about no
 * chunk, the first one with a wrong chunk. -1: no frame shows anything wrong.
 */
export function firstWrongFrame(film: Film): number {
  const { frames, result } = film
  if (result.failure === null) return -1
  const chunk = failingChunk(film)
  const chunkCount = chunkCountOf(film)
  const isWrong = (frame: Frame): boolean => {
    if (chunk !== null) return isLeftDifferent(film, frame, chunk)
    for (let index = 0; index < chunkCount; index++)
      if (chunkState(film, frame, index, film.chunkBytes) === ChunkState.Wrong) return true
    return false
  }
  let at = frameIndexAt(film, result.failure.step)
  if (frames.length === 0 || !isWrong(frames[at]!)) return -1
  while (at > 0 && isWrong(frames[at - 1]!)) at--
  return at
}

/** The first line in which two worlds differ: indices into their lines; null where one is the beginning of the other. */
export function firstDifference(
  one: Pick<Film, 'lines'>,
  other: Pick<Film, 'lines'>,
): { lineIndex: number; step: number; otherStep: number } | null {
  const count = Math.min(one.lines.length, other.lines.length)
  for (let lineIndex = 0; lineIndex < count; lineIndex++) {
    const line = one.lines[lineIndex]!
    const otherLine = other.lines[lineIndex]!
    if (line.timeNs !== otherLine.timeNs || line.lane !== otherLine.lane || line.text !== otherLine.text)
      return { lineIndex, step: line.step, otherStep: otherLine.step }
  }
  if (one.lines.length === other.lines.length) return null
  const longer = one.lines.length > count ? one : other
  const step = longer.lines[count]!.step
  return { lineIndex: count, step, otherStep: step }
}

export interface StoryLine {
  step: number
  text: string
}

function verbOf(span: Span): string {
  const range = span.lengthBytes === 0 ? '' : ` ${span.offsetBytes}+${span.lengthBytes}`
  if (span.lane === 'guest') return `the guest’s ${span.kind} ${span.id}${range}`
  if (span.lane === 'device') return `a ${span.kind}${range} in the mirror’s filter`
  if (span.lane === 'mirror') return `the mirror’s ${span.kind}${range}`
  return `a ${span.kind}${range} for ${span.id} at the ${span.lane}`
}

function touches(span: Span, offsetBytes: number, lengthBytes: number): boolean {
  return span.offsetBytes < offsetBytes + lengthBytes && offsetBytes < span.offsetBytes + span.lengthBytes
}

/** Of each film the stories that have been asked for: a step through the events asks for the same one again. */
const stories = new WeakMap<Film, Map<number, StoryLine[]>>()

/** What happened to a chunk until a frame: requests that touched it, and changes of its bits; the last ones where there are many. */
export function storyOf(film: Film, chunkIndex: number, untilFrame: number): StoryLine[] {
  const last = film.frames[untilFrame]
  if (last === undefined) return []
  const ofFilm = stories.get(film) ?? new Map<number, StoryLine[]>()
  const whole = ofFilm.get(chunkIndex) ?? wholeStory(film, chunkIndex)
  stories.set(film, ofFilm.set(chunkIndex, whole))
  const end = firstAfter(whole, last.step)
  return whole.slice(Math.max(0, end - STORY_LINES_MAX), end)
}

/** Index of the first of some things, which are in order, that came after event `step`. */
export function firstAfter(list: ReadonlyArray<{ readonly step: number }>, step: number): number {
  return firstBeyond(list, (one) => one.step > step)
}

/** Index of the first for which `isBeyond`, as it is for all that follow it; their number if there is none. */
function firstBeyond<T>(list: readonly T[], isBeyond: (one: T) => boolean): number {
  let low = 0
  let high = list.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (isBeyond(list[middle]!)) high = middle
    else low = middle + 1
  }
  return low
}

function wholeStory(film: Film, chunkIndex: number): StoryLine[] {
  const chunkBytes = film.chunkBytes
  const { frames } = film
  const lines: StoryLine[] = []
  for (const span of film.spans) {
    if (!touches(span, chunkIndex * chunkBytes, chunkBytes)) continue
    lines.push({ step: span.fromStep, text: `${verbOf(span)} begins` })
    if (span.toStep !== Infinity) lines.push({ step: span.toStep, text: `${verbOf(span)} ${span.isBad ? 'fails' : 'ends'}` })
  }
  for (let index = 1; index < frames.length; index++)
    bitChanges(frames[index - 1]!, frames[index]!, chunkIndex, chunkBytes, lines)
  return lines.sort((one, other) => one.step - other.step)
}

function bitChanges(before: Frame, after: Frame, chunkIndex: number, chunkBytes: number, lines: StoryLine[]): void {
  const say = (text: string): void => {
    lines.push({ step: after.step, text })
  }
  if (before.mirror !== after.mirror && after.mirror !== null) {
    for (const bit of ['dirty', 'inFlight', 'zero', 'cow'] as const) {
      const was = before.mirror !== null && isMarked(before.mirror[bit], chunkIndex)
      const is = isMarked(after.mirror[bit], chunkIndex)
      const name = bit === 'inFlight' ? 'in flight' : bit
      if (was !== is) say(is ? `chunk ${chunkIndex} is ${name} now` : `chunk ${chunkIndex} is not ${name} any more`)
    }
  }
  if (before.source === after.source && before.destination === after.destination) return
  const was = isEqualChunk(before, chunkIndex, chunkBytes)
  const is = isEqualChunk(after, chunkIndex, chunkBytes)
  if (was !== is) say(is ? 'source and destination hold the same now' : 'source and destination differ now')
}

/** What a sector holds, in words. */
export function sectorText(film: Film, value: number): string {
  if (value === 0) return 'zeroes'
  if (value === CORRUPT_SECTOR) return 'bytes that nobody wrote'
  if (value === MISDIRECTED_SECTOR) return 'data that belongs elsewhere'
  if (value === ANYTHING_SECTOR) return 'whatever it likes'
  if (value === NOTHING_SECTOR) return 'nothing of its own'
  if (film.kind === 'file') return `bytes ${value.toString(16).padStart(8, '0')}`
  return `data of ${film.writers.get(value) ?? 'an unknown writer'}`
}
