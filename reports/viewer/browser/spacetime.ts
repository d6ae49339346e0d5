/**
 * The disk over time: one column an event, one row a chunk, coloured by what the mirror knows of it and whether it is right;
 * or one of the strips over all events, which is chosen.
 */
import type { Frame } from '../../../sim/film_frames'
import { ChunkState, chunkState } from '../story'
import { isEmptyCell, type Strip, stripsOf } from '../strip'
import type { Viewing } from '../viewing'
import { colour, element, Marker, NAME_PIXELS, surfaceOf, writeName } from './elements'
import { colourOfCell } from './strips'

const STATES: ReadonlyArray<readonly [state: ChunkState, name: string, text: string]> = [
  [ChunkState.Equal, 'equal', 'done, the same on both'],
  [ChunkState.Dirty, 'dirty', 'dirty'],
  [ChunkState.InFlight, 'flight', 'in flight'],
  [ChunkState.Wrong, 'wrong', 'taken for done, but different'],
  [ChunkState.Outside, 'outside', 'no mirror yet'],
]
const STATE_TEXTS_ELSEWHERE: Partial<Record<string, Partial<Record<ChunkState, string>>>> = {
  chain: { [ChunkState.Equal]: 'as it must be', [ChunkState.Wrong]: 'not what the guest wrote' },
  file: { [ChunkState.Equal]: 'as in the sound file', [ChunkState.Wrong]: 'changed' },
}
const HEIGHT_PIXELS = 90
/** Of long worlds not every event gets a column, and of long disks not every cell a row. */
const COLUMNS_MAX = 4000
const ROWS_MAX = 256

/** What is drawn: a colour for each row of a frame; null: the colour of nothing. */
interface Picture {
  readonly rows: number
  shows(frame: Frame): readonly unknown[]
  colourOf(frame: Frame, row: number): string
}

export class Spacetime {
  readonly root: HTMLElement
  private readonly viewing: Viewing
  private readonly canvas: HTMLCanvasElement
  private readonly now = new Marker()
  private readonly row = new Marker()
  private readonly choice: HTMLSelectElement
  private readonly legend = element('div', { class: 'legend' })
  private drawnFilm = -1
  private width = 0

  constructor(viewing: Viewing) {
    this.viewing = viewing
    this.canvas = element('canvas', { role: 'img', tabindex: '-1' })
    this.canvas.addEventListener('pointerdown', (event) => this.point(event))
    this.canvas.addEventListener('pointermove', (event) => {
      if (event.buttons === 1) this.point(event)
    })
    const strips = stripsOf(viewing.film).map(({ name }, index) => element('option', { value: String(index) }, name))
    const changed = (): void => {
      this.forget()
      this.draw()
    }
    this.choice = element(
      'select',
      { 'aria-label': 'What the disk over time shows', onchange: changed },
      element('option', { value: '-1' }, 'state of each chunk'),
      ...strips,
    )
    this.now.root.classList.add('now')
    this.root = element(
      'section',
      {},
      element(
        'div',
        { class: 'heading' },
        element('h2', {}, 'The disk over time: events to the right, bytes downwards'),
        this.choice,
      ),
      element('div', { class: 'drawing' }, this.canvas, this.row.root, this.now.root),
      this.legend,
    )
  }

  /** The next thing to be shown over time. */
  chooseNext(): void {
    this.choice.selectedIndex = (this.choice.selectedIndex + 1) % this.choice.options.length
    this.forget()
    this.draw()
  }

  private point(event: PointerEvent): void {
    const { viewing } = this
    const box = this.canvas.getBoundingClientRect()
    const row = Math.floor(((event.clientY - box.top) / box.height) * viewing.chunkCount)
    viewing.chunkIndex = Math.max(0, Math.min(viewing.chunkCount - 1, row))
    const share = (event.clientX - box.left - NAME_PIXELS) / (box.width - NAME_PIXELS)
    viewing.goTo(Math.floor(share * viewing.film.frames.length))
  }

  forget(): void {
    this.drawnFilm = -1
  }

  draw(): void {
    const { viewing, canvas } = this
    if (this.drawnFilm !== viewing.filmIndex) {
      this.drawnFilm = viewing.filmIndex
      this.drawAll()
    }
    const { width } = this
    const { frameIndex, chunkIndex, chunkCount, film } = viewing
    const rowPixels = HEIGHT_PIXELS / chunkCount
    const eventsWidth = width - NAME_PIXELS - 2
    this.now.place(NAME_PIXELS + (frameIndex / film.frames.length) * eventsWidth, 0, 2, HEIGHT_PIXELS)
    this.row.place(NAME_PIXELS - 2, chunkIndex * rowPixels - 1, eventsWidth + 4, Math.max(5, rowPixels + 2))
    let wrong = 0
    for (let index = 0; index < chunkCount; index++)
      if (chunkState(film, viewing.frame, index, viewing.chunkBytes) === ChunkState.Wrong) wrong++
    canvas.setAttribute('aria-label', `Disk over time; ${chunkCount} chunks, ${wrong} of them wrong after this event.`)
  }

  private drawAll(): void {
    const { viewing } = this
    const { context, width } = surfaceOf(this.canvas, HEIGHT_PIXELS)
    this.width = width
    const strip = stripsOf(viewing.film)[Number(this.choice.value)]
    context.imageSmoothingEnabled = false
    const image = this.paint(strip === undefined ? this.states() : this.cellsOf(strip))
    context.drawImage(image, NAME_PIXELS, 0, width - NAME_PIXELS - 2, HEIGHT_PIXELS)
    writeName(context, 'chunk 0', 14)
    if (viewing.chunkCount > 1) writeName(context, `chunk ${viewing.chunkCount - 1}`, HEIGHT_PIXELS - 6)
    this.legend.replaceChildren(...this.legendOf(strip))
  }

  private legendOf(strip: Strip | undefined): HTMLElement[] {
    const entry = (shade: string, text: string): HTMLElement =>
      element('span', {}, element('i', { style: `background: var(--${shade})` }), text)
    if (strip !== undefined && strip.shade === 'writer') return [element('span', {}, 'a colour for each writer')]
    if (strip !== undefined) return [entry(strip.shade, strip.name)]
    const { kind } = this.viewing.film
    const texts = STATE_TEXTS_ELSEWHERE[kind]
    const hasMirror = this.viewing.film.frames.some(({ mirror }) => mirror !== null)
    return STATES.filter(([state]) => hasMirror || texts === undefined || texts[state] !== undefined).map(
      ([state, shade, text]) => entry(shade, texts?.[state] ?? text),
    )
  }

  private states(): Picture {
    const { film, chunkCount, chunkBytes } = this.viewing
    const names: string[] = []
    for (const [state, name] of STATES) names[state] = name
    return {
      rows: chunkCount,
      shows: ({ mirror, source, destination }) => [mirror, source, destination],
      colourOf: (frame, row) => colour(names[chunkState(film, frame, row, chunkBytes)]!),
    }
  }

  private cellsOf(strip: Strip): Picture {
    const { film } = this.viewing
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

  /** A column a frame. Most events change nothing: their column goes on. */
  private paint({ rows, shows, colourOf }: Picture): HTMLCanvasElement {
    const { frames } = this.viewing.film
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
}
