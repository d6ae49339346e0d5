/**
 * Reads an image as somebody would who finds it after the world: through a new graph, with nothing in memory from before.
 * The disk answers at once and has no faults; what it holds is all that counts.
 */
import { BlockBackend, BlockGraph, type BlockNode, Permission } from '../impl/block'
import { type Co, type Errno, Kernel, makeLabel, OK, strerror } from '../impl/co'
import { VirtualClockwork } from './clockwork'
import { dullDecider } from './decider'
import { SimDisk } from './disk'
import { createImage, type ImageStores } from './image'
import { openImageNodes, plainDriver } from './image_nodes'
import type { DiskPlan, FormatPlan } from './plan'
import type { BufferPool } from './pool'
import type { DiskStore } from './store'

const READER = makeLabel('reader')

/** Runs a coroutine to its end in a graph and a time of its own. Throws what it throws. */
function runAlone(body: (graph: BlockGraph) => Co<void>): void {
  const clockwork = new VirtualClockwork(dullDecider)
  const kernel = new Kernel(clockwork)
  const coroutine = kernel.spawn(body(new BlockGraph(kernel)), READER)
  for (let nextNs = clockwork.nextNs(); nextNs !== Infinity; nextNs = clockwork.nextNs()) {
    clockwork.step(kernel, nextNs)
    if (kernel.failure !== null) throw kernel.failure.error
  }
  if (kernel.live.has(coroutine)) throw new Error('what is done outside of the world has no end')
}

/** A disk without time and errors. */
function quickDisk(plan: DiskPlan): (store: DiskStore) => SimDisk {
  return (store) => new SimDisk(store, plan, null, null, null)
}

/** The whole disk, in a buffer of the pool. Throws if it cannot be read, which would be a defect of ours. */
export function readAfresh(store: DiskStore, plan: DiskPlan, pool: BufferPool): Uint8Array {
  const image = pool.takeToOverwrite(store.lengthBytes)
  runAlone((graph) => {
    const node = graph.addNode({ name: store.name, driver: quickDisk(plan)(store), options: { readOnly: true } })
    return readWhole(graph, node, image)
  })
  return image
}

/** The same for an image with all that is below it. Throws if it cannot be opened. */
export function readImageAfresh(stores: ImageStores, plan: DiskPlan, format: FormatPlan, pool: BufferPool): Uint8Array {
  const image = pool.takeToOverwrite(plan.lengthBytes)
  runAlone((graph) => readImage(graph, stores, plan, format, image))
  return image
}

/** Puts an image into empty stores. */
export function makeImage(stores: ImageStores, plan: DiskPlan, format: FormatPlan): void {
  runAlone((graph) => createImage(graph, plan, format, stores, quickDisk(plan)))
}

function* readImage(graph: BlockGraph, stores: ImageStores, plan: DiskPlan, format: FormatPlan, image: Uint8Array): Co<void> {
  const options = { readOnly: true }
  const parts = { name: 'image', stores, format, options, makeDisk: quickDisk(plan), makeDriver: plainDriver }
  const { node } = yield* openImageNodes(graph, parts)
  yield* readWhole(graph, node, image)
}

function* readWhole(graph: BlockGraph, node: BlockNode, image: Uint8Array): Co<void> {
  const backend = new BlockBackend(graph, 'reader')
  backend.attach(node, Permission.ConsistentRead, Permission.All)
  const errno: Errno = yield* backend.pread(0, image)
  if (errno !== OK) throw new Error(`${node.name} cannot be read afresh: ${strerror(errno)}`)
}
