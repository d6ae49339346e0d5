/** The disk at one moment: a strip for what each side holds and allocates, and one for each of the mirror's maps. */

import { type DiskFrame, isMarked } from '../../../sim/film_frames'
import type { DiskName } from '../../../sim/plan'
import { isEqualChunk, sectorText } from '../story'
import type { Viewing } from '../viewing'
import { colour, element, surfaceOf } from './elements'

const SECTOR_BYTES = 512
const NAME_PIXELS = 130
const ROW_PIXELS = 14
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
  /** Draws from x on, `width` pixels for the whole disk. */
  draw(context: CanvasRenderingContext2D, x: number, y: number, width: number): void
}

export class Strips {
  readonly root: HTMLElement
  private readonly viewing: Viewing
  private readonly canvas: HTMLCanvasElement

  constructor(viewing: Viewing) {
    this.viewing = viewing
    this.canvas = element('canvas', { role: 'img', tabindex: '-1' })
    this.canvas.addEventListener('pointerdown', (event) => this.point(event))
    this.root = element(
      'section',
      {},
      element('h2', {}, 'The disk at this event: a colour for each writer, white or black for zeroes'),
      this.canvas,
    )
  }

  private point(event: PointerEvent): void {
    const box = this.canvas.getBoundingClientRect()
    const share = (event.clientX - box.left - NAME_PIXELS) / (box.width - NAME_PIXELS)
    this.viewing.select(Math.floor(share * this.viewing.chunkCount))
  }

  private strips(): Strip[] {
    const { viewing } = this
    const { frame, film, chunkCount, chunkBytes } = viewing
    const { mirror } = frame
    const cells = (count: number, unitBytes: number, fill: (index: number) => string | null): Strip['draw'] => {
      return (context, x, y, width) => {
        const scale = width / (chunkCount * chunkBytes)
        for (let index = 0; index < count; index++) {
          const shade = fill(index)
          if (shade === null) continue
          context.fillStyle = shade
          const left = x + index * unitBytes * scale
          context.fillRect(left, y, Math.max(1, unitBytes * scale - (unitBytes * scale > 4 ? 1 : 0)), ROW_PIXELS - 3)
        }
      }
    }
    const holds = ({ sectors }: DiskFrame): Strip['draw'] =>
      cells(sectors.length, SECTOR_BYTES, (index) => colourOfSector(sectors[index]!))
    const takes = ({ allocated }: DiskFrame, disk: DiskName): Strip['draw'] => {
      const shade = colour('dim')
      return cells(allocated.length, film.allocationUnitBytes[disk], (index) => (allocated[index] === 1 ? shade : null))
    }
    const bits = (words: Uint32Array | null, name: string): Strip['draw'] => {
      const shade = colour(name)
      return cells(chunkCount, chunkBytes, (index) => (isMarked(words, index) ? shade : null))
    }
    const wrong = colour('wrong')
    return [
      { name: 'source holds', draw: holds(frame.source) },
      { name: 'source allocates', draw: takes(frame.source, 'source') },
      { name: 'destination holds', draw: holds(frame.destination) },
      { name: 'dest. allocates', draw: takes(frame.destination, 'destination') },
      { name: 'they differ', draw: cells(chunkCount, chunkBytes, (i) => (isEqualChunk(frame, i, chunkBytes) ? null : wrong)) },
      { name: 'dirty', draw: bits(mirror?.dirty ?? null, 'dirty') },
      { name: 'in flight', draw: bits(mirror?.inFlight ?? null, 'flight') },
      { name: 'zero', draw: bits(mirror?.zero ?? null, 'zero') },
      { name: 'cow', draw: bits(mirror?.cow ?? null, 'cow') },
    ]
  }

  draw(): void {
    const { viewing, canvas } = this
    const strips = this.strips()
    const { context, width, height } = surfaceOf(canvas, strips.length * ROW_PIXELS + 2)
    const diskWidth = width - NAME_PIXELS - 2
    context.font = '13px system-ui, sans-serif'
    strips.forEach((strip, row) => {
      const y = row * ROW_PIXELS + 2
      context.fillStyle = colour('panel')
      context.fillRect(NAME_PIXELS, y, diskWidth, ROW_PIXELS - 3)
      context.fillStyle = colour('text')
      context.fillText(strip.name, 6, y + ROW_PIXELS - 4)
      strip.draw(context, NAME_PIXELS, y, diskWidth)
    })
    const chunkPixels = diskWidth / viewing.chunkCount
    context.strokeStyle = colour('cursor')
    context.lineWidth = 2
    const left = NAME_PIXELS + viewing.chunkIndex * chunkPixels
    context.strokeRect(left, 1, Math.max(3, chunkPixels), height - 2)
    canvas.setAttribute('aria-label', this.inWords())
  }

  private inWords(): string {
    const { frame, film, chunkIndex, chunkBytes } = this.viewing
    const sector = Math.floor((chunkIndex * chunkBytes) / SECTOR_BYTES)
    const source = sectorText(film, frame.source.sectors[sector] ?? 0)
    const destination = sectorText(film, frame.destination.sectors[sector] ?? 0)
    return `Chunk ${chunkIndex} begins with ${source} on the source and ${destination} on the destination.`
  }
}
