import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EACCES, EIO, ENOTSUP, ETIMEDOUT, makeLabel, OK } from '../../co'
import { BlockBackend } from '../backend'
import { DirtyBitmap } from '../dirty_bitmap'
import { BlockError } from '../error'
import { Permission, StatusFlag } from '../flags'
import { MemoryDriver, testBench } from '../testing'
import { CopyBeforeWriteDriver, type CopyBeforeWriteOptions } from './copy_before_write'
import { SnapshotAccessDriver } from './snapshot_access'

const CLUSTER = 65536
const LENGTH = 4 * CLUSTER

/** A disk of `a`, a target of `x`, a guest above the filter and a reader of the state. */
function stack(options: CopyBeforeWriteOptions = {}, bitmap: DirtyBitmap | null = null) {
  const bench = testBench()
  const { graph } = bench
  const disk = new MemoryDriver(LENGTH)
  const target = new MemoryDriver(LENGTH)
  for (const [driver, letter] of [
    [disk, 'a'],
    [target, 'x'],
  ] as const) {
    driver.data.fill(letter.charCodeAt(0))
    driver.allocated.fill(1)
  }
  const diskNode = graph.addNode({ name: 'disk', driver: disk, options: { discard: 'unmap' } })
  const targetNode = graph.addNode({ name: 'target', driver: target, options: { discard: 'unmap' } })
  const driver = new CopyBeforeWriteDriver(options)
  const filter = graph.addNode({
    name: 'cbw',
    driver,
    children: [
      { name: 'file', role: 'filtered', node: diskNode },
      { name: 'target', role: 'image', node: targetNode },
    ],
    options: { discard: 'unmap' },
  })
  driver.start(bitmap)
  const guest = new BlockBackend(graph, 'guest')
  guest.attach(filter, Permission.ConsistentRead | Permission.Write, Permission.All)
  const stateNode = graph.addNode({
    name: 'state',
    driver: new SnapshotAccessDriver(),
    children: [{ name: 'file', role: 'image', node: filter }],
    options: { discard: 'unmap' },
  })
  const state = new BlockBackend(graph, 'reader')
  state.attach(stateNode, Permission.ConsistentRead | Permission.Write, Permission.All)
  /** One letter a cluster, or the errno. */
  const readState = (): string => {
    const letters = []
    for (let at = 0; at < LENGTH; at += CLUSTER) {
      const buffer = new Uint8Array(CLUSTER)
      const errno = bench.run(state.pread(at, buffer))
      letters.push(errno === OK ? String.fromCharCode(buffer[0]!) : `(${errno})`)
    }
    return letters.join('')
  }
  const write = (cluster: number, letter: string) => bench.run(guest.pwrite(cluster * CLUSTER + 512, Buffer.alloc(512, letter)))
  return { ...bench, disk, target, diskNode, targetNode, filter, driver, guest, state, stateNode, readState, write }
}

test('what is overwritten in any way is kept, in whole clusters and once', () => {
  const { target, guest, run, write, readState, disk } = stack()
  assert.is(write(0, 'b'), OK)
  assert.is(write(0, 'c'), OK)
  assert.is(run(guest.pwriteZeroes(CLUSTER, 512)), OK)
  assert.is(run(guest.pdiscard(2 * CLUSTER, CLUSTER)), OK)
  assert.equal(
    target.requests('write').map(({ offsetBytes, lengthBytes }) => [offsetBytes / CLUSTER, lengthBytes]),
    [0, 1, 2].map((cluster) => [cluster, CLUSTER]),
  )
  assert.equal([disk.data[512], disk.data[CLUSTER], disk.data[2 * CLUSTER]], ['c'.charCodeAt(0), 0, 0])
  assert.is(readState(), 'aaaa')
})

test('reading and flushing leave the target alone', () => {
  const { target, guest, run } = stack()
  run(guest.pread(0, new Uint8Array(LENGTH)))
  run(guest.flush())
  assert.equal(target.log, [])
})

test('with a bitmap only what is dirty there is kept', () => {
  const bitmap = new DirtyBitmap(LENGTH, CLUSTER)
  bitmap.set(CLUSTER, CLUSTER)
  const { target, write, readState } = stack({}, bitmap)
  for (const cluster of [0, 1, 2]) assert.is(write(cluster, 'b'), OK)
  assert.is(target.requests('write').length, 1)
  assert.is(readState(), `(${EACCES})a(${EACCES})(${EACCES})`)
  assert.throws(
    () => stack({}, new DirtyBitmap(CLUSTER, CLUSTER)),
    (error: unknown) => error instanceof BlockError && /different sizes \(destination size is 262144/.test(error.message),
  )
})

test('where the copy fails the guest fails, or the state is given up', () => {
  const guestFails = stack()
  guestFails.target.fail = () => EIO
  assert.is(guestFails.write(0, 'b'), EIO)
  assert.is(guestFails.disk.data[512], 'a'.charCodeAt(0))
  guestFails.target.fail = () => OK
  assert.is(guestFails.write(0, 'b'), OK)
  assert.is(guestFails.readState(), 'aaaa')
  const stateGoes = stack({ onError: 'break-snapshot' })
  let told = 0
  stateGoes.driver.onSnapshotError = () => told++
  stateGoes.target.fail = () => EIO
  assert.is(stateGoes.write(0, 'b'), OK)
  assert.is(stateGoes.write(1, 'b'), OK)
  assert.is(told, 1)
  assert.is(stateGoes.driver.snapshotErrno, EIO)
  assert.is(stateGoes.readState(), `(${EACCES})`.repeat(4))
  assert.is(stateGoes.target.log.length, 1, 'nothing is kept any more')
})

test('a copy that takes too long has failed, and the node is busy until it has ended', () => {
  for (const onError of ['break-guest-write', 'break-snapshot'] as const) {
    const { target, guest, kernel, clock, graph, filter } = stack({ onError, timeoutNs: 1_000_000 })
    target.latencyNs = 5_000_000
    let answer: { errno: number; atNs: number } | null = null
    const startNs = clock.nowNs()
    kernel.spawn(
      (function* () {
        answer = { errno: yield* guest.pwrite(0, new Uint8Array(512)), atNs: kernel.nowNs() - startNs }
      })(),
      makeLabel('guest'),
    )
    clock.run(startNs + 2_000_000)
    assert.equal(answer, { errno: onError === 'break-snapshot' ? OK : ETIMEDOUT, atNs: 1_000_000 })
    let drainedNs = 0
    kernel.spawn(
      (function* () {
        yield* graph.drainedBegin(filter)
        drainedNs = kernel.nowNs() - startNs
        graph.drainedEnd(filter)
      })(),
      makeLabel('drain'),
    )
    clock.run()
    assert.is(drainedNs, 5_000_000)
  }
})

test('a copy that comes in time is none that takes too long', () => {
  const { target, write } = stack({ timeoutNs: 10_000_000 })
  target.latencyNs = 5_000_000
  assert.is(write(0, 'b'), OK)
})

test('a change waits for those who read the state from the disk itself', () => {
  const { disk, state, guest, kernel, clock } = stack()
  disk.latencyNs = 1000
  const buffer = new Uint8Array(LENGTH)
  const order: string[] = []
  kernel.spawn(
    (function* () {
      yield* state.pread(0, buffer)
      order.push('read')
    })(),
    makeLabel('reader'),
  )
  clock.run(clock.nowNs() + 10)
  disk.latencyNs = 0
  kernel.spawn(
    (function* () {
      yield* guest.pwrite(0, Buffer.alloc(LENGTH, 'b'))
      order.push('written')
    })(),
    makeLabel('writer'),
  )
  clock.run()
  assert.equal(order, ['read', 'written'])
  assert.ok(buffer.every((byte) => byte === 'a'.charCodeAt(0)))
})

test('what is discarded in the state is not kept, and not read again', () => {
  const { state, run, target, write, readState } = stack()
  write(1, 'b')
  assert.is(run(state.pdiscard(CLUSTER, CLUSTER)), OK)
  assert.is(run(state.pdiscard(2 * CLUSTER, CLUSTER)), OK)
  assert.equal(
    target.requests('discard').map(({ offsetBytes }) => offsetBytes / CLUSTER),
    [1, 2],
  )
  write(2, 'b')
  assert.is(target.requests('write').length, 1)
  assert.is(readState(), `a(${EACCES})(${EACCES})a`)
})

test('the state says what it holds, and takes no writes', () => {
  const { stateNode, state, run, write, disk, target } = stack()
  disk.allocated.fill(0, 0, CLUSTER / 512)
  disk.data.fill(0, 0, CLUSTER)
  target.latencyNs = 10
  const ask = (cluster: number) => run(stateNode.blockStatus('want-zero', cluster * CLUSTER, LENGTH))
  assert.is(ask(0).flags & StatusFlag.Zero, StatusFlag.Zero)
  assert.is(ask(0).bytes, CLUSTER)
  write(0, 'b')
  assert.is(ask(0).flags & StatusFlag.Zero, StatusFlag.Zero, 'the target was zeroed')
  assert.is(ask(1).flags & StatusFlag.Data, StatusFlag.Data)
  assert.is(run(state.pwrite(0, new Uint8Array(512))), ENOTSUP)
})

test('a node that keeps no state has none to show', () => {
  const bench = testBench()
  const plain = bench.graph.addNode({ name: 'plain', driver: new MemoryDriver(LENGTH) })
  const node = bench.graph.addNode({
    name: 'state',
    driver: new SnapshotAccessDriver(),
    children: [{ name: 'file', role: 'image', node: plain }],
  })
  const reader = new BlockBackend(bench.graph, '')
  reader.attach(node, Permission.ConsistentRead, Permission.All)
  assert.is(bench.run(reader.pread(0, new Uint8Array(512))), ENOTSUP)
  assert.is(bench.run(node.blockStatus('want-zero', 0, 512)).errno, ENOTSUP)
})

test('guests share nothing with others who would write past the filter', () => {
  const { graph, diskNode, targetNode } = stack()
  const other = new BlockBackend(graph, '')
  assert.throws(() => other.attach(diskNode, Permission.Write, Permission.All), /Permission conflict on node 'disk'/)
  other.attach(targetNode, Permission.Write, Permission.All)
  other.detach()
  assert.throws(() => other.attach(targetNode, Permission.Resize, Permission.All), /Permission conflict on node 'target'/)
})

test.run()
