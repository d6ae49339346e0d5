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
import type { DiskFrame, Film, Frame, Situation } from './film_frames'
import { frameOfMirror } from './film_mirror'
import { Spans } from './film_spans'
import type { Checker, CheckerFactory, DiskRequestView, WorldView } from './observer'
import type { DiskName, GuestOperation, Plan } from './plan'
import type { WorldResult } from './verdict'
import { runWorld, type WorldOptions } from './world'

/** Frames kept; what comes after is not filmed. */
export const FRAMES_MAX = 20_000
/** Unit of the maps where no mirror says what its chunks are. */
export const CHUNK_BYTES_DEFAULT = 4096
const NO_LAYERS: readonly DiskFrame[] = []

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

/** Who has written what a world's disks hold, by what is in their sectors. */
export function writersOf({ guest, source, destination }: Plan): Map<number, string> {
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
  private readonly spans = new Spans()
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
    const granularityBytes = frames.find(({ mirror }) => mirror !== null)?.mirror?.granularityBytes
    return {
      kind: 'mirror',
      names: { source: 'source', destination: 'destination' },
      lanes: ['guest', 'device', 'mirror', 'source', 'destination'],
      layers: [],
      chunkBytes: granularityBytes ?? (this.plan.mirror.granularityBytes || CHUNK_BYTES_DEFAULT),
      lengthBytes: this.plan.source.lengthBytes,
      plan: this.plan,
      result,
      frames,
      spans: spans.all,
      situations: this.situations,
      lines: result.trace,
      allocationUnitBytes,
      writers: writersOf(this.plan),
    }
  }

  // ---------------------------------------------------------------------------------------------------------------- spans

  private get now(): number {
    return this.world!.step
  }
  guestSubmitted({ id, kind, offsetBytes, lengthBytes }: GuestOperation): null {
    this.spans.begin(`guest/${id}`, this.now, 'guest', id, kind, offsetBytes, lengthBytes)
    return null
  }
  guestCompleted({ id }: GuestOperation, status: number): null {
    this.spans.finish(`guest/${id}`, this.now, status !== 0)
    return null
  }
  guestAborted({ id }: GuestOperation): null {
    this.spans.finish(`guest/${id}`, this.now, true)
    return null
  }
  diskSubmitted(disk: DiskName, { serial, origin, operation, offsetBytes, lengthBytes }: DiskRequestView): null {
    // What the mirror asks about is not what it does.
    if (operation !== 'status') this.spans.begin(`${disk}/${serial}`, this.now, disk, origin, operation, offsetBytes, lengthBytes)
    return null
  }
  diskCompleted(disk: DiskName, { serial }: DiskRequestView, errno: number): null {
    this.spans.finish(`${disk}/${serial}`, this.now, errno !== 0)
    return null
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
    this.spans.followMirror(world.mirror, world.step)
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
      layers: NO_LAYERS,
      mirror: world.mirror === null ? null : frameOfMirror(world.mirror, last?.mirror ?? null),
      waits: shared(waits, last?.waits),
    })
  }
}
