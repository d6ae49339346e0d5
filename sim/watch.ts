/**
 * Sees everything that happens in a world and passes it on: to the trace, to the counters, and to the checkers. The first
 * finding is kept; it ends the world after the event in which it was made.
 *
 * What may fail: a checker, by an exception; that is a failure of the harness and says so.
 */
import { AssertionFailure, type Errno, type Kernel, OK, strerror } from '../impl/co'
import type { JobEvent } from '../impl/jobs'
import type { DiskWatcher, WatchedRequest } from './disk'
import { FaultBroke, faultOf } from './faults'
import type { GuestHooks, GuestRequest } from './guest/driver'
import type { Checker, CheckerFactory, CheckerHook, SurvivingImages, WorldView } from './observer'
import type { ControlOperation } from './plan'
import type { ProbeName } from './probes'
import { probeChange, probeFailure, probeOrder } from './probing'
import { type Line, sampleHash, type Trace } from './trace'
import type { Failure, Finding } from './verdict'

const MANY_DISK_REQUESTS = 8
const MANY_GUEST_REQUESTS = 4

type HookCall<A, B, C> = (this: Checker, first: A, second: B, third: C) => Finding | null
/** One hook of one checker: looking it up in each checker at each call is what a world would notice. */
interface Hook<A, B, C> {
  readonly checker: Checker
  readonly call: HookCall<A, B, C>
}

type HookKind = CheckerHook
/** The arguments of a hook, filled up to three. */
type Filled<P extends readonly unknown[]> = P extends []
  ? [undefined, undefined, undefined]
  : P extends [infer A]
    ? [A, undefined, undefined]
    : P extends [infer A, infer B]
      ? [A, B, undefined]
      : P
type HookOf<P> = P extends [infer A, infer B, infer C] ? Hook<A, B, C> : never
type Hooks = { readonly [K in HookKind]: Array<HookOf<Filled<Parameters<NonNullable<Checker[K]>>>>> }

const HOOK_KINDS: readonly HookKind[] = [
  'diskSubmitted',
  'diskCompleted',
  'guestSubmitted',
  'guestCompleted',
  'guestAborted',
  'jobEvent',
  'afterEvent',
  'atEnd',
  'powerCut',
]

interface KindCall {
  readonly kind: HookKind
  readonly call: HookCall<never, never, never>
}

const CALLS_OF_CLASSES = new Map<object, readonly KindCall[]>()

/** The hooks that a checker has. A class is asked once, not in each world: to ask thirteen checkers for nine hooks is slow. */
function callsOf(checker: Checker): readonly KindCall[] {
  const prototype: object = Object.getPrototypeOf(checker)
  const known = CALLS_OF_CLASSES.get(prototype)
  if (known !== undefined) return known
  const calls: KindCall[] = []
  let areMethods = prototype !== Object.prototype
  for (const kind of HOOK_KINDS) {
    const call = checker[kind] as HookCall<never, never, never> | undefined
    if (call === undefined) continue
    calls.push({ kind, call })
    // What each object has for itself its class cannot answer for.
    if (Object.hasOwn(checker, kind)) areMethods = false
  }
  if (areMethods) CALLS_OF_CLASSES.set(prototype, calls)
  return calls
}

/** What the watch asks of the world around it. */
export interface Watched extends WorldView {
  readonly kernel: Kernel
  readonly guestInFlight: number
  /** A request of the guest is over. */
  guestEnded(request: GuestRequest): void
  jobChanged(event: JobEvent): void
}

export class Watch implements DiskWatcher, GuestHooks {
  failure: Failure | null = null
  /** Situations met, by name. */
  readonly hits: Record<string, number> = Object.create(null)
  guestOperationsDone = 0
  private readonly world: Watched
  private readonly trace: Trace
  private readonly hooks: Hooks = {
    diskSubmitted: [],
    diskCompleted: [],
    guestSubmitted: [],
    guestCompleted: [],
    guestAborted: [],
    jobEvent: [],
    afterEvent: [],
    atEnd: [],
    powerCut: [],
  }
  private diskInFlight = 0
  private phase = ''
  private copyMode = ''
  private wasSynced = false
  private wasDirtyAgain = false

  constructor(world: Watched, trace: Trace) {
    this.world = world
    this.trace = trace
  }

  /** Makes the checkers; the world must be whole enough to be looked at. */
  engage(factories: readonly CheckerFactory[]): void {
    const { hooks } = this
    for (const make of factories) {
      const checker = make(this.world)
      for (const { kind, call } of callsOf(checker)) {
        if (checker.idle?.includes(kind) === true) continue
        const calls = hooks[kind] as Array<Hook<never, never, never>>
        calls.push({ checker, call })
      }
    }
  }

  private tell<A, B, C>(hooks: ReadonlyArray<Hook<A, B, C>>, first: A, second: B, third: C): void {
    for (const { checker, call } of hooks) {
      try {
        const finding = call.call(checker, first, second, third)
        if (finding !== null) this.found(finding)
      } catch (error) {
        this.harnessFailed(checker, error)
      }
    }
  }

  hit(probe: ProbeName): void {
    this.count(probe)
  }
  count(probe: string): void {
    this.hits[probe] = (this.hits[probe] ?? 0) + 1
  }

  found(finding: Finding): void {
    this.failure ??= { ...finding, step: this.trace.step, timeNs: this.trace.timeNs }
  }

  /** A checker threw: that is not the fault of what it checks. */
  private harnessFailed(checker: Checker, error: unknown): void {
    const text = `the checker ${checker.name} broke down: ${errorText(error)}`
    this.found({ class: 'harness', key: `harness/${checker.name}`, text, details: stackOf(error) })
  }

  /** Something left a coroutine as an exception. */
  crashed(error: unknown, who: string): void {
    if (error instanceof FaultBroke) {
      const text = `the fault ${error.faultName} broke down: ${error.message}`
      this.found({ class: 'harness', key: `harness/${error.faultName}`, text, details: stackOf(error.cause) })
      return
    }
    const key = error instanceof AssertionFailure ? error.invariant : error instanceof Error ? error.name : 'exception'
    const text = `${who} threw: ${errorText(error)}`
    this.found({ class: 'crash', key: `crash/${key}`, text, details: stackOf(error) })
  }

  diskSubmitted(request: WatchedRequest): void {
    const { trace } = this
    const { operation, offsetBytes, lengthBytes, data } = request
    this.diskInFlight++
    if (this.diskInFlight === MANY_DISK_REQUESTS) this.hit('disk/many-in-flight')
    if (data !== null) request.dataHash = sampleHash(data)
    if (request.fault !== null) this.hit('disk/fault')
    trace.mix(offsetBytes)
    trace.mix(lengthBytes)
    trace.mix(request.label.hash)
    trace.mix(request.dataHash)
    trace.line(request.disk, diskArrives, request.label.id, operation, offsetBytes, lengthBytes, request.mayUnmap ? 1 : 0)
    this.tell(this.hooks.diskSubmitted, request.disk, request, undefined)
  }

  diskCompleted(request: WatchedRequest, errno: Errno): void {
    const { trace } = this
    const { data, operation, offsetBytes, lengthBytes } = request
    this.diskInFlight--
    const dataHash = data === null ? 0 : sampleHash(data)
    if (operation === 'write' && dataHash !== request.dataHash) {
      const text = `the bytes of a write at ${offsetBytes} changed while it was in flight`
      this.found({ class: 'invariant', key: 'disk/buffer-changed', text, disk: request.disk, offsetBytes, lengthBytes })
    }
    trace.mix(request.serial)
    trace.mix(errno)
    trace.mix(dataHash)
    if (errno !== OK) probeFailure(this.world, request, this)
    if (request.fault !== null) trace.line(request.disk, diskMeets, request.label.id, faultOf(request.fault).name, 0, 0, 0)
    trace.line(request.disk, diskEnds, request.label.id, operation, offsetBytes, lengthBytes, errno)
    this.tell(this.hooks.diskCompleted, request.disk, request, errno)
  }

  submitted(request: GuestRequest): void {
    const { operation } = request
    const { kind, offsetBytes, lengthBytes } = operation
    this.trace.mix(request.label.hash)
    this.trace.line('guest', guestSubmits, operation.id, kind, offsetBytes, lengthBytes, 0)
    if (this.world.guestInFlight === MANY_GUEST_REQUESTS) this.hit('guest/many-in-flight')
    probeChange(this.world, operation, this)
    const data = kind === 'write' ? request.buffer : null
    this.tell(this.hooks.guestSubmitted, operation, data, undefined)
  }

  completed(request: GuestRequest): void {
    const { operation, status } = request
    const data = operation.kind === 'read' && status === 0 ? request.buffer : null
    this.guestOperationsDone++
    this.trace.mix(status)
    if (data !== null) this.trace.mix(sampleHash(data))
    this.trace.line('guest', guestEnds, operation.id, operation.kind, 0, 0, status)
    if (status !== 0) this.hit(this.world.plan.source.node.readOnly === true ? 'guest/read-only' : 'guest/failed')
    this.tell(this.hooks.guestCompleted, operation, status, data)
    this.world.guestEnded(request)
  }

  aborted(request: GuestRequest): void {
    const { operation } = request
    this.trace.line('guest', guestLoses, operation.id, operation.kind, 0, 0, 0)
    this.hit('guest/aborted')
    this.tell(this.hooks.guestAborted, operation, undefined, undefined)
    this.world.guestEnded(request)
  }

  jobEvent(event: JobEvent): void {
    const { status, action } = event.data
    const word = typeof status === 'string' ? status : typeof action === 'string' ? action : ''
    this.trace.mixText(event.event)
    this.trace.mixText(word)
    this.trace.line('job', jobTells, event.event, word, 0, 0, 0)
    this.probeJob(event.event, word)
    this.world.jobChanged(event)
    this.tell(this.hooks.jobEvent, event, undefined, undefined)
  }

  private probeJob(event: string, word: string): void {
    if (event === 'BLOCK_JOB_ERROR') {
      if (word === 'ignore') this.hit('job/error-ignored')
      else if (word === 'stop') this.hit('job/error-stops')
    } else if (event === 'BLOCK_JOB_PENDING') this.hit('job/pending')
    else if (word === 'paused') this.hit('job/paused')
    else if (word === 'standby') this.hit('job/standby')
  }

  /** An order is about to be given. */
  ordering(kind: ControlOperation['kind']): void {
    probeOrder(this.world, kind, this)
  }

  /** An order was carried out, or refused with `refusal`. */
  ordered(id: string, kind: string, refusal: string | null): void {
    this.trace.mixText(id)
    this.trace.mix(refusal === null ? 0 : 1)
    this.trace.line('control', refusal === null ? orderDone : orderRefused, id, refusal ?? kind, 0, 0, 0)
    if (refusal !== null) this.hit('control/refused')
  }

  /** After each event, when nothing runs. */
  afterEvent(): void {
    const { kernel } = this.world
    if (kernel.failure !== null) this.crashed(kernel.failure.error, kernel.failure.coroutine.label.id)
    this.watchMirror()
    this.tell(this.hooks.afterEvent, undefined, undefined, undefined)
  }

  private watchMirror(): void {
    const { mirror } = this.world
    if (mirror === null) return
    if (mirror.phase !== this.phase) {
      this.phase = mirror.phase
      this.trace.mixText(mirror.phase)
      this.trace.line('mirror', mirrorIs, '', mirror.phase, 0, 0, 0)
      if (mirror.phase === 'zeroing') this.hit('mirror/zeroing')
      else if (mirror.phase === 'copying' && mirror.cowWords !== null) this.hit('mirror/whole-clusters')
    }
    if (mirror.activelySynced !== this.wasSynced) {
      this.wasSynced = mirror.activelySynced
      this.trace.mix(this.wasSynced ? 1 : 2)
      this.trace.line('mirror', mirrorIs, '', this.wasSynced ? 'actively synced' : 'not synced any more', 0, 0, 0)
      this.hit(this.wasSynced ? 'mirror/synced' : 'mirror/synced-lost')
    }
    if (mirror.copyMode !== this.copyMode) {
      if (this.copyMode !== '') this.hit('mirror/mode-changed')
      this.copyMode = mirror.copyMode
    }
    if (mirror.wasReady && !this.wasDirtyAgain && isAnyNotZero(mirror.dirtyWords)) {
      this.wasDirtyAgain = true
      this.hit('mirror/dirty-again')
    }
  }

  atEnd(end: Parameters<NonNullable<Checker['atEnd']>>[0]): void {
    this.tell(this.hooks.atEnd, end, undefined, undefined)
  }

  /** What has survived is part of what two runs of a plan must agree on. */
  powerCut(images: SurvivingImages): void {
    this.trace.mix(sampleHash(images.source))
    this.trace.mix(sampleHash(images.destination))
    this.tell(this.hooks.powerCut, images, undefined, undefined)
  }
}

function isAnyNotZero(words: Uint32Array): boolean {
  for (let index = 0; index < words.length; index++) if (words[index] !== 0) return true
  return false
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The innermost frames; for people, never compared. */
const FRAMES_MAX = 6
export function stackOf(error: unknown): string[] {
  if (!(error instanceof Error) || error.stack === undefined) return []
  const frames = error.stack.split('\n').filter((line) => line.trimStart().startsWith('at '))
  return frames.slice(0, FRAMES_MAX).map((line) => line.trim().replace(/\(?(\/[^()]*\/)([^/()]*)\)?$/, '$2'))
}

function range(line: Line): string {
  return line.lengthBytes === 0 ? '' : ` ${line.offsetBytes}+${line.lengthBytes}`
}
export function diskArrives(line: Line): string {
  return `${line.subject}: ${line.word}${range(line)}${line.word === 'write-zeroes' && line.code === 1 ? ' may unmap' : ''}`
}
export function diskEnds(line: Line): string {
  return `${line.subject}: ${line.word}${range(line)} ${line.code === OK ? 'done' : `fails: ${strerror(line.code)}`}`
}
function diskMeets(line: Line): string {
  return `${line.subject}: meets ${line.word}`
}
export function guestSubmits(line: Line): string {
  return `${line.subject}: ${line.word}${range(line)}`
}
function guestEnds(line: Line): string {
  return `${line.subject}: ${line.word} ${line.code === 0 ? 'done' : `fails with status ${line.code}`}`
}
function guestLoses(line: Line): string {
  return `${line.subject}: ${line.word} lost in a reset`
}
export function jobTells(line: Line): string {
  return line.word === '' ? line.subject : `${line.subject} ${line.word}`
}
export function orderDone(line: Line): string {
  return `${line.subject}: ${line.word}`
}
export function orderRefused(line: Line): string {
  return `${line.subject}: refused: ${line.word}`
}
function mirrorIs(line: Line): string {
  return line.word
}
