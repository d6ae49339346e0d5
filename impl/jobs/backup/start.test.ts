import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { addBitmap, BlockBackend, type BlockNode, Permission } from '../../block'
import { EIO } from '../../co'
import { type BackupBench, backupBench, CLUSTER, LENGTH } from './testing'

/** Nothing of a backup is left, or was ever there. */
function assertUntouched(bench: BackupBench): void {
  assert.is(bench.graph.nodes.size, 3)
  assert.is(bench.device.root!.node, bench.nodes[0])
  for (const node of [bench.nodes[0]!, bench.targetNode]) assert.is(node.blockers.size, 0)
  assert.equal([...bench.nodes[0]!.parents].length, 1)
  assert.equal(bench.story(), [])
}
/** Somebody who reads a node and lets nobody write to it. */
function guarded(bench: BackupBench, node: BlockNode): void {
  const reader = new BlockBackend(bench.graph, 'reader')
  reader.attach(node, Permission.ConsistentRead, Permission.ConsistentRead)
}

test('a target that somebody keeps to himself is refused, and the source is as it was', () => {
  for (const isImmutable of [true, false]) {
    const bench = backupBench()
    guarded(bench, bench.targetNode)
    assert.throws(() => bench.start({ isImmutable }), /Permission conflict|conflicts with use by/)
    assertUntouched(bench)
  }
})

test('a target that a job uses already is refused', () => {
  const bench = backupBench()
  bench.targetNode.blockers.add({ reason: 'it is busy', allows: new Set() })
  assert.throws(
    () => bench.start(),
    (error: Error) => error.message === "Node 'tgt' is busy: it is busy",
  )
})

test('an immutable source is only read, unless what is copied is to be discarded', () => {
  const bench = backupBench()
  bench.device.detach()
  bench.nodes[0]!.options.readOnly = true
  assert.throws(() => bench.start({ isImmutable: true, discardsSource: true }), /read-only/)
  bench.start({ isImmutable: true })
  bench.clock.run()
  assert.equal(bench.story().slice(-3), ['BLOCK_JOB_COMPLETED', 'concluded', 'null'])
})

test('an immutable source is copied where a bitmap says so', () => {
  const bench = backupBench()
  bench.run(addBitmap(bench.nodes[0]!, { name: 'm', granularityBytes: CLUSTER })).bits.set(2 * CLUSTER, CLUSTER)
  bench.device.setPermissions(Permission.ConsistentRead, Permission.All)
  bench.start({ isImmutable: true, sync: 'bitmap', bitmap: 'm', bitmapMode: 'never' })
  bench.clock.run()
  assert.equal(
    bench.target.requests('write').map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
    [[2 * CLUSTER, CLUSTER]],
  )
})

test('what is copied is discarded where that is asked for', () => {
  for (const discardsSource of [false, true]) {
    const bench = backupBench()
    bench.start({ discardsSource })
    bench.clock.run()
    assert.is(bench.layers[0]!.requests('discard').length > 0, discardsSource)
  }
})

test('clusters are as large as is asked for', () => {
  const bench = backupBench()
  bench.target.latencyNs = 1000
  bench.start({ minClusterBytes: 4 * CLUSTER, maxWorkers: 1 })
  bench.spawn('guest', bench.device.pwrite(5 * CLUSTER, new Uint8Array(512)))
  bench.clock.run(bench.clock.nowNs() + 100)
  const first = bench.target.requests('write')[0]!
  assert.is(first.lengthBytes % (4 * CLUSTER), 0)
})

test('the filter is the user’s if he has named it, and everything in its place is in use', () => {
  for (const filterNodeName of [undefined, 'mine']) {
    const bench = backupBench()
    bench.target.latencyNs = 1000
    bench.start(filterNodeName === undefined ? {} : { filterNodeName })
    const filter = bench.device.root!.node
    assert.equal([filter.isImplicit, filter.name === 'mine'], [filterNodeName === undefined, filterNodeName !== undefined])
    for (const node of [filter, bench.targetNode, bench.nodes[0]!]) assert.is(node.blockers.size, 1, node.name)
    bench.clock.run()
    assert.is(bench.targetNode.blockers.size, 0)
  }
  assert.throws(
    () => backupBench().start({ isImmutable: true, filterNodeName: 'mine' }),
    (error: Error) => error.message === 'immutable-source and filter-node-name should not be set simultaneously',
  )
})

test('what is refused is refused at once, while guests’ requests are under way', () => {
  const bench = backupBench()
  for (const layer of bench.layers) layer.latencyNs = 1000
  bench.spawn('guest', bench.device.pwrite(0, new Uint8Array(512)))
  bench.clock.run(bench.clock.nowNs() + 10)
  assert.throws(
    () => bench.start({ jobId: '1bad' }),
    (error: Error) => error.message === "Invalid job ID '1bad'",
  )
})

test('drained sections on both sides stop the job', () => {
  for (const side of ['filter', 'target'] as const) {
    const bench = backupBench()
    bench.target.latencyNs = 1000
    const job = bench.start({ maxWorkers: 1 })
    bench.clock.run(bench.clock.nowNs() + 100)
    const node = side === 'filter' ? bench.device.root!.node : bench.targetNode
    bench.run(bench.graph.drainedBegin(node))
    assert.is(job.status, 'paused', side)
    bench.graph.drainedEnd(node)
    bench.clock.run()
    assert.is(job.status, 'null')
  }
})

test('bitmaps that mean nothing are no base for a backup, and those that may not change get no successor', () => {
  const start = (state: 'isInconsistent' | 'isReadOnly', bitmapMode: 'never' | 'always'): string => {
    const bench = backupBench()
    const bitmap = bench.run(addBitmap(bench.nodes[0]!, { name: 'm' }))
    bitmap[state] = true
    try {
      bench.start({ sync: 'bitmap', bitmap: 'm', bitmapMode })
      return 'started'
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.is(start('isInconsistent', 'never'), "Bitmap 'm' is inconsistent and cannot be used")
  assert.is(start('isReadOnly', 'always'), "Bitmap 'm' is readonly and cannot be modified")
  assert.is(start('isReadOnly', 'never'), 'started')
})

test('incremental is bitmap with the mode on-success, which may be said or not', () => {
  for (const bitmapMode of [undefined, 'on-success', 'always'] as const) {
    const bench = backupBench()
    const bitmap = bench.run(addBitmap(bench.nodes[0]!, { name: 'm', granularityBytes: CLUSTER }))
    bitmap.bits.set(0, CLUSTER)
    const options = { sync: 'incremental', bitmap: 'm', ...(bitmapMode === undefined ? {} : { bitmapMode }) } as const
    if (bitmapMode === 'always') {
      assert.throws(
        () => bench.start(options),
        (error: Error) => error.message === "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'",
      )
      continue
    }
    bench.start(options)
    bench.clock.run()
    assert.is(bitmap.bits.count, 0)
    assert.is(bench.target.requests('write').length, 1)
  }
})

test('a scan that fails ends the job before anything is copied', () => {
  const bench = backupBench()
  let asked = 0
  bench.layers[0]!.fail = ({ kind }) => (kind === 'status' && ++asked === 1 ? EIO : 0)
  const job = bench.start({ sync: 'top' })
  bench.clock.run()
  assert.is(job.errorText, 'Input/output error')
  assert.is(bench.target.requests('write').length, 0)
})

test('a scan lets guests in between, stands still when it is to, and ends when the job is cancelled', () => {
  const scanning = (): BackupBench => {
    const bench = backupBench()
    // Every cluster another answer.
    for (let cluster = 0; cluster < 8; cluster += 2) bench.layers[0]!.plant(cluster * CLUSTER, CLUSTER, 1)
    bench.layers[0]!.allocated.fill(0, CLUSTER / 512, (2 * CLUSTER) / 512)
    bench.layers[0]!.allocated.fill(0, (3 * CLUSTER) / 512, (4 * CLUSTER) / 512)
    bench.layers[0]!.latencyNs = 1000
    return bench
  }
  const statuses = (bench: BackupBench): number => bench.layers[0]!.requests('status').length
  const whole = scanning()
  whole.start({ sync: 'top' })
  whole.clock.run()
  const all = statuses(whole)
  for (const verb of ['cancel', 'pause'] as const) {
    const bench = scanning()
    const job = bench.start({ sync: 'top' })
    bench.clock.run(bench.clock.nowNs() + 1500)
    if (verb === 'cancel') job.cancel(true)
    else job.pause()
    bench.clock.run()
    assert.ok(statuses(bench) < all / 2, `${verb}: ${statuses(bench)} of ${all}`)
    assert.is(job.status, verb === 'cancel' ? 'null' : 'paused')
  }
})

test('an error that is ignored is tried again after a while', () => {
  const bench = backupBench()
  let left = 1
  bench.target.fail = ({ kind }) => (kind === 'write' && left-- > 0 ? EIO : 0)
  const before = bench.read()
  bench.start({ onTargetError: 'ignore' })
  bench.clock.run()
  assert.ok(bench.clock.nowNs() >= 1_000_000, String(bench.clock.nowNs()))
  assert.equal(bench.target.data, before)
  assert.is(bench.target.data.length, LENGTH)
})

test.run()
