/** What is looked at: a film, a frame of it, a chunk. Whoever draws is told when that changes. */
import type { Film, Frame } from '../../sim/film_frames'
import {
  ChunkState,
  chunkCountOf,
  chunkState,
  failingChunk,
  firstDifference,
  firstWrongFrame,
  frameIndexAt,
  frameIndexAtTime,
} from './story'

/** As many as can be told from one another on a page. */
const ZOOMED_FRAMES = 120

/** The first chunk that is wrong in a frame; 0 where none is. */
function firstWrongChunk(film: Film, frameIndex: number): number {
  const frame = film.frames[frameIndex]
  if (frame === undefined) return 0
  for (let chunk = 0; chunk < chunkCountOf(film); chunk++)
    if (chunkState(film, frame, chunk, film.chunkBytes) === ChunkState.Wrong) return chunk
  return 0
}

export class Viewing {
  readonly films: readonly Film[]
  /** Which of the films: 0 the failing one, 1 its neighbour. */
  filmIndex = 0
  frameIndex = 0
  chunkIndex = 0
  /** Drawings over time show a page of the events, and not all of them. */
  isZoomed = false
  /** Frames of the failing world: where its failure was found, where it began, where the neighbour goes another way; -1: nowhere. */
  readonly failureFrame: number
  readonly wrongFrame: number
  readonly divergenceFrame: number
  private readonly listeners: Array<() => void> = []

  constructor(films: readonly Film[]) {
    this.films = films
    const [film, neighbour] = films as [Film, Film | undefined]
    const { failure } = film.result
    this.failureFrame = failure === null ? -1 : frameIndexAt(film, failure.step)
    this.wrongFrame = firstWrongFrame(film)
    const difference = neighbour === undefined ? null : firstDifference(film, neighbour)
    this.divergenceFrame = difference === null ? -1 : frameIndexAt(film, difference.step)
    this.chunkIndex = Math.min(failingChunk(film) ?? firstWrongChunk(film, this.wrongFrame), chunkCountOf(film) - 1)
    this.frameIndex = Math.max(0, this.failureFrame)
  }

  get film(): Film {
    return this.films[this.filmIndex]!
  }
  get frame(): Frame {
    return this.film.frames[this.frameIndex]!
  }
  get chunkBytes(): number {
    return this.film.chunkBytes
  }
  get chunkCount(): number {
    return chunkCountOf(this.film)
  }

  onChange(listener: () => void): void {
    this.listeners.push(listener)
  }
  changed(): void {
    for (const listener of this.listeners) listener()
  }

  goTo(frameIndex: number): void {
    this.frameIndex = Math.max(0, Math.min(this.film.frames.length - 1, frameIndex))
    this.changed()
  }
  goToStep(step: number): void {
    this.goTo(frameIndexAt(this.film, step))
  }
  select(chunkIndex: number): void {
    this.chunkIndex = Math.max(0, Math.min(this.chunkCount - 1, chunkIndex))
    this.changed()
  }
  /** The frames that drawings over time show of a film that stands at a frame, from `first` to before `end`. */
  rangeOf({ frames }: Film, frameIndex: number): { first: number; end: number } {
    if (!this.isZoomed) return { first: 0, end: frames.length }
    const first = Math.floor(frameIndex / ZOOMED_FRAMES) * ZOOMED_FRAMES
    return { first, end: Math.min(frames.length, first + ZOOMED_FRAMES) }
  }
  zoom(): void {
    this.isZoomed = !this.isZoomed
    this.changed()
  }

  /** null: there is one world alone. */
  get otherFilm(): Film | null {
    return this.films[1 - this.filmIndex] ?? null
  }
  /** Where the other world is at this time. */
  get otherFrameIndex(): number {
    return this.otherFilm === null ? 0 : frameIndexAtTime(this.otherFilm, this.frame.timeNs)
  }
  goToTime(timeNs: number): void {
    this.goTo(frameIndexAtTime(this.film, timeNs))
  }

  /** The other world, at the same time of its own. */
  switchFilm(): void {
    if (this.films.length < 2) return
    const at = this.otherFrameIndex
    this.filmIndex = 1 - this.filmIndex
    this.chunkIndex = Math.min(this.chunkIndex, this.chunkCount - 1)
    this.goTo(at)
  }
}
