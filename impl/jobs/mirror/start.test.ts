import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission } from '../../block'
import { MemoryDriver } from '../../block/testing'
import { CHUNK, LENGTH, type MirrorBench, mirrorBench, plant } from './testing'

/** Nothing of a mirror is left, or was ever there. */
function assertUntouched(bench: MirrorBench): void {
  assert.is(bench.graph.nodes.size, 2)
  assert.is(bench.device.root!.node, bench.sourceNode)
  for (const node of [bench.sourceNode, bench.targetNode]) assert.equal([node.blockers.size, node.quiesceCount], [0, 0])
  assert.is(bench.sourceNode.parents.size, 1)
  assert.equal(bench.events, [])
}

test('a target that somebody keeps to himself is refused, and the source is as it was', () => {
  const bench = mirrorBench()
  const reader = new BlockBackend(bench.graph, 'reader')
  reader.attach(bench.targetNode, Permission.ConsistentRead, Permission.ConsistentRead)
  assert.throws(() => bench.start(), /Permission conflict/)
  assertUntouched(bench)
  assert.is(bench.targetNode.parents.size, 1)
  reader.detach()
  bench.complete(bench.start())
})

test('the filter is the user’s if he has named it, nobody freezes a chain through it, and both sides are in use', () => {
  for (const filterNodeName of [undefined, 'mine']) {
    const bench = mirrorBench()
    const job = bench.start(filterNodeName === undefined ? {} : { filterNodeName })
    const filter = bench.device.root!.node
    assert.equal([filter.isImplicit, filter.name === 'mine'], [filterNodeName === undefined, filterNodeName === 'mine'])
    assert.is(filter.neverFrozen, true)
    for (const node of [bench.sourceNode, bench.targetNode]) assert.is(node.blockers.size, 1)
    bench.complete(job)
    for (const node of [bench.sourceNode, bench.targetNode]) assert.is(node.blockers.size, 0)
  }
})

test('what is refused is refused at once, while guests’ requests are under way', () => {
  const bench = mirrorBench()
  bench.source.latencyNs = 1000
  bench.spawn('guest', bench.device.pwrite(0, new Uint8Array(512)))
  bench.clock.run(bench.clock.nowNs() + 10)
  assert.throws(() => bench.start({ jobId: '1bad' }), /^Invalid job ID '1bad'$/)
  assert.throws(() => bench.start({ granularityBytes: 3 }), /granularity/)
  for (const bufferBytes of [-1, 0.5, Number.NaN]) {
    assert.throws(() => bench.start({ bufferBytes }), /^Invalid parameter 'buf-size'$/)
  }
  bench.targetNode.options.readOnly = true
  assert.throws(() => bench.start(), /^Block node is read-only$/)
})

test('what others have taken while the guests were being stopped is refused, with the graph as it was', () => {
  for (const taken of ['id', 'target'] as const) {
    const bench = mirrorBench()
    const { graph } = bench
    const third = graph.addNode({ name: 'third', driver: new MemoryDriver(LENGTH), options: { discard: 'unmap' } })
    const fourth = graph.addNode({ name: 'fourth', driver: new MemoryDriver(LENGTH), options: { discard: 'unmap' } })
    bench.source.latencyNs = 1000
    bench.spawn('guest', bench.device.pwrite(0, new Uint8Array(512)))
    bench.clock.run(bench.clock.nowNs() + 10)
    // The first one is kept waiting by the guest; the second one is not.
    let message = ''
    try {
      bench.start({ jobId: 'same' })
    } catch (error) {
      message = (error as Error).message
    }
    const other = bench.start({
      jobId: taken === 'id' ? 'same' : 'other',
      source: third,
      target: taken === 'id' ? fourth : bench.targetNode,
    })
    const failure = (() => {
      try {
        bench.clock.run()
        return message
      } catch (error) {
        return (error as Error).message
      }
    })()
    assert.is(message, '', 'nothing was wrong at first')
    assert.is(failure, '')
    assert.is(bench.device.root!.node, bench.sourceNode)
    assert.is(bench.sourceNode.blockers.size, 0, taken)
    assert.is(bench.jobs.jobs.size, 1)
    assert.is(other.status, 'ready')
  }
})

test('what has been copied, zeroed and left out is counted', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, 2 * CHUNK, 1)
  const job = bench.start({ copyMode: 'write-blocking' })
  bench.clock.run()
  const { statistics } = job.view
  assert.is(bench.clock.nowNs(), 0, 'nobody had to wait')
  assert.equal(
    { ...statistics },
    { copiedBytes: 2 * CHUNK, skippedZeroBytes: LENGTH - 2 * CHUNK, zeroedBytes: 0, discardedBytes: 0 },
  )
  bench.write(8 * CHUNK, CHUNK, 1)
  bench.run(bench.device.pwriteZeroes(7 * CHUNK, 3 * CHUNK))
  assert.equal(
    { ...statistics },
    { copiedBytes: 3 * CHUNK, skippedZeroBytes: LENGTH, zeroedBytes: CHUNK, discardedBytes: 0 },
    'two of the three were known to be zero',
  )
  bench.target.fail = ({ kind }) => (kind === 'write' ? 5 : 0)
  bench.write(8 * CHUNK, CHUNK, 1)
  assert.is(statistics.copiedBytes, 3 * CHUNK, 'what has failed does not count')
})

test.run()
