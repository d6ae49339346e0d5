/**
 * One human monitor over a stream: a banner, a prompt, a line, what it brings forth. The next line is looked at when the one
 * before has run.
 *
 * What may fail: the client, which ends its session and nothing else.
 */
import type { ByteStream, Co } from '../../co'
import type { Dispatcher } from '../dispatcher'
import { SessionOutput } from '../session_output'
import { LineEditor } from './readline'
import { runHumanLine } from './run'

const READ_BYTES = 4096
const PROMPT = '(qemu) '

export class HumanSession {
  private readonly dispatcher: Dispatcher
  private readonly stream: ByteStream
  private readonly editor: LineEditor
  private readonly output: SessionOutput

  constructor(dispatcher: Dispatcher, stream: ByteStream) {
    this.dispatcher = dispatcher
    this.stream = stream
    this.output = new SessionOutput(dispatcher.environment.kernel, stream)
    this.editor = new LineEditor((text) => this.send(text))
  }

  /** Serves the client to its end. */
  *run(): Co<void> {
    const { version } = this.dispatcher.environment
    this.send(`QEMU ${version.major}.${version.minor}.${version.micro} monitor - type 'help' for more information\n${PROMPT}`)
    const buffer = new Uint8Array(READ_BYTES)
    for (;;) {
      const count = yield* this.stream.read(buffer)
      if (count <= 0 || this.output.hasEnded) break
      for (const byte of buffer.subarray(0, count)) {
        const line = this.editor.take(byte)
        if (line !== null) yield* this.execute(line)
        if (this.output.hasEnded) return
      }
    }
    yield* this.drain()
    this.end()
  }

  private *execute(line: string): Co<void> {
    const { dispatcher } = this
    const { environment } = dispatcher
    // What commands print on the program's output goes the same way, perhaps.
    yield* this.drain()
    yield* dispatcher.inTurn(() => runHumanLine(environment, line, (text) => this.send(text)))
    if (!environment.isQuitting) this.send(PROMPT)
  }

  private send(text: string): void {
    this.output.send(new TextEncoder().encode(text.replaceAll('\n', '\r\n')))
  }
  /** Waits until all that was said has left. */
  drain(): Co<void> {
    return this.output.drain()
  }
  /** Ends the session at once. */
  end(): void {
    this.output.end()
  }
}
