/**
 * For property tests only: a chain of random layers, a guest that changes it, a user who gives orders, and a model of what
 * the guest must find. The model knows nothing of layers: it is what the guest has been told.
 */
import * as fc from 'fast-check'
import * as assert from 'uvu/assert'
import { BlockError, type BlockNode } from '../../block'
import type { MemoryDriver } from '../../block/testing'
import { type Co, EIO, ENOSPC, OK } from '../../co'
import type { Job } from '../job'
import { type ChainBench, chainBench, Layer, SECTOR } from '../testing'

/** A disk that failed for ever could keep a job that ignores errors busy for ever. */
const FAILURES_MAX = 12

export interface GuestStep {
  kind: 'write' | 'write-zeroes' | 'discard' | 'read' | 'flush'
  sector: number
  count: number
  waitNs: number
}

export interface Order {
  kind: 'pause' | 'resume' | 'complete' | 'soft-cancel' | 'force-cancel' | 'set-speed' | 'drain' | 'finalize'
  /** Of the node that is drained. */
  node: number
  waitNs: number
}

interface Extent {
  sector: number
  count: number
  isZero: boolean
}

export interface World {
  /** Of each layer, from the active one to the base, in units. */
  lengths: number[]
  extents: Extent[][]
  latenciesNs: number[]
  guest: GuestStep[]
  orders: Order[]
  policy: 'report' | 'ignore' | 'stop' | 'enospc'
  speed: number
  autoFinalize: boolean
  /** Every so many requests of a layer fail, 0: none. */
  failEvery: number
  failsWithoutSpace: boolean
}

const guestStep = fc.record<GuestStep>({
  kind: fc.constantFrom('write', 'write', 'write-zeroes', 'discard', 'read', 'flush'),
  sector: fc.nat(63),
  count: fc.integer({ min: 1, max: 24 }),
  waitNs: fc.nat(9).map((units) => units * 700),
})

const order = fc.record<Order>({
  kind: fc.constantFrom(
    ...(['pause', 'resume', 'drain', 'set-speed', 'complete', 'finalize'] as const),
    ...(['pause', 'resume', 'drain', 'soft-cancel', 'force-cancel'] as const),
  ),
  node: fc.nat(3),
  waitNs: fc.nat(9).map((units) => units * 900),
})

const extent = fc.record<Extent>({ sector: fc.nat(63), count: fc.integer({ min: 1, max: 20 }), isZero: fc.boolean() })

export function anyWorld(layersMin: number, layersMax: number): fc.Arbitrary<World> {
  const layers = { minLength: layersMin, maxLength: layersMax }
  return fc.record<World>({
    lengths: fc.array(fc.integer({ min: 4, max: 64 }), layers),
    extents: fc.array(fc.array(extent, { maxLength: 5 }), { minLength: layersMax, maxLength: layersMax }),
    latenciesNs: fc.array(fc.constantFrom(0, 500, 3000), { minLength: layersMax, maxLength: layersMax }),
    guest: fc.array(guestStep, { maxLength: 10 }),
    orders: fc.array(order, { maxLength: 6 }),
    policy: fc.constantFrom('report', 'ignore', 'stop', 'enospc'),
    speed: fc.constantFrom(0, 0, 5_000_000_000),
    autoFinalize: fc.boolean(),
    failEvery: fc.constantFrom(0, 0, 5, 11),
    failsWithoutSpace: fc.boolean(),
  })
}

export interface Running extends ChainBench {
  /** What lengths and places are counted in. */
  unitBytes: number
  /** What each byte of the guest's disk must be; -1: one cannot know. */
  model: Int16Array
  /** Sectors of the guest's request that is on its way. */
  busy: { from: number; to: number }
  /** Nothing fails any more. */
  heal(): void
}

/** Builds the chain; nothing has failed yet. `extra` disks have latency and fail like those of the chain. */
export function build(world: World, unitBytes = SECTOR, extra: readonly MemoryDriver[] = []): Running {
  const bench = chainBench({ lengths: world.lengths.map((units) => units * unitBytes) })
  bench.layers.forEach((layer, index) => {
    for (const { sector, count, isZero } of world.extents[index]!) {
      const first = sector % world.lengths[index]!
      const length = Math.min(count, world.lengths[index]! - first)
      if (isZero) layer.plantZeroes(first * unitBytes, length * unitBytes)
      else layer.plant(first * unitBytes, length * unitBytes, 200 - 30 * index + (sector % 30))
    }
  })
  const model = Int16Array.from(bench.read())
  let failures = 0
  for (const [index, layer] of [...bench.layers, ...extra].entries()) {
    layer.latencyNs = world.latenciesNs[index % world.latenciesNs.length]!
    let served = 0
    if (world.failEvery > 0) {
      layer.fail = () => {
        if (++served % world.failEvery !== 0 || failures >= FAILURES_MAX) return OK
        failures++
        return world.failsWithoutSpace ? ENOSPC : EIO
      }
    }
  }
  const heal = (): void => {
    failures = FAILURES_MAX
  }
  return { ...bench, unitBytes, model, busy: { from: 0, to: 0 }, heal }
}

/** The guest's requests one after another, each into the model as soon as its answer is there. */
export function* guest(run: Running, steps: readonly GuestStep[]): Co<void> {
  const { unitBytes } = run
  const units = run.model.length / unitBytes
  let fill = 1
  for (const { kind, sector, count, waitNs } of steps) {
    if (waitNs > 0) yield* run.kernel.sleepNs(waitNs)
    const from = (sector % units) * unitBytes
    const to = Math.min(from + count * unitBytes, run.model.length)
    const isChange = kind !== 'read' && kind !== 'flush'
    if (isChange) Object.assign(run.busy, { from, to })
    fill++
    const buffer = new Uint8Array(to - from).fill(fill)
    let errno: number
    if (kind === 'write') errno = yield* run.device.pwrite(from, buffer)
    else if (kind === 'write-zeroes') errno = yield* run.device.pwriteZeroes(from, to - from, fill & 1)
    else if (kind === 'discard') errno = yield* run.device.pdiscard(from, to - from)
    else if (kind === 'flush') errno = yield* run.device.flush()
    else {
      errno = yield* run.device.pread(from, buffer)
      if (errno === OK) compare(run, buffer, from, to, 'the guest reads')
    }
    if (!isChange) continue
    // A discard says nothing of what is read afterwards; a change that failed may have worked in part.
    const value = errno !== OK || kind === 'discard' ? -1 : kind === 'write' ? fill : 0
    run.model.fill(value, from, to)
    Object.assign(run.busy, { from: 0, to: 0 })
  }
}

function compare(run: Running, bytes: Uint8Array, from: number, to: number, what: string): void {
  for (let at = from; at < to; at++) {
    if (run.model[at] === -1 || (at >= run.busy.from && at < run.busy.to)) continue
    if (run.model[at] !== bytes[at - from]) assert.unreachable(`${what} ${bytes[at - from]} at ${at}, not ${run.model[at]}`)
  }
}

/** What a reader of `node` would find now, without asking anybody for anything. */
export function peek(node: BlockNode, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at += SECTOR) {
    for (let layer: BlockNode | null = node; layer !== null; layer = layer.below()) {
      if (!(layer.driver instanceof Layer)) continue
      // What ends before hides what lies below.
      if (at >= layer.driver.data.length) break
      if (layer.driver.allocated[at / SECTOR] !== 1) continue
      bytes.set(layer.driver.data.subarray(at, at + SECTOR), at)
      break
    }
  }
  return bytes
}

/** At every moment the guest's disk is what the guest has been told. */
export function checkDisk(run: Running): void {
  const root = run.device.root
  assert.ok(root !== null)
  compare(run, peek(root.node, run.model.length), 0, run.model.length, 'the disk holds')
}

/** Runs `check` after every step of the world. */
export function watch(run: Running, check: () => void): void {
  const { kernel } = run
  const resume = kernel.resume.bind(kernel)
  kernel.resume = (coroutine, serial) => {
    const ran = resume(coroutine, serial)
    check()
    return ran
  }
}

export function* give(run: Running, job: Job, orders: readonly Order[]): Co<void> {
  for (const { kind, node, waitNs } of orders) {
    yield* run.kernel.sleepNs(waitNs)
    if (kind === 'drain') {
      const drained = run.nodes[node % run.nodes.length]!
      yield* run.graph.drainedBegin(drained)
      yield* run.kernel.sleepNs(waitNs)
      run.graph.drainedEnd(drained)
    } else attempt(job, kind)
  }
}

/** Verbs at the wrong moment are refused, and that is all they do. */
export function attempt(job: Job, kind: Exclude<Order['kind'], 'drain'>): void {
  try {
    if (kind === 'pause') job.pause()
    else if (kind === 'resume') job.resume()
    else if (kind === 'complete') job.complete()
    else if (kind === 'set-speed') job.setSpeed(2_000_000_000)
    else if (kind === 'finalize') job.finalize()
    else job.cancel(kind === 'force-cancel')
  } catch (error) {
    assert.instance(error, BlockError)
  }
}

/** Lets everything come to its end: whatever the job waits for, it gets. */
export function settle(run: Running, job: Job): void {
  run.clock.run()
  for (let round = 0; job.status !== 'null'; round++) {
    assert.ok(round < 100, `the job does not end: ${job.status}`)
    if (job.status === 'pending') job.finalize()
    else if (job.isUserPaused) job.resume()
    else if (job.isReady) attempt(job, 'complete')
    else assert.unreachable(`the job waits for nothing that it could get: ${job.status}`)
    run.clock.run()
  }
  run.heal()
  const ends = run.story().filter((event) => event === 'BLOCK_JOB_COMPLETED' || event === 'BLOCK_JOB_CANCELLED')
  assert.is(ends.length, 1)
  assert.is(run.kernel.live.size, 0, 'nobody waits')
  for (const node of run.graph.nodes.values()) {
    assert.is(node.blockers.size, 0)
    assert.is(node.quiesceCount, 0)
    for (const edge of node.children.values()) assert.not(edge.isFrozen)
  }
}
