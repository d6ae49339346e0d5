/**
 * How far a job is. `offset` counts what has been done and never goes back; `len` is that plus all that is known to be
 * left, so that offset <= len holds at every moment and offset == len exactly when nothing is left.
 */
import { assert } from '../co'

export class Progress {
  private doneBytes = 0
  private startedBytes = 0
  /** What is left and has not been started, in bytes. */
  private readonly waitingBytes: () => number

  constructor(waitingBytes: () => number) {
    this.waitingBytes = waitingBytes
  }

  get offsetBytes(): number {
    return this.doneBytes
  }
  get lengthBytes(): number {
    return this.doneBytes + this.startedBytes + this.waitingBytes()
  }

  begin(bytes: number): void {
    assert(bytes > 0, 'progress-begin', () => String(bytes))
    this.startedBytes += bytes
  }
  succeed(bytes: number): void {
    assert(bytes > 0 && bytes <= this.startedBytes, 'progress-started', () => `${bytes} of ${this.startedBytes}`)
    this.startedBytes -= bytes
    this.doneBytes += bytes
  }
  /** Nothing was done: the work is waiting again, or given up. */
  giveBack(bytes: number): void {
    assert(bytes > 0 && bytes <= this.startedBytes, 'progress-started', () => `${bytes} of ${this.startedBytes}`)
    this.startedBytes -= bytes
  }
}
