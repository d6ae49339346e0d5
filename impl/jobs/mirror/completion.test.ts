import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, type BlockNode, Permission, RequestFlag } from '../../block'
import { FilterDriver } from '../../block/drivers/filter'
import { MemoryDriver } from '../../block/testing'
import type { Co } from '../../co'
import { CHUNK, LENGTH, type MirrorBench, mirrorBench, plant } from './testing'

class Through extends FilterDriver {
  readonly name = 'through'
}
/** Names of the nodes that are given up, as they are. */
function releases(bench: MirrorBench): string[] {
  const names: string[] = []
  bench.graph.release = function* (node: BlockNode): Co<void> {
    names.push(node.name)
  }
  return names
}

test('the source and the target are released when the job has left, whatever came of it', () => {
  for (const isCompleted of [true, false]) {
    const bench = mirrorBench()
    const names = releases(bench)
    const job = bench.start()
    bench.clock.run()
    if (isCompleted) job.complete()
    else job.cancel(true)
    bench.clock.run()
    assert.equal(names, ['src', 'tgt'])
  }
})

test('what a filter shows may be replaced below it, and nothing stays drained', () => {
  const bench = mirrorBench()
  bench.device.detach()
  const filter = bench.graph.addNode({
    name: 'upper',
    driver: new Through(),
    children: [{ name: 'file', role: 'filtered', node: bench.sourceNode }],
    options: { discard: 'unmap' },
  })
  const guest = new BlockBackend(bench.graph, 'guest')
  guest.attach(filter, Permission.ConsistentRead | Permission.Write, Permission.All)
  const names = releases(bench)
  bench.complete(bench.start({ source: filter, replaces: 'src' }))
  assert.is(guest.root!.node, filter)
  assert.is(filter.filtered!.node, bench.targetNode)
  assert.equal(
    [filter, bench.sourceNode, bench.targetNode].map(({ quiesceCount }) => quiesceCount),
    [0, 0, 0],
  )
  assert.equal(names, ['src', 'tgt'])
})

test('the filter promises what the source can do, and forgets a request that has ended', () => {
  const source = new MemoryDriver(LENGTH)
  source.supportedWriteFlags = RequestFlag.Fua | RequestFlag.Compressed
  source.supportedZeroFlags = RequestFlag.MayUnmap | RequestFlag.NoFallback
  const bench = mirrorBench({ source })
  const job = bench.start()
  bench.clock.run()
  const { driver } = bench.device.root!.node
  assert.is(driver.supportedWriteFlags, RequestFlag.WriteUnchanged | RequestFlag.Fua)
  assert.is(driver.supportedZeroFlags, RequestFlag.WriteUnchanged | RequestFlag.MayUnmap | RequestFlag.NoFallback)
  source.latencyNs = 1000
  bench.spawn('w', bench.device.pwrite(0, new Uint8Array(CHUNK)))
  bench.spawn('z', bench.device.pwriteZeroes(CHUNK, CHUNK))
  bench.spawn('d', bench.device.pdiscard(2 * CHUNK, CHUNK))
  bench.clock.run(bench.clock.nowNs() + 10)
  assert.equal([...job.view.filterRequests].map(({ kind }) => kind).sort(), ['discard', 'write', 'write-zeroes'])
  bench.clock.run()
  assert.equal([...job.view.filterRequests], [])
})

test('somebody who reads the source stays welcome while a mirror runs', () => {
  const bench = mirrorBench()
  plant(bench.source, 0, CHUNK, 1)
  const job = bench.start()
  bench.clock.run()
  const reader = new BlockBackend(bench.graph, 'reader')
  // A reader that does not want the data to change under it is not.
  assert.throws(
    () => reader.attach(bench.sourceNode, Permission.ConsistentRead, Permission.ConsistentRead),
    /Permission conflict/,
  )
  reader.attach(bench.sourceNode, Permission.ConsistentRead, Permission.All)
  reader.detach()
  bench.complete(job)
  assert.is(job.errorText, null)
})

test.run()
