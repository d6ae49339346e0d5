/**
 * What one client of QMP may see, by QEMU's document of the protocol and its enumeration of job states: a greeting, one answer
 * to each command, in order and under its id, events that tell of jobs in an order that can be. Shares no code with what it
 * judges.
 *
 * What may fail: the server, in `breaches`. Nothing is thrown.
 */
import { NEXT_STATUSES } from './job'

export interface QmpBreach {
  /** Stable, without names or numbers. */
  key: string
  text: string
}

/** What a command must be answered with; `any`: that depends on who comes first. */
export type QmpExpectation = 'return' | 'error' | 'any'

interface Sent {
  readonly id: string | null
  readonly command: string
  readonly expects: QmpExpectation
}

const ERROR_CLASSES = ['GenericError', 'CommandNotFound', 'DeviceNotActive', 'DeviceNotFound', 'KVMMissingCap']
const DONE_EVENTS = ['BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED']

interface JobSeen {
  state: string
  readyCount: number
  doneCount: number
}

type Json = Record<string, unknown>

export class QmpConversation {
  readonly breaches: QmpBreach[] = []
  /** Answers in order: the command and what came, for whoever wants to know more. */
  private readonly onAnswer: (command: string, isError: boolean) => void
  private readonly sent: Sent[] = []
  private readonly jobs = new Map<string, JobSeen>()
  private rest = ''
  private isGreeted = false
  private isListening = false
  private lastEventUs = 0

  constructor(onAnswer: (command: string, isError: boolean) => void = () => {}) {
    this.onAnswer = onAnswer
  }

  get openCommands(): number {
    return this.sent.length
  }

  /** `id` null: the command is not known by one, as it is no object. */
  command(id: string | null, command: string, expects: QmpExpectation): void {
    this.sent.push({ id, command, expects })
  }

  received(text: string): void {
    this.rest += text
    for (let end = this.rest.indexOf('\r\n'); end !== -1; end = this.rest.indexOf('\r\n')) {
      const line = this.rest.slice(0, end)
      this.rest = this.rest.slice(end + 2)
      this.line(line)
    }
  }

  private breach(key: string, text: string): void {
    this.breaches.push({ key: `qmp/${key}`, text })
  }

  private line(line: string): void {
    let message: Json
    try {
      message = JSON.parse(line) as Json
    } catch {
      this.breach('no-json', `a line is no JSON: ${line.slice(0, 80)}`)
      return
    }
    if (!this.isGreeted) {
      this.isGreeted = true
      if (typeof message['QMP'] !== 'object') this.breach('greeting', 'the first message is no greeting')
    } else if ('event' in message) this.event(message)
    else this.answer(message)
  }

  private answer(message: Json): void {
    const first = this.sent.shift()
    const isError = 'error' in message
    if (first === undefined) {
      this.breach('unasked', 'an answer that nobody waits for')
      return
    }
    const { id, command, expects } = first
    if ((message['id'] ?? null) !== id) this.breach('id', `the answer to ${command} has another id`)
    if (isError === 'return' in message) this.breach('shape', `the answer to ${command} is neither a return nor an error`)
    if (isError) this.judgeError(command, message['error'])
    if (expects === 'error' && !isError) this.breach('accepted', `${command}, which is wrong, was accepted`)
    if (expects === 'return' && isError)
      this.breach('refused', `${command} was refused: ${String((message['error'] as Json)['desc'])}`)
    if (!isError) this.judgeReturn(command, message['return'])
    if (command === 'qmp_capabilities' && !isError) this.isListening = true
    this.onAnswer(command, isError)
  }

  private judgeError(command: string, error: unknown): void {
    const { class: kind, desc } = (error ?? {}) as Json
    if (!ERROR_CLASSES.includes(String(kind))) this.breach('error-class', `${command} fails with the class ${String(kind)}`)
    if (typeof desc !== 'string' || desc === '') this.breach('error-text', `${command} fails without words`)
  }

  private judgeReturn(command: string, value: unknown): void {
    if (command !== 'query-block-jobs' && command !== 'query-jobs') return
    if (!Array.isArray(value)) {
      this.breach('not-a-list', `${command} returns no list`)
      return
    }
    for (const job of value as Json[]) {
      const isBlockJob = command === 'query-block-jobs'
      const [now, end] = isBlockJob ? [job['offset'], job['len']] : [job['current-progress'], job['total-progress']]
      if (typeof now !== 'number' || typeof end !== 'number' || now < 0 || now > end)
        this.breach('progress', `${command}: a job has done ${String(now)} of ${String(end)}`)
      const status = String(job['status'])
      if (!(status in NEXT_STATUSES)) this.breach('status', `${command}: a job is ${status}`)
      if (
        isBlockJob &&
        job['ready'] === true &&
        !['ready', 'standby', 'waiting', 'pending', 'aborting', 'concluded'].includes(status)
      )
        this.breach('ready', `${command}: a job that is ${status} is ready`)
    }
  }

  private event(message: Json): void {
    const name = String(message['event'])
    const data = (message['data'] ?? {}) as Json
    const { seconds, microseconds } = (message['timestamp'] ?? {}) as { seconds?: number; microseconds?: number }
    if (!this.isListening) this.breach('event-too-soon', `${name} came before the capabilities were negotiated`)
    if (!Number.isInteger(seconds) || !Number.isInteger(microseconds)) this.breach('timestamp', `${name} has no time`)
    const timeUs = (seconds ?? 0) * 1e6 + (microseconds ?? 0)
    if (timeUs < this.lastEventUs) this.breach('timestamp', `${name} is older than the event before it`)
    this.lastEventUs = timeUs
    if (name === 'JOB_STATUS_CHANGE') this.stateChanged(String(data['id']), String(data['status']))
    else if (name === 'BLOCK_JOB_READY') this.ready(String(data['device']))
    else if (DONE_EVENTS.includes(name)) this.done(name, String(data['device']), data)
  }

  /** A client that came late knows a job from what it hears first. */
  private jobOf(id: string): JobSeen | undefined {
    return this.jobs.get(id)
  }

  private stateChanged(id: string, state: string): void {
    const job = this.jobOf(id)
    if (job === undefined) {
      this.jobs.set(id, { state, readyCount: 0, doneCount: 0 })
      return
    }
    const allowed = NEXT_STATUSES[job.state] ?? []
    if (!allowed.includes(state)) this.breach('job-states', `a job that is ${job.state} becomes ${state}`)
    if (state === 'created') Object.assign(job, { readyCount: 0, doneCount: 0 })
    job.state = state
  }

  private ready(id: string): void {
    const job = this.jobOf(id)
    if (job === undefined) return
    if (job.state !== 'ready' || ++job.readyCount > 1) this.breach('ready-event', `BLOCK_JOB_READY of a job that is ${job.state}`)
  }

  private done(name: string, id: string, data: Json): void {
    const { offset, len } = data as { offset?: number; len?: number }
    if (typeof offset !== 'number' || typeof len !== 'number' || offset > len)
      this.breach('done-event', `${name} tells of ${String(offset)} of ${String(len)} bytes`)
    const job = this.jobOf(id)
    if (job === undefined) return
    if (++job.doneCount > 1) this.breach('done-event', `${name} comes for the second time`)
    if (!['pending', 'waiting', 'aborting'].includes(job.state))
      this.breach('done-event', `${name} of a job that is ${job.state}`)
  }
}
