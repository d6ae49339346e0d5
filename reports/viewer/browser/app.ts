/**
 * The page: runs the failing world and its neighbour again, and lets people move through them, event by event. What it shows
 * comes from that run; if the world does not fail any more, it says so.
 */
import type { Film } from '../../../sim/film_frames'
import type { Plan } from '../../../sim/plan'
import type { PageData } from '../document'
import { Viewing } from '../viewing'
import { changeNote, momentText } from '../words'
import { element, forgetColours } from './elements'
import { type Panel, panelsOf } from './panels'
import { Spacetime } from './spacetime'
import { Strips } from './strips'
import { Timeline } from './timeline'

declare global {
  interface Window {
    /** Runs a world and films it. Made by the other script of the page. */
    mirrorsimFilm(plan: Plan, decisions: Readonly<Record<string, number>> | undefined): Film
    /** When that script has run; absent: it has. */
    mirrorsimReady?: Promise<void>
    /** For tests: what is looked at. */
    mirrorsimViewing?: Viewing
  }
}

const FAST = 10
/** Below the present event, where a panel has to be scrolled for it. */
const PANEL_MARGIN_PIXELS = 60

class App {
  private readonly viewing: Viewing
  private readonly data: PageData
  private readonly timeline: Timeline
  private readonly spacetime: Spacetime
  private readonly strips: Strips
  private readonly panels: Panel[]
  private panel: Panel
  private shownFixed: string | null = null
  private readonly range: HTMLInputElement
  private readonly moment = element('p', { class: 'now', 'aria-live': 'polite', style: 'margin: 0 0 2px; min-height: 1.4em' })
  private readonly place = element('span', { class: 'mono' })
  private readonly tabPanel = element('div', { role: 'tabpanel', id: 'panel', tabindex: '0', 'aria-label': 'Details' })
  private readonly tabs: HTMLButtonElement[]
  private readonly other: HTMLButtonElement

  constructor(viewing: Viewing, data: PageData) {
    this.viewing = viewing
    this.data = data
    this.timeline = new Timeline(viewing)
    this.spacetime = new Spacetime(viewing)
    this.strips = new Strips(viewing)
    this.panels = panelsOf([data.report.decisions, data.neighbour?.decisions])
    this.panel = this.panels[0]!
    this.range = element('input', {
      type: 'range',
      min: '0',
      'aria-label': 'Event',
      oninput: () => viewing.goTo(Number(this.range.value)),
    })
    this.tabs = this.panels.map((panel) =>
      element('button', { type: 'button', role: 'tab', 'aria-controls': 'panel', onclick: () => this.open(panel) }, panel.name),
    )
    this.other = element(
      'button',
      { type: 'button', 'aria-pressed': 'false', onclick: () => viewing.switchFilm() },
      'Passing neighbour (n)',
    )
    this.other.disabled = viewing.films.length < 2
  }

  private jump(text: string, frame: number): HTMLButtonElement {
    const go = (): void => {
      if (this.viewing.filmIndex !== 0) this.viewing.switchFilm()
      this.viewing.goTo(frame)
    }
    const button = element('button', { type: 'button', onclick: go }, text)
    button.disabled = frame < 0
    return button
  }

  private step(text: string, name: string, by: number): HTMLButtonElement {
    const { viewing } = this
    return element(
      'button',
      { type: 'button', 'aria-label': name, title: name, onclick: () => viewing.goTo(viewing.frameIndex + by) },
      text,
    )
  }

  mount(root: HTMLElement, note: string): void {
    const { viewing } = this
    const bar = element(
      'div',
      { class: 'bar' },
      this.step('|◀', 'First event', -Infinity),
      this.step('◀', 'Event before', -1),
      this.range,
      this.step('▶', 'Next event', 1),
      this.step('▶|', 'Last event', Infinity),
      this.place,
    )
    const jumps = element(
      'div',
      { class: 'bar' },
      this.jump('Failure (f)', viewing.failureFrame),
      this.jump('Where it went wrong (d)', viewing.wrongFrame),
      this.jump('Where the neighbour differs (e)', viewing.divergenceFrame),
      this.other,
      element('button', { type: 'button', onclick: () => this.changeTheme() }, 'Light or dark (t)'),
    )
    const left = element('div', {}, this.timeline.root, this.spacetime.root, this.strips.root)
    const right = element(
      'div',
      {},
      element('div', { class: 'bar', role: 'tablist', 'aria-label': 'Details' }, ...this.tabs),
      this.tabPanel,
    )
    const keys =
      'Keys: ← → one event, with Shift ten; Home, End; j k another chunk; f d e n as above; m another map over time; z zoom; 1 to 6 details; t theme.'
    root.replaceChildren(
      ...(note === '' ? [] : [element('p', { class: 'bad', role: 'status' }, note)]),
      bar,
      jumps,
      this.moment,
      element('div', { class: 'columns' }, left, right),
      element('p', { class: 'keys' }, keys),
    )
    root.removeAttribute('aria-busy')
    viewing.onChange(() => this.draw())
    document.addEventListener('keydown', (event) => this.key(event))
    window.addEventListener('resize', () => this.redraw())
    this.draw()
  }

  private open(panel: Panel): void {
    this.panel = panel
    this.shownFixed = null
    this.drawPanel()
  }

  private key(event: KeyboardEvent): void {
    const { viewing } = this
    const target = event.target as HTMLElement
    if (event.ctrlKey || event.metaKey || event.altKey || target === this.range || target instanceof HTMLSelectElement) return
    const by = event.shiftKey ? FAST : 1
    const actions: Record<string, () => void> = {
      ArrowLeft: () => viewing.goTo(viewing.frameIndex - by),
      ArrowRight: () => viewing.goTo(viewing.frameIndex + by),
      Home: () => viewing.goTo(0),
      End: () => viewing.goTo(Infinity),
      j: () => viewing.select(viewing.chunkIndex - 1),
      k: () => viewing.select(viewing.chunkIndex + 1),
      f: () => viewing.filmIndex === 0 && viewing.failureFrame >= 0 && viewing.goTo(viewing.failureFrame),
      d: () => viewing.filmIndex === 0 && viewing.wrongFrame >= 0 && viewing.goTo(viewing.wrongFrame),
      e: () => viewing.filmIndex === 0 && viewing.divergenceFrame >= 0 && viewing.goTo(viewing.divergenceFrame),
      n: () => viewing.switchFilm(),
      m: () => this.spacetime.chooseNext(),
      z: () => viewing.zoom(),
      t: () => this.changeTheme(),
    }
    const action = actions[event.key] ?? this.openerOf(event.key)
    if (action === undefined) return
    event.preventDefault()
    action()
  }

  /** 1 opens the first tab. */
  private openerOf(key: string): (() => void) | undefined {
    const panel = this.panels[Number(key) - 1]
    return panel === undefined ? undefined : () => this.open(panel)
  }

  private changeTheme(): void {
    const { dataset } = document.documentElement
    dataset['theme'] = dataset['theme'] === 'dark' ? 'light' : 'dark'
    this.redraw()
  }

  private redraw(): void {
    forgetColours()
    this.timeline.forget()
    this.spacetime.forget()
    this.strips.forget()
    this.draw()
  }

  private draw(): void {
    const { viewing, range } = this
    const last = viewing.film.frames.length - 1
    range.max = String(last)
    range.value = String(viewing.frameIndex)
    range.setAttribute('aria-valuetext', `event ${viewing.frame.step} of ${viewing.film.frames[last]!.step}`)
    this.place.replaceChildren(`event ${viewing.frame.step} of ${viewing.film.frames[last]!.step}`)
    const isOther = viewing.filmIndex === 1
    this.other.setAttribute('aria-pressed', String(isOther))
    const who = isOther ? `The neighbour, ${this.data.neighbour!.difference}, which passes. ` : ''
    this.moment.replaceChildren(who + momentText(viewing))
    this.timeline.draw()
    this.spacetime.draw()
    this.strips.draw()
    this.drawPanel()
  }

  private drawPanel(): void {
    const { viewing, tabPanel } = this
    const panel = this.panel
    const name = `${panel.name}/${viewing.filmIndex}`
    if (panel.isFixed === true && this.shownFixed === name) return
    this.shownFixed = panel.isFixed === true ? name : null
    this.tabs.forEach((tab, index) => {
      tab.setAttribute('aria-selected', String(this.panels[index] === panel))
    })
    tabPanel.replaceChildren(panel.render(viewing))
    const present = tabPanel.querySelector<HTMLElement>('[aria-current="true"]')
    if (present === null) return
    const endPixels = present.offsetTop + present.offsetHeight - tabPanel.offsetTop
    tabPanel.scrollTop = Math.max(0, endPixels - tabPanel.clientHeight + PANEL_MARGIN_PIXELS)
  }
}

function start(): void {
  const root = document.getElementById('app')!
  const data = JSON.parse(document.getElementById('data')!.textContent!) as PageData
  if (matchMedia('(prefers-color-scheme: dark)').matches) document.documentElement.dataset['theme'] = 'dark'
  const { report, neighbour } = data
  const film = window.mirrorsimFilm(report.plan, report.decisions)
  if (film.frames.length === 0) {
    const plan = element('pre', {}, JSON.stringify(report.plan, null, 1))
    const why = film.result.failure?.text ?? 'it has no event'
    root.replaceChildren(element('p', {}, `The world cannot be run here: ${why}. This is its plan:`), plan)
    root.removeAttribute('aria-busy')
    return
  }
  const other = neighbour === null ? null : window.mirrorsimFilm(neighbour.plan, neighbour.decisions)
  const viewing = new Viewing(other === null || other.frames.length === 0 ? [film] : [film, other])
  window.mirrorsimViewing = viewing
  new App(viewing, data).mount(root, changeNote(report, film, 'in this page'))
  performance.mark('mirrorsim-ready')
}

function refuse(error: unknown): void {
  const root = document.getElementById('app')!
  root.replaceChildren(element('p', { class: 'bad' }, `The simulator of this page cannot be unpacked by this browser: ${error}`))
  root.removeAttribute('aria-busy')
}

// The words about the failure are painted first.
requestAnimationFrame(() => setTimeout(() => void (window.mirrorsimReady ?? Promise.resolve()).then(start, refuse), 0))
