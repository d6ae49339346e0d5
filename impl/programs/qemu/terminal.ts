/**
 * What a program prints, in the order and in the pieces in which C's stdio writes it: results are collected and written when
 * there are enough of them (or, on a terminal, line by line), complaints at once. Scripts read both as one stream, and rely
 * on where a complaint falls.
 *
 * What may fail: writing. Where nobody reads any more the program ends (EPIPE).
 */
import * as fs from 'node:fs'
import { assert, EAGAIN, EPIPE } from '../../co'
import { errnoOf } from '../../host'

const BUFFER_BYTES = 4096
const EXIT_FAILURE = 1
/** While a pipe is full. */
const RETRIES_MAX = 1_000_000

function writeAll(descriptor: number, bytes: Uint8Array): void {
  let retries = 0
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(descriptor, bytes, at)
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === EAGAIN && retries++ < RETRIES_MAX) continue
      if (errno === EPIPE) process.exit(EXIT_FAILURE)
      return
    }
  }
}

export class Terminal {
  private readonly descriptor: number
  private readonly isImmediate: boolean
  private readonly isLineBuffered: boolean
  private pending: Uint8Array[] = []
  private pendingBytes = 0

  constructor(descriptor: number, isImmediate: boolean, isLineBuffered = false) {
    this.descriptor = descriptor
    this.isImmediate = isImmediate
    this.isLineBuffered = isLineBuffered
  }

  write(text: string): void {
    if (text === '') return
    const bytes = Buffer.from(text)
    if (this.isImmediate || this.isLineBuffered) {
      writeAll(this.descriptor, bytes)
      return
    }
    this.pending.push(bytes)
    this.pendingBytes += bytes.length
    if (this.pendingBytes > BUFFER_BYTES) this.writeBlocks()
  }

  /** Whole blocks go, the rest stays. */
  private writeBlocks(): void {
    const all = Buffer.concat(this.pending)
    const wholeBytes = all.length - (all.length % BUFFER_BYTES)
    assert(wholeBytes > 0, 'terminal-blocks')
    writeAll(this.descriptor, all.subarray(0, wholeBytes))
    this.pending = [all.subarray(wholeBytes)]
    this.pendingBytes = all.length - wholeBytes
  }

  flush(): void {
    if (this.pendingBytes === 0) return
    const all = Buffer.concat(this.pending)
    this.pending = []
    this.pendingBytes = 0
    writeAll(this.descriptor, all)
  }
}

export interface Terminals {
  out: Terminal
  err: Terminal
}

export function standardTerminals(): Terminals {
  return { out: new Terminal(1, false, process.stdout.isTTY === true), err: new Terminal(2, true) }
}
