/**
 * The operator of a lifecycle: gives the plan's orders over QMP when their moments come, and brings the job to an end when
 * nothing else does, as the caretaker of a world.
 *
 * What may fail: orders, which are refused; that is noted. What never may: an order that is taken for done before its answer.
 */
import type { ControlOperation, Plan, Trigger } from '../../sim/plan'
import { type QmpClient, type QmpEvent, QmpRefusal } from '../qmp_client'
import type { RealGuest } from './guest'
import type { Moments } from './moments'
import type { QmpCommand, Step } from './nodes'

export const JOB = 'job'
/** A job that stands still for so long, with nobody about to move it, is resumed. */
const IDLE_MS = 15
/** Orders that wait for the end of a job are under way by then. */
const LAST_ORDERS_MS = 2
const RESUMES_MAX = 400
const MS_PER_NS = 1e-6
const DELAY_MS_MAX = 20

export interface OrderOutcome {
  readonly id: string
  readonly kind: string
  /** What the daemon said against it; null: done. */
  readonly refusal: string | null
}

export interface JobEnd {
  readonly event: string
  readonly error: string | null
  readonly offset: number
  readonly len: number
}

export class RealOperator {
  readonly outcomes: OrderOutcome[] = []

  /** Of the last job: what query-jobs would show, or null before the first. */
  status: string | null = null
  end: JobEnd | null = null
  /** Of the last job: operations that had ended when its end was asked for; null: nobody has asked. */
  endedBefore: ReadonlySet<string> | null = null
  /** Operations that had begun before the last job. */
  begunBefore: ReadonlySet<string> = new Set()
  /** The last end that was asked for and not refused. */
  asked: 'complete' | 'soft-cancel' | 'force-cancel' | null = null
  wasReady = false
  startRefusal: string | null = null
  startsMade = 0
  private readonly waiting = new Map<string, ControlOperation[]>()
  private ordersUnderWay = 0
  private resumes = 0
  private idle: NodeJS.Timeout | null = null
  private isCaring = false
  private isClosed = false
  /** A job that has ended waits for somebody to dismiss it. */
  private readonly keepsEnded: boolean

  constructor(
    private readonly plan: Plan,
    private readonly monitor: QmpClient,
    private readonly guest: RealGuest,
    private readonly moments: Moments,
    /** The commands that start the mirror, and those that link a backing image; null: not possible. */
    private readonly mirrorCommand: QmpCommand,
    private readonly linkBacking: (() => Promise<void>) | null,
    private readonly canChangeCopyMode: boolean,
    private readonly steps: Step[],
    private readonly isQuietEnd: boolean,
  ) {
    this.keepsEnded = mirrorCommand.arguments['auto-dismiss'] === false
    for (const operation of plan.control) {
      const name = nameOf(operation.when.on)
      const others = this.waiting.get(name)
      if (others === undefined) this.waiting.set(name, [operation])
      else others.push(operation)
    }
  }

  /** Until the job has ended, or there is none. */
  async run(): Promise<void> {
    this.monitor.onEvent = (event) => this.hear(event)
    for (const name of this.waiting.keys()) this.moments.when(name, () => this.release(name))
    for (const name of ['guest-done', 'lanes-done']) this.moments.when(name, () => this.care())
    this.moments.reach('start')
    this.care()
    await this.moments.wait('operator-done')
    this.isClosed = true
    this.monitor.onEvent = null
    if (this.idle !== null) clearTimeout(this.idle)
  }

  private release(name: string): void {
    const operations = this.waiting.get(name) ?? []
    this.waiting.delete(name)
    for (const operation of operations) {
      this.ordersUnderWay++
      const delayMs = Math.min(operation.when.afterNs * MS_PER_NS, DELAY_MS_MAX)
      if (delayMs < 1) void this.give(operation)
      else setTimeout(() => void this.give(operation), delayMs)
    }
  }

  private async give(operation: ControlOperation): Promise<void> {
    if (!this.isClosed) await this.attempt(operation.id, operation.kind, () => this.execute(operation))
    this.ordersUnderWay--
    this.moments.reach(`control ${operation.id}`)
    this.care()
  }

  private async attempt(id: string, kind: string, order: () => Promise<void>): Promise<void> {
    let refusal: string | null = null
    try {
      await order()
    } catch (error) {
      refusal = error instanceof QmpRefusal ? error.description : `lost: ${(error as Error).message}`
    }
    this.outcomes.push({ id, kind, refusal })
  }

  private async send(execute: string, args: Record<string, unknown>): Promise<unknown> {
    this.steps.push({ qmp: { execute, arguments: args } })
    return this.monitor.run(execute, args)
  }

  private async execute(operation: ControlOperation): Promise<void> {
    switch (operation.kind) {
      case 'mirror-start':
        return this.startMirror()
      case 'pause':
        await this.send('job-pause', { id: JOB })
        return
      case 'resume':
        await this.send('job-resume', { id: JOB })
        return
      case 'set-speed':
        await this.send('block-job-set-speed', { device: JOB, speed: operation.speedBytesPerSecond })
        return
      case 'change-copy-mode':
        if (!this.canChangeCopyMode) return
        await this.send('block-job-change', { id: JOB, type: 'mirror', 'copy-mode': operation.copyMode })
        return
      case 'complete':
        return this.endJob('complete')
      case 'cancel':
        return this.endJob(operation.force ? 'force-cancel' : 'soft-cancel')
      case 'finalize':
        await this.send('job-finalize', { id: JOB })
        return
      case 'dismiss':
        await this.send('job-dismiss', { id: JOB })
        return
      case 'resize':
        await this.send('block_resize', { 'node-name': 'source', size: this.plan.source.lengthBytes })
        return
      case 'link-backing':
        if (operation.disk === 'destination' && this.linkBacking !== null) await this.linkBacking()
        return
      default:
    }
  }

  private async startMirror(): Promise<void> {
    this.startsMade++
    this.moments.reach('mirror-sent')
    const before = { end: this.end, asked: this.asked, endedBefore: this.endedBefore }
    this.end = null
    this.asked = null
    this.endedBefore = null
    try {
      await this.send(this.mirrorCommand.execute, this.mirrorCommand.arguments)
    } catch (error) {
      // Whatever there was before is what there is.
      Object.assign(this, before)
      if (before.end === null) this.startRefusal = (error as Error).message
      throw error
    }
    this.startRefusal = null
    this.begunBefore = new Set(this.guest.changes.keys())
    this.moments.reach('mirror-started')
  }

  private async endJob(how: 'complete' | 'soft-cancel' | 'force-cancel'): Promise<void> {
    const isForced = how === 'force-cancel' || (how === 'soft-cancel' && !this.wasReady)
    if (isForced && this.isQuietEnd) await this.guest.hold()
    // Nobody switches over to an image of which the lower part is missing.
    if (how === 'complete' && this.linkBacking !== null) await this.linkBacking()
    const endedBefore = new Set(this.guest.ended)
    this.moments.reach('ending-sent')
    if (this.plan.mirror.sync === 'none') this.guest.isReadingUnknown = true
    try {
      if (how === 'complete') await this.send('job-complete', { id: JOB })
      else await this.send('block-job-cancel', { device: JOB, force: how === 'force-cancel' })
    } catch (error) {
      this.guest.release()
      throw error
    }
    this.endedBefore ??= endedBefore
    // Before READY a cancel is a forced one, whatever it says.
    this.asked = how === 'soft-cancel' && !this.wasReady ? 'force-cancel' : how
  }

  private hear({ event, data }: QmpEvent): void {
    if (event === 'JOB_STATUS_CHANGE' && data['id'] === JOB) {
      this.status = String(data['status'])
      this.steps.push({ status: this.status })
      if (this.status === 'created') this.wasReady = false
      if (this.status === 'ready') this.wasReady = true
      if (this.status === 'ready') this.moments.reach('ready')
      if (this.status === 'pending' || this.status === 'aborting') this.moments.reach('ending')
      if (this.status === 'concluded') this.moments.reach('concluded')
      if (this.status === 'concluded' || this.status === 'null') this.guest.release()
      this.care()
    } else if ((event === 'BLOCK_JOB_COMPLETED' || event === 'BLOCK_JOB_CANCELLED') && data['device'] === JOB) {
      const error = data['error'] === undefined ? null : String(data['error'])
      this.end = { event, error, offset: Number(data['offset']), len: Number(data['len']) }
    }
  }

  /** Does what brings the job nearer to its end, once nobody else is about to do anything. */
  private care(): void {
    if (this.idle !== null) clearTimeout(this.idle)
    this.idle = null
    if (this.isClosed || this.isCaring || this.ordersUnderWay > 0) return
    const verb = this.neededVerb()
    if (verb !== null) this.order(verb)
    else if (this.status === null || this.status === 'null') this.careForNoJob()
    else this.idle = setTimeout(() => this.careForIdle(), IDLE_MS)
  }

  private neededVerb(): 'complete' | 'finalize' | 'dismiss' | null {
    const { status } = this
    if (status === 'ready' && this.moments.has('guest-done') && this.asked === null) return 'complete'
    if (status === 'pending' && !this.plan.mirror.autoFinalize) return 'finalize'
    return status === 'concluded' && this.keepsEnded ? 'dismiss' : null
  }

  private careForNoJob(): void {
    const isOver = this.startsMade > 0 || this.plan.control.every(({ kind }) => kind !== 'mirror-start')
    if (!isOver) {
      this.idle = setTimeout(() => this.careForStart(), IDLE_MS)
      return
    }
    for (const moment of ['mirror-sent', 'mirror-started', 'ready', 'ending-sent', 'ending', 'concluded'])
      this.moments.reach(moment)
    // A second start may wait for one of them.
    setTimeout(() => this.moments.when('lanes-done', () => this.finish()), LAST_ORDERS_MS)
  }

  private finish(): void {
    if (this.ordersUnderWay === 0 && (this.status === null || this.status === 'null')) this.moments.reach('operator-done')
  }

  /** The start waits for something that waits for the start. */
  private careForStart(): void {
    for (const moment of ['start', 'guest-done'])
      if (!this.moments.has(moment)) {
        this.idle = setTimeout(() => this.careForStart(), IDLE_MS)
        return
      }
    if (this.startsMade === 0) this.order('mirror-start')
  }

  private careForIdle(): void {
    const { status } = this
    if (this.isClosed || status === null) return
    if ((status === 'paused' || status === 'standby') && this.resumes < RESUMES_MAX) {
      this.resumes++
      this.order('resume')
    } else this.idle = setTimeout(() => this.care(), IDLE_MS)
  }

  private order(kind: 'complete' | 'finalize' | 'dismiss' | 'resume' | 'mirror-start'): void {
    this.isCaring = true
    const before = this.status
    void this.attempt('caretaker', kind, () => this.execute({ id: 'caretaker', kind, when: { on: 'start', afterNs: 0 } })).then(
      () => {
        this.isCaring = false
        // What was refused is tried again only after a while.
        if (this.status === before) this.idle = setTimeout(() => this.care(), IDLE_MS)
        else this.care()
      },
    )
  }
}

function nameOf(moment: Trigger['on']): string {
  if (typeof moment === 'string') return moment
  return 'operationDone' in moment ? `operation ${moment.operationDone}` : `control ${moment.controlDone}`
}
