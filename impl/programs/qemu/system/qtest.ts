/**
 * The channel of tests: lines that move the clock of the machine. What would reach into its memory and ports is refused: there
 * are none.
 *
 * What may fail: a line, which is answered with FAIL.
 */
import { type ByteStream, type Co, type Kernel, OK, type SteppedClock } from '../../../co'

const READ_BYTES = 4096
const LINE_BYTES_MAX = 65536
const NS_PER_S = 1e9
/** That is more than a request takes from its turn to its end. */
const TURNS = 32

export interface QtestOptions {
  kernel: Kernel
  clock: SteppedClock
  stream: ByteStream
  /** Writes to the log of the conversation. */
  log(text: string): void
}

export class QtestSession {
  private readonly kernel: Kernel
  private readonly clock: SteppedClock
  private readonly stream: ByteStream
  private readonly writeLog: (text: string) => void
  private readonly startNs: number

  constructor({ kernel, clock, stream, log }: QtestOptions) {
    this.kernel = kernel
    this.clock = clock
    this.stream = stream
    this.writeLog = log
    this.startNs = kernel.nowNs()
  }

  /** Serves the client to its end. */
  *run(): Co<void> {
    this.note('I', 'OPENED', true)
    const buffer = new Uint8Array(READ_BYTES)
    let text = ''
    for (;;) {
      const count = yield* this.stream.read(buffer)
      if (count <= 0) break
      text += Buffer.from(buffer.subarray(0, count)).toString('latin1')
      const lines = text.split('\n')
      text = lines.pop()!
      if (text.length > LINE_BYTES_MAX) break
      for (const line of lines) if (!(yield* this.answer(line.trim()))) return
    }
    this.note('I', 'CLOSED')
    this.stream.close()
  }
  /** Answers are written before anything else is read. */
  *drain(): Co<void> {}
  end(): void {
    this.stream.close()
  }

  /** `[R +0.000001] line`. */
  private note(kind: string, text: string, isFirst = false): void {
    const seconds = ((this.kernel.nowNs() - this.startNs) / NS_PER_S).toFixed(6)
    this.writeLog(`[${kind} ${isFirst ? '' : '+'}${seconds}] ${text}\n`)
  }

  /** False: the client takes nothing any more. */
  private *answer(line: string): Co<boolean> {
    this.note('R', line)
    const said = yield* this.execute(line.split(' ').filter((word) => word !== ''))
    this.note('S', said)
    return (yield* this.stream.write(new TextEncoder().encode(`${said}\n`))) === OK
  }

  private *execute(words: readonly string[]): Co<string> {
    const [command = '', operand] = words
    const number = operand === undefined ? null : parseNumber(operand)
    if (command === 'clock_step' || command === 'clock_set') {
      if (Number.isNaN(number)) return `FAIL ${command} needs a number of nanoseconds`
      if (command === 'clock_set' && number === null) return 'FAIL clock_set needs a number of nanoseconds'
      const nextNs = this.clock.nextNs() ?? this.clock.nowNs()
      const wanted = command === 'clock_set' ? number! : number === null ? nextNs : this.clock.nowNs() + number
      yield* this.moveTo(Math.max(wanted, this.clock.nowNs()))
      return `OK ${this.clock.nowNs()}`
    }
    if (command === 'endianness') return 'OK little'
    return `FAIL Unknown command '${command}'`
  }

  /** From one moment that somebody waits for to the next. */
  private *moveTo(timeNs: number): Co<void> {
    for (;;) {
      const nextNs = this.clock.nextNs()
      if (nextNs === null || nextNs > timeNs) break
      this.clock.moveTo(Math.max(nextNs, this.clock.nowNs()))
      yield* this.settle()
    }
    this.clock.moveTo(timeNs)
    yield* this.settle()
  }
  /** Whoever was woken gets so far as to wait again, unless it waits for a disk. */
  private *settle(): Co<void> {
    for (let turn = 0; turn < TURNS; turn++) yield* this.kernel.sleepNs(0)
  }
}

function parseNumber(text: string): number {
  return /^(0x[0-9a-f]+|\d+)$/i.test(text) && Number(text) < 2 ** 53 ? Number(text) : Number.NaN
}
