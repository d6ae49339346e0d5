import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission } from '../../block'
import { FilterDriver } from '../../block/drivers/filter'
import { MemoryDriver, OverlayDriver } from '../../block/testing'
import { EIO, OK } from '../../co'
import type { MirrorJob } from './job'
import { CHUNK, KIB, LENGTH, type MirrorBench, mirrorBench, plant } from './testing'

/** A job at READY whose target holds what the source does, all of it data. */
function readyJob(bench: MirrorBench, options: Parameters<MirrorBench['start']>[0] = {}): MirrorJob {
  plant(bench.source, 0, LENGTH, 1)
  const job = bench.start({ copyMode: 'write-blocking', ...options })
  bench.clock.run()
  assert.is(job.status, 'ready')
  return job
}

/** Kind, offset and length of what the target has got since `from`. */
function sentSince(bench: MirrorBench, from: number): Array<[string, number, number]> {
  return bench.target.log.slice(from).map(({ kind, offsetBytes, lengthBytes }) => [kind, offsetBytes, lengthBytes])
}

test('zeroes that a guest writes as data are zeroed where the target looks for them', () => {
  for (const detectZeroes of ['on', 'unmap'] as const) {
    const bench = mirrorBench({ targetOptions: { detectZeroes } })
    const job = readyJob(bench)
    const from = bench.target.log.length
    bench.write(CHUNK + 512, 2 * CHUNK, 0)
    assert.equal(sentSince(bench, from), [['zero', CHUNK + 512, 2 * CHUNK]])
    assert.is(bench.target.log.at(-1)!.flags & 1, detectZeroes === 'unmap' ? 1 : 0)
    assert.is(job.view.statistics.zeroedBytes, 2 * CHUNK)
  }
})

test('the copies that guests wait for use memory again', () => {
  const bench = mirrorBench()
  readyJob(bench)
  let count = 0
  bench.graph.allocateBuffer = (bytes) => {
    count++
    return new Uint8Array(bytes)
  }
  for (const fill of [2, 3, 4]) bench.write(0, CHUNK, fill)
  assert.is(count, 1)
})

test('zeroes that fail half-way are copied as they are', () => {
  const bench = mirrorBench()
  readyJob(bench)
  bench.source.fail = (request) => {
    if (request.kind !== 'zero') return OK
    plant(bench.source, request.offsetBytes, request.lengthBytes / 2, 0)
    return EIO
  }
  assert.is(bench.run(bench.device.pwriteZeroes(CHUNK, CHUNK)), EIO)
  bench.clock.run()
  assert.equal([bench.target.data[CHUNK], bench.target.data[2 * CHUNK - 1]], [0, 1])
})

test('a discard that works is counted, one that fails is told of', () => {
  const bench = mirrorBench()
  const job = readyJob(bench)
  assert.is(bench.run(bench.device.pdiscard(CHUNK, CHUNK)), OK)
  assert.is(job.view.statistics.discardedBytes, CHUNK)
  bench.source.canZero = false
  bench.source.fail = (request) => (request.kind === 'discard' ? EIO : OK)
  assert.is(bench.run(bench.device.pdiscard(3 * CHUNK, CHUNK)), EIO)
  assert.is(job.view.statistics.discardedBytes, CHUNK)
})

test('a discard is cut to what the source can deallocate, and reaches the end of the disk', () => {
  const source = new MemoryDriver(LENGTH + 512)
  source.limitsWanted = { pwriteZeroesAlignmentBytes: KIB }
  const bench = mirrorBench({ source, lengthBytes: LENGTH + 512 })
  readyJob(bench)
  const zeroes = (offsetBytes: number, lengthBytes: number): Array<[number, number]> => {
    const from = source.log.length
    bench.run(bench.device.pdiscard(offsetBytes, lengthBytes))
    bench.clock.run()
    assert.equal(bench.target.data, source.data)
    return source.log.slice(from).flatMap(({ kind, ...at }) => (kind === 'zero' ? [[at.offsetBytes, at.lengthBytes]] : []))
  }
  assert.equal(zeroes(CHUNK + 512, CHUNK), [[CHUNK + KIB, 3 * KIB]])
  assert.equal(zeroes(LENGTH - KIB, KIB + 512), [
    [LENGTH - KIB, KIB],
    [LENGTH, 512],
  ])
  assert.equal(zeroes(3 * CHUNK + 512, 512), [], 'less than a unit is a real discard')
  assert.equal(zeroes(4 * CHUNK + 512, KIB), [], 'so is what covers none as a whole')
  assert.is(source.requests('discard').length, 2)
})

test('where a node further down drops discards, none becomes a zero write', () => {
  class Through extends FilterDriver {
    readonly name = 'through'
  }
  for (const [discard, isFiltered] of [
    ['ignore', false],
    ['ignore', true],
    ['unmap', true],
  ] as const) {
    const bench = mirrorBench()
    const { graph } = bench
    const disk = graph.addNode({ name: 'disk', driver: new MemoryDriver(LENGTH), options: { discard } })
    const file = isFiltered
      ? graph.addNode({
          name: 'through',
          driver: new Through(),
          children: [{ name: 'backing', role: 'filtered', node: disk }],
          options: { discard: 'unmap' },
        })
      : disk
    class Format extends OverlayDriver {}
    const driver = new Format(LENGTH)
    const format = graph.addNode({
      name: 'format',
      driver,
      children: [{ name: 'file', role: 'image', node: file }],
      options: { discard: 'unmap' },
    })
    const guest = new BlockBackend(graph, 'guest')
    guest.attach(format, Permission.ConsistentRead | Permission.Write, Permission.All)
    bench.start({ source: format, copyMode: 'write-blocking' })
    bench.clock.run()
    bench.run(guest.pdiscard(0, CHUNK))
    assert.is(driver.requests('zero').length, discard === 'ignore' ? 0 : 1, discard)
  }
})

test('a change that a noted one has overtaken is left to the background', () => {
  const bench = mirrorBench()
  const job = bench.start()
  plant(bench.source, 0, LENGTH, 0)
  bench.clock.run()
  bench.source.latencyNs = 1000
  // Noted, since the mode is background; it ends while the copied one is still on its way.
  bench.spawn('noted', bench.device.pwrite(0, new Uint8Array(CHUNK).fill(5)))
  bench.clock.run(bench.clock.nowNs() + 500)
  job.changeCopyMode('write-blocking')
  bench.spawn('copied', bench.device.pwrite(0, new Uint8Array(CHUNK).fill(6)))
  const from = bench.target.log.length
  bench.clock.run(bench.clock.nowNs() + 1400)
  const byGuest = sentSince(bench, from)
  bench.clock.run()
  assert.equal(byGuest, [], 'nothing was sent for the guest that was overtaken')
  assert.equal(bench.target.data, bench.source.data)
})

test('a drain of the target ends when the last change for a guest has failed, whatever else is under way', () => {
  const bench = mirrorBench()
  readyJob(bench)
  bench.source.fail = ({ kind, offsetBytes }) => (kind === 'write' && offsetBytes === 0 ? EIO : OK)
  bench.source.latencyNs = 1000
  bench.target.latencyNs = 1000
  bench.spawn('copied', bench.device.pwrite(0, new Uint8Array(CHUNK).fill(5)))
  bench.clock.run(bench.clock.nowNs() + 10)
  let drainedNs = 0
  const startNs = bench.clock.nowNs()
  function* drain() {
    yield* bench.graph.drainedBegin(bench.targetNode)
    drainedNs = bench.clock.nowNs()
  }
  bench.spawn('drain', drain())
  bench.clock.run(bench.clock.nowNs() + 10)
  bench.source.latencyNs = 50_000
  bench.spawn('noted', bench.device.pwrite(4 * CHUNK, new Uint8Array(CHUNK).fill(6)))
  bench.clock.run()
  assert.ok(drainedNs > 0 && drainedNs - startNs < 10_000, `after ${drainedNs - startNs} ns`)
  bench.graph.drainedEnd(bench.targetNode)
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('a change of bytes leaves the rest of a dirty chunk to the background', () => {
  for (const [offset, length] of [
    [8 * CHUNK, CHUNK - 1],
    [8 * CHUNK, CHUNK + 1],
    [8 * CHUNK + 1, CHUNK],
  ] as const) {
    const bench = mirrorBench()
    plant(bench.source, 0, LENGTH, 1)
    const job = bench.start({ copyMode: 'write-blocking', speedBytesPerSecond: 1 })
    bench.clock.run(1_000_000)
    bench.spawn('guest', bench.device.pwrite(offset, new Uint8Array(length).fill(2)))
    bench.clock.run(1_000_010)
    const dirty = (job.view.dirtyWords[0]! >>> 8) & 3
    const whole = offset % CHUNK === 0 && length >= CHUNK ? 1 : 0
    assert.is(dirty, 3 - whole, `${offset}+${length}`)
    job.setSpeed(0)
    bench.clock.run()
    assert.equal(bench.target.data, bench.source.data)
  }
})

test('whether a change is left to the background is asked of the chunk that it ends in, not of its neighbours', () => {
  for (const [dirtyChunk, offset, length] of [
    [9, 8 * CHUNK, CHUNK - 1],
    [7, 7 * CHUNK + 1, CHUNK],
  ] as const) {
    const bench = mirrorBench()
    const job = readyJob(bench)
    job.pause()
    bench.clock.run()
    bench.source.fail = ({ kind }) => (kind === 'write' ? EIO : OK)
    bench.write(dirtyChunk * CHUNK, CHUNK, 1)
    bench.source.fail = () => OK
    assert.is(job.view.dirtyWords[0], 2 ** dirtyChunk)
    bench.write(offset, length, 5)
    const clean = 8 * CHUNK
    assert.equal(bench.target.data.subarray(clean, clean + CHUNK), bench.source.data.subarray(clean, clean + CHUNK))
  }
})

test.run()
