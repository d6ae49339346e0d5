/**
 * Memory that somebody's input asks for. Who runs the code knows how to ask for what is in use; the gauge keeps the most
 * that was in use above what it was at the beginning. Garbage counts until it is collected, so the figure is never too low
 * by more than what was collected meanwhile; it differs from run to run, and therefore is no part of what runs agree on.
 */
import { assert } from '../impl/co'

export class MemoryGauge {
  /** The most that was seen above the beginning. */
  peakBytes = 0
  private readonly inUse: () => number
  private readonly startBytes: number

  /** `inUse`: bytes of heap and buffers that are in use now. */
  constructor(inUse: () => number) {
    this.inUse = inUse
    this.startBytes = inUse()
    assert(this.startBytes >= 0, 'gauge-starts')
  }

  sample(): void {
    const bytes = this.inUse() - this.startBytes
    if (bytes > this.peakBytes) this.peakBytes = bytes
    assert(this.peakBytes >= 0, 'gauge-keeps-the-most')
  }
}
