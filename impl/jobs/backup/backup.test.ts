import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { addBitmap, BlockBackend, BlockError, type NamedBitmap, Permission, RequestFlag } from '../../block'
import { SnapshotAccessDriver } from '../../block/drivers/snapshot_access'
import { MemoryDriver, OverlayDriver } from '../../block/testing'
import { EACCES, EIO, ENOSPC, OK } from '../../co'
import { addDisk, KIB } from '../testing'
import { type BackupOptions, startBackup } from './index'
import { type BackupBench, backupBench, CLUSTER, LENGTH } from './testing'

test('the whole disk is copied, and the filter leaves', () => {
  const bench = backupBench()
  const before = bench.read()
  const job = bench.start()
  bench.clock.run()
  assert.is(job.type, 'backup')
  assert.equal(bench.story(), ['created', 'running', 'waiting', 'pending', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])
  const end = bench.events.find(({ event }) => event === 'BLOCK_JOB_COMPLETED')!
  assert.equal(end.data, { type: 'backup', device: 'j', len: LENGTH, offset: LENGTH, speed: 0 })
  assert.equal(bench.target.data, before)
  assert.is(bench.device.root!.node, bench.nodes[0])
  assert.is(bench.graph.nodes.size, 3)
  for (const node of [...bench.nodes, bench.targetNode]) {
    assert.is(node.blockers.size, 0)
    assert.is(node.parents.size > 1, false)
  }
  assert.ok(bench.target.requests('flush').length > 0)
  // Holes are zeroed as such.
  assert.ok(bench.target.requests('zero').some(({ offsetBytes }) => offsetBytes === 6 * CLUSTER))
})

test('what a guest overwrites meanwhile is copied first, whole clusters, each once', () => {
  const bench = backupBench()
  const before = bench.read()
  bench.target.latencyNs = 50_000
  for (const layer of bench.layers) layer.latencyNs = 1000
  bench.start({ maxWorkers: 1 })
  bench.spawn('w', bench.device.pwrite(5 * CLUSTER + KIB, new Uint8Array(2 * KIB).fill(1)))
  bench.spawn('z', bench.device.pwriteZeroes(3 * CLUSTER, CLUSTER))
  bench.spawn('d', bench.device.pdiscard(7 * CLUSTER, CLUSTER))
  bench.spawn('v', bench.device.pwrite(5 * CLUSTER, new Uint8Array(KIB).fill(2)))
  bench.clock.run()
  assert.equal(bench.target.data, before)
  const now = bench.read()
  assert.equal([now[5 * CLUSTER], now[5 * CLUSTER + KIB], now[3 * CLUSTER]], [2, 1, 0])
  const touched = [...bench.target.requests('write'), ...bench.target.requests('zero')]
  const bytes = touched.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)
  assert.is(bytes, LENGTH, 'nothing twice')
})

test('top copies what the active layer holds, in whole clusters; none what guests overwrite', () => {
  const top = backupBench()
  top.layers[0]!.plant(6 * CLUSTER + KIB, KIB, 0xaa)
  const before = top.read()
  const job = top.start({ sync: 'top' })
  top.clock.run()
  for (const cluster of [0, 1, 2, 3, 6]) {
    const at = cluster * CLUSTER
    assert.equal(top.target.data.subarray(at, at + CLUSTER), before.subarray(at, at + CLUSTER))
  }
  for (const cluster of [4, 5, 7]) assert.is(top.target.data[cluster * CLUSTER], 0xee)
  assert.equal([job.progress.offsetBytes, job.progress.lengthBytes], [5 * CLUSTER, 5 * CLUSTER])

  const none = backupBench()
  const old = none.read()
  const serving = none.start({ sync: 'none' })
  none.clock.run()
  assert.is(serving.status, 'running')
  assert.equal([serving.query().len, serving.query().offset], [LENGTH, 0])
  none.run(none.device.pwrite(CLUSTER, new Uint8Array(KIB).fill(1)))
  assert.equal(none.target.data.subarray(CLUSTER, 2 * CLUSTER), old.subarray(CLUSTER, 2 * CLUSTER))
  assert.is(none.target.data[0], 0xee)
  assert.is(serving.query().offset, CLUSTER)
  serving.cancel(false)
  none.clock.run()
  assert.is(none.story().at(-3), 'BLOCK_JOB_CANCELLED')
  assert.is(none.graph.nodes.size, 3)
})

test('what a backup leaves out is no part of the state that can be read meanwhile', () => {
  const bench = backupBench()
  bench.target.latencyNs = 1_000_000
  bench.start({ sync: 'top', filterNodeName: 'cbw' })
  const filter = bench.graph.findNode('cbw')!
  const state = bench.graph.addNode({
    name: 'state',
    driver: new SnapshotAccessDriver(),
    children: [{ name: 'file', role: 'image', node: filter }],
  })
  const reader = new BlockBackend(bench.graph, '')
  reader.attach(state, Permission.ConsistentRead, Permission.All)
  bench.clock.run(bench.clock.nowNs() + 10_000)
  const answers: number[] = []
  function* read(cluster: number) {
    answers.push(yield* reader.pread(cluster * CLUSTER, new Uint8Array(CLUSTER)))
  }
  // One that the active layer holds, and one that only the image below does.
  bench.begin(read(0))
  bench.begin(read(4))
  assert.equal(answers, [OK, EACCES])
})

function addedBitmap(bench: BackupBench): NamedBitmap {
  return bench.run(addBitmap(bench.nodes[0]!, { name: 'b', granularityBytes: CLUSTER }))
}

function dirtyClusters({ bits }: NamedBitmap): number[] {
  return [...Array(LENGTH / CLUSTER).keys()].filter((cluster) => bits.get(cluster * CLUSTER))
}

test('a bitmap says what is copied, and holds afterwards what is to be copied next time', () => {
  for (const bitmapMode of ['on-success', 'never', 'always'] as const) {
    for (const fails of [false, true]) {
      const bench = backupBench()
      const bitmap = addedBitmap(bench)
      bitmap.bits.set(CLUSTER, 2 * CLUSTER)
      const before = bench.read()
      bench.target.latencyNs = 1000
      if (fails) bench.target.fail = ({ offsetBytes }) => (offsetBytes >= 2 * CLUSTER ? EIO : OK)
      const job = bench.start({ sync: 'bitmap', bitmap: 'b', bitmapMode, maxChunkBytes: CLUSTER })
      assert.is(job.query().len, 2 * CLUSTER)
      bench.spawn('w', bench.device.pwrite(4 * CLUSTER, new Uint8Array(KIB).fill(1)))
      bench.clock.run()
      assert.is(job.errorText, fails ? 'Input/output error' : null)
      assert.equal(bench.target.data.subarray(CLUSTER, 2 * CLUSTER), before.subarray(CLUSTER, 2 * CLUSTER))
      assert.is(bench.target.data[0], 0xee)
      const isNew = bitmapMode === 'always' || (bitmapMode === 'on-success' && !fails)
      const kept = isNew ? (fails ? [2] : []) : [1, 2]
      assert.equal(dirtyClusters(bitmap), [...kept, 4], `${bitmapMode} ${fails}`)
    }
  }
})

test('with compression, clusters are written one by one and compressed', () => {
  const target = new MemoryDriver(LENGTH)
  target.supportedWriteFlags = RequestFlag.Compressed
  const bench = backupBench(LENGTH, target)
  const before = bench.read()
  bench.start({ isCompressed: true })
  bench.clock.run()
  assert.equal(target.data, before)
  for (const { lengthBytes, flags } of target.requests('write')) {
    assert.is(lengthBytes, CLUSTER)
    assert.is(flags, RequestFlag.Compressed)
  }
})

test('errors of each side follow its policy; the job goes on where it stopped', () => {
  for (const side of ['read', 'write'] as const) {
    for (const policy of ['report', 'ignore', 'stop', 'enospc'] as const) {
      const bench = backupBench()
      const before = bench.read()
      let failures = 2
      const errno = policy === 'enospc' ? ENOSPC : EIO
      const disk = side === 'read' ? bench.layers[0]! : bench.target
      disk.fail = ({ kind }) => (kind === side && failures-- > 0 ? errno : OK)
      const job = bench.start(side === 'read' ? { onSourceError: policy } : { onTargetError: policy })
      bench.clock.run()
      const [error] = bench.events.filter(({ event }) => event === 'BLOCK_JOB_ERROR')
      const action = policy === 'enospc' ? 'stop' : policy
      assert.equal(error!.data, { device: 'j', operation: side, action })
      if (action === 'stop') assert.is(job.query()['io-status'], policy === 'enospc' ? 'nospace' : 'failed')
      if (action === 'report') assert.is(job.errorText, 'Input/output error')
      else {
        bench.finish(job)
        assert.is(job.errorText, null)
        assert.equal(bench.target.data, before)
      }
      assert.is(bench.graph.nodes.size, 3)
    }
  }
})

test('a flush of the target that fails is an error of the target', () => {
  const bench = backupBench()
  let failures = 1
  bench.target.fail = ({ kind }) => (kind === 'flush' && failures-- > 0 ? EIO : OK)
  const job = bench.start({ onTargetError: 'stop' })
  bench.clock.run()
  assert.is(job.status, 'paused')
  bench.finish(job)
  assert.is(job.errorText, null)
})

test('a guest whose clusters cannot be copied gets an error, or the backup is given up', () => {
  for (const onCopyError of ['break-guest-write', 'break-snapshot'] as const) {
    const bench = backupBench()
    const job = bench.start({ sync: 'none', onCopyError })
    bench.clock.run()
    bench.target.fail = () => EIO
    const errno = bench.run(bench.device.pwrite(0, new Uint8Array(KIB).fill(1)))
    assert.is(errno, onCopyError === 'break-guest-write' ? EIO : OK)
    assert.is(bench.read()[0], onCopyError === 'break-guest-write' ? 0xa0 : 1)
    bench.clock.run()
    assert.is(job.status, onCopyError === 'break-guest-write' ? 'running' : 'null')
    assert.is(job.errorText, onCopyError === 'break-guest-write' ? null : 'Input/output error')
  }
})

test('pausing ends what is on its way, and nothing is started until the resume', () => {
  const bench = backupBench()
  bench.target.latencyNs = 10_000
  const before = bench.read()
  const job = bench.start({ maxWorkers: 2, maxChunkBytes: CLUSTER })
  bench.clock.run(bench.clock.nowNs() + 15_000)
  job.pause()
  bench.clock.run()
  assert.is(job.status, 'paused')
  const sent = bench.target.log.length
  bench.clock.run(bench.clock.nowNs() + 1_000_000)
  assert.is(bench.target.log.length, sent)
  // Guests are served all the same.
  bench.run(bench.device.pwrite(5 * CLUSTER, new Uint8Array(KIB).fill(1)))
  bench.finish(job)
  assert.equal(bench.target.data, before)
})

test('the speed limit holds the job back, not the guests', () => {
  const bench = backupBench()
  const startNs = bench.clock.nowNs()
  bench.start({ speedBytesPerSecond: CLUSTER, maxChunkBytes: CLUSTER })
  assert.is(bench.run(bench.device.pwrite(3 * CLUSTER, new Uint8Array(KIB).fill(1))), OK)
  bench.clock.run()
  const seconds = (bench.clock.nowNs() - startNs) / 1e9
  // Six clusters of which one is copied for the guest, and two that read zero together.
  assert.ok(seconds >= 5 && seconds <= 8, String(seconds))
})

test('a copy-on-write image above the source may be the target: its readers see the old state', () => {
  const bench = backupBench()
  const overlay = new OverlayDriver(LENGTH)
  const [top] = bench.nodes
  const fleece = bench.graph.addNode({
    name: 'fleece',
    driver: overlay,
    children: [{ name: 'backing', role: 'cow', node: top! }],
    options: { discard: 'unmap' },
  })
  const before = bench.read()
  const job = bench.start({ target: fleece, sync: 'none' })
  const client = new BlockBackend(bench.graph, '')
  client.attach(fleece, Permission.ConsistentRead, Permission.All)
  overlay.latencyNs = 1000
  for (const layer of bench.layers) layer.latencyNs = 3000
  for (let round = 0; round < 3; round++) {
    const buffer = new Uint8Array(LENGTH)
    bench.spawn('client', client.pread(0, buffer))
    bench.spawn('w', bench.device.pwrite(round * CLUSTER, new Uint8Array(2 * CLUSTER).fill(round + 1)))
    bench.clock.run()
    assert.equal(buffer, before)
  }
  client.detach()
  job.cancel(true)
  bench.clock.run()
  assert.is(job.status, 'null')
})

test('an immutable source needs no filter, and nobody may write to it', () => {
  const bench = backupBench()
  const before = bench.read()
  assert.match(bench.run(attempt(bench, { isImmutable: true })), /^Permission conflict on node 'top': permissions 'write'/)
  bench.device.setPermissions(Permission.ConsistentRead, Permission.All)
  bench.target.latencyNs = 1000
  bench.start({ isImmutable: true })
  assert.is(bench.graph.nodes.size, 3)
  assert.throws(() => bench.device.setPermissions(Permission.Write, Permission.All), /unshared by backup job 'j'/)
  bench.clock.run()
  assert.equal(bench.target.data, before)
  bench.device.setPermissions(Permission.ConsistentRead | Permission.Write, Permission.All)
})

function* attempt(bench: BackupBench, changes: Partial<BackupOptions>) {
  try {
    yield* startBackup(bench.graph, bench.jobs, bench.options(changes))
    return 'started'
  } catch (error) {
    assert.instance(error, BlockError)
    return (error as BlockError).message
  }
}

test('what cannot be backed up is refused with the reason, and nothing has changed', () => {
  const bench = backupBench()
  const bitmap = addedBitmap(bench)
  const small = addDisk(bench, 'small', new MemoryDriver(CLUSTER))
  const readOnly = addDisk(bench, 'ro', new MemoryDriver(LENGTH), { readOnly: true })
  const refusals: Array<[Partial<BackupOptions>, string]> = [
    [{ target: bench.nodes[0]! }, 'Source and target cannot be the same'],
    [{ target: small }, 'Source and target image have different sizes'],
    [{ target: readOnly }, 'Could not create node: Block node is read-only'],
    [{ sync: 'incremental' }, "must provide a valid bitmap name for 'incremental' sync mode"],
    [{ sync: 'bitmap' }, "must provide a valid bitmap name for 'bitmap' sync mode"],
    [
      { sync: 'incremental', bitmap: 'b', bitmapMode: 'never' },
      "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'",
    ],
    [{ sync: 'bitmap', bitmap: 'x' }, "Bitmap 'x' could not be found"],
    [{ bitmapMode: 'always' }, 'Cannot specify bitmap sync mode without a bitmap'],
    [{ sync: 'bitmap', bitmap: 'b' }, 'Bitmap sync mode must be given when providing a bitmap'],
    [{ sync: 'none', bitmap: 'b', bitmapMode: 'always' }, "sync mode 'none' does not produce meaningful bitmap outputs"],
    [
      { bitmap: 'b', bitmapMode: 'never' },
      "Bitmap sync mode 'never' has no meaningful effect when combined with sync mode 'full'",
    ],
    [{ isCompressed: true }, 'Compression is not supported for this drive '],
    [{ maxWorkers: 0 }, 'max-workers must be between 1 and 2147483647'],
    [{ maxChunkBytes: -1 }, 'max-chunk must be zero (which means no limit) or positive'],
    [{ maxChunkBytes: 1 }, 'Required max-chunk (1) is less than backup cluster size (65536)'],
    [{ speedBytesPerSecond: -1 }, "Parameter 'speed' expects a non-negative value"],
    [{ jobId: '' }, "Invalid job ID ''"],
    [{ filterNodeName: 'base' }, "Could not create node: Duplicate nodes with node-name='base'"],
  ]
  for (const [changes, text] of refusals) {
    assert.is(bench.run(attempt(bench, changes)), text)
    assert.is(bench.graph.nodes.size, 5)
    assert.not(bitmap.hasSuccessor)
  }
  assert.is(bench.run(attempt(bench, { target: readOnly, sync: 'bitmap', bitmap: 'b', bitmapMode: 'always' })), refusals[2]![1])
  assert.not(bitmap.hasSuccessor)
  assert.equal(bench.story(), [])
  bench.target.latencyNs = 1000
  bench.start()
  const refused = bench.run(attempt(bench, { jobId: 'k' }))
  assert.is(refused, "Node 'top' is busy: block device is in use by block job: backup")
})

test('a disk that is no whole number of clusters, and an empty one', () => {
  const odd = backupBench(5 * CLUSTER + 3 * KIB)
  const before = odd.read()
  const job = odd.start()
  odd.clock.run()
  assert.equal(odd.target.data, before)
  assert.is(job.progress.offsetBytes, 6 * CLUSTER)
})

test.run()
