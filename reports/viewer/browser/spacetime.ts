/** The disk over time: one column an event, one row a chunk, coloured by what the mirror knows of it and whether it is right. */
import type { Frame } from '../../../sim/film_frames'
import { ChunkState, chunkState } from '../story'
import type { Viewing } from '../viewing'
import { colour, element, Marker, pixelOf, surfaceOf } from './elements'

const STATES: ReadonlyArray<readonly [state: ChunkState, name: string, text: string]> = [
  [ChunkState.Equal, 'equal', 'done, the same on both'],
  [ChunkState.Dirty, 'dirty', 'dirty'],
  [ChunkState.InFlight, 'flight', 'in flight'],
  [ChunkState.Wrong, 'wrong', 'taken for done, but different'],
  [ChunkState.Outside, 'outside', 'no mirror yet'],
]
const HEIGHT_PIXELS = 90
/** Of long worlds not every event gets a column. */
const COLUMNS_MAX = 4000

export class Spacetime {
  readonly root: HTMLElement
  private readonly viewing: Viewing
  private readonly canvas: HTMLCanvasElement
  private readonly now = new Marker()
  private readonly row = new Marker()
  private drawnFilm = -1
  private width = 0

  constructor(viewing: Viewing) {
    this.viewing = viewing
    this.canvas = element('canvas', { role: 'img', tabindex: '-1' })
    this.canvas.addEventListener('pointerdown', (event) => this.point(event))
    this.canvas.addEventListener('pointermove', (event) => {
      if (event.buttons === 1) this.point(event)
    })
    const legend = STATES.map(([, name, text]) =>
      element('span', {}, element('i', { style: `background: var(--${name})` }), text),
    )
    this.now.root.classList.add('now')
    this.root = element(
      'section',
      {},
      element('h2', {}, 'The disk over time: events to the right, chunks downwards'),
      element('div', { class: 'drawing' }, this.canvas, this.row.root, this.now.root),
      element('div', { class: 'legend' }, ...legend),
    )
  }

  private point(event: PointerEvent): void {
    const { viewing } = this
    const box = this.canvas.getBoundingClientRect()
    viewing.chunkIndex = Math.min(
      viewing.chunkCount - 1,
      Math.floor(((event.clientY - box.top) / box.height) * viewing.chunkCount),
    )
    viewing.goTo(Math.floor(((event.clientX - box.left) / box.width) * viewing.film.frames.length))
  }

  forget(): void {
    this.drawnFilm = -1
  }

  draw(): void {
    const { viewing, canvas } = this
    const { frameIndex, chunkIndex, chunkCount, film } = viewing
    if (this.drawnFilm !== viewing.filmIndex) {
      this.drawnFilm = viewing.filmIndex
      const { context, width } = surfaceOf(canvas, HEIGHT_PIXELS)
      this.width = width
      context.imageSmoothingEnabled = false
      context.drawImage(this.paint(), 0, 0, width, HEIGHT_PIXELS)
    }
    const { width } = this
    const rowPixels = HEIGHT_PIXELS / chunkCount
    this.now.place((frameIndex / film.frames.length) * width, 0, 2, HEIGHT_PIXELS)
    this.row.place(0, chunkIndex * rowPixels - 1, width, Math.max(5, rowPixels + 2))
    let wrong = 0
    for (let index = 0; index < chunkCount; index++)
      if (chunkState(film, viewing.frame, index, viewing.chunkBytes) === ChunkState.Wrong) wrong++
    canvas.setAttribute('aria-label', `Disk over time; ${chunkCount} chunks, ${wrong} of them wrong after this event.`)
  }

  /** One pixel a frame and chunk. */
  private paint(): HTMLCanvasElement {
    const { film, chunkCount, chunkBytes } = this.viewing
    const { frames } = film
    const image = element('canvas')
    image.width = Math.min(frames.length, COLUMNS_MAX)
    image.height = chunkCount
    const context = image.getContext('2d')!
    const data = context.createImageData(image.width, image.height)
    const pixels = new Uint32Array(data.data.buffer)
    const colours = new Uint32Array(STATES.length)
    for (const [state, name] of STATES) colours[state] = pixelOf(colour(name))
    let before: Frame | null = null
    for (let column = 0; column < image.width; column++) {
      const frame = frames[Math.floor(((column + 1) * frames.length) / image.width) - 1]!
      // Most events change nothing of this.
      const isSame = before?.mirror === frame.mirror && before.source === frame.source && before.destination === frame.destination
      for (let chunk = 0; chunk < chunkCount; chunk++) {
        const at = chunk * image.width + column
        pixels[at] = isSame ? pixels[at - 1]! : colours[chunkState(film, frame, chunk, chunkBytes)]!
      }
      before = frame
    }
    context.putImageData(data, 0, 0)
    return image
  }
}
