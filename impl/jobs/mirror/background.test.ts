import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MemoryDriver } from '../../block/testing'
import { EIO, OK } from '../../co'
import { CHUNK, LENGTH, type MirrorBench, mirrorBench, plant } from './testing'

const CHUNKS = LENGTH / CHUNK

/** First chunk and number of chunks of each write to the target so far. */
function written(bench: MirrorBench): Array<[number, number]> {
  return bench.target.requests('write').map(({ offsetBytes, lengthBytes }) => [offsetBytes / CHUNK, lengthBytes / CHUNK])
}
/** A job that is copying: both disks take their time. */
function copying(bench: MirrorBench, options: Parameters<MirrorBench['start']>[0] = {}) {
  bench.source.latencyNs = 1000
  bench.target.latencyNs = 1000
  const job = bench.start(options)
  for (let round = 0; round < 100 && job.view.phase !== 'copying'; round++) bench.clock.run(bench.clock.nowNs() + 500)
  return job
}

test('dirty chunks in a row are one run, as far as the buffer reaches', () => {
  for (const [bufferBytes, expected] of [
    [LENGTH, [[0, CHUNKS]]],
    [
      CHUNKS * CHUNK * 0.75,
      [
        [0, 12],
        [12, 4],
      ],
    ],
  ] as const) {
    const bench = mirrorBench()
    plant(bench.source, 0, LENGTH, 1)
    bench.start({ bufferBytes })
    bench.clock.run()
    assert.equal(written(bench), expected)
  }
})

test('a run claims no more than what the buffer takes, or a tenth of what may pass in a second, in whole units', () => {
  for (const [what, options, unitBytes, chunks] of [
    ['the buffer', { bufferBytes: 4 * CHUNK }, 1, 4],
    ['two chunks, as good as', { speedBytesPerSecond: 20 * CHUNK - 1 }, 1, 1],
    ['two chunks and some', { speedBytesPerSecond: 20 * CHUNK + 1000 }, 1, 2],
    ['whole units of the target', { speedBytesPerSecond: 30 * CHUNK }, 2 * CHUNK, 2],
  ] as const) {
    const target = new MemoryDriver(LENGTH)
    target.limitsWanted = { pwriteZeroesAlignmentBytes: unitBytes }
    const bench = mirrorBench({ target })
    plant(bench.source, 0, LENGTH, 1)
    const job = copying(bench, options)
    bench.clock.run(bench.clock.nowNs() + 500)
    assert.is(job.view.inFlightWords![0], 2 ** chunks - 1, what)
    bench.clock.run()
    assert.equal(bench.target.data, bench.source.data, what)
  }
})

test('a run ends where a chunk is clean or somebody else’s', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, LENGTH, 1)
  const job = bench.start({ copyMode: 'write-blocking' })
  bench.clock.run()
  bench.source.fail = ({ kind }) => (kind === 'write' ? EIO : OK)
  const from = bench.target.log.length
  job.pause()
  bench.clock.run()
  // Dirty again since they have failed.
  for (const [chunk, count] of [
    [2, 3],
    [8, 1],
  ] as const) {
    bench.spawn('g', bench.device.pwrite(chunk * CHUNK, new Uint8Array(count * CHUNK)))
  }
  bench.clock.run()
  job.resume()
  bench.clock.run()
  const later = bench.target.log.slice(from).filter(({ kind }) => kind === 'write')
  assert.equal(
    later.map(({ offsetBytes, lengthBytes }) => [offsetBytes / CHUNK, lengthBytes / CHUNK]),
    [
      [2, 3],
      [8, 1],
    ],
  )
})

test('a round goes on where it was, so that what becomes dirty again does not keep the rest waiting', () => {
  const bench = mirrorBench()
  plant(bench.source, 4 * CHUNK, CHUNK, 1)
  plant(bench.source, 9 * CHUNK, CHUNK, 1)
  bench.start({ speedBytesPerSecond: CHUNK })
  bench.clock.run(1_000_000)
  assert.equal(written(bench), [[4, 1]])
  for (const chunk of [1, 4]) bench.spawn('g', bench.device.pwrite(chunk * CHUNK, new Uint8Array(CHUNK).fill(2)))
  bench.clock.run()
  assert.equal(written(bench), [
    [4, 1],
    [9, 1],
    [1, 1],
    [4, 1],
  ])
})

test('at most sixteen operations are under way, and no more data than the buffer has', () => {
  for (const [bufferBytes, expected] of [
    [LENGTH, 16],
    [3 * 512, 3],
    [512, 1],
  ] as const) {
    const bench = mirrorBench()
    for (let sector = 0; sector < LENGTH / 512; sector += 2) plant(bench.source, sector * 512, 512, 1)
    const job = copying(bench, { granularityBytes: 512, bufferBytes })
    bench.target.latencyNs = 1e9
    bench.clock.run(500_000_000)
    assert.is(bench.target.requests('write').length, expected)
    job.pause()
    bench.clock.run()
    assert.is(bench.target.requests('write').length, expected, 'nothing new while it pauses')
    job.resume()
    bench.clock.run()
    assert.equal(bench.target.data, bench.source.data)
  }
})

test('at most sixteen zero writes of one run are under way', () => {
  const bench = mirrorBench()
  const job = bench.start({ granularityBytes: 512 })
  bench.clock.run()
  // Every other chunk is not known to read zero any more.
  for (let at = 0; at < LENGTH; at += 1024) bench.write(at, 512, 1)
  bench.clock.run()
  bench.target.latencyNs = 1e9
  bench.spawn('g', bench.device.pwriteZeroes(0, LENGTH, 1))
  bench.clock.run(bench.clock.nowNs() + 500_000_000)
  assert.is(bench.target.requests('zero').length, 16)
  job.pause()
  bench.clock.run()
  assert.is(bench.target.requests('zero').length, 16)
  job.resume()
  bench.clock.run()
  assert.is(bench.target.requests('zero').length, 64)
  assert.equal(bench.target.data, bench.source.data)
})

test('zeroes wait for a place in the buffer like everything else', () => {
  const bench = mirrorBench({ targetOptions: { discard: 'unmap' } })
  bench.start({ sync: 'none', bufferBytes: CHUNK })
  bench.clock.run()
  bench.target.latencyNs = 1e9
  bench.spawn('data', bench.device.pwrite(0, new Uint8Array(CHUNK).fill(1)))
  bench.spawn('zeroes', bench.device.pwriteZeroes(CHUNK, CHUNK, 1))
  bench.clock.run(bench.clock.nowNs() + 500_000_000)
  assert.equal([bench.target.requests('write').length, bench.target.requests('zero').length], [1, 0])
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('a job that settles names the copies that it waits for', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, CHUNK, 1)
  plant(bench.source, 4 * CHUNK, CHUNK, 1)
  const job = copying(bench)
  bench.target.latencyNs = 1e9
  bench.clock.run(500_000_000)
  job.pause()
  bench.clock.run(600_000_000)
  const reason = job.coroutine!.waitsFor!
  assert.is(reason.describe(), 'waits for one of 2 background operations')
  const held = [...reason.heldBy!()].map(({ label }) => label.id)
  assert.equal(held.sort(), ['b0', 'b4'])
})

test('zeroes that take space count towards the speed, those that give some back do not', () => {
  for (const [discard, unmap, isCounted] of [
    ['unmap', true, false],
    ['unmap', false, true],
    ['ignore', true, true],
  ] as const) {
    const bench = mirrorBench({ targetOptions: { discard } })
    bench.start({ sync: 'none', speedBytesPerSecond: CHUNK, unmap })
    bench.clock.run()
    const fromNs = bench.clock.nowNs()
    for (const chunk of [5, 8, 11]) bench.spawn('g', bench.device.pwriteZeroes(chunk * CHUNK, CHUNK, 1))
    bench.clock.run()
    assert.is(bench.target.requests('zero').length, 3)
    assert.is(bench.clock.nowNs() - fromNs, isCounted ? 2e9 : 0, `${discard}, ${unmap}`)
  }
})

test('a copy uses the memory of one before it, and one piece of it for all of its parts', () => {
  const bench = mirrorBench()
  for (let chunk = 0; chunk < CHUNKS; chunk += 4) {
    plant(bench.source, chunk * CHUNK, 512, 1)
    plant(bench.source, chunk * CHUNK + 2048, 512, 1)
  }
  const taken: number[] = []
  bench.graph.allocateBuffer = (bytes) => {
    taken.push(bytes)
    return new Uint8Array(bytes)
  }
  bench.start({ speedBytesPerSecond: CHUNK })
  bench.clock.run()
  assert.equal(taken, [512])
  assert.equal(bench.target.data, bench.source.data)
})

test('what is held back is neither started nor forgotten', () => {
  for (const isZero of [true, false]) {
    const bench = mirrorBench()
    const job = bench.start({ bufferBytes: CHUNK, sync: 'none' })
    bench.clock.run()
    bench.target.latencyNs = 1e9
    for (const chunk of [0, 2, 4, 6]) {
      const at = chunk * CHUNK
      const data = new Uint8Array(CHUNK).fill(3)
      bench.spawn('g', isZero && chunk > 0 ? bench.device.pwriteZeroes(at, CHUNK, 1) : bench.device.pwrite(at, data))
    }
    const sent = (): number => bench.target.requests('zero').length + bench.target.requests('write').length
    bench.clock.run(bench.clock.nowNs() + 500_000_000)
    assert.is(sent(), 1, 'the buffer is full')
    job.pause()
    bench.clock.run()
    assert.equal([sent(), job.view.dirtyWords[0]], [1, 0b1010100], 'the rest is as dirty as it was')
    job.resume()
    bench.clock.run()
    assert.equal([sent(), job.view.dirtyWords[0]], [4, 0])
  }
})

test.run()
