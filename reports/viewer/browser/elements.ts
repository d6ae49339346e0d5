/** Making elements and drawing on canvases, the little of it that the page needs. */

type Content = Node | string

/** An element with attributes (`on…` are listeners) and content. */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Readonly<Record<string, string | boolean | ((event: Event) => void)>> = {},
  ...content: Content[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(key.slice(2), value)
    else if (value === true) made.setAttribute(key, '')
    else if (value !== false) made.setAttribute(key, value)
  }
  made.append(...content)
  return made
}

const colours = new Map<string, string>()

/** The colour that the present theme gives a name. Asked for thousands of times a step: remembered until the theme changes. */
export function colour(name: string): string {
  let known = colours.get(name)
  if (known === undefined) {
    known = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
    colours.set(name, known)
  }
  return known
}

/** The theme has changed. */
export function forgetColours(): void {
  colours.clear()
}

/** Where the names of lanes and rows stand: everything behind them is in line from drawing to drawing. */
export const NAME_PIXELS = 142

/** A name before its lane or row; `y`: the line that the letters stand on. */
export function writeName(context: CanvasRenderingContext2D, name: string, y: number): void {
  context.font = '13px system-ui, sans-serif'
  context.fillStyle = colour('text')
  context.fillText(name, 6, y, NAME_PIXELS - 10)
}

export interface Surface {
  readonly context: CanvasRenderingContext2D
  /** In CSS pixels. */
  readonly width: number
  readonly height: number
}

/** The canvas in the size that it has on the page, cleared, with sharp pixels. */
export function surfaceOf(canvas: HTMLCanvasElement, heightPixels: number): Surface {
  const width = Math.max(200, canvas.clientWidth)
  const ratio = window.devicePixelRatio || 1
  const wide = Math.round(width * ratio)
  const high = Math.round(heightPixels * ratio)
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide
    canvas.height = high
    canvas.style.height = `${heightPixels}px`
  }
  const context = canvas.getContext('2d')!
  context.setTransform(ratio, 0, 0, ratio, 0, 0)
  context.clearRect(0, 0, width, heightPixels)
  return { context, width, height: heightPixels }
}

/** A line or a frame above a canvas that marks a place: it moves without the canvas being drawn again. */
export class Marker {
  readonly root = element('div', { class: 'marker' })

  /** In CSS pixels of the canvas. */
  place(left: number, top: number, width: number, height: number): void {
    const { style } = this.root
    style.transform = `translate(${left}px, ${top}px)`
    style.width = `${width}px`
    style.height = `${height}px`
  }
}
