/**
 * A world, frame by frame: what the state was after each event, for people who look at it and move through it. One frame
 * shares with the one before it whatever has not changed, so that thousands of frames fit into memory.
 *
 * What never may happen: a world that runs differently because it is filmed.
 */
import { describeWait } from '../impl/co'
import { SECTOR_BYTES, writerOf } from '../model/stamp'
import type { Decider } from './decider'
import { DiskCamera, shared } from './film_disk'
import type { Film, FilmLane, Frame, MirrorFrame, Situation, Span } from './film_frames'
import type { Checker, CheckerFactory, DiskRequestView, MirrorView, WorldView } from './observer'
import type { DiskName, GuestOperation, Plan } from './plan'
import type { WorldResult } from './verdict'
import { runWorld, type WorldOptions } from './world'

/** Frames kept; what comes after is not filmed. */
export const FRAMES_MAX = 20_000

export interface FilmOptions {
  decider?: Decider
  checkers?: readonly CheckerFactory[]
}

/** Runs the world of a plan and keeps every moment of it. */
export function filmWorld(plan: Plan, options: FilmOptions = {}): Film {
  const camera = new Camera(plan)
  const checkers = [camera.factory, ...(options.checkers ?? [])]
  const decider = options.decider === undefined ? {} : { decider: options.decider }
  const result = runWorld(plan, { ...decider, checkers, trace: 'all', onStep: (world) => camera.step(world) })
  return camera.film(result)
}

function writersOf({ guest, source, destination }: Plan): Map<number, string> {
  const ids = guest.map(({ id }) => id)
  for (const disk of [source, destination]) {
    for (const { id } of [...disk.initial, ...(disk.format?.backing?.initial ?? [])]) ids.push(id)
  }
  return new Map(ids.map((id) => [writerOf(id), id]))
}

type FilmedWorld = Parameters<NonNullable<WorldOptions['onStep']>>[0]

/** Takes the pictures; nothing of it reaches into the world. */
class Camera implements Checker {
  readonly name = 'camera'
  readonly factory: CheckerFactory = (world) => {
    this.world = world
    return this
  }
  private readonly plan: Plan
  private readonly frames: Frame[] = []
  private readonly spans: Span[] = []
  private readonly open = new Map<object | string, Span>()
  private readonly situations: Situation[] = []
  private readonly met: Record<string, number> = Object.create(null)
  private readonly sourceCamera = new DiskCamera()
  private readonly destinationCamera = new DiskCamera()
  private world: WorldView | null = null

  constructor(plan: Plan) {
    this.plan = plan
  }

  film(result: WorldResult): Film {
    const { frames, spans, world } = this
    const unit = (disk: DiskName): number => world?.[disk].allocationUnitBytes ?? SECTOR_BYTES
    const allocationUnitBytes = { source: unit('source'), destination: unit('destination') }
    return {
      plan: this.plan,
      result,
      frames,
      spans,
      situations: this.situations,
      lines: result.trace,
      allocationUnitBytes,
      writers: writersOf(this.plan),
    }
  }

  // ---------------------------------------------------------------------------------------------------------------- spans

  private begin(key: object | string, lane: FilmLane, id: string, kind: string, offsetBytes: number, lengthBytes: number): void {
    const fromStep = this.world!.step
    const span = { lane, id, kind, offsetBytes, lengthBytes, fromStep, toStep: Infinity, isBad: false }
    this.open.set(key, span)
    this.spans.push(span)
  }

  private finish(key: object | string, isBad: boolean): void {
    const span = this.open.get(key)
    if (span === undefined) return
    span.toStep = this.world!.step
    span.isBad = isBad
    this.open.delete(key)
  }

  guestSubmitted({ id, kind, offsetBytes, lengthBytes }: GuestOperation): null {
    this.begin(`guest/${id}`, 'guest', id, kind, offsetBytes, lengthBytes)
    return null
  }
  guestCompleted({ id }: GuestOperation, status: number): null {
    this.finish(`guest/${id}`, status !== 0)
    return null
  }
  guestAborted({ id }: GuestOperation): null {
    this.finish(`guest/${id}`, true)
    return null
  }
  diskSubmitted(disk: DiskName, { serial, origin, operation, offsetBytes, lengthBytes }: DiskRequestView): null {
    // What the mirror asks about is not what it does.
    if (operation !== 'status') this.begin(`${disk}/${serial}`, disk, origin, operation, offsetBytes, lengthBytes)
    return null
  }
  diskCompleted(disk: DiskName, { serial }: DiskRequestView, errno: number): null {
    this.finish(`${disk}/${serial}`, errno !== 0)
    return null
  }

  /** What the mirror works on is told by nobody: it is there after one event and not after another. */
  private followMirror(mirror: MirrorView | null): void {
    const present = new Set<object | string>()
    const follow = (lane: FilmLane, one: { kind: string; offsetBytes: number; lengthBytes: number }, isBad: boolean): void => {
      present.add(one)
      const known = this.open.get(one)
      if (known === undefined) this.begin(one, lane, one.kind, one.kind, one.offsetBytes, one.lengthBytes)
      const span = this.open.get(one)!
      span.isBad = isBad
    }
    for (const request of mirror?.filterRequests ?? []) follow('device', request, false)
    for (const operation of mirror?.operations ?? []) follow('mirror', operation, !operation.isInFlight)
    for (const [key, span] of this.open) {
      if (typeof key !== 'string' && !present.has(key)) this.finish(key, span.isBad)
    }
  }

  // --------------------------------------------------------------------------------------------------------------- frames

  /** Situations are counted; what has a higher count than before was met since. */
  private followSituations({ step, probesHit }: { step: number; probesHit: Readonly<Record<string, number>> }): void {
    for (const name in probesHit) {
      const count = probesHit[name]!
      if (count === this.met[name]) continue
      this.met[name] = count
      this.situations.push({ step, name })
    }
  }

  step(world: FilmedWorld): void {
    this.followMirror(world.mirror)
    this.followSituations(world)
    if (this.frames.length >= FRAMES_MAX) return
    const last = this.frames.at(-1)
    const waits = [...world.kernel.live].map(describeWait)
    this.frames.push({
      step: world.step,
      timeNs: world.timeNs,
      jobStatus: world.jobStatus,
      jobOffsetBytes: world.jobOffsetBytes,
      jobLengthBytes: world.jobLengthBytes,
      guestDisk: world.guestDisk,
      source: this.sourceCamera.frame(world.source),
      destination: this.destinationCamera.frame(world.destination),
      mirror: world.mirror === null ? null : frameOfMirror(world.mirror, last?.mirror ?? null),
      waits: shared(waits, last?.waits),
    })
  }
}

/** What a mirror was before, where nothing of it has changed since. */
function frameOfMirror(mirror: MirrorView, old: MirrorFrame | null): MirrorFrame {
  const { dirtyWords, zeroWords, inFlightWords, cowWords, statistics } = mirror
  const kept = (words: Uint32Array | null, before: Uint32Array | null | undefined): Uint32Array | null => {
    if (words === null) return null
    const same = shared(words, before)
    return same === words ? words.slice() : same
  }
  const fresh: MirrorFrame = {
    phase: mirror.phase,
    copyMode: mirror.copyMode,
    activelySynced: mirror.activelySynced,
    wasReady: mirror.wasReady,
    granularityBytes: mirror.granularityBytes,
    chunkCount: mirror.chunkCount,
    dirty: kept(dirtyWords, old?.dirty)!,
    zero: kept(zeroWords, old?.zero),
    inFlight: kept(inFlightWords, old?.inFlight),
    cow: kept(cowWords, old?.cow),
    copiedBytes: statistics.copiedBytes,
    skippedZeroBytes: statistics.skippedZeroBytes,
    zeroedBytes: statistics.zeroedBytes,
    discardedBytes: statistics.discardedBytes,
  }
  if (old === null) return fresh
  for (const name of Object.keys(fresh) as Array<keyof MirrorFrame>) if (fresh[name] !== old[name]) return fresh
  return old
}
