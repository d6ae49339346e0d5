import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, OK } from '../../co'
import { CALM_NS, Convergence, SLOW_ROUNDS_MAX } from './convergence'
import type { MirrorJob } from './job'
import { CHUNK, KIB, LENGTH, type MirrorBench, mirrorBench, plant } from './testing'

const MIB = 1024 * KIB
const SECOND_NS = 1_000_000_000

function readyJob(bench: MirrorBench, options: Parameters<MirrorBench['start']>[0]): MirrorJob {
  plant(bench.source, 0, LENGTH, 1)
  const job = bench.start(options)
  bench.clock.run()
  assert.is(job.status, 'ready')
  return job
}

/** A guest that writes chunk after chunk, round and round, without a pause. */
function* writer(bench: MirrorBench, count: number, thinkNs: number): Co<void> {
  for (let index = 0; index < count; index++) {
    if (thinkNs > 0) yield* bench.kernel.sleepNs(thinkNs)
    const data = new Uint8Array(CHUNK).fill((index % 200) + 2)
    assert.is(yield* bench.device.pwrite((index * CHUNK) % LENGTH, data), OK)
  }
}

test('rounds that leave more than half behind make guests wait, others do not', () => {
  const slow = new Convergence(true)
  slow.copied(0, 1, 999, 'background')
  assert.is(SLOW_ROUNDS_MAX, 2)
  assert.is(slow.copied(1, 999, 501, 'background'), 'background')
  assert.is(slow.copied(2, 501, 251, 'background'), 'write-blocking')
  const quick = new Convergence(true)
  let left = 1 << 20
  quick.copied(0, 1, left - 1, 'background')
  for (let round = 1; left > 1; round++) {
    assert.is(quick.copied(round, left, left / 2, 'background'), 'background')
    left /= 2
  }
})

test('a mode that was asked for stays, whatever the guests do', () => {
  const convergence = new Convergence(false)
  for (let round = 1; round < 10; round++) assert.is(convergence.copied(round, 1000, 1000, 'background'), 'background')
  assert.is(convergence.followed(10 * CALM_NS, 1, 'write-blocking'), 'write-blocking')
})

test('guests need not wait any more when they are slower than a quarter of the copy', () => {
  const rate = (calmBytes: number): string => {
    const convergence = new Convergence(true)
    convergence.copied(0, 1, MIB, 'background')
    // 1 MiB in one second.
    convergence.copied(SECOND_NS, MIB, 0, 'background')
    assert.is(convergence.copyBytesPerSecond, MIB + 1)
    convergence.modeChanged(SECOND_NS)
    assert.is(convergence.followed(SECOND_NS + CALM_NS / 2, 1, 'write-blocking'), 'write-blocking')
    return convergence.followed(SECOND_NS + CALM_NS, calmBytes, 'write-blocking')
  }
  const quarter = MIB / 4 / (SECOND_NS / CALM_NS)
  assert.is(rate(quarter - KIB), 'background')
  assert.is(rate(quarter + KIB), 'write-blocking')
})

test('the end is estimated from what was gained in the last round, and unknown where nothing is gained', () => {
  const convergence = new Convergence(false)
  assert.is(convergence.secondsLeft(1), null)
  assert.is(convergence.secondsLeft(0), 0)
  convergence.copied(0, 1000, 999, 'background')
  convergence.dirtied(400)
  convergence.copied(SECOND_NS, 999, 400, 'background')
  assert.is(convergence.copyBytesPerSecond, 1999)
  assert.is(convergence.dirtyBytesPerSecond, 400)
  assert.is(convergence.secondsLeft(1600), 2)
  convergence.dirtied(400)
  convergence.copied(2 * SECOND_NS, 400, 400, 'background')
  assert.is(convergence.secondsLeft(1600), null)
})

test('auto starts in the background, waits under a guest that is too quick, and goes back when it has calmed down', () => {
  const bench = mirrorBench()
  bench.source.latencyNs = 10_000
  bench.target.latencyNs = 200_000
  plant(bench.source, 0, LENGTH, 1)
  const job = bench.start({ copyMode: 'auto', bufferBytes: CHUNK })
  assert.is(job.convergence()['copy-mode'], 'background')
  bench.spawn('busy', writer(bench, 2000, 0))
  bench.clock.run()
  assert.is(job.status, 'ready')
  assert.is(job.convergence()['copy-mode'], 'write-blocking')
  assert.is(job.query()['actively-synced'], true)
  assert.equal(bench.target.data, bench.source.data)
  bench.spawn('calm', writer(bench, 4, CALM_NS))
  bench.clock.run()
  assert.is(job.convergence()['copy-mode'], 'background')
  assert.is(job.query()['actively-synced'], false)
  bench.complete(job)
  assert.is(job.status, 'null')
  assert.equal(bench.target.data, bench.source.data)
})

test('the mode goes back only where that was asked for, and nothing else is changed by a refusal', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { copyMode: 'write-blocking' })
  assert.throws(
    () => job.changeCopyMode('background', { activeSpeedBytesPerSecond: 7 }),
    (error: Error) => error.message === "Change to copy mode 'background' is not implemented",
  )
  assert.throws(
    () => job.changeCopyMode('write-blocking', { activeSpeedBytesPerSecond: -1 }),
    (error: Error) => error.message === "Parameter 'active-speed' expects a non-negative value",
  )
  assert.is(job.convergence()['active-speed'], 0)
  job.changeCopyMode('background', { allowsReverse: true })
  assert.is(job.query()['actively-synced'], false)
  bench.write(0, CHUNK, 9)
  bench.clock.run()
  assert.is(job.convergence()['re-dirtied'], CHUNK)
  assert.is(bench.target.data[0], 9)
  job.changeCopyMode('auto')
  job.changeCopyMode('write-blocking')
  bench.clock.run()
  assert.is(job.query()['actively-synced'], true)
  assert.is(job.convergence().auto, false)
})

test('active writes keep to their own limit, and the limit of the copy holds after READY', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { copyMode: 'write-blocking', activeSpeedBytesPerSecond: 10 * CHUNK })
  let startNs = bench.clock.nowNs()
  bench.spawn('guest', writer(bench, 11, 0))
  bench.clock.run()
  assert.is(bench.clock.nowNs() - startNs >= SECOND_NS, true)
  assert.is(bench.clock.nowNs() - startNs < 1.2 * SECOND_NS, true)
  job.changeCopyMode('background', { allowsReverse: true })
  job.setSpeed(10 * CHUNK)
  startNs = bench.clock.nowNs()
  bench.spawn('guest', writer(bench, 11, 0))
  bench.clock.run()
  assert.is(bench.clock.nowNs() - startNs >= SECOND_NS, true)
  assert.equal(bench.target.data, bench.source.data)
})

test('nobody waits for the limit of active writes in a drained section, after a change of it, or of the mode', () => {
  const wayOut: ReadonlyArray<(job: MirrorJob, bench: MirrorBench) => void> = [
    (job) => job.complete(),
    (job) => job.cancel(true),
    (job) => job.changeCopyMode('write-blocking', { activeSpeedBytesPerSecond: 0 }),
    (job) => job.changeCopyMode('background', { allowsReverse: true }),
    (_job, { graph, sourceNode, run }) => {
      run(graph.drainedBegin(sourceNode))
      graph.drainedEnd(sourceNode)
    },
  ]
  for (const act of wayOut) {
    const bench = mirrorBench()
    const job = readyJob(bench, { copyMode: 'write-blocking', activeSpeedBytesPerSecond: 1 })
    let done = 0
    function* guest(): Co<void> {
      for (; done < 2; done++) assert.is(yield* bench.device.pwrite(0, new Uint8Array(CHUNK).fill(done + 5)), OK)
    }
    bench.spawn('guest', guest())
    bench.clock.run(bench.clock.nowNs() + SECOND_NS)
    assert.is(done, 1)
    act(job, bench)
    bench.clock.run(bench.clock.nowNs() + SECOND_NS)
    assert.is(done, 2, String(act))
  }
})

test.run()
