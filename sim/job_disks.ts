/**
 * The images of a job's world: a base, an image above it, and for a commit an empty one above that, where the guest writes;
 * for a backup another disk. How they are opened, and what is in them when somebody finds them afterwards.
 */
import { BlockBackend, BlockGraph, type BlockNode, Permission } from '../impl/block'
import { PORTABLE_CODECS } from '../impl/block/codec_portable'
import { createQcow2, openQcow2, type Qcow2Driver } from '../impl/block/drivers/qcow2'
import { assert, type Co, Kernel, makeLabel, OK } from '../impl/co'
import { VirtualClockwork } from './clockwork'
import { type Decider, dullDecider } from './decider'
import { type DiskWatcher, SimDisk } from './disk'
import { makeImage, readAfresh, readImageAfresh } from './fresh_open'
import { emptyStores, type ImageStores } from './image'
import { openImageNodes, plainDriver } from './image_nodes'
import type { DiskPlan, FormatPlan, JobPlan, Plan } from './plan'
import type { BufferPool } from './pool'
import { DiskStore } from './store'
import type { Troubles } from './troubles'

const READER = makeLabel('reader')
/** An image of little data. */
const OVERLAY_CLUSTERS_MAX = 4096
const OVERLAY_CLUSTER_BYTES = 65536
/** The node of the lowest layer. */
const BASE = 'image-backing'

export interface JobTroubles {
  decider: Decider
  troubles: Troubles
  watcher: DiskWatcher
}

export class JobDisks {
  guestNode!: BlockNode
  /** The image above the base. */
  imageNode!: BlockNode
  targetNode: BlockNode | null = null
  /** Every image as it was opened, from the guest's down, and then the target of a backup. */
  readonly imageNodes: BlockNode[] = []
  /** What the target of a backup holds before. */
  oldCopy!: Uint8Array
  private readonly graph: BlockGraph
  private readonly plan: Plan
  private readonly pool: BufferPool
  private readonly troubles: JobTroubles
  private readonly format: FormatPlan
  private readonly stores: ImageStores
  private readonly overlay: DiskStore | null
  private readonly targetStores: ImageStores | null
  private readonly target: DiskStore | null
  private readonly made: SimDisk[] = []

  constructor(graph: BlockGraph, plan: Plan, pool: BufferPool, troubles: JobTroubles) {
    const { source, destination, job } = plan
    const { format } = source
    assert(format?.backing !== undefined && job !== undefined, 'job-has-chain')
    this.graph = graph
    this.plan = plan
    this.pool = pool
    this.troubles = troubles
    this.format = format
    this.stores = emptyStores('source', source, format, pool)
    const endBytes = source.lengthBytes + OVERLAY_CLUSTERS_MAX * OVERLAY_CLUSTER_BYTES
    const isBackup = job.kind === 'backup'
    this.overlay =
      job.kind === 'commit' || job.overlay !== undefined
        ? new DiskStore('source', { ...source, lengthBytes: 0, initial: [] }, pool, endBytes)
        : null
    this.targetStores =
      isBackup && destination.format !== undefined ? emptyStores('destination', destination, destination.format, pool) : null
    this.target = isBackup && destination.format === undefined ? new DiskStore('destination', destination, pool) : null
  }

  private disk(store: DiskStore, plan: DiskPlan): SimDisk {
    const disk = new SimDisk(store, plan, null, null, null)
    this.made.push(disk)
    return disk
  }

  *open(): Co<void> {
    const { graph, plan, stores, format } = this
    const { source } = plan
    makeImage(stores, source, format)
    const opened = yield* openImageNodes(graph, {
      name: 'image',
      stores,
      format,
      options: { discard: 'unmap', readOnly: this.overlay !== null },
      makeDisk: (store) => this.disk(store, source),
      makeDriver: plainDriver,
    })
    this.imageNode = opened.node
    this.guestNode = opened.node
    // The base was opened for the image, its file for the base: both follow when it is to be written to.
    const base = opened.node.backing!.node
    for (const node of [opened.node, base]) {
      for (const { node: file, role } of node.children.values()) if (role === 'image') file.inheritsFrom = node
    }
    if (this.overlay !== null) this.guestNode = yield* this.openOverlay(this.overlay)
    if (plan.job!.kind === 'backup') yield* this.openTarget()
    for (let node: BlockNode | null = this.guestNode; node !== null; node = node.below()) this.imageNodes.push(node)
    if (this.targetNode !== null) this.imageNodes.push(this.targetNode)
  }

  private *openOverlay(store: DiskStore): Co<BlockNode> {
    const { graph, imageNode } = this
    const options = { discard: 'unmap' as const }
    const file = graph.addNode({ name: 'overlay-file', driver: this.disk(store, this.plan.source), options })
    const sizeBytes = imageNode.lengthBytes + (this.plan.job!.overlay?.longerBytes ?? 0)
    yield* createQcow2(file, { sizeBytes, backingName: imageNode.name, backingFormat: 'qcow2' })
    const driver = yield* openQcow2(file, { codecs: PORTABLE_CODECS, passDiscardRequest: true })
    const node = graph.addNode({
      name: 'overlay',
      driver,
      children: [
        { name: 'file', role: 'image', node: file },
        { name: 'backing', role: 'cow', node: imageNode },
      ],
      options,
    })
    yield* driver.start(null)
    return node
  }

  private *openTarget(): Co<void> {
    const { graph, pool } = this
    const { destination } = this.plan
    if (this.target !== null) {
      this.oldCopy = readAfresh(this.target, destination, pool).slice()
      const driver = this.disk(this.target, destination)
      this.targetNode = graph.addNode({ name: 'target', driver, options: destination.node })
      return
    }
    const stores = this.targetStores!
    const format = destination.format!
    makeImage(stores, destination, format)
    this.oldCopy = readImageAfresh(stores, destination, format, pool).slice()
    const parts = { name: 'target', stores, format, options: destination.node }
    const makeDisk = (store: DiskStore): SimDisk => this.disk(store, destination)
    this.targetNode = (yield* openImageNodes(graph, { ...parts, makeDisk, makeDriver: plainDriver })).node
  }

  /** From now on the disks take their time, and fail as planned. */
  engage(): void {
    const { decider, troubles, watcher } = this.troubles
    for (const disk of this.made) {
      disk.engage(decider, troubles.faults[disk.store.name], watcher)
      troubles.join(disk)
    }
  }

  /** Names of the chain from the guest's disk on when a job has worked. */
  chainAfter(kind: JobPlan['kind']): string[] {
    const base = BASE
    if (kind === 'active-commit') return [base]
    if (kind === 'commit') return ['overlay', base]
    if (kind === 'stream') {
      const top = this.overlay === null ? 'image' : 'overlay'
      return this.plan.job!.overlay?.keepsBase === true ? [top, base] : [top]
    }
    return this.overlay === null ? ['image', base] : ['overlay', 'image', base]
  }

  /** Takes all nodes out, from the top down. */
  *close(root: BlockNode): Co<void> {
    const { graph } = this
    for (const top of [root, ...graph.nodes.values()]) yield* this.closeNode(top)
    for (let left = graph.nodes.size; left > 0; left = graph.nodes.size) {
      for (const node of [...graph.nodes.values()]) yield* this.closeNode(node)
      assert(graph.nodes.size < left, 'nodes-can-be-closed')
    }
  }
  private *closeNode(node: BlockNode): Co<void> {
    if (this.graph.findNode(node.name) === node && node.parents.size === 0) yield* this.graph.removeNode(node)
  }

  /** The lowest layer. */
  get baseNode(): BlockNode {
    return this.imageNode.backing!.node
  }

  /** The image of that name and what its header says is below, in a graph of their own; `chain`: the names, from the top. */
  readAfresh(name: string, lengthBytes: number): { bytes: Uint8Array; chain: string[] } {
    const chain: string[] = []
    const bytes = new Uint8Array(lengthBytes)
    const clockwork = new VirtualClockwork(dullDecider)
    const kernel = new Kernel(clockwork)
    kernel.spawn(this.readChain(new BlockGraph(kernel), name, bytes, chain), READER)
    for (let nextNs = clockwork.nextNs(); nextNs !== Infinity; nextNs = clockwork.nextNs()) {
      clockwork.step(kernel, nextNs)
      if (kernel.failure !== null) throw kernel.failure.error
    }
    return { bytes, chain }
  }

  readCopyAfresh(): Uint8Array {
    const { destination } = this.plan
    if (this.target !== null) return readAfresh(this.target, destination, this.pool)
    return readImageAfresh(this.targetStores!, destination, destination.format!, this.pool)
  }

  private *readChain(graph: BlockGraph, name: string, bytes: Uint8Array, chain: string[]): Co<void> {
    const node = yield* this.openByName(graph, name)
    for (let layer: BlockNode | null = node; layer !== null; layer = layer.below())
      chain.push(layer.name.replace(/-file$/, '').replace(/^backing$/, BASE))
    const backend = new BlockBackend(graph, '')
    backend.attach(node, Permission.ConsistentRead, Permission.All)
    const errno = yield* backend.pread(0, bytes)
    if (errno !== OK) throw new Error(`${name} cannot be read afresh: ${errno}`)
  }

  private *openByName(graph: BlockGraph, name: string): Co<BlockNode> {
    const { source } = this.plan
    // The image has been made with this name for its base.
    const isBase = name === 'backing' || name === BASE
    const store = isBase ? this.stores.backing! : name === 'overlay' ? this.overlay! : this.stores.file
    const options = { readOnly: true }
    const file = graph.addNode({ name: `${name}-file`, driver: new SimDisk(store, source, null, null, null), options })
    if (isBase && this.format.backing!.format === 'raw') return file
    const driver: Qcow2Driver = yield* openQcow2(file, { readOnly: true, codecs: PORTABLE_CODECS })
    const children: Array<{ name: string; role: 'image' | 'cow'; node: BlockNode }> = [
      { name: 'file', role: 'image', node: file },
    ]
    const below = driver.header.backingName
    if (below !== null) children.push({ name: 'backing', role: 'cow', node: yield* this.openByName(graph, below) })
    return graph.addNode({ name, driver, children, options })
  }
}
