import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockError, isZero } from '../../block'
import { MemoryDriver, type MemoryRequest } from '../../block/testing'
import { type Co, EIO } from '../../co'
import type { JobEvent } from '../job_manager'
import type { MirrorView } from './inspect'
import type { MirrorJob } from './job'
import { type MirrorBench, mirrorBench, plant } from './testing'

const SECTOR = 512
/** A disk that failed for ever could keep a mirror that ignores errors busy for ever. */
const FAILURES_MAX = 20

interface Step {
  kind: 'write' | 'zero-data' | 'write-zeroes' | 'discard'
  sector: number
  count: number
  waitNs: number
}

interface Order {
  kind:
    | 'pause'
    | 'resume'
    | 'complete'
    | 'soft-cancel'
    | 'force-cancel'
    | 'set-speed'
    | 'change'
    | 'drain-source'
    | 'drain-target'
  waitNs: number
}

interface Case {
  orders: Order[]

  sectors: number
  chunkSectors: number
  bufferChunks: number
  copyMode: 'background' | 'write-blocking'
  switchAtNs: number
  detectZeroes: 'off' | 'on' | 'unmap'
  alignment: number
  canZeroSource: boolean
  oldTarget: boolean
  speed: number
  sourceLatencyNs: number
  targetLatencyNs: number
  failEvery: number
  initial: Array<{ sector: number; count: number }>
  guests: Step[][]
}

const step = fc.record<Step>({
  kind: fc.constantFrom('write', 'zero-data', 'write-zeroes', 'discard'),
  sector: fc.nat(63),
  count: fc.integer({ min: 1, max: 24 }),
  waitNs: fc.nat(9).map((units) => units * 700),
})

const order = fc.record<Order>({
  kind: fc.constantFrom(
    ...(['pause', 'resume', 'complete', 'set-speed', 'change', 'drain-source', 'drain-target'] as const),
    ...(['pause', 'resume', 'drain-source', 'drain-target', 'soft-cancel', 'force-cancel'] as const),
  ),
  waitNs: fc.nat(9).map((units) => units * 900),
})

const anyCase = fc.record<Case>({
  orders: fc.constant([]),
  sectors: fc.integer({ min: 3, max: 64 }),
  chunkSectors: fc.constantFrom(1, 2, 4, 8),
  bufferChunks: fc.integer({ min: 1, max: 8 }),
  copyMode: fc.constantFrom('background', 'write-blocking'),
  switchAtNs: fc.nat(20_000),
  detectZeroes: fc.constantFrom('off', 'on', 'unmap'),
  alignment: fc.constantFrom(1, 512),
  canZeroSource: fc.boolean(),
  oldTarget: fc.boolean(),
  speed: fc.constantFrom(0, 0, 100_000_000),
  sourceLatencyNs: fc.constantFrom(0, 500, 3000),
  targetLatencyNs: fc.constantFrom(0, 500, 3000),
  failEvery: fc.constantFrom(0, 0, 7),
  initial: fc.array(fc.record({ sector: fc.nat(63), count: fc.integer({ min: 1, max: 16 }) }), { maxLength: 5 }),
  guests: fc.array(fc.array(step, { maxLength: 8 }), { minLength: 1, maxLength: 3 }),
})

/** A target that watches the mirror's promises at every request it gets. */
class WatchedTarget extends MemoryDriver {
  view: MirrorView | null = null
  /** Chunks that surely read zero by what this disk has been sent; a shadow that trusts nobody's bitmap. */
  readonly knownZero = new Set<number>()
  failEvery = 0
  private served = 0
  private failed = 0
  /** Ranges of writes that are on the way. */
  private readonly writing: MemoryRequest[] = []

  constructor(lengthBytes: number) {
    super(lengthBytes)
    this.fail = (request) => this.watch(request)
  }

  private watch(request: MemoryRequest): number {
    const view = this.view
    // After the end the guests may be here.
    if (view === null || view.phase === 'finished' || (request.kind !== 'write' && request.kind !== 'zero')) return 0
    const chunkBytes = view.granularityBytes
    const first = Math.floor(request.offsetBytes / chunkBytes)
    const end = request.offsetBytes + request.lengthBytes
    for (let chunk = first; chunk * chunkBytes < end; chunk++) {
      if (request.kind === 'zero') assert.not(this.knownZero.has(chunk), `zero write to the known zero chunk ${chunk}`)
      else {
        this.knownZero.delete(chunk)
        assert.not(isSet(view.zeroWords, chunk), `data on its way to chunk ${chunk}, whose zero bit is set`)
      }
      for (const other of this.writing) {
        const otherEnd = other.offsetBytes + other.lengthBytes
        const isApart = otherEnd <= chunk * chunkBytes || other.offsetBytes >= (chunk + 1) * chunkBytes
        assert.ok(isApart, `two writes to chunk ${chunk} at once`)
      }
    }
    this.served++
    if (this.failEvery === 0 || this.served % this.failEvery !== 0 || this.failed === FAILURES_MAX) return 0
    this.failed++
    return EIO
  }

  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<number> {
    const request: MemoryRequest = { kind: 'write', offsetBytes, lengthBytes: buffer.length, flags }
    const body = super.pwrite(offsetBytes, buffer, flags)
    return yield* this.tracked(request, body)
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<number> {
    const request: MemoryRequest = { kind: 'zero', offsetBytes, lengthBytes, flags }
    const errno = yield* this.tracked(request, super.pwriteZeroes(offsetBytes, lengthBytes, flags))
    if (errno !== 0 || this.view === null) return errno
    const chunkBytes = this.view.granularityBytes
    const end = offsetBytes + lengthBytes
    for (let chunk = Math.ceil(offsetBytes / chunkBytes); chunk * chunkBytes < end; chunk++) {
      if (Math.min((chunk + 1) * chunkBytes, this.data.length) <= end) this.knownZero.add(chunk)
    }
    return errno
  }
  private *tracked(request: MemoryRequest, body: Co<number>): Co<number> {
    // The request's own start is checked inside `body`, before it is entered here.
    const first = body.next()
    this.writing.push(request)
    let result = first
    while (result.done !== true) {
      yield
      result = body.next()
    }
    this.writing.splice(this.writing.indexOf(request), 1)
    return result.value
  }
}

function isSet(words: Uint32Array | null, chunk: number): boolean {
  return words !== null && ((words[chunk >>> 5]! >>> (chunk & 31)) & 1) === 1
}

function* guest(bench: MirrorBench, steps: readonly Step[], sectors: number, name: number): Co<void> {
  let fill = name * 50
  for (const { kind, sector, count, waitNs } of steps) {
    if (waitNs > 0) yield* bench.kernel.sleepNs(waitNs)
    const first = sector % sectors
    const offset = first * SECTOR
    const length = Math.min(count, sectors - first) * SECTOR
    fill++
    if (kind === 'write') yield* bench.device.pwrite(offset, new Uint8Array(length).fill(fill))
    else if (kind === 'zero-data') yield* bench.device.pwrite(offset, new Uint8Array(length))
    else if (kind === 'write-zeroes') yield* bench.device.pwriteZeroes(offset, length, fill & 1)
    else yield* bench.device.pdiscard(offset, length)
  }
}

/** What must hold between any two events. */
function checkStep(bench: MirrorBench, target: WatchedTarget, view: MirrorView): void {
  const chunkBytes = view.granularityBytes
  const isScanned = view.phase === 'copying' || view.phase === 'completing'
  const claimed = new Uint8Array(view.chunkCount)
  let background = 0
  for (const operation of view.operations) {
    if (!operation.isInFlight) continue
    if (operation.kind === 'copy' || operation.kind === 'zero') background++
    const end = operation.offsetBytes + operation.lengthBytes
    for (let chunk = Math.floor(operation.offsetBytes / chunkBytes); chunk * chunkBytes < end; chunk++) {
      assert.is(claimed[chunk], 0, `chunk ${chunk} belongs to two operations`)
      claimed[chunk] = 1
    }
  }
  assert.ok(background <= 16)
  const noted = new Uint8Array(view.chunkCount)
  for (const request of view.filterRequests) {
    const end = request.offsetBytes + request.lengthBytes
    for (let chunk = Math.floor(request.offsetBytes / chunkBytes); chunk * chunkBytes < end; chunk++) noted[chunk] = 1
  }
  for (let chunk = 0; chunk < view.chunkCount; chunk++) {
    const from = chunk * chunkBytes
    const to = Math.min(from + chunkBytes, view.lengthBytes)
    if (view.inFlightWords !== null && claimed[chunk] === 1) assert.ok(isSet(view.inFlightWords, chunk))
    if (claimed[chunk] === 1) continue
    if (isSet(view.zeroWords, chunk)) assert.ok(isZero(target.data.subarray(from, to)), `zero bit ${chunk}`)
    if (!isScanned || noted[chunk] === 1 || isSet(view.dirtyWords, chunk)) continue
    const difference = Buffer.compare(target.data.subarray(from, to), bench.source.data.subarray(from, to))
    assert.is(difference, 0, `clean chunk ${chunk}`)
  }
}

function* give(bench: MirrorBench, job: MirrorJob, orders: readonly Order[]): Co<void> {
  for (const { kind, waitNs } of orders) {
    yield* bench.kernel.sleepNs(waitNs)
    const drained = kind === 'drain-source' ? bench.sourceNode : kind === 'drain-target' ? bench.targetNode : null
    if (drained !== null) {
      yield* bench.graph.drainedBegin(drained)
      yield* bench.kernel.sleepNs(waitNs)
      bench.graph.drainedEnd(drained)
    } else attempt(job, kind)
  }
}

/** Verbs at the wrong moment are refused, and that is all they do. */
function attempt(job: MirrorJob, kind: Order['kind']): void {
  try {
    if (kind === 'pause') job.pause()
    else if (kind === 'resume') job.resume()
    else if (kind === 'complete') job.complete()
    else if (kind === 'set-speed') job.setSpeed(50_000_000)
    else if (kind === 'change') job.changeCopyMode('write-blocking')
    else job.cancel(kind === 'force-cancel')
  } catch (error) {
    assert.instance(error, BlockError)
  }
}

function runCase(world: Case): void {
  const length = world.sectors * SECTOR
  const target = new WatchedTarget(length)
  const source = new MemoryDriver(length)
  source.limitsWanted = { requestAlignmentBytes: world.alignment }
  if (!world.canZeroSource) source.canZero = false
  let ends = 0
  const onEvent = ({ event, data }: JobEvent): void => {
    if (event !== 'BLOCK_JOB_COMPLETED' && event !== 'BLOCK_JOB_CANCELLED') return
    ends++
    // No guest has run since the source was drained for the last time.
    if (event === 'BLOCK_JOB_COMPLETED' && data['error'] === undefined) assert.equal(target.data, source.data)
  }
  const bench = mirrorBench({ source, target, targetOptions: { detectZeroes: world.detectZeroes }, onEvent })
  for (const { sector, count } of world.initial) {
    const first = sector % world.sectors
    plant(source, first * SECTOR, Math.min(count, world.sectors - first) * SECTOR, 200 + (sector % 50))
  }
  if (world.oldTarget) plant(target, 0, length, 0xee)
  source.latencyNs = world.sourceLatencyNs
  target.latencyNs = world.targetLatencyNs
  const job = bench.start({
    copyMode: world.copyMode,
    granularityBytes: world.chunkSectors * SECTOR,
    bufferBytes: world.bufferChunks * world.chunkSectors * SECTOR,
    speedBytesPerSecond: world.speed,
    onTargetError: world.orders.length > 0 && world.switchAtNs % 3 === 0 ? 'stop' : 'ignore',
  })
  target.view = job.view
  target.failEvery = world.failEvery
  for (const [index, steps] of world.guests.entries()) {
    bench.spawn(`guest${index}`, guest(bench, steps, world.sectors, index + 1))
  }
  function* changeMode(): Co<void> {
    yield* bench.kernel.sleepNs(world.switchAtNs)
    attempt(job, 'change')
  }
  if (world.switchAtNs % 2 === 0) bench.spawn('change', changeMode())
  bench.spawn('orders', give(bench, job, world.orders))
  const resume = bench.kernel.resume.bind(bench.kernel)
  bench.kernel.resume = (coroutine, serial) => {
    const ran = resume(coroutine, serial)
    checkStep(bench, target, job.view)
    return ran
  }
  bench.clock.run()
  for (let round = 0; job.status !== 'null'; round++) {
    assert.ok(round < 100, `the job does not end: ${job.status}`)
    if (job.isUserPaused) job.resume()
    else attempt(job, 'complete')
    bench.clock.run()
  }
  assert.is(ends, 1)
  assert.is(bench.kernel.live.size, 0, 'nobody waits')
  assert.is(bench.graph.nodes.size, 2)
  if (job.errorText === null) assert.is(job.progress.offsetBytes, job.progress.lengthBytes)
  if (world.orders.length === 0) assert.is(bench.device.root!.node, bench.targetNode)
}

test('whatever a guest does meanwhile, the copy is the same, and no zero bit is ever wrong', () => {
  fc.assert(fc.property(anyCase, runCase), { seed: 20250711, numRuns: 150 })
})

test('whatever the user orders meanwhile, the job comes to its end and leaves nothing behind', () => {
  const withOrders = fc.tuple(anyCase, fc.array(order, { maxLength: 8 })).map(([world, orders]) => ({ ...world, orders }))
  fc.assert(fc.property(withOrders, runCase), { seed: 20250712, numRuns: 150 })
})

test.run()
