/**
 * The smaller worlds, frame by frame: jobs on chains of images, mirrors over NBD and under monitors, damaged images. What
 * `filmWorld` is for worlds with a device.
 *
 * What never may happen: a world that runs differently because it is filmed.
 */
import type { BlockNode } from '../impl/block'
import { describeWait } from '../impl/co'
import type { BriefScene, BriefWatcher, ChainScene } from './brief_watch'
import { CHUNK_BYTES_DEFAULT, FRAMES_MAX, writersOf } from './film'
import { LayerCamera, shownThrough, unitBytesOf } from './film_chain'
import { DiskCamera, FileCamera, sectorAt, shared } from './film_disk'
import { ANYTHING_SECTOR, type DiskFrame, type Film, type FilmKind, type Frame, type Layer } from './film_frames'
import { frameOfMirror } from './film_mirror'
import { Spans } from './film_spans'
import type { FlatModel } from './flat_model'
import { type Plan, SECTOR_BYTES } from './plan'
import type { TraceRecord, WorldResult } from './verdict'

const NAMES: Readonly<Record<FilmKind, Film['names']>> = {
  mirror: { source: 'source', destination: 'destination' },
  pair: { source: 'source', destination: 'destination' },
  chain: { source: 'must hold', destination: 'guest’s disk' },
  file: { source: 'sound file', destination: 'file' },
}
const LANES: Readonly<Record<FilmKind, readonly string[]>> = {
  mirror: [],
  pair: ['guest', 'device', 'link', 'mirror', 'source', 'destination'],
  chain: ['guest', 'device', 'mirror', 'source', 'destination'],
  file: [],
}

/** Runs a world by `run`, which hands the watcher on, and films it. */
export function filmBriefly(plan: Plan, run: (eye: BriefWatcher) => WorldResult): Film {
  const camera = new BriefCamera()
  return camera.film(plan, run(camera))
}

type Pictures = Pick<Frame, 'source' | 'destination' | 'layers'>
const NOTHING: DiskFrame = { sectors: new Uint32Array(0), allocated: new Uint8Array(0) }

class BriefCamera implements BriefWatcher {
  private readonly frames: Frame[] = []
  private readonly spans = new Spans()
  private readonly lines: TraceRecord[] = []
  private readonly sourceCamera = new DiskCamera()
  private readonly destinationCamera = new DiskCamera()
  private readonly fileCamera = new FileCamera()
  private readonly layerCameras: LayerCamera[] = []
  private soundFile: DiskFrame | null = null
  private kind: FilmKind = 'pair'
  private layers: Layer[] = []
  private units = { source: SECTOR_BYTES, destination: SECTOR_BYTES }
  private now = 0

  began(lane: string, key: object, id: string, kind: string, offsetBytes: number, lengthBytes: number): void {
    this.spans.begin(key, this.now, lane, id, kind, offsetBytes, lengthBytes)
  }
  ended(key: object, isBad: boolean): void {
    this.spans.finish(key, this.now, isBad)
  }
  line(step: number, lane: string, text: string): void {
    this.lines.push({ step, timeNs: 0, lane, text })
  }

  step(step: number, timeNs: number, scene: BriefScene): void {
    this.spans.followMirror(scene.mirror, step)
    // What comes next happens in the event after this one.
    this.now = step + 1
    if (this.frames.length >= FRAMES_MAX) return
    const last = this.frames.at(-1)
    const waits = scene.kernel === null ? [] : [...scene.kernel.live].map(describeWait)
    this.frames.push({
      step,
      timeNs,
      jobStatus: scene.jobStatus,
      jobOffsetBytes: scene.jobOffsetBytes,
      jobLengthBytes: scene.jobLengthBytes,
      guestDisk: scene.guestDisk,
      ...this.picturesOf(scene.disks, last),
      mirror: scene.mirror === null ? null : frameOfMirror(scene.mirror, last?.mirror ?? null),
      waits: shared(waits, last?.waits),
    })
  }

  private picturesOf(scene: BriefScene['disks'], last: Frame | undefined): Pictures {
    this.kind = scene.kind
    if (scene.kind === 'chain') return this.chainOf(scene, last)
    if (scene.kind === 'file') {
      const file = this.fileCamera.frame(scene.file)
      this.soundFile ??= file
      this.units = { source: scene.file.allocationUnitBytes, destination: scene.file.allocationUnitBytes }
      return { source: this.soundFile, destination: file, layers: [] }
    }
    const { source, destination } = scene
    this.units = { source: source.allocationUnitBytes, destination: destination.allocationUnitBytes }
    return { source: this.sourceCamera.frame(source), destination: this.destinationCamera.frame(destination), layers: [] }
  }

  private chainOf({ model, root, nodes }: ChainScene, last: Frame | undefined): Pictures {
    if (this.layers.length === 0) {
      for (const node of nodes) if (node !== null) this.addLayer(node)
    }
    const fresh = nodes.map((node, index) => this.layerCameras[index]!.frame(node))
    const layers = shared(fresh, last?.layers)
    const chain: DiskFrame[] = []
    for (let node = root; node !== null; node = node.below()) {
      const index = nodes.indexOf(node)
      if (index >= 0) chain.push(layers[index]!)
    }
    // When everything is taken down, the guest is on nothing.
    const destination = root === null && last !== undefined ? last.destination : shownThrough(chain, last?.destination ?? null)
    return { source: frameOfModel(model, last?.source ?? NOTHING), destination, layers }
  }

  private addLayer(node: BlockNode): void {
    const name = node.name === 'image-backing' ? 'base' : node.name
    const allocationUnitBytes = unitBytesOf(node)
    if (this.layers.length === 0) this.units.destination = allocationUnitBytes
    this.layers.push({ name, allocationUnitBytes })
    this.layerCameras.push(new LayerCamera())
  }

  film(plan: Plan, result: WorldResult): Film {
    const { frames, kind, spans, layers } = this
    const granularityBytes = frames.find(({ mirror }) => mirror !== null)?.mirror?.granularityBytes
    const last = frames.at(-1)
    const chunkBytes = kind === 'file' || kind === 'chain' ? plan.source.format?.clusterBytes : granularityBytes
    // Of a damaged image there are no events: its failure came after what was seen last.
    const failure = kind === 'file' && result.failure !== null ? { ...result.failure, step: last?.step ?? 0 } : result.failure
    return {
      kind,
      names: NAMES[kind],
      lanes: plan.monitor === undefined ? LANES[kind] : ['users', ...LANES[kind].filter((lane) => lane !== 'link')],
      layers,
      chunkBytes: Math.max(SECTOR_BYTES, chunkBytes ?? CHUNK_BYTES_DEFAULT),
      lengthBytes: Math.max(last?.source.sectors.length ?? 1, last?.destination.sectors.length ?? 1) * SECTOR_BYTES,
      plan,
      result: { ...result, failure },
      frames,
      spans: spans.all,
      situations: [],
      lines: kind === 'file' ? this.lines : result.trace,
      allocationUnitBytes: this.units,
      writers: writersOf(plan),
    }
  }
}

/** What a guest must find. */
function frameOfModel(model: FlatModel | null, old: DiskFrame): DiskFrame {
  if (model === null) return old
  const count = model.bytes.length / SECTOR_BYTES
  const sectors = Uint32Array.from({ length: count }, (_, sector) =>
    model.isCertain(sector) ? sectorAt(model.bytes, sector * SECTOR_BYTES, sector) : ANYTHING_SECTOR,
  )
  const kept = shared(sectors, old.sectors)
  return kept === old.sectors ? old : { sectors: kept, allocated: NOTHING.allocated }
}
