/**
 * Shows how a campaign gets on: one line that is drawn over on a terminal, a line now and then in a pipe, nothing when
 * asked to be quiet. It writes to the error stream only; results go to the other one.
 */
import type { Tally } from '../properties/campaign'
import { counted, grouped } from '../reports/text'

const REDRAW_MS = 200
const PLAIN_LINE_MS = 5000

/** The part of a stream that progress needs. */
export interface Output {
  write(text: string): unknown
  isTTY?: boolean
  columns?: number
}

export class Progress {
  private readonly output: Output
  private readonly clock: () => number
  private readonly startMs: number
  private drawnMs: number
  private isLineOpen = false

  /** `clock` gives milliseconds of real time. */
  constructor(output: Output, clock: () => number) {
    this.output = output
    this.clock = clock
    this.startMs = clock()
    this.drawnMs = this.startMs
  }

  seconds(): number {
    return (this.clock() - this.startMs) / 1000
  }

  /** Draws if it is time to. `share` is how much of the budget is used up, 0 to 1. */
  update(tally: Tally, share: number): void {
    const now = this.clock()
    const isTerminal = this.output.isTTY === true
    if (now - this.drawnMs < (isTerminal ? REDRAW_MS : PLAIN_LINE_MS)) return
    this.drawnMs = now
    const line = progressText(tally, this.seconds(), share)
    if (!isTerminal) {
      this.output.write(`${line}\n`)
      return
    }
    this.output.write(`\r\x1b[2K${line.slice(0, (this.output.columns ?? 80) - 1)}`)
    this.isLineOpen = true
  }

  /** Writes whole lines, with the drawn one out of the way. */
  print(text: string): void {
    this.clear()
    this.output.write(text)
  }

  clear(): void {
    if (this.isLineOpen) this.output.write('\r\x1b[2K')
    this.isLineOpen = false
  }
}

export function progressText(tally: Tally, elapsedSeconds: number, share: number): string {
  const rate = (count: number): string => grouped(Math.round(count / Math.max(elapsedSeconds, 1e-3)))
  const failures = tally.groups.reduce((sum, group) => sum + group.count, 0)
  return [
    `${String(Math.min(100, Math.floor(share * 100))).padStart(3)} %`,
    counted(tally.worlds, 'world'),
    `${rate(tally.worlds)} worlds/s`,
    `${rate(tally.events)} events/s`,
    `${Object.keys(tally.probes).length} probes hit`,
    counted(failures, 'failure'),
  ].join('  ')
}
