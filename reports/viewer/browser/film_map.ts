/** A film of a disk as a picture: one column an event, one row a chunk or cell. */
import type { Film, Frame } from '../../../sim/film_frames'
import { ChunkState, chunkCountOf, chunkState } from '../story'
import { isEmptyCell, type Strip } from '../strip'
import { colour, element } from './elements'
import { colourOfCell } from './strips'

export const STATES: ReadonlyArray<readonly [state: ChunkState, name: string, text: string]> = [
  [ChunkState.Equal, 'equal', 'the same'],
  [ChunkState.Dirty, 'dirty', 'dirty'],
  [ChunkState.InFlight, 'flight', 'in flight'],
  [ChunkState.Wrong, 'wrong', 'clean, but different'],
  [ChunkState.Outside, 'outside', 'no mirror at work'],
]
/** Of long worlds not every event gets a column, and of long disks not every cell a row. */
const COLUMNS_MAX = 4000
const ROWS_MAX = 256

/** What is drawn: a colour for each row of a frame. */
interface Picture {
  readonly rows: number
  /** While these are the same objects, so is the column. */
  shows(frame: Frame): readonly unknown[]
  colourOf(frame: Frame, row: number): string
}

function statesOf(film: Film): Picture {
  const names: string[] = []
  for (const [state, name] of STATES) names[state] = name
  return {
    rows: chunkCountOf(film),
    shows: ({ mirror, source, destination }) => [mirror, source, destination],
    colourOf: (frame, row) => colour(names[chunkState(film, frame, row, film.chunkBytes)]!),
  }
}

function cellsOf(film: Film, strip: Strip): Picture {
  const cells = Math.max(1, Math.ceil(film.lengthBytes / strip.cellBytes))
  const rows = Math.min(cells, ROWS_MAX)
  return {
    rows,
    shows: (frame) => strip.shows(frame),
    colourOf: (frame, row) => {
      const index = Math.floor((row * cells) / rows)
      const value = index < strip.cells(frame) ? strip.at(frame, index) : null
      return value === null || isEmptyCell(strip, value) ? colour('panel') : colourOfCell(strip, value)
    },
  }
}

/** The film of one strip, or of the states of all chunks. Most events change nothing: their column goes on. */
export function pictureOf(
  film: Film,
  strip: Strip | undefined,
  { first: from, end: until }: { first: number; end: number },
): HTMLCanvasElement {
  const { rows, shows, colourOf } = strip === undefined ? statesOf(film) : cellsOf(film, strip)
  const frames = film.frames.slice(from, until)
  const image = element('canvas')
  image.width = Math.min(frames.length, COLUMNS_MAX)
  image.height = rows
  const context = image.getContext('2d')!
  const frameOf = (column: number): Frame => frames[Math.floor(((column + 1) * frames.length) / image.width) - 1]!
  for (let first = 0; first < image.width; ) {
    const shown = shows(frameOf(first))
    let end = first + 1
    while (end < image.width && shows(frameOf(end)).every((one, index) => one === shown[index])) end++
    for (let row = 0; row < rows; row++) {
      context.fillStyle = colourOf(frameOf(first), row)
      context.fillRect(first, row, end - first, 1)
    }
    first = end
  }
  return image
}
