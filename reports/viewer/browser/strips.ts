/** The disk at one moment: a strip for what each side holds and allocates, and one for each of the mirror's maps. */
import type { Frame } from '../../../sim/film_frames'
import { sectorText } from '../story'
import { isEmptyCell, type Strip, stripsOf } from '../strip'
import type { Viewing } from '../viewing'
import { colour, element, Marker, NAME_PIXELS, surfaceOf, writeName } from './elements'

const SECTOR_BYTES = 512
const ROW_PIXELS = 14
const STRIP_PIXELS = ROW_PIXELS - 3
/** Narrower cells have no gap between them. */
const CELL_WITH_GAP_PIXELS_MIN = 4
const HUE_FACTOR = 0x9e3779b1
const CORRUPT_MIN = 0xffff_fffe
/** Values that say less than who wrote: nothing, anything. */
const VAGUE_MIN = 0xffff_fff0

/** A colour that tells one writer from another. */
export function colourOfCell({ shade }: Strip, value: number): string {
  if (shade !== 'writer') return colour(shade)
  if (value === 0) return colour('hole')
  if (value >= CORRUPT_MIN) return colour('wrong')
  if (value >= VAGUE_MIN) return colour('panel')
  const hue = (Math.imul(value, HUE_FACTOR) >>> 0) % 360
  return `hsl(${hue} 55% 55%)`
}

export class Strips {
  readonly root: HTMLElement
  private readonly viewing: Viewing
  private readonly canvas: HTMLCanvasElement
  private readonly chunk = new Marker()
  private strips: readonly Strip[] = []
  private drawn: Array<readonly unknown[]> = []
  private drawnFilm = -1
  private width = 0

  constructor(viewing: Viewing) {
    this.viewing = viewing
    this.canvas = element('canvas', { role: 'img', tabindex: '-1' })
    this.canvas.addEventListener('pointerdown', (event) => this.point(event))
    this.root = element(
      'section',
      {},
      element('h2', {}, 'The disk after this event: a colour for each writer, black or white for zeroes'),
      element('div', { class: 'drawing' }, this.canvas, this.chunk.root),
    )
  }

  private point(event: PointerEvent): void {
    const box = this.canvas.getBoundingClientRect()
    const share = (event.clientX - box.left - NAME_PIXELS) / (box.width - NAME_PIXELS)
    this.viewing.select(Math.floor(share * this.viewing.chunkCount))
  }

  forget(): void {
    this.drawnFilm = -1
  }

  draw(): void {
    const { viewing, canvas } = this
    if (this.drawnFilm !== viewing.filmIndex) {
      this.drawnFilm = viewing.filmIndex
      this.strips = stripsOf(viewing.film)
      this.width = surfaceOf(canvas, this.strips.length * ROW_PIXELS + 2).width
      this.drawn = []
    }
    const { strips } = this
    const context = canvas.getContext('2d')!
    const diskWidth = this.width - NAME_PIXELS - 2
    strips.forEach((strip, row) => {
      const old = this.drawn[row]
      const shows = strip.shows(viewing.frame)
      if (old?.every((one, index) => one === shows[index]) === true) return
      this.drawn[row] = shows
      if (old === undefined) writeName(context, strip.name, row * ROW_PIXELS + ROW_PIXELS - 2)
      this.drawStrip(context, strip, viewing.frame, row * ROW_PIXELS + 2, diskWidth)
    })
    const chunkPixels = (viewing.chunkBytes * diskWidth) / this.spanBytes
    const left = NAME_PIXELS + viewing.chunkIndex * chunkPixels - 2
    this.chunk.place(left, 0, Math.max(6, chunkPixels + 4), strips.length * ROW_PIXELS + 2)
    canvas.setAttribute('aria-label', this.inWords())
  }

  /** Bytes from the left to the right. */
  private get spanBytes(): number {
    return this.viewing.chunkCount * this.viewing.chunkBytes
  }

  private drawStrip(context: CanvasRenderingContext2D, strip: Strip, frame: Frame, y: number, width: number): void {
    context.fillStyle = colour('panel')
    context.fillRect(NAME_PIXELS, y, width, STRIP_PIXELS)
    const cellPixels = (strip.cellBytes * width) / this.spanBytes
    const gapPixels = cellPixels > CELL_WITH_GAP_PIXELS_MIN ? 1 : 0
    const cells = strip.cells(frame)
    for (let first = 0; first < cells; ) {
      const value = strip.at(frame, first)
      let end = first + 1
      while (gapPixels === 0 && end < cells && strip.at(frame, end) === value) end++
      if (!isEmptyCell(strip, value)) {
        context.fillStyle = colourOfCell(strip, value)
        const left = NAME_PIXELS + first * cellPixels
        const pixels = Math.min((end - first) * cellPixels - gapPixels, NAME_PIXELS + width - left)
        context.fillRect(left, y, Math.max(1, pixels), STRIP_PIXELS)
      }
      first = end
    }
  }

  private inWords(): string {
    const { frame, film, chunkIndex, chunkBytes } = this.viewing
    const sector = Math.floor((chunkIndex * chunkBytes) / SECTOR_BYTES)
    const source = sectorText(film, frame.source.sectors[sector] ?? 0)
    const destination = sectorText(film, frame.destination.sectors[sector] ?? 0)
    return `Chunk ${chunkIndex} begins with ${source} (${film.names.source}) and ${destination} (${film.names.destination}).`
  }
}
