/**
 * The operator: gives the orders of the plan when their moments come. An order that is refused is over, too, and whatever
 * waits for it goes on.
 *
 * The caretaker is the operator of last resort. It completes a job that nobody ends as soon as it is READY and the guest
 * has finished; and when nothing happens any more by itself, it resumes what stands still, completes, finalises and
 * dismisses, so that a world has an end unless something is stuck.
 */
import { BlockError } from '../impl/block'
import { type Co, type Kernel, makeLabel } from '../impl/co'
import type { MirrorJob } from '../impl/jobs'
import type { ControlOperation, DiskName, Moment, Trigger } from './plan'
import { orderProbe } from './probes'
import type { Watch } from './watch'

/** What orders act on. Verbs throw BlockError when they are refused. */
export interface Controlled {
  readonly kernel: Kernel
  /** The job that runs or has run last; null before the first. */
  readonly job: MirrorJob | null
  /** The job that a command means. Throws BlockError. */
  findJob(): MirrorJob
  startMirror(): Co<void>
  drain(durationNs: number): Co<void>
  /** Throws BlockError where the link must stay. */
  linkBacking(disk: DiskName): Co<void>
  resetDevice(): void
  /** Throws BlockError while a mirror depends on the length. */
  resize(): Co<void>
  /** Nothing happens any more after the present event. */
  cutPower(): void
  readonly isGuestDone: boolean
}

const CARETAKER = makeLabel('caretaker')

function nameOf(moment: Trigger['on']): string {
  if (typeof moment === 'string') return moment
  return 'operationDone' in moment ? `operation ${moment.operationDone}` : `control ${moment.controlDone}`
}

export class Operator {
  private readonly world: Controlled
  private readonly watch: Watch
  /** Orders that wait, by the name of their moment. */
  private readonly waiting = new Map<string, ControlOperation[]>()
  /** Operations of the guest that an order waits for: most of them are none. */
  private readonly awaited = new Set<string>()
  private readonly hasEnding: boolean
  private isCaredFor = false
  /** Somebody has cancelled the job by force, or before it was READY. */
  hasForcedEnd = false
  /** What the caretaker did last was refused: it knows no better. */
  private helplessStatus: string | null = null

  constructor(world: Controlled, watch: Watch, operations: readonly ControlOperation[]) {
    this.world = world
    this.watch = watch
    for (const operation of operations) {
      const { on } = operation.when
      const name = nameOf(on)
      if (typeof on === 'object' && 'operationDone' in on) this.awaited.add(on.operationDone)
      const others = this.waiting.get(name)
      if (others === undefined) this.waiting.set(name, [operation])
      else others.push(operation)
    }
    this.hasEnding = operations.some(({ kind }) => kind === 'complete' || kind === 'cancel')
  }

  /** A moment has come. Of each only the first counts. */
  reach(moment: Moment): void {
    this.release(moment)
    if (moment === 'ready' || moment === 'guest-done') this.careForEnd()
  }
  operationDone(id: string): void {
    if (this.awaited.has(id)) this.release(`operation ${id}`)
  }

  private release(name: string): void {
    const operations = this.waiting.get(name)
    if (operations === undefined) return
    this.waiting.delete(name)
    for (const operation of operations) this.world.kernel.spawn(this.give(operation), makeLabel(operation.id))
  }

  private *give(operation: ControlOperation): Co<void> {
    if (operation.when.afterNs > 0) yield* this.world.kernel.sleepNs(operation.when.afterNs)
    this.watch.count(orderProbe(operation.kind, this.world.job?.status ?? 'none'))
    this.watch.ordering(operation.kind)
    yield* this.attempt(operation.id, operation.kind, this.execute(operation))
    this.release(`control ${operation.id}`)
  }

  /** Carries an order out; false if it was refused. */
  private *attempt(id: string, kind: string, order: Co<void>): Co<boolean> {
    try {
      yield* order
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      this.watch.ordered(id, kind, error.message)
      return false
    }
    this.watch.ordered(id, kind, null)
    return true
  }

  private *execute(operation: ControlOperation): Co<void> {
    const { world } = this
    switch (operation.kind) {
      case 'mirror-start':
        yield* world.startMirror()
        this.reach('mirror-started')
        break
      case 'drain':
        yield* world.drain(operation.durationNs)
        break
      case 'link-backing':
        yield* world.linkBacking(operation.disk)
        break
      case 'device-reset':
        world.resetDevice()
        break
      case 'resize':
        yield* world.resize()
        break
      case 'power-cut':
        world.cutPower()
        break
      case 'pause':
        world.findJob().pause()
        break
      case 'resume':
        world.findJob().resume()
        break
      case 'set-speed':
        world.findJob().setSpeed(operation.speedBytesPerSecond)
        break
      case 'change-copy-mode':
        world.findJob().changeCopyMode(operation.copyMode)
        break
      case 'complete':
        this.complete(world.findJob())
        break
      case 'cancel':
        this.cancel(world.findJob(), operation.force)
        break
      case 'finalize':
        world.findJob().finalize()
        break
      case 'dismiss':
        world.findJob().dismiss()
        break
    }
  }

  private cancel(job: MirrorJob, force: boolean): void {
    const isForced = force || (job.status !== 'ready' && job.status !== 'standby')
    job.cancel(force)
    if (isForced) this.hasForcedEnd = true
  }

  private complete(job: MirrorJob): void {
    job.complete()
    if (!this.world.isGuestDone) this.watch.hit('control/complete-under-load')
  }

  private careForEnd(): void {
    const { job, isGuestDone } = this.world
    if (this.hasEnding || this.isCaredFor || !isGuestDone || job === null || !job.isReady) return
    this.isCaredFor = true
    this.world.kernel.spawn(this.care('complete', job), CARETAKER)
  }

  /** Nothing happens any more. True if the caretaker has found something to do. */
  rest(): boolean {
    const { job, isGuestDone } = this.world
    if (job === null || job.status === 'null') return false
    const verb = neededVerb(job, isGuestDone)
    if (verb === null || this.helplessStatus === job.status) return false
    this.watch.hit('control/caretaker')
    this.world.kernel.spawn(this.care(verb, job), CARETAKER)
    return true
  }

  private *care(verb: CaretakerVerb, job: MirrorJob): Co<void> {
    const isDone = yield* this.attempt(CARETAKER.id, verb, giveVerb(job, verb))
    this.helplessStatus = isDone ? null : job.status
  }
}

// Not inside `care`: a generator function that is made in a world gives V8 a hidden class that holds the world, and
// with it every younger one, until the next full collection.
function* giveVerb(job: MirrorJob, verb: CaretakerVerb): Co<void> {
  job[verb]()
}

type CaretakerVerb = 'resume' | 'complete' | 'finalize' | 'dismiss'

/** What brings a job that stands still nearer to its end; each of them can be needed only as often as something undoes it. */
function neededVerb(job: MirrorJob, isGuestDone: boolean): CaretakerVerb | null {
  if (job.status === 'pending') return 'finalize'
  if (job.status === 'concluded') return 'dismiss'
  if (job.isUserPaused) return 'resume'
  const isEnding = job.isCompleteRequested || job.isCancelRequested
  return job.isReady && isGuestDone && !isEnding ? 'complete' : null
}
