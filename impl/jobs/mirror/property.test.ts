import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MemoryDriver, type MemoryRequest } from '../../block/testing'
import { type Co, EIO } from '../../co'
import type { MirrorView } from './inspect'
import { type MirrorBench, mirrorBench, plant } from './testing'

const SECTOR = 512

interface Step {
  kind: 'write' | 'zero-data' | 'write-zeroes' | 'discard'
  sector: number
  count: number
  waitNs: number
}

interface Case {
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

const anyCase = fc.record<Case>({
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
  /** Ranges of writes that are on the way. */
  private readonly writing: MemoryRequest[] = []

  constructor(lengthBytes: number) {
    super(lengthBytes)
    this.fail = (request) => this.watch(request)
  }

  private watch(request: MemoryRequest): number {
    const view = this.view
    if (view === null || (request.kind !== 'write' && request.kind !== 'zero')) return 0
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
    return this.failEvery > 0 && this.served % this.failEvery === 0 ? EIO : 0
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
    if (isSet(view.zeroWords, chunk))
      assert.ok(
        target.data.subarray(from, to).every((byte) => byte === 0),
        `zero bit ${chunk}`,
      )
    if (!isScanned || noted[chunk] === 1 || isSet(view.dirtyWords, chunk)) continue
    assert.equal(target.data.subarray(from, to), bench.source.data.subarray(from, to), `clean chunk ${chunk}`)
  }
}

function runCase(world: Case): void {
  const length = world.sectors * SECTOR
  const target = new WatchedTarget(length)
  const source = new MemoryDriver(length)
  source.limitsWanted = { requestAlignmentBytes: world.alignment }
  if (!world.canZeroSource) source.canZero = false
  const bench = mirrorBench({ source, target, targetOptions: { detectZeroes: world.detectZeroes } })
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
    onTargetError: 'ignore',
  })
  target.view = job.view
  target.failEvery = world.failEvery
  for (const [index, steps] of world.guests.entries()) {
    bench.spawn(`guest${index}`, guest(bench, steps, world.sectors, index + 1))
  }
  function* changeMode(): Co<void> {
    yield* bench.kernel.sleepNs(world.switchAtNs)
    job.changeCopyMode('write-blocking')
  }
  if (world.switchAtNs % 2 === 0) bench.spawn('change', changeMode())
  const resume = bench.kernel.resume.bind(bench.kernel)
  bench.kernel.resume = (coroutine, serial) => {
    const ran = resume(coroutine, serial)
    checkStep(bench, target, job.view)
    return ran
  }
  bench.complete(job)
  assert.is(job.status, 'null')
  assert.is(job.errorText, null)
  assert.equal(target.data, source.data)
  assert.is(job.progress.offsetBytes, job.progress.lengthBytes)
}

test('whatever a guest does meanwhile, the copy is the same, and no zero bit is ever wrong', () => {
  fc.assert(fc.property(anyCase, runCase), { seed: 20250711, numRuns: 250 })
})

test.run()
