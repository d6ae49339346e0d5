/** The line `    (50.00/100%)` that is drawn over itself while something goes on. */
import type { Tool } from '../tool'

const STEP_PERCENT = 1

export class Progress {
  private readonly tool: Tool
  private readonly isShown: boolean
  private percent = 0
  private drawnPercent = 0
  private readonly stepPercent: number

  constructor(tool: Tool, isShown: boolean, stepPercent = STEP_PERCENT) {
    this.tool = tool
    this.isShown = isShown
    this.stepPercent = stepPercent
  }

  /** So much more is done: a share of `ofPercent`, or of everything that is left where that is 0. */
  add(percent: number, ofPercent: number): void {
    const share = ofPercent === 0 ? percent - this.percent : (percent * ofPercent) / 100
    this.set(this.percent + share)
  }

  /** That much is done in all. */
  set(percent: number): void {
    this.percent = Math.min(100, percent)
    if (!this.isShown) return
    const isDue = this.percent > this.drawnPercent + this.stepPercent || this.percent === 100 || this.percent === 0
    if (!isDue) return
    this.drawnPercent = this.percent
    this.tool.print(`    (${this.percent.toFixed(2)}/100%)\r`)
    this.tool.terminals.out.flush()
  }

  end(): void {
    if (this.isShown) this.tool.print('\n')
  }
}
