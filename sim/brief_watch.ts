/**
 * What whoever films a smaller world is told of it. Nothing of it reaches into the world: it runs alike whether somebody
 * watches or not.
 */
import type { BlockNode } from '../impl/block'
import type { Kernel } from '../impl/co'
import type { MirrorView } from '../impl/jobs'
import type { FlatModel } from './flat_model'
import type { DiskView } from './observer'

/** What there is to see between two events. */
export interface BriefScene {
  readonly kernel: Kernel | null
  readonly jobStatus: string
  readonly jobOffsetBytes: number
  readonly jobLengthBytes: number
  /** The node that the guest is on. */
  readonly guestDisk: string
  readonly mirror: MirrorView | null
  readonly disks: PairScene | ChainScene | FileScene
}

/** Two disks, of which one becomes the copy of the other. */
export interface PairScene {
  readonly kind: 'pair'
  readonly source: DiskView
  readonly destination: DiskView
}

/** A chain of images, and what the guest must find in it. */
export interface ChainScene {
  readonly kind: 'chain'
  /** null before the guest has been seen. */
  readonly model: FlatModel | null
  /** Where the guest is; null: nowhere. */
  readonly root: BlockNode | null
  /** All images, the target of a backup among them, in the same order each time; null: closed. */
  readonly nodes: ReadonlyArray<BlockNode | null>
}

/** A file that holds an image. */
export interface FileScene {
  readonly kind: 'file'
  readonly file: DiskView
}

export interface BriefWatcher {
  /** After each event, when nothing runs. */
  step(step: number, timeNs: number, scene: BriefScene): void
  /** Something that takes time begins: of `id` at a lane. `key` is known to nobody else. */
  began(lane: string, key: object, id: string, kind: string, offsetBytes: number, lengthBytes: number): void
  ended(key: object, isBad: boolean): void
  /** A line beside those of the trace, in worlds that have events of another kind. */
  line(step: number, lane: string, text: string): void
}
