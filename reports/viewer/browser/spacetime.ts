/**
 * The disk over time: one column an event, one row a chunk, coloured by what the mirror knows of it and whether it is right;
 * or one of the strips over all events, which is chosen. Below it the other of the two worlds, at the same time of its own.
 */
import { ChunkState, chunkState } from '../story'
import { type Strip, stripsOf } from '../strip'
import type { Viewing } from '../viewing'
import { element, Marker, NAME_PIXELS, surfaceOf, writeName } from './elements'
import { pictureOf, STATES } from './film_map'

const STATE_TEXTS_ELSEWHERE: Partial<Record<string, Partial<Record<ChunkState, string>>>> = {
  chain: { [ChunkState.Equal]: 'as it must be', [ChunkState.Wrong]: 'not what the guest wrote' },
  file: { [ChunkState.Equal]: 'as in the sound file', [ChunkState.Wrong]: 'changed' },
}
type Range = ReturnType<Viewing['rangeOf']>
const HEIGHT_PIXELS = 76
const OTHER_HEIGHT_PIXELS = 40

export class Spacetime {
  readonly root: HTMLElement
  private readonly viewing: Viewing
  private readonly canvas: HTMLCanvasElement
  private readonly now = new Marker()
  private readonly row = new Marker()
  private readonly other: HTMLCanvasElement
  private readonly otherNow = new Marker()
  private readonly choice: HTMLSelectElement
  private readonly legend = element('div', { class: 'legend' })
  private drawn = ''
  private width = 0

  constructor(viewing: Viewing) {
    this.viewing = viewing
    const canvas = (point: (event: PointerEvent) => void): HTMLCanvasElement => {
      const made = element('canvas', { role: 'img', tabindex: '-1' })
      made.addEventListener('pointerdown', point)
      made.addEventListener('pointermove', (event) => event.buttons === 1 && point(event))
      return made
    }
    this.canvas = canvas((event) => this.point(event))
    this.other = canvas((event) => this.pointOther(event))
    const strips = stripsOf(viewing.film).map(({ name }, index) => element('option', { value: String(index) }, name))
    this.choice = element(
      'select',
      { 'aria-label': 'What the disk over time shows', onchange: () => this.drawAnew() },
      element('option', { value: '-1' }, 'state of chunks'),
      ...strips,
    )
    for (const marker of [this.now, this.otherNow]) marker.root.classList.add('now')
    const beside = element('div', { class: 'drawing beside' }, this.other, this.otherNow.root)
    beside.hidden = viewing.otherFilm === null
    this.root = element(
      'section',
      {},
      element('div', { class: 'heading' }, element('h2', {}, 'The disk over time:'), this.choice, this.legend),
      element('div', { class: 'drawing' }, this.canvas, this.row.root, this.now.root),
      beside,
    )
  }

  /** The next thing to be shown over time. */
  chooseNext(): void {
    this.choice.selectedIndex = (this.choice.selectedIndex + 1) % this.choice.options.length
    this.drawAnew()
  }

  /** How far a pointer is from the first event to the last one. */
  private shareOf(event: PointerEvent, canvas: HTMLCanvasElement): number {
    const box = canvas.getBoundingClientRect()
    return (event.clientX - box.left - NAME_PIXELS) / (box.width - NAME_PIXELS)
  }

  private point(event: PointerEvent): void {
    const { viewing, canvas } = this
    const box = canvas.getBoundingClientRect()
    const row = Math.floor(((event.clientY - box.top) / box.height) * viewing.chunkCount)
    viewing.chunkIndex = Math.max(0, Math.min(viewing.chunkCount - 1, row))
    const { first, end } = viewing.rangeOf(viewing.film, viewing.frameIndex)
    const share = Math.max(0, Math.min(1, this.shareOf(event, canvas)))
    viewing.goTo(Math.min(end - 1, first + Math.floor(share * (end - first))))
  }

  private pointOther(event: PointerEvent): void {
    const { viewing, other } = this
    const film = viewing.otherFilm!
    const { first, end } = viewing.rangeOf(film, viewing.otherFrameIndex)
    const share = Math.max(0, Math.min(1, this.shareOf(event, other)))
    viewing.goToTime(film.frames[Math.min(end - 1, first + Math.floor(share * (end - first)))]!.timeNs)
  }

  forget(): void {
    this.drawn = ''
  }

  private drawAnew(): void {
    this.forget()
    this.draw()
  }

  draw(): void {
    const { viewing, canvas } = this
    const { frameIndex, chunkIndex, chunkCount, film, otherFilm, otherFrameIndex } = viewing
    const range = viewing.rangeOf(film, frameIndex)
    const otherRange = otherFilm === null ? range : viewing.rangeOf(otherFilm, otherFrameIndex)
    const key = `${viewing.filmIndex}/${range.first}-${range.end}/${otherRange.first}-${otherRange.end}`
    if (this.drawn !== key) {
      this.drawn = key
      this.drawAll(range, otherRange)
    }
    const rowPixels = HEIGHT_PIXELS / chunkCount
    const eventsWidth = this.width - NAME_PIXELS - 2
    const place = (marker: Marker, at: number, { first, end }: Range, height: number): void =>
      marker.place(NAME_PIXELS + ((at + 1 - first) / (end - first)) * eventsWidth, 0, 2, height)
    place(this.now, frameIndex, range, HEIGHT_PIXELS)
    this.row.place(NAME_PIXELS - 2, chunkIndex * rowPixels - 1, eventsWidth + 4, Math.max(5, rowPixels + 2))
    let wrong = 0
    for (let index = 0; index < chunkCount; index++)
      if (chunkState(film, viewing.frame, index, viewing.chunkBytes) === ChunkState.Wrong) wrong++
    canvas.setAttribute('aria-label', `Disk over time; ${chunkCount} chunks, ${wrong} of them wrong after this event.`)
    if (otherFilm === null) return
    place(this.otherNow, otherFrameIndex, otherRange, OTHER_HEIGHT_PIXELS)
    this.other.setAttribute('aria-label', `The ${this.otherName} at the same time.`)
  }

  private get otherName(): string {
    return this.viewing.filmIndex === 0 ? 'neighbour, which passes' : 'failing world'
  }

  private drawAll(range: Range, otherRange: Range): void {
    const { viewing, canvas, other } = this
    const { film, otherFilm, chunkCount } = viewing
    const index = Number(this.choice.value)
    const { context, width } = surfaceOf(canvas, HEIGHT_PIXELS)
    this.width = width
    context.imageSmoothingEnabled = false
    context.drawImage(pictureOf(film, stripsOf(film)[index], range), NAME_PIXELS, 0, width - NAME_PIXELS - 2, HEIGHT_PIXELS)
    writeName(context, 'chunk 0', 14)
    if (chunkCount > 1) writeName(context, `chunk ${chunkCount - 1}`, HEIGHT_PIXELS - 6)
    this.legend.replaceChildren(...this.legendOf(stripsOf(film)[index]))
    if (otherFilm === null) return
    const below = surfaceOf(other, OTHER_HEIGHT_PIXELS).context
    const picture = pictureOf(otherFilm, stripsOf(otherFilm)[index], otherRange)
    below.imageSmoothingEnabled = false
    below.drawImage(picture, NAME_PIXELS, 0, width - NAME_PIXELS - 2, OTHER_HEIGHT_PIXELS)
    const [name, rest] = this.otherName.split(', ')
    writeName(below, name!, rest === undefined ? 24 : 16)
    if (rest !== undefined) writeName(below, rest, 32)
  }

  private legendOf(strip: Strip | undefined): HTMLElement[] {
    const entry = (shade: string, text: string): HTMLElement =>
      element('span', {}, element('i', { style: `background: var(--${shade})` }), text)
    if (strip !== undefined && strip.shade === 'writer') return [element('span', {}, 'a colour for each writer')]
    if (strip !== undefined) return [entry(strip.shade, strip.name)]
    const { film } = this.viewing
    const texts = STATE_TEXTS_ELSEWHERE[film.kind]
    const hasMirror = film.frames.some(({ mirror }) => mirror !== null)
    const shown = STATES.filter(([state]) => hasMirror || texts === undefined || texts[state] !== undefined)
    return shown.map(([state, shade, text]) => entry(shade, texts?.[state] ?? text))
  }
}
