/**
 * Reads an image as somebody would who finds it after the world: through a new graph, with nothing in memory from before.
 * The disk answers at once and has no faults; what it holds is all that counts.
 */
import { BlockBackend, BlockGraph, Permission } from '../impl/block'
import { type Co, type Errno, Kernel, makeLabel, OK, strerror } from '../impl/co'
import { VirtualClockwork } from './clockwork'
import { dullDecider } from './decider'
import { SimDisk } from './disk'
import type { DiskPlan } from './plan'
import type { BufferPool } from './pool'
import type { DiskStore } from './store'

const READER = makeLabel('reader')

/** The whole image, in a buffer of the pool. Throws if it cannot be read, which would be a defect of ours. */
export function readAfresh(store: DiskStore, plan: DiskPlan, pool: BufferPool): Uint8Array {
  const clockwork = new VirtualClockwork(dullDecider)
  const kernel = new Kernel(clockwork)
  const graph = new BlockGraph(kernel)
  const node = graph.addNode({
    name: store.name,
    driver: new SimDisk(store, plan, null, null, null),
    options: { readOnly: true },
  })
  const backend = new BlockBackend(graph, 'reader')
  backend.attach(node, Permission.ConsistentRead, Permission.All)
  const image = pool.takeToOverwrite(store.lengthBytes)
  const answer: Answer = { errno: -1 }
  kernel.spawn(readWhole(backend, image, answer), READER)
  for (let nextNs = clockwork.nextNs(); nextNs !== Infinity; nextNs = clockwork.nextNs()) {
    clockwork.step(kernel, nextNs)
    if (kernel.failure !== null) throw kernel.failure.error
  }
  const { errno } = answer
  if (errno !== OK) throw new Error(`${store.name} cannot be read afresh: ${errno < 0 ? 'no answer' : strerror(errno)}`)
  return image
}

interface Answer {
  /** -1 until there is one. */
  errno: Errno
}

function* readWhole(backend: BlockBackend, image: Uint8Array, answer: Answer): Co<void> {
  answer.errno = yield* backend.pread(0, image)
}
