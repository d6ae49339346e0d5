import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission } from '../../block'
import { SnapshotAccessDriver } from '../../block/drivers/snapshot_access'
import { MemoryDriver } from '../../block/testing'
import { type Co, EACCES, ENOTSUP, OK } from '../../co'
import { anyWorld, build, checkDisk, give, guest, type Running, settle, type World } from '../property/testing'
import { addDisk, KIB } from '../testing'
import { type BackupOptions, type BackupSync, startBackup } from './index'
import { CLUSTER } from './testing'

/** A quarter of a cluster: changes of parts, and images that are no whole number of clusters. */
const UNIT = 16 * KIB
const OLD = 0xee

interface Case {
  world: World
  sync: Exclude<BackupSync, 'bitmap' | 'incremental'>
  maxWorkers: number
  maxChunkClusters: number
  onCopyError: NonNullable<BackupOptions['onCopyError']>
  reads: Array<{ unit: number; count: number; waitNs: number }>
}

const anyCase = fc.record<Case>({
  world: anyWorld(1, 2),
  sync: fc.constantFrom('full', 'full', 'top', 'none'),
  maxWorkers: fc.constantFrom(1, 2, 64),
  maxChunkClusters: fc.constantFrom(0, 1, 3),
  onCopyError: fc.constantFrom('break-guest-write', 'break-snapshot'),
  reads: fc.array(
    fc.record({
      unit: fc.nat(63),
      count: fc.integer({ min: 1, max: 20 }),
      waitNs: fc.nat(9).map((units) => units * 800),
    }),
    { maxLength: 5 },
  ),
})

/** Reads the state that is kept while the guest goes on. */
function* readState(run: Running, state: BlockBackend, before: Uint8Array, chosen: Case): Co<void> {
  for (const { unit, count, waitNs } of chosen.reads) {
    yield* run.kernel.sleepNs(waitNs)
    const from = (unit * UNIT) % before.length
    const to = Math.min(from + count * UNIT, before.length)
    const buffer = new Uint8Array(to - from)
    const errno = yield* state.pread(from, buffer)
    if (errno === OK) assert.is(Buffer.compare(buffer, before.subarray(from, to)), 0, `the state at ${from}..${to}`)
    // Given up or never kept, or the job is over, or a disk fails.
    else if (errno === EACCES) assert.ok(chosen.onCopyError === 'break-snapshot' || chosen.sync === 'top')
    else if (errno !== ENOTSUP) assert.ok(chosen.world.failEvery > 0, `errno ${errno}`)
  }
}

function run(chosen: Case): void {
  const { world, sync, maxWorkers, maxChunkClusters, onCopyError } = chosen
  const target = new MemoryDriver(world.lengths[0]! * UNIT)
  target.data.fill(OLD)
  target.allocated.fill(1)
  const bench = build(world, UNIT, [target])
  const before = Uint8Array.from(bench.model)
  const own = bench.layers[0]!.allocated.slice()
  const targetNode = addDisk(bench, 'tgt', target)
  const job = bench.begin(
    startBackup(bench.graph, bench.jobs, {
      jobId: 'j',
      source: bench.nodes[0]!,
      target: targetNode,
      sync,
      maxWorkers,
      maxChunkBytes: maxChunkClusters * CLUSTER,
      onCopyError,
      filterNodeName: 'cbw',
      speedBytesPerSecond: world.speed,
      onSourceError: world.policy,
      onTargetError: world.policy,
      autoFinalize: world.autoFinalize,
      autoDismiss: true,
    }),
  )
  const filter = bench.graph.findNode('cbw')
  // A disk without anything to wait for has been copied by now.
  if (filter !== null) watchState(bench, filter, before, chosen)
  bench.spawn('guest', guest(bench, world.guest))
  bench.spawn('orders', give(bench, job, world.orders))
  bench.clock.run()
  if (sync === 'none' && (job.status === 'running' || job.status === 'paused')) job.cancel(true)
  settle(bench, job)
  checkDisk(bench)
  const isDone = job.errorText === null && !bench.story().includes('BLOCK_JOB_CANCELLED')
  // A state that is given up is not kept anywhere.
  const isGivenUp = !isDone && onCopyError === 'break-snapshot' && world.failEvery > 0
  for (let at = 0; at < before.length && !isGivenUp; at += CLUSTER) {
    const end = Math.min(at + CLUSTER, before.length)
    const isCopied = Buffer.compare(target.data.subarray(at, end), before.subarray(at, end)) === 0
    const isLeft = target.data.subarray(at, end).every((byte) => byte === OLD)
    assert.ok(isCopied || isLeft, `cluster at ${at}`)
    const isWanted = sync === 'full' || own.subarray(at / 512, Math.ceil(end / 512)).includes(1)
    if (isDone) assert.ok(isWanted ? isCopied : isLeft, `cluster at ${at}: ${isWanted}`)
  }
  if (isDone) assert.is(job.progress.offsetBytes, job.progress.lengthBytes)
}

function watchState(
  run: Running,
  filter: NonNullable<ReturnType<Running['graph']['findNode']>>,
  before: Uint8Array,
  chosen: Case,
) {
  const node = run.graph.addNode({
    name: 'state',
    driver: new SnapshotAccessDriver(),
    children: [{ name: 'file', role: 'image', node: filter }],
    options: { readOnly: true },
  })
  const state = new BlockBackend(run.graph, '')
  state.attach(node, Permission.ConsistentRead, Permission.All)
  run.spawn('reader', readState(run, state, before, chosen))
}

test('whatever happens meanwhile, the copy is the disk as it was, and who reads that state finds it', () => {
  fc.assert(fc.property(anyCase, run), { seed: 20254, numRuns: 200 })
})

test.run()
