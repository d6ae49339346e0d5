/** The disk at one moment: a strip for what each side holds and allocates, and one for each of the mirror's maps. */

import { type DiskFrame, isMarked } from '../../../sim/film_frames'
import type { DiskName } from '../../../sim/plan'
import { isEqualChunk, sectorText } from '../story'
import type { Viewing } from '../viewing'
import { colour, element, Marker, surfaceOf } from './elements'

const SECTOR_BYTES = 512
const NAME_PIXELS = 130
const ROW_PIXELS = 14
const STRIP_PIXELS = ROW_PIXELS - 3
/** Narrower cells have no gap between them. */
const CELL_WITH_GAP_PIXELS_MIN = 4
const HUE_FACTOR = 0x9e3779b1
const SPECIAL_MIN = 0xffff_fffe

/** A colour that tells one writer from another. */
function colourOfSector(value: number): string {
  if (value === 0) return colour('hole')
  if (value >= SPECIAL_MIN) return colour('wrong')
  const hue = (Math.imul(value, HUE_FACTOR) >>> 0) % 360
  return `hsl(${hue} 55% 55%)`
}

interface Strip {
  readonly name: string
  /** While these are the same objects, so is the strip. */
  readonly shows: readonly unknown[]
  readonly cells: number
  readonly cellBytes: number
  /** What tells cells apart, and the colour of each; null: empty. */
  at(index: number): number
  colourOf(value: number): string | null
}

export class Strips {
  readonly root: HTMLElement
  private readonly viewing: Viewing
  private readonly canvas: HTMLCanvasElement
  private readonly chunk = new Marker()
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
      element('h2', {}, 'The disk at this event: a colour for each writer, white or black for zeroes'),
      element('div', { class: 'drawing' }, this.canvas, this.chunk.root),
    )
  }

  private point(event: PointerEvent): void {
    const box = this.canvas.getBoundingClientRect()
    const share = (event.clientX - box.left - NAME_PIXELS) / (box.width - NAME_PIXELS)
    this.viewing.select(Math.floor(share * this.viewing.chunkCount))
  }

  private holds(name: string, { sectors }: DiskFrame): Strip {
    const at = (index: number): number => sectors[index]!
    return { name, shows: [sectors], cells: sectors.length, cellBytes: SECTOR_BYTES, at, colourOf: colourOfSector }
  }

  private allocates(name: string, { allocated }: DiskFrame, disk: DiskName): Strip {
    const colourOf = (value: number): string | null => (value === 1 ? colour('dim') : null)
    const cellBytes = this.viewing.film.allocationUnitBytes[disk]
    return { name, shows: [allocated], cells: allocated.length, cellBytes, at: (index) => allocated[index]!, colourOf }
  }

  private marks(name: string, shade: string, shows: readonly unknown[], isSet: (chunk: number) => boolean): Strip {
    const { chunkCount: cells, chunkBytes: cellBytes } = this.viewing
    const colourOf = (value: number): string | null => (value === 1 ? colour(shade) : null)
    return { name, shows, cells, cellBytes, at: (index) => (isSet(index) ? 1 : 0), colourOf }
  }

  private strips(): Strip[] {
    const { frame, chunkBytes } = this.viewing
    const { mirror, source, destination } = frame
    const bits = (words: Uint32Array | null, name: string, shade: string): Strip =>
      this.marks(name, shade, [words], (chunk) => isMarked(words, chunk))
    return [
      this.holds('source holds', source),
      this.allocates('source allocates', source, 'source'),
      this.holds('destination holds', destination),
      this.allocates('dest. allocates', destination, 'destination'),
      this.marks('they differ', 'wrong', [source, destination], (chunk) => !isEqualChunk(frame, chunk, chunkBytes)),
      bits(mirror?.dirty ?? null, 'dirty', 'dirty'),
      bits(mirror?.inFlight ?? null, 'in flight', 'flight'),
      bits(mirror?.zero ?? null, 'zero', 'zero'),
      bits(mirror?.cow ?? null, 'cow', 'cow'),
    ]
  }

  forget(): void {
    this.drawnFilm = -1
  }

  draw(): void {
    const { viewing, canvas } = this
    const strips = this.strips()
    const height = strips.length * ROW_PIXELS + 2
    if (this.drawnFilm !== viewing.filmIndex) {
      this.drawnFilm = viewing.filmIndex
      this.width = surfaceOf(canvas, height).width
      this.drawn = []
    }
    const context = canvas.getContext('2d')!
    const diskWidth = this.width - NAME_PIXELS - 2
    strips.forEach((strip, row) => {
      const old = this.drawn[row]
      if (old?.every((one, index) => one === strip.shows[index]) === true) return
      this.drawn[row] = strip.shows
      this.drawStrip(context, strip, row * ROW_PIXELS + 2, diskWidth, old === undefined)
    })
    const chunkPixels = diskWidth / viewing.chunkCount
    this.chunk.place(NAME_PIXELS + viewing.chunkIndex * chunkPixels - 2, 0, Math.max(6, chunkPixels + 4), height)
    canvas.setAttribute('aria-label', this.inWords())
  }

  private drawStrip(context: CanvasRenderingContext2D, strip: Strip, y: number, width: number, withName: boolean): void {
    if (withName) {
      context.font = '13px system-ui, sans-serif'
      context.fillStyle = colour('text')
      context.fillText(strip.name, 6, y + ROW_PIXELS - 4)
    }
    context.fillStyle = colour('panel')
    context.fillRect(NAME_PIXELS, y, width, STRIP_PIXELS)
    const { viewing } = this
    const cellPixels = (strip.cellBytes * width) / (viewing.chunkCount * viewing.chunkBytes)
    const gapPixels = cellPixels > CELL_WITH_GAP_PIXELS_MIN ? 1 : 0
    for (let first = 0; first < strip.cells; ) {
      const value = strip.at(first)
      let end = first + 1
      while (gapPixels === 0 && end < strip.cells && strip.at(end) === value) end++
      const shade = strip.colourOf(value)
      if (shade !== null) {
        context.fillStyle = shade
        const left = NAME_PIXELS + first * cellPixels
        context.fillRect(left, y, Math.max(1, (end - first) * cellPixels - gapPixels), STRIP_PIXELS)
      }
      first = end
    }
  }

  private inWords(): string {
    const { frame, film, chunkIndex, chunkBytes } = this.viewing
    const sector = Math.floor((chunkIndex * chunkBytes) / SECTOR_BYTES)
    const source = sectorText(film, frame.source.sectors[sector] ?? 0)
    const destination = sectorText(film, frame.destination.sectors[sector] ?? 0)
    return `Chunk ${chunkIndex} begins with ${source} on the source and ${destination} on the destination.`
  }
}
