/**
 * Shows how far the work is: a bar that is drawn over on a terminal, a line now and then in a pipe. It writes to the
 * error stream only, and never more than one line that is not its own.
 */
import { durationText, sizeText } from './mirror_text'

const REDRAW_MS = 100
const PLAIN_LINE_MS = 5000
const BAR_CELLS = 24
const BAR_CELLS_MIN = 4
/** The rate is that of the last seconds, or the time left would lag behind. */
const RATE_WINDOW_MS = 5000

/** The part of a stream that is needed. */
export interface Terminal {
  write(text: string): unknown
  isTTY?: boolean
  columns?: number
}

export interface ProgressColours {
  bar(text: string): string
  dim(text: string): string
}

export class MirrorProgress {
  private readonly terminal: Terminal
  private readonly nowMs: () => number
  private readonly colours: ProgressColours
  private readonly samples: Array<{ atMs: number; doneBytes: number }> = []
  private drawnMs: number
  private isLineOpen = false

  constructor(terminal: Terminal, nowMs: () => number, colours: ProgressColours) {
    this.terminal = terminal
    this.nowMs = nowMs
    this.colours = colours
    this.drawnMs = nowMs()
  }

  /** How often `update` is worth calling. */
  get intervalMs(): number {
    return this.terminal.isTTY === true ? REDRAW_MS : PLAIN_LINE_MS / 10
  }

  /** Draws if it is time to. `what` is the name of the work. */
  update(what: string, doneBytes: number, totalBytes: number): void {
    const nowMs = this.nowMs()
    const last = this.samples.at(-1)
    if (last !== undefined && doneBytes < last.doneBytes) this.samples.length = 0
    this.samples.push({ atMs: nowMs, doneBytes })
    while (this.samples.length > 2 && nowMs - this.samples[1]!.atMs > RATE_WINDOW_MS) this.samples.shift()
    if (nowMs - this.drawnMs < (this.terminal.isTTY === true ? REDRAW_MS : PLAIN_LINE_MS)) return
    this.drawnMs = nowMs
    this.draw(what, doneBytes, totalBytes)
  }

  private draw(what: string, doneBytes: number, totalBytes: number): void {
    const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes)
    const first = this.samples[0]!
    const last = this.samples.at(-1)!
    const seconds = (last.atMs - first.atMs) / 1000
    const rate = seconds > 0 ? (last.doneBytes - first.doneBytes) / seconds : 0
    const left = rate > 0 ? `${durationText((totalBytes - doneBytes) / rate)} left` : ''
    const percent = `${(Math.floor(share * 1000) / 10).toFixed(1).padStart(5)} %`
    const facts = [percent, `${sizeText(doneBytes)} of ${sizeText(totalBytes)}`, `${sizeText(rate)}/s`, left]
    const text = facts.filter((fact) => fact !== '').join('  ')
    if (this.terminal.isTTY !== true) {
      this.terminal.write(`${what}  ${text}\n`)
      return
    }
    // A terminal that does not know its width says 0.
    const columns = this.terminal.columns || 80
    const cells = Math.min(BAR_CELLS, columns - 1 - what.length - text.length - 6)
    const line = cells < BAR_CELLS_MIN ? `${what}  ${text}`.slice(0, columns - 1) : `${what}  ${this.bar(share, cells)}  ${text}`
    this.terminal.write(`\r\x1b[2K${line}`)
    this.isLineOpen = true
  }

  private bar(share: number, cells: number): string {
    const filled = Math.floor(share * cells)
    return `[${this.colours.bar('#'.repeat(filled))}${this.colours.dim('.'.repeat(cells - filled))}]`
  }

  /** Takes the drawn line away, so that something else can be written. */
  clear(): void {
    if (this.isLineOpen) this.terminal.write('\r\x1b[2K')
    this.isLineOpen = false
  }
}
