/**
 * The line editor of the human monitor, for terminals of the VT100 kind. Every change of the line is shown by going back to
 * its start, writing it anew and erasing the rest, as QEMU does: scripts compare that.
 *
 * What never may: memory that grows with what a client sends; what does not fit in a line is dropped.
 */
import { assert } from '../../co'

const LINE_BYTES_MAX = 4095
const HISTORY_MAX = 64
const ESCAPE = 0x1b

const enum State {
  Plain = 0,
  Escaped = 1,
  Sequence = 2,
}

export class LineEditor {
  private readonly write: (text: string) => void
  private line = ''
  private at = 0
  private shownLine = ''
  private shownAt = 0
  private state = State.Plain
  private parameter = 0
  private readonly history: string[] = []
  private historyAt = 0

  constructor(write: (text: string) => void) {
    this.write = write
  }

  /** Takes one byte. Gives the line when it is complete, or null. */
  take(byte: number): string | null {
    assert(byte >= 0 && byte <= 0xff, 'terminal-byte')
    if (this.state === State.Plain) {
      if (byte === 0x0a || byte === 0x0d) return this.enter()
      this.plain(byte)
    } else if (this.state === State.Escaped) {
      this.state = byte === 0x5b || byte === 0x4f ? State.Sequence : State.Plain
      this.parameter = 0
    } else this.sequence(byte)
    this.show()
    return null
  }

  private enter(): string {
    const { line } = this
    this.write('\n')
    if (line !== '' && this.history[this.history.length - 1] !== line) this.history.push(line)
    if (this.history.length > HISTORY_MAX) this.history.shift()
    this.historyAt = this.history.length
    this.line = this.shownLine = ''
    this.at = this.shownAt = 0
    return line
  }

  private plain(byte: number): void {
    switch (byte) {
      case ESCAPE:
        this.state = State.Escaped
        return
      case 0x01:
        this.at = 0
        return
      case 0x05:
        this.at = this.line.length
        return
      case 0x04:
        this.erase(this.at, this.at + 1)
        return
      case 0x08:
      case 0x7f:
        this.erase(this.at - 1, this.at)
        return
      case 0x0b:
        this.erase(this.at, this.line.length)
        return
      case 0x15:
        this.erase(0, this.at)
        return
      default:
        if (byte >= 0x20) this.insert(String.fromCharCode(byte))
    }
  }
  private sequence(byte: number): void {
    if (byte >= 0x30 && byte <= 0x39) {
      this.parameter = Math.min(this.parameter * 10 + byte - 0x30, 99)
      return
    }
    this.state = State.Plain
    const key = String.fromCharCode(byte)
    if (key === 'A' || key === 'B') this.recall(key === 'A' ? -1 : 1)
    else if (key === 'C') this.at = Math.min(this.at + 1, this.line.length)
    else if (key === 'D') this.at = Math.max(this.at - 1, 0)
    else if (key === 'H' || (key === '~' && this.parameter === 1)) this.at = 0
    else if (key === 'F' || (key === '~' && this.parameter === 4)) this.at = this.line.length
    else if (key === '~' && this.parameter === 3) this.erase(this.at, this.at + 1)
  }

  private insert(letter: string): void {
    if (this.line.length >= LINE_BYTES_MAX) return
    this.line = this.line.slice(0, this.at) + letter + this.line.slice(this.at)
    this.at++
  }
  private erase(from: number, to: number): void {
    if (from < 0) return
    this.line = this.line.slice(0, from) + this.line.slice(to)
    this.at = Math.min(from, this.line.length)
  }
  private recall(step: number): void {
    const at = this.historyAt + step
    if (at < 0 || at > this.history.length) return
    this.historyAt = at
    this.line = this.history[at] ?? ''
    this.at = this.line.length
  }

  private show(): void {
    if (this.line !== this.shownLine) {
      this.write(`${'\u001b[D'.repeat(this.shownAt)}${this.line}\u001b[K`)
      this.shownLine = this.line
      this.shownAt = this.line.length
    }
    const delta = this.at - this.shownAt
    if (delta !== 0) this.write((delta > 0 ? '\u001b[C' : '\u001b[D').repeat(Math.abs(delta)))
    this.shownAt = this.at
    assert(this.at <= this.line.length, 'cursor-in-line')
  }
}
