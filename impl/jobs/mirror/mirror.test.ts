import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission } from '../../block'
import { MemoryDriver } from '../../block/testing'
import { EIO } from '../../co'
import { allocatedBytes, CHUNK, KIB, LENGTH, mirrorBench, OverlayDriver, plant } from './testing'

test('a full mirror copies everything and the guest goes on on the target', () => {
  const bench = mirrorBench()
  plant(bench.source, 8 * KIB, 6 * KIB, 7)
  const job = bench.start()
  bench.complete(job)
  assert.equal(bench.target.data, bench.source.data)
  assert.is(bench.device.root!.node, bench.targetNode)
  assert.is(bench.jobs.jobs.size, 0)
  assert.is(bench.graph.nodes.size, 2, 'the filter is gone')
  assert.is(bench.write(0, 512, 9), 0)
  assert.is(bench.target.data[0], 9)
  assert.is(bench.source.data[0], 0)
})

test('events come in QEMU’s order with QEMU’s members', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, CHUNK, 1)
  bench.complete(bench.start({ speedBytesPerSecond: 1 << 30 }))
  assert.equal(bench.story(), [
    'created',
    'running',
    'ready',
    'BLOCK_JOB_READY',
    'waiting',
    'pending',
    'BLOCK_JOB_COMPLETED',
    'concluded',
    'null',
  ])
  const facts = { type: 'mirror', device: 'job0', len: LENGTH, offset: LENGTH, speed: 1 << 30 }
  assert.equal(bench.events[0], { event: 'JOB_STATUS_CHANGE', data: { id: 'job0', status: 'created' } })
  assert.equal(bench.events[3], { event: 'BLOCK_JOB_READY', data: facts })
  assert.equal(bench.events[6], { event: 'BLOCK_JOB_COMPLETED', data: facts })
})

test('sync full copies the whole chain, top what the overlay holds, none what is written from now on', () => {
  for (const sync of ['full', 'top', 'none'] as const) {
    const base = new MemoryDriver(LENGTH)
    const bench = mirrorBench({ source: new OverlayDriver(LENGTH), base })
    plant(base, 0, 4 * CHUNK, 1)
    plant(bench.source, CHUNK, CHUNK, 2)
    const job = bench.start({ sync })
    bench.clock.run()
    bench.write(2 * CHUNK, 512, 5)
    bench.clock.run()
    const firstBytes = [0, 1, 2, 3].map((chunk) => bench.target.data[chunk * CHUNK])
    assert.equal(firstBytes, sync === 'full' ? [1, 2, 5, 1] : sync === 'top' ? [0, 2, 5, 0] : [0, 0, 5, 0], sync)
    // A chunk is copied whole, with what the base shows in it.
    assert.is(bench.target.data[2 * CHUNK + 512], 1)
    assert.is(job.view.zeroWords === null, sync === 'none')
    bench.complete(job)
    assert.is(job.errorText, null)
  }
})

test('sync top of an image without a backing image is sync full', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, CHUNK, 1)
  plant(bench.target, 0, LENGTH, 9)
  bench.start({ sync: 'top' })
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('the first scan leaves out what nobody has ever written', () => {
  const bench = mirrorBench({ source: new OverlayDriver(LENGTH) })
  plant(bench.source, 2 * CHUNK, CHUNK, 1)
  const job = bench.start()
  bench.clock.run()
  assert.is(job.progress.lengthBytes, CHUNK)
})

test('a target that reads zero gets no zero write and allocates only data', () => {
  const bench = mirrorBench()
  plant(bench.source, CHUNK, CHUNK, 1)
  const job = bench.start()
  bench.clock.run()
  assert.is(bench.target.requests('zero').length, 0)
  assert.is(allocatedBytes(bench.target), CHUNK)
  assert.is(job.view.statistics.skippedZeroBytes, LENGTH - CHUNK)
  assert.is(job.progress.offsetBytes, LENGTH, 'skipped bytes are progress')
})

test('a target with old data is zeroed first, in one request', () => {
  const bench = mirrorBench()
  plant(bench.target, 0, LENGTH, 9)
  plant(bench.source, CHUNK, CHUNK, 1)
  bench.start()
  bench.clock.run()
  assert.is(bench.target.requests('zero').length, 1)
  assert.is(allocatedBytes(bench.target), CHUNK)
  assert.equal(bench.target.data, bench.source.data)
})

test('a target that looks for zeroes is punched even where it reads zero', () => {
  const bench = mirrorBench({ targetOptions: { detectZeroes: 'unmap' } })
  plant(bench.target, 0, LENGTH, 0)
  plant(bench.source, 0, 4 * CHUNK, 0)
  plant(bench.source, CHUNK, 512, 3)
  bench.start()
  bench.clock.run()
  assert.is(allocatedBytes(bench.target), CHUNK, 'chunks of zeroes in the data were found')
  assert.equal(bench.target.data, bench.source.data)
})

test('a target whose word is not to be trusted gets everything', () => {
  const bench = mirrorBench({ targetOptions: { discard: 'ignore' } })
  plant(bench.target, 0, LENGTH, 9)
  plant(bench.source, CHUNK, CHUNK, 1)
  bench.start()
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('short holes inside a chunk are not copied as data', () => {
  const bench = mirrorBench()
  plant(bench.source, 512, 512, 1)
  plant(bench.source, CHUNK + 1024, 512, 2)
  plant(bench.source, 2 * CHUNK, CHUNK, 3)
  bench.start()
  bench.clock.run()
  assert.is(allocatedBytes(bench.target), 1024 + CHUNK)
  assert.equal(bench.target.data, bench.source.data)
})

test('short holes are as coarse as what the target can leave out', () => {
  const target = new MemoryDriver(LENGTH)
  target.limitsWanted = { pwriteZeroesAlignmentBytes: 1024 }
  const bench = mirrorBench({ target })
  plant(bench.source, 512, 512, 1)
  bench.start()
  bench.clock.run()
  assert.equal(
    target.requests('write').map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
    [[0, 1024]],
    'half a unit cannot be left out',
  )
  plant(bench.source, 4 * CHUNK + 1536, 512, 1)
  bench.write(4 * CHUNK, 512, 2)
  bench.clock.run()
  // The hole 512..1536 has 1024..1536 left after rounding, which ends inside a unit: data.
  const last = target.requests('write').at(-1)!
  assert.equal([last.offsetBytes, last.lengthBytes], [4 * CHUNK, 2048])
  assert.equal(bench.target.data, bench.source.data)
})

test('a short last chunk is copied, skipped and zeroed like any other', () => {
  const lengthBytes = 2 * CHUNK + 512
  const bench = mirrorBench({ lengthBytes })
  plant(bench.source, 2 * CHUNK, 512, 1)
  const job = bench.start({ copyMode: 'write-blocking' })
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
  bench.run(bench.device.pwriteZeroes(2 * CHUNK, 512))
  assert.is((job.view.zeroWords![0]! >>> 2) & 1, 1, 'the tail counts as covered')
  const before = bench.target.log.length
  bench.run(bench.device.pwriteZeroes(2 * CHUNK, 512))
  assert.is(bench.target.log.length, before)
  assert.equal(bench.target.data, bench.source.data)
})

test('zero ranges leave known zeroes out, in the background and in active writes', () => {
  for (const copyMode of ['background', 'write-blocking'] as const) {
    const bench = mirrorBench()
    const job = bench.start({ copyMode })
    bench.clock.run()
    bench.write(CHUNK, CHUNK, 1)
    bench.write(3 * CHUNK, CHUNK, 1)
    bench.clock.run()
    bench.run(bench.device.pwriteZeroes(0, 6 * CHUNK, 1))
    bench.clock.run()
    assert.equal(
      bench.target.requests('zero').map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
      [
        [CHUNK, CHUNK],
        [3 * CHUNK, CHUNK],
      ],
      copyMode,
    )
    assert.is(allocatedBytes(bench.target), 0)
    assert.equal([...job.view.dirtyWords], [0])
  }
})

test('guest discards free space on both sides in write-blocking mode', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, 4 * CHUNK, 1)
  const job = bench.start({ copyMode: 'write-blocking' })
  bench.clock.run()
  assert.is(allocatedBytes(bench.target), 4 * CHUNK)
  bench.run(bench.device.pdiscard(CHUNK, CHUNK))
  assert.is(bench.source.requests('discard').length, 0)
  assert.is(allocatedBytes(bench.source), 3 * CHUNK)
  assert.is(allocatedBytes(bench.target), 3 * CHUNK)
  assert.equal([...job.view.dirtyWords], [0], 'nothing is left to copy')
  assert.equal(bench.target.data, bench.source.data)
})

test('a source that cannot deallocate by zeroing gets a real discard, and the background follows', () => {
  for (const copyMode of ['background', 'write-blocking'] as const) {
    const bench = mirrorBench()
    bench.source.canZero = copyMode === 'background'
    plant(bench.source, 0, 4 * CHUNK, 1)
    bench.start({ copyMode })
    bench.clock.run()
    bench.run(bench.device.pdiscard(CHUNK, CHUNK))
    bench.clock.run()
    assert.is(bench.source.requests('discard').length, 1, copyMode)
    assert.is(allocatedBytes(bench.target), 3 * CHUNK)
    assert.equal(bench.target.data, bench.source.data)
  }
})

test('a source that ignores discards is not touched by them', () => {
  const bench = mirrorBench({ sourceOptions: { discard: 'ignore' } })
  plant(bench.source, 0, CHUNK, 1)
  bench.start({ copyMode: 'write-blocking' })
  bench.clock.run()
  const before = bench.source.log.length + bench.target.log.length
  bench.run(bench.device.pdiscard(0, CHUNK))
  assert.is(bench.source.log.length + bench.target.log.length, before)
  assert.is(bench.source.data[0], 1)
})

test('status without data and without zero is copied', () => {
  class Vague extends MemoryDriver {
    override *blockStatus(_mode: unknown, _offset: number, bytes: number) {
      return { errno: 0, flags: 1, bytes, mapOffsetBytes: 0, mapNode: null }
    }
  }
  const bench = mirrorBench({ source: new Vague(LENGTH) })
  bench.source.data.fill(4)
  bench.start()
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('status that fails is copied too', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, CHUNK, 4)
  plant(bench.target, 0, LENGTH, 1)
  bench.targetNode.options.discard = 'ignore'
  bench.source.fail = (request) => (request.kind === 'status' ? EIO : 0)
  bench.start()
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('a failed guest write is copied as it is, in both modes', () => {
  for (const copyMode of ['background', 'write-blocking'] as const) {
    const bench = mirrorBench()
    bench.start({ copyMode })
    bench.clock.run()
    bench.source.fail = (request) => {
      if (request.kind !== 'write') return 0
      // Torn: half of it has reached the medium.
      plant(bench.source, request.offsetBytes, request.lengthBytes / 2, 0xaa)
      return EIO
    }
    assert.is(bench.write(CHUNK, CHUNK, 3), EIO)
    bench.clock.run()
    assert.is(bench.source.data[CHUNK], 0xaa)
    assert.equal(bench.target.data, bench.source.data, copyMode)
  }
})

test('writes while the first scan runs are not lost', () => {
  const bench = mirrorBench()
  bench.source.latencyNs = 1000
  bench.target.latencyNs = 1000
  const job = bench.start({ copyMode: 'write-blocking' })
  bench.spawn('guest', bench.device.pwrite(5 * CHUNK, new Uint8Array(CHUNK).fill(6)))
  bench.clock.run(bench.clock.nowNs() + 1500)
  assert.is(job.view.phase === 'copying', false)
  bench.clock.run()
  assert.is(bench.target.data[5 * CHUNK], 6)
})

test('the copied bytes are those of the moment of the request, not of its end', () => {
  const bench = mirrorBench()
  bench.start({ copyMode: 'write-blocking' })
  bench.clock.run()
  bench.source.latencyNs = 1000
  const buffer = new Uint8Array(CHUNK).fill(1)
  bench.spawn('guest', bench.device.pwrite(0, buffer))
  bench.clock.run(bench.clock.nowNs() + 10)
  buffer.fill(2)
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('an active write to a part of a dirty chunk leaves the chunk dirty', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, LENGTH, 1)
  bench.source.latencyNs = 1000
  bench.target.latencyNs = 1000
  const job = bench.start({ copyMode: 'write-blocking', speedBytesPerSecond: 1 })
  bench.clock.run(1_000_000)
  assert.is(job.status, 'running')
  bench.spawn('guest', bench.device.pwrite(8 * CHUNK + 512, new Uint8Array(CHUNK).fill(2)))
  bench.clock.run(2_000_000)
  assert.is(bench.target.requests('write').length, 1, 'only the first chunk of the background')
  assert.is((job.view.dirtyWords[0]! >>> 8) & 3, 3)
  job.setSpeed(0)
  bench.clock.run()
  assert.equal(bench.target.data, bench.source.data)
})

test('an active write of a whole dirty chunk spares the background the copy', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, LENGTH, 1)
  bench.source.latencyNs = 1000
  bench.target.latencyNs = 1000
  const job = bench.start({ copyMode: 'write-blocking', speedBytesPerSecond: 1 })
  bench.clock.run(1_000_000)
  bench.spawn('guest', bench.device.pwrite(4 * CHUNK, new Uint8Array(CHUNK).fill(2)))
  // The background arrives at the chunk while the guest's request has it.
  job.setSpeed(0)
  bench.clock.run(1_000_500)
  assert.is((job.view.dirtyWords[0]! >>> 4) & 1, 1)
  bench.clock.run()
  const toChunk = bench.target
    .requests('write')
    .filter(({ offsetBytes, lengthBytes }) => offsetBytes <= 4 * CHUNK && offsetBytes + lengthBytes >= 5 * CHUNK)
  assert.is(toChunk.length, 1)
  assert.equal(bench.target.data, bench.source.data)
})

test('the background looks again at a chunk that it had to wait for', () => {
  const bench = mirrorBench()
  const job = bench.start({ copyMode: 'write-blocking', sync: 'none' })
  bench.clock.run()
  // A failed write leaves the chunk dirty for the background, and a second one has it by then.
  bench.source.fail = (request) => (request.kind === 'write' && request.lengthBytes === 512 ? EIO : 0)
  bench.source.latencyNs = 1000
  bench.spawn('part', bench.device.pwrite(0, new Uint8Array(512).fill(2)))
  bench.clock.run(bench.clock.nowNs() + 1)
  bench.spawn('all', bench.device.pwrite(0, new Uint8Array(CHUNK).fill(3)))
  bench.clock.run()
  assert.is(bench.target.requests('write').length, 1)
  assert.is(job.view.dirtyWords[0], 0)
  assert.is(bench.target.data[0], 3)
})

test('what cannot be zeroed first is copied', () => {
  const bench = mirrorBench({ source: new OverlayDriver(LENGTH) })
  plant(bench.target, 0, LENGTH, 9)
  plant(bench.source, CHUNK, CHUNK, 1)
  let failed = 0
  bench.target.fail = (request) => (request.kind === 'zero' && failed++ === 0 ? EIO : 0)
  const job = bench.start()
  bench.clock.run()
  assert.is(job.status, 'ready')
  assert.equal(bench.target.data, bench.source.data)
})

test('the target takes the name that the user wants replaced, which must be the source', () => {
  const bench = mirrorBench()
  const other = bench.graph.addNode({ name: 'other', driver: new MemoryDriver(LENGTH) })
  assert.throws(
    () => bench.start({ replaces: 'other' }),
    (error: Error) =>
      error.message ===
      "Cannot replace 'other' by a node mirrored from 'src', because it cannot be guaranteed that doing so would not lead " +
        'to an abrupt change of visible data',
  )
  assert.throws(
    () => bench.start({ replaces: 'nobody' }),
    (error: Error) => error.message === "Failed to find node with node-name='nobody'",
  )
  assert.is(other.parents.size, 0)
  const job = bench.start({ replaces: 'src' })
  bench.complete(job)
  assert.is(bench.device.root!.node, bench.targetNode)
})

test('a read-only guest keeps a read-only disk', () => {
  const bench = mirrorBench()
  bench.device.setPermissions(Permission.ConsistentRead, Permission.All)
  bench.sourceNode.options.readOnly = true
  const job = bench.start()
  bench.complete(job)
  assert.is(job.errorText, null)
  assert.is(bench.targetNode.options.readOnly, true)
})

test('what cannot be mirrored is refused with QEMU’s words, and the graph stays as it was', () => {
  const bench = mirrorBench()
  const refuse = (changes: Parameters<typeof bench.start>[0], text: string): void => {
    assert.throws(
      () => bench.start(changes),
      (error: Error) => error.message === text,
    )
    assert.is(bench.graph.nodes.size, 2)
    assert.is(bench.device.root!.node, bench.sourceNode)
    assert.equal(bench.events, [])
  }
  refuse({ granularityBytes: 256 }, "Parameter 'granularity' expects a value in range [512B, 64MB]")
  refuse({ granularityBytes: 3000 }, "Parameter 'granularity' expects a power of 2")
  refuse({ bufferBytes: -1 }, "Invalid parameter 'buf-size'")
  refuse({ speedBytesPerSecond: -1 }, "Parameter 'speed' expects a non-negative value")
  refuse({ target: bench.sourceNode }, "Can't mirror node into itself")
  refuse({ jobId: '1bad' }, "Invalid job ID '1bad'")
  refuse({ jobId: '' }, "Invalid job ID ''")
  refuse({ filterNodeName: '-x' }, "Invalid node-name: '-x'")
  refuse({ filterNodeName: 'tgt' }, "Duplicate nodes with node-name='tgt'")
  bench.targetNode.options.readOnly = true
  refuse({}, 'Block node is read-only')
  bench.targetNode.options.readOnly = false
  const reader = new BlockBackend(bench.graph, 'reader')
  reader.attach(bench.targetNode, Permission.Write, Permission.ConsistentRead)
  assert.throws(() => bench.start(), /Permission conflict/)
  assert.is(bench.graph.nodes.size, 2)
  reader.detach()
  bench.complete(bench.start())
})

test('ids and nodes that are in use are refused', () => {
  const bench = mirrorBench()
  const job = bench.start({ filterNodeName: 'top' })
  assert.throws(
    () => bench.start({ jobId: 'job1' }),
    (error: Error) => error.message === 'Need a root block node',
  )
  const filter = bench.graph.findNode('top')!
  assert.throws(
    () => bench.start({ jobId: 'job1', source: filter }),
    (error: Error) => error.message === "Node 'tgt' is busy: block device is in use by block job: mirror",
  )
  const third = bench.graph.addNode({ name: 'third', driver: new MemoryDriver(LENGTH) })
  const fourth = bench.graph.addNode({ name: 'fourth', driver: new MemoryDriver(LENGTH) })
  assert.throws(
    () => bench.start({ source: third, target: fourth }),
    (error: Error) => error.message === "Job ID 'job0' already in use",
  )
  bench.complete(job)
})

test('images of different length end the job, not the command', () => {
  const bench = mirrorBench({ target: new MemoryDriver(LENGTH * 2) })
  const job = bench.start()
  bench.clock.run()
  const text = 'Source and target image have different sizes'
  assert.is(job.errorText, text)
  assert.equal(bench.story(), ['created', 'running', 'aborting', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])
  assert.equal(bench.events[3]!.data, { type: 'mirror', device: 'job0', len: 0, offset: 0, speed: 0, error: text })
  assert.is(bench.device.root!.node, bench.sourceNode)
})

test('an empty disk is ready and synced at once', () => {
  const bench = mirrorBench({ lengthBytes: 0 })
  const job = bench.start()
  bench.clock.run()
  assert.is(job.status, 'ready')
  assert.is(job.query()['actively-synced'], true)
  bench.complete(job)
  assert.is(job.errorText, null)
})

test('chunks are not smaller than the target’s blocks', () => {
  const target = new MemoryDriver(LENGTH)
  target.limitsWanted = { requestAlignmentBytes: CHUNK }
  const bench = mirrorBench({ target })
  assert.is(bench.start({ granularityBytes: 512 }).view.granularityBytes, CHUNK)
})

test('a buffer larger than any memory is a limit like any other', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, LENGTH, 1)
  const job = bench.start({ bufferBytes: 2 ** 50, speedBytesPerSecond: 2 ** 50 })
  bench.complete(job)
  assert.is(job.errorText, null)
})

test('the target is flushed before READY and before the end', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, CHUNK, 1)
  const job = bench.start()
  bench.clock.run()
  assert.is(bench.target.log.at(-1)!.kind, 'flush')
  bench.write(0, CHUNK, 2)
  bench.complete(job)
  assert.is(bench.target.log.at(-1)!.kind, 'flush')
  assert.is(bench.target.requests('flush').length, 2)
})

test.run()
