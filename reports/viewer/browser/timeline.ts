/** A lane for each of those who do something, over all events: who had what to do from when to when. */
import type { Span } from '../../../sim/film_frames'
import type { Viewing } from '../viewing'
import { colour, element, Marker, NAME_PIXELS, surfaceOf, writeName } from './elements'

const ROW_PIXELS = 4
const ROWS_MAX = 5
const LANE_PIXELS = ROW_PIXELS * ROWS_MAX + 4

const LEGEND = [
  ['guest', 'guest'],
  ['flight', 'write or copy'],
  ['read', 'read'],
  ['zero', 'zeroes'],
  ['cow', 'discard'],
  ['bad', 'failed, or only waited'],
] as const

function colourOf(span: Span): string {
  if (span.isBad) return colour('bad')
  if (/zero/.test(span.kind)) return colour('zero')
  if (/discard|trim/.test(span.kind)) return colour('cow')
  if (/read|status|query/.test(span.kind)) return colour('read')
  return colour(span.lane === 'guest' || span.lane === 'device' ? 'guest' : 'flight')
}

/** Rows of a lane, so that what runs at the same time lies side by side; what finds no row goes into the last. */
function rowsOf(spans: readonly Span[]): number[] {
  const ends: number[] = []
  return spans.map(({ fromStep, toStep }) => {
    let row = ends.findIndex((end) => end < fromStep)
    if (row < 0) row = Math.min(ends.length, ROWS_MAX - 1)
    ends[row] = toStep
    return row
  })
}

export class Timeline {
  readonly root: HTMLElement
  private readonly viewing: Viewing
  private readonly canvas: HTMLCanvasElement
  private readonly now = new Marker()
  /** What is on the canvas: moving through the events must not draw thousands of bars. */
  private drawn = ''
  private width = 0

  constructor(viewing: Viewing) {
    this.viewing = viewing
    this.canvas = element('canvas', { role: 'img', tabindex: '-1' })
    this.canvas.addEventListener('pointerdown', (event) => this.point(event))
    this.canvas.addEventListener('pointermove', (event) => {
      if (event.buttons === 1) this.point(event)
    })
    this.now.root.classList.add('now')
    const drawing = element('div', { class: 'drawing' }, this.canvas, this.now.root)
    const legend = LEGEND.map(([shade, text]) =>
      element('span', {}, element('i', { style: `background: var(--${shade})` }), text),
    )
    this.root = element(
      'section',
      {},
      element(
        'div',
        { class: 'heading' },
        element('h2', {}, 'Timeline: what was under way'),
        element('div', { class: 'legend' }, ...legend),
      ),
      drawing,
    )
    this.root.hidden = viewing.film.lanes.length === 0
  }

  /** The events that are shown: after the first of these, up to the last. */
  private get steps(): readonly [after: number, last: number] {
    const { viewing } = this
    const { frames } = viewing.film
    const { first, end } = viewing.rangeOf(viewing.film, viewing.frameIndex)
    return [first === 0 ? 0 : frames[first - 1]!.step, Math.max(1, frames[end - 1]!.step)]
  }

  private point(event: PointerEvent): void {
    const box = this.canvas.getBoundingClientRect()
    const share = (event.clientX - box.left - NAME_PIXELS) / (box.width - NAME_PIXELS)
    const [after, last] = this.steps
    this.viewing.goToStep(Math.round(after + Math.max(0, Math.min(1, share)) * (last - after)))
  }

  forget(): void {
    this.drawn = ''
  }

  draw(): void {
    const { viewing, canvas } = this
    const [after, last] = this.steps
    const key = `${viewing.filmIndex}/${after}-${last}`
    if (this.drawn !== key) {
      this.drawn = key
      this.drawLanes(after, last)
    }
    const at = viewing.frame.step
    const left = NAME_PIXELS + ((at - after) / (last - after)) * (this.width - NAME_PIXELS - 2)
    this.now.place(left, 0, 2, LANE_PIXELS * this.viewing.film.lanes.length)
    const active = viewing.film.spans.filter(({ fromStep, toStep }) => fromStep <= at && at <= toStep).length
    canvas.setAttribute('aria-label', `Timeline; at event ${at}, ${active} requests are under way.`)
  }

  private drawLanes(after: number, last: number): void {
    const { context, width } = surfaceOf(this.canvas, LANE_PIXELS * this.viewing.film.lanes.length)
    this.width = width
    const scale = (width - NAME_PIXELS - 2) / (last - after)
    this.viewing.film.lanes.forEach((lane, laneIndex) => {
      const top = laneIndex * LANE_PIXELS
      context.fillStyle = colour('panel')
      if (laneIndex % 2 === 0) context.fillRect(0, top, width, LANE_PIXELS)
      writeName(context, lane, top + LANE_PIXELS / 2 + 4)
      const spans = this.viewing.film.spans.filter((span) => span.lane === lane)
      const rows = rowsOf(spans)
      spans.forEach((span, index) => {
        if (span.fromStep > last || span.toStep < after) return
        const x = NAME_PIXELS + Math.max(0, span.fromStep - after) * scale
        const end = NAME_PIXELS + (Math.min(span.toStep, last) - after) * scale
        context.fillStyle = colourOf(span)
        context.fillRect(x, top + 2 + rows[index]! * ROW_PIXELS, Math.max(1.5, end - x), ROW_PIXELS - 1)
      })
    })
  }
}
