/**
 * A client of a QMP monitor on a unix socket: commands with their answers, and events in the order in which they came.
 *
 * What may fail: a command, by an Error with what the monitor says; an answer or event that does not come in time, or
 * a monitor that goes away, by an Error that says what was waited for.
 */
import * as net from 'node:net'

const ANSWER_MS_MAX = 30_000

export interface QmpEvent {
  readonly event: string
  readonly data: Readonly<Record<string, unknown>>
}

/** What a monitor refuses. */
export class QmpRefusal extends Error {
  constructor(
    readonly command: string,
    readonly qmpClass: string,
    readonly description: string,
  ) {
    super(`${command}: ${JSON.stringify({ class: qmpClass, desc: description })}`)
  }
}

/** One connection to a monitor. */
export class QmpClient {
  /** In order of arrival; whoever keeps a connection for long may empty it. */
  readonly events: QmpEvent[] = []
  /** Hears each event as it comes. */
  onEvent: ((event: QmpEvent) => void) | null = null
  private rest = ''
  private isGone = false
  private readonly answers: Array<(message: Record<string, unknown> | null) => void> = []
  private readonly listeners = new Set<() => void>()

  private constructor(private readonly socket: net.Socket) {
    socket.on('data', (bytes) => this.take(String(bytes)))
    socket.on('error', () => {})
    socket.on('close', () => this.leave())
  }

  static async open(path: string): Promise<QmpClient> {
    const socket = net.connect(path)
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    const monitor = new QmpClient(socket)
    await monitor.run('qmp_capabilities')
    return monitor
  }

  private take(text: string): void {
    this.rest += text
    const lines = this.rest.split('\n')
    this.rest = lines.pop()!
    for (const line of lines) {
      const message = JSON.parse(line) as Record<string, unknown>
      if ('QMP' in message) continue
      if ('event' in message) {
        const event = { event: String(message['event']), data: (message['data'] ?? {}) as Record<string, unknown> }
        this.events.push(event)
        this.onEvent?.(event)
        for (const listener of this.listeners) listener()
      } else this.answers.shift()?.(message)
    }
  }

  private leave(): void {
    this.isGone = true
    for (const answer of this.answers.splice(0)) answer(null)
    for (const listener of this.listeners) listener()
  }

  /** Throws a QmpRefusal if the monitor refuses. */
  async run(execute: string, args: object = {}): Promise<unknown> {
    const answer = new Promise<Record<string, unknown> | null>((resolve) => this.answers.push(resolve))
    if (this.isGone) this.leave()
    else this.socket.write(`${JSON.stringify({ execute, arguments: args })}\n`)
    const message = await within(answer, `an answer to ${execute}`)
    if (message === null) throw new Error(`${execute}: the monitor has gone`)
    const error = message['error'] as { class: string; desc: string } | undefined
    if (error !== undefined) throw new QmpRefusal(execute, error.class, error.desc)
    return message['return']
  }

  /** Waits for an event of one of these names, which may have come already; its data. */
  async hear(...names: string[]): Promise<Readonly<Record<string, unknown>>> {
    return (await this.hearThat(({ event }) => names.includes(event), names.join(' or '))).data
  }

  /** Waits for an event that may have come already. */
  async hearThat(isIt: (event: QmpEvent) => boolean, what: string): Promise<QmpEvent> {
    const heard = new Promise<QmpEvent | null>((resolve) => {
      const listener = (): void => {
        const found = this.events.find(isIt)
        if (found === undefined && !this.isGone) return
        this.listeners.delete(listener)
        resolve(found ?? null)
      }
      this.listeners.add(listener)
      listener()
    })
    const event = await within(heard, what)
    if (event === null) throw new Error(`${what} does not come: the monitor has gone`)
    return event
  }

  close(): void {
    this.socket.destroy()
  }
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} does not come`)), ANSWER_MS_MAX)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
