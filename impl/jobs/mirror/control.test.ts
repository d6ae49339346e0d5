import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MemoryDriver } from '../../block/testing'
import { EIO, ENOSPC } from '../../co'
import type { MirrorJob } from './job'
import { CHUNK, LENGTH, type MirrorBench, mirrorBench, plant } from './testing'

/** A job that has copied one chunk and cannot go on before its speed is raised. */
function slowJob(bench: MirrorBench, copyMode: 'background' | 'write-blocking' = 'background'): MirrorJob {
  plant(bench.source, 0, LENGTH, 1)
  const job = bench.start({ copyMode, speedBytesPerSecond: 1 })
  bench.clock.run(bench.clock.nowNs() + 1_000_000)
  assert.is(job.status, 'running')
  return job
}

function readyJob(bench: MirrorBench, options: Parameters<MirrorBench['start']>[0] = {}): MirrorJob {
  plant(bench.source, 0, 2 * CHUNK, 1)
  const job = bench.start(options)
  bench.clock.run()
  assert.is(job.status, 'ready')
  return job
}

/** Fails the first `times` requests of a kind. */
function failing(kind: string, errno: number, times: number): (request: { kind: string }) => number {
  let left = times
  return (request) => (request.kind === kind && left-- > 0 ? errno : 0)
}

test('pausing stops the copy, resuming goes on', () => {
  const bench = mirrorBench()
  const job = slowJob(bench)
  const copied = bench.target.requests('write').length
  job.pause()
  bench.clock.run(bench.clock.nowNs() + 1_000_000)
  assert.is(job.status, 'paused')
  assert.is(job.query().paused, true)
  job.setSpeed(0)
  bench.clock.run()
  assert.is(bench.target.requests('write').length, copied)
  assert.throws(
    () => job.pause(),
    (error: Error) => error.message === 'Job is already paused',
  )
  assert.throws(
    () => job.cancel(false),
    (error: Error) => error.message === "The block job for device 'job0' is currently paused",
  )
  job.resume()
  assert.throws(
    () => job.resume(),
    (error: Error) => error.message === "Can't resume a job that was not paused",
  )
  bench.clock.run()
  assert.is(job.status, 'ready')
  assert.equal(bench.target.data, bench.source.data)
})

test('active writes go on while the job is paused', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { copyMode: 'write-blocking' })
  job.pause()
  bench.clock.run()
  assert.is(job.status, 'standby')
  bench.write(4 * CHUNK, CHUNK, 9)
  assert.is(bench.target.data[4 * CHUNK], 9)
  job.complete()
  bench.clock.run()
  assert.is(job.status, 'standby', 'completion waits for the resume')
  job.resume()
  bench.clock.run()
  assert.is(job.status, 'null')
})

test('verbs in the wrong state are refused with QEMU’s words', () => {
  const bench = mirrorBench()
  const job = slowJob(bench)
  const refused = (verb: string): string => `Job 'job0' in state '${job.status}' cannot accept command verb '${verb}'`
  assert.throws(
    () => job.complete(),
    (error: Error) => error.message === refused('complete'),
  )
  assert.throws(
    () => job.finalize(),
    (error: Error) => error.message === refused('finalize'),
  )
  assert.throws(
    () => job.dismiss(),
    (error: Error) => error.message === refused('dismiss'),
  )
  assert.throws(
    () => job.setSpeed(-1),
    (error: Error) => error.message === "Parameter 'speed' expects a non-negative value",
  )
  job.setSpeed(0)
  bench.clock.run()
  job.cancel(false)
  assert.throws(
    () => job.complete(),
    (error: Error) => error.message === "The active block job 'job0' cannot be completed",
  )
  bench.clock.run()
  assert.throws(
    () => job.pause(),
    (error: Error) => error.message === refused('pause'),
  )
  assert.throws(
    () => job.cancel(true),
    (error: Error) => error.message === refused('cancel'),
  )
  assert.throws(
    () => bench.jobs.find('job0'),
    (error: Error) => error.message === 'Job not found',
  )
  assert.throws(
    () => bench.jobs.findBlockJob('job0'),
    (error: { message: string; qmpClass: string }) =>
      error.message === "Block job 'job0' not found" && error.qmpClass === 'DeviceNotActive',
  )
})

test('a cancel before READY is forced whatever was asked for', () => {
  const bench = mirrorBench()
  const job = slowJob(bench)
  job.cancel(false)
  bench.clock.run()
  assert.equal(bench.story().slice(2), ['aborting', 'BLOCK_JOB_CANCELLED', 'concluded', 'null'])
  assert.is(job.queryJob().error, 'Operation canceled')
  assert.is(bench.device.root!.node, bench.sourceNode)
  assert.is(bench.graph.nodes.size, 2)
  assert.equal([...bench.sourceNode.blockers, ...bench.targetNode.blockers], [])
})

test('a paused job that is cancelled by force runs again before it aborts', () => {
  const bench = mirrorBench()
  const job = slowJob(bench)
  job.pause()
  bench.clock.run(bench.clock.nowNs() + 1_000_000)
  job.cancel(true)
  bench.clock.run()
  assert.equal(bench.story().slice(2), ['paused', 'running', 'aborting', 'BLOCK_JOB_CANCELLED', 'concluded', 'null'])
})

test('after a forced cancel nothing more is written to the target', () => {
  for (const copyMode of ['background', 'write-blocking'] as const) {
    const bench = mirrorBench()
    plant(bench.source, 0, LENGTH, 1)
    bench.source.latencyNs = 1000
    bench.target.latencyNs = 1000
    const job = bench.start({ copyMode })
    bench.spawn('guest', bench.device.pwrite(3 * CHUNK, new Uint8Array(CHUNK).fill(2)))
    bench.clock.run(2500)
    job.cancel(true)
    const sent = bench.target.log.length
    bench.clock.run()
    assert.is(bench.target.log.length, sent)
    assert.is(job.status, 'null')
  }
})

test('a cancel without force at READY ends well and switches nothing over', () => {
  const bench = mirrorBench()
  const job = readyJob(bench)
  bench.write(0, CHUNK, 8)
  job.cancel(false)
  bench.clock.run()
  assert.equal(bench.story().slice(4), ['waiting', 'pending', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])
  assert.is(bench.device.root!.node, bench.sourceNode)
  assert.equal(bench.target.data, bench.source.data)
})

test('completing twice is the same as once, and so is completing in standby', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { replaces: 'src' })
  job.pause()
  bench.clock.run()
  job.complete()
  job.complete()
  job.resume()
  bench.clock.run()
  assert.is(job.status, 'null')
  assert.is(bench.device.root!.node, bench.targetNode)
})

test('a node to replace that is gone is told of at complete', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { replaces: 'src' })
  bench.graph.nodes.delete('src')
  assert.throws(
    () => job.complete(),
    (error: Error) => error.message === "Node name 'src' not found",
  )
  bench.graph.nodes.set('src', bench.sourceNode)
  job.complete()
  bench.clock.run()
  assert.is(job.errorText, null)
})

test('a switch-over that has become impossible fails the job and keeps the source', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { autoFinalize: false })
  job.complete()
  bench.clock.run()
  bench.graph.nodes.delete('src')
  job.finalize()
  bench.clock.run()
  assert.is(job.errorText, 'Operation not permitted')
  assert.equal(bench.story().slice(-4), ['aborting', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])
  assert.is(bench.device.root!.node, bench.sourceNode)
})

test('what was replaceable at the start is looked at again at the end', () => {
  class PassThrough extends MemoryDriver {
    override readonly isFilter = true
    override readonly isProtocol = false
  }
  const bench = mirrorBench()
  const filter = bench.graph.addNode({
    name: 'filter',
    driver: new PassThrough(LENGTH),
    children: [{ name: 'file', role: 'filtered', node: bench.sourceNode }],
  })
  const job = bench.start({ source: filter, replaces: 'src', autoFinalize: false })
  bench.clock.run()
  job.complete()
  bench.clock.run()
  const filtered = filter.filtered
  filter.filtered = null
  job.finalize()
  bench.clock.run()
  filter.filtered = filtered
  assert.is(job.errorText, 'Operation not permitted')
  assert.is(bench.device.root!.node, bench.sourceNode)
})

test('without auto-finalize the guest is frozen in pending until finalize', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { autoFinalize: false, autoDismiss: false })
  job.complete()
  bench.clock.run()
  assert.is(job.status, 'pending')
  assert.equal(bench.events.at(-1), { event: 'BLOCK_JOB_PENDING', data: { type: 'mirror', id: 'job0' } })
  assert.is(job.query().paused, true)
  bench.spawn('guest', bench.device.pwrite(0, new Uint8Array(CHUNK).fill(9)))
  bench.clock.run()
  assert.is(bench.source.data[0], 1)
  job.finalize()
  bench.clock.run()
  assert.is(bench.target.data[0], 9, 'the frozen request went to the target')
  assert.is(job.status, 'concluded')
  job.dismiss()
  assert.is(job.status, 'null')
  assert.is(bench.jobs.jobs.size, 0)
})

test('a forced cancel in pending aborts', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { autoFinalize: false, autoDismiss: false })
  job.complete()
  bench.clock.run()
  job.cancel(true)
  bench.clock.run()
  assert.equal(bench.story().slice(-3), ['aborting', 'BLOCK_JOB_CANCELLED', 'concluded'])
  assert.is(job.query().error, 'Operation canceled')
  assert.is(bench.device.root!.node, bench.sourceNode)
})

test('policy report ends the job with the error', () => {
  for (const side of ['source', 'target'] as const) {
    const bench = mirrorBench()
    plant(bench.source, 0, 4 * CHUNK, 1)
    bench[side].fail = failing(side === 'source' ? 'read' : 'write', EIO, 1)
    const job = bench.start()
    bench.clock.run()
    assert.is(job.errorText, 'Input/output error')
    const operation = side === 'source' ? 'read' : 'write'
    assert.equal(bench.events[2], { event: 'BLOCK_JOB_ERROR', data: { device: 'job0', operation, action: 'report' } })
    assert.equal(bench.story().slice(3), ['aborting', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])
  }
})

test('policy ignore tries again until it works', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, 4 * CHUNK, 1)
  bench.target.fail = failing('write', EIO, 5)
  const job = bench.start({ onTargetError: 'ignore' })
  bench.clock.run()
  assert.is(bench.story().filter((name) => name === 'BLOCK_JOB_ERROR').length, 5)
  assert.is(job.status, 'ready')
  assert.equal(bench.target.data, bench.source.data)
})

test('policy stop pauses the job, and resume tries again', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, 4 * CHUNK, 1)
  bench.source.fail = failing('read', EIO, 1)
  const job = bench.start({ onSourceError: 'stop' })
  bench.clock.run()
  assert.is(job.status, 'paused')
  assert.is(job.query()['io-status'], 'failed')
  job.resume()
  assert.is(job.query()['io-status'], 'ok')
  bench.clock.run()
  assert.is(job.status, 'ready')
  assert.equal(bench.target.data, bench.source.data)
})

test('policy enospc stops when there is no space, and reports everything else', () => {
  for (const [errno, status] of [
    [ENOSPC, 'paused'],
    [EIO, 'null'],
  ] as const) {
    const bench = mirrorBench()
    plant(bench.source, 0, CHUNK, 1)
    bench.target.fail = failing('write', errno, 1)
    const job = bench.start({ onTargetError: 'enospc' })
    bench.clock.run()
    assert.is(job.status, status)
    assert.is(job.ioStatus, status === 'paused' ? 'nospace' : 'ok')
  }
})

test('several errors before the pause are several events and one pause', () => {
  const bench = mirrorBench()
  for (let chunk = 0; chunk < 16; chunk += 2) plant(bench.source, chunk * CHUNK, CHUNK, 1)
  bench.target.latencyNs = 1000
  bench.target.fail = failing('write', EIO, 4)
  const job = bench.start({ onTargetError: 'stop' })
  bench.clock.run()
  assert.is(bench.story().filter((name) => name === 'BLOCK_JOB_ERROR').length, 4)
  assert.is(job.pauseCount, 1)
  job.resume()
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('a failed active write is made good in the background, and the guest does not hear of it', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { copyMode: 'write-blocking', onTargetError: 'ignore' })
  assert.is(job.query()['actively-synced'], true)
  bench.target.fail = failing('write', EIO, 1)
  assert.is(bench.write(5 * CHUNK, CHUNK, 3), 0)
  bench.clock.run()
  assert.is(job.query()['actively-synced'], true)
  assert.equal(bench.target.data, bench.source.data)
})

test('a failed flush counts as an error of the target', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, CHUNK, 1)
  bench.target.fail = failing('flush', EIO, 3)
  const job = bench.start({ onTargetError: 'ignore' })
  bench.clock.run()
  assert.is(bench.story().filter((name) => name === 'BLOCK_JOB_ERROR').length, 3)
  assert.is(job.status, 'ready')
  bench.write(0, CHUNK, 2)
  bench.target.fail = failing('flush', EIO, 1)
  job.complete()
  bench.clock.run()
  assert.is(bench.story().filter((name) => name === 'BLOCK_JOB_ERROR').length, 4)
  assert.is(job.status, 'null')
  assert.is(job.errorText, null)
})

test('an error while a cancelled job finishes ends it', () => {
  const bench = mirrorBench()
  const job = readyJob(bench)
  bench.target.fail = failing('write', EIO, 1)
  bench.target.latencyNs = 1000
  bench.spawn('guest', bench.device.pwrite(0, new Uint8Array(CHUNK).fill(2)))
  bench.clock.run(bench.clock.nowNs() + 10)
  job.cancel(false)
  bench.clock.run()
  assert.is(job.status, 'null')
  assert.is(job.errorText, 'Input/output error')
})

test('the copy mode changes to write-blocking and not back', () => {
  const bench = mirrorBench()
  const job = readyJob(bench)
  assert.is(job.query()['actively-synced'], false)
  job.changeCopyMode('background')
  job.changeCopyMode('write-blocking')
  bench.clock.run()
  assert.is(job.query()['actively-synced'], true)
  bench.write(7 * CHUNK, CHUNK, 7)
  assert.is(bench.target.data[7 * CHUNK], 7)
  assert.throws(
    () => job.changeCopyMode('background'),
    (error: Error) => error.message === "Change to copy mode 'background' is not implemented",
  )
})

test('a noted write that is under way keeps the job from calling itself synced', () => {
  const bench = mirrorBench()
  const job = readyJob(bench)
  bench.source.latencyNs = 1000
  bench.spawn('guest', bench.device.pwrite(0, new Uint8Array(512).fill(2)))
  bench.clock.run(bench.clock.nowNs() + 10)
  job.changeCopyMode('write-blocking')
  bench.clock.run(bench.clock.nowNs() + 10)
  assert.is(job.view.activelySynced, false)
  bench.clock.run()
  assert.is(job.view.activelySynced, true)
  assert.equal(bench.target.data, bench.source.data)
})

test('the speed limit holds after READY, and a burst is one operation', () => {
  const bench = mirrorBench()
  const job = readyJob(bench)
  job.setSpeed(10 * CHUNK)
  const before = bench.target.requests('write').length
  bench.spawn('guest', bench.device.pwrite(0, new Uint8Array(LENGTH).fill(3)))
  bench.clock.run(bench.clock.nowNs() + 450_000_000)
  assert.is(bench.target.requests('write').length - before, 5)
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('zeroes that are skipped cost nothing of the speed', () => {
  const bench = mirrorBench()
  const job = bench.start({ speedBytesPerSecond: 1 })
  bench.clock.run(1000)
  assert.is(job.status, 'ready')
})

test('a drained source pauses the job, and a drained target makes guests’ writes wait for the background', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { copyMode: 'write-blocking' })
  bench.run(bench.graph.drainedBegin(bench.targetNode))
  assert.is(job.status, 'standby')
  const sent = bench.target.log.length
  bench.write(3 * CHUNK, CHUNK, 3)
  assert.is(bench.target.log.length, sent)
  bench.graph.drainedEnd(bench.targetNode)
  bench.clock.run()
  assert.is(job.status, 'ready')
  assert.equal(bench.target.data, bench.source.data)
  bench.run(bench.graph.drainedBegin(bench.sourceNode))
  assert.is(job.status, 'standby')
  bench.graph.drainedEnd(bench.sourceNode)
  bench.clock.run()
  assert.is(job.status, 'ready')
})

test('a job paused twice over runs only when both have ended', () => {
  const bench = mirrorBench()
  const job = slowJob(bench)
  job.pause()
  bench.run(bench.graph.drainedBegin(bench.sourceNode))
  job.resume()
  job.setSpeed(0)
  bench.clock.run()
  assert.is(job.status, 'paused')
  bench.graph.drainedEnd(bench.sourceNode)
  job.pause()
  bench.clock.run()
  assert.is(job.status, 'paused')
  job.resume()
  bench.clock.run()
  assert.is(job.status, 'ready')
})

test('guests’ changes are copied at once again when a drained section of the target has ended', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { copyMode: 'write-blocking' })
  bench.run(bench.graph.drainedBegin(bench.targetNode))
  bench.graph.drainedEnd(bench.targetNode)
  bench.clock.run()
  job.pause()
  bench.clock.run()
  bench.write(3 * CHUNK, CHUNK, 3)
  assert.is(bench.target.data[3 * CHUNK], 3)
})

test('what is ignored is tried again after a while', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, CHUNK, 1)
  bench.target.fail = failing('write', EIO, 1)
  bench.start({ onTargetError: 'ignore' })
  bench.clock.run()
  assert.is(bench.clock.nowNs(), 1_000_000)
  assert.equal(bench.target.data, bench.source.data)
})

test('a forced cancel tells the target that nobody waits any more, another one does not', () => {
  for (const isForced of [true, false]) {
    const bench = mirrorBench()
    const job = readyJob(bench)
    let calls = 0
    bench.target.cancelInFlight = () => calls++
    job.cancel(isForced)
    bench.clock.run()
    assert.is(calls, isForced ? 1 : 0)
  }
})

test('the mode of a job that is over does not change', () => {
  const bench = mirrorBench()
  const job = readyJob(bench, { autoDismiss: false })
  bench.complete(job)
  assert.throws(
    () => job.changeCopyMode('write-blocking'),
    /^Job 'job0' in state 'concluded' cannot accept command verb 'change'$/,
  )
})

test('the source cannot be resized meanwhile', () => {
  const bench = mirrorBench()
  readyJob(bench)
  assert.throws(() => bench.device.setPermissions(15, 15), /resize/)
})

test('progress counts everything once and ends where it said', () => {
  const bench = mirrorBench()
  const job = slowJob(bench)
  assert.equal([job.query().offset, job.query().len], [CHUNK, LENGTH])
  job.setSpeed(0)
  bench.clock.run()
  bench.write(512, 512, 2)
  bench.clock.run()
  assert.equal([job.query().offset, job.query().len], [LENGTH + CHUNK, LENGTH + CHUNK])
  assert.equal(job.queryJob(), {
    id: 'job0',
    type: 'mirror',
    status: 'ready',
    'current-progress': LENGTH + CHUNK,
    'total-progress': LENGTH + CHUNK,
  })
})

test('two jobs may be created from the same source one after the other', () => {
  const bench = mirrorBench()
  for (const fill of [1, 2]) {
    plant(bench.source, 0, CHUNK, fill)
    const job = bench.start()
    bench.clock.run()
    job.cancel(true)
    bench.clock.run()
    assert.is(bench.target.data[0], fill)
  }
})

test.run()
