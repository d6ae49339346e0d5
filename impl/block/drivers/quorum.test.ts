import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, ENOSPC, EROFS, makeLabel, OK } from '../../co'
import { BlockBackend } from '../backend'
import { Permission, StatusFlag } from '../flags'
import { MemoryDriver, testBench } from '../testing'
import { QuorumDriver, type QuorumOptions, replicaName } from './quorum'

const LENGTH_BYTES = 16384

function bench(options: Partial<QuorumOptions> = {}, count = 3) {
  const stack = testBench()
  const replicas = Array.from({ length: count }, () => new MemoryDriver(LENGTH_BYTES))
  const told: string[] = []
  const driver = new QuorumDriver(
    { threshold: 2, isBlkverify: false, rewritesCorrupted: false, readPattern: 'quorum', ...options },
    count,
    {
      bad: (type, { name }, sector, sectors, error) => told.push(`${name} ${type} ${sector}+${sectors} ${error}`),
      failure: ({ name }, sector, sectors) => told.push(`${name} fails ${sector}+${sectors}`),
      mismatch: (text) => told.push(text),
    },
  )
  const children = replicas.map((replica, index) => ({
    name: replicaName(index),
    role: 'image' as const,
    node: stack.graph.addNode({ name: `r${index}`, driver: replica }),
  }))
  const node = stack.graph.addNode({ name: 'quorum', driver, children, options: { discard: 'unmap' } })
  const backend = new BlockBackend(stack.graph, 'drive')
  backend.attach(node, Permission.ConsistentRead | Permission.Write | Permission.Resize, Permission.All)
  return { ...stack, replicas, told, backend, node, driver }
}
const bytes = (count: number, value: number): Uint8Array => new Uint8Array(count).fill(value)

test('changes go to all replicas, and reads give what most of them hold', () => {
  const { backend, replicas, told, run } = bench()
  assert.is(run(backend.pwrite(512, bytes(1024, 7))), OK)
  assert.is(run(backend.pwriteZeroes(1024, 512)), OK)
  assert.is(run(backend.flush()), OK)
  for (const replica of replicas) {
    assert.equal([replica.data[511], replica.data[512], replica.data[1024]], [0, 7, 0])
    assert.is(replica.requests('flush').length, 1)
  }
  replicas[0]!.data[600] = 9
  const buffer = bytes(4096, 0xff)
  assert.is(run(backend.pread(0, buffer)), OK)
  assert.is(buffer[600], 7)
  assert.equal(told, ['r0 read 0+8 null'])
  assert.is(replicas[0]!.data[600], 9)
})

test('outvoted replicas get what the others hold if that is wanted', () => {
  const { backend, replicas, told, run } = bench({ rewritesCorrupted: true })
  replicas[1]!.data.fill(5, 1024, 1536)
  assert.is(run(backend.pread(1024, bytes(512, 1))), OK)
  assert.equal(told, ['r1 read 2+1 null'])
  assert.is(replicas[1]!.data[1024], 0)
  assert.is(run(backend.pread(1024, bytes(512, 1))), OK)
  assert.is(told.length, 1)
})

test('where too few agree nothing is read', () => {
  const { backend, replicas, told, run } = bench()
  replicas[0]!.data[0] = 1
  replicas[1]!.data[0] = 2
  assert.is(run(backend.pread(0, bytes(512, 0))), EIO)
  assert.equal(told, ['quorum fails 0+1'])
})

test('of versions that equally many hold the last one is read', () => {
  const { backend, replicas, told, run } = bench({ threshold: 1 }, 2)
  replicas[1]!.data[0] = 2
  const buffer = bytes(512, 0)
  assert.is(run(backend.pread(0, buffer)), OK)
  assert.is(buffer[0], 2)
  assert.equal(told, ['r0 read 0+1 null'])
})

test('replicas that fail are told, and their error is that of the request if too few are left', () => {
  const { backend, replicas, told, run } = bench()
  replicas[2]!.fail = () => EIO
  assert.is(run(backend.pwrite(512, bytes(512, 1))), OK)
  assert.is(run(backend.pread(512, bytes(512, 0))), OK)
  assert.equal(told.splice(0), ['r2 write 1+1 Input/output error', 'r2 read 1+1 Input/output error'])
  replicas[0]!.fail = replicas[1]!.fail = () => ENOSPC
  assert.is(run(backend.pwrite(512, bytes(512, 1))), ENOSPC)
  assert.is(told.length, 4)
  assert.is(told.at(-1), 'quorum fails 1+1')
})

test('errors of flushes are counted as those of writes are', () => {
  const { backend, replicas, told, run } = bench()
  assert.is(run(backend.pwrite(0, bytes(512, 1))), OK)
  replicas[0]!.fail = () => EROFS
  assert.is(run(backend.flush()), OK)
  assert.equal(told.splice(0), ['r0 flush 0+0 Read-only file system'])
  assert.is(run(backend.pwrite(0, bytes(512, 1))), OK)
  replicas[1]!.fail = () => EIO
  told.length = 0
  assert.is(run(backend.flush()), EIO)
  assert.is(told.length, 2)
})

test('in order: the first replica that can be read is believed', () => {
  const { backend, replicas, told, run } = bench({ readPattern: 'fifo', threshold: 1 })
  replicas[0]!.fail = () => EIO
  replicas[1]!.data[0] = 3
  const buffer = bytes(512, 0)
  assert.is(run(backend.pread(0, buffer)), OK)
  assert.is(buffer[0], 3)
  assert.equal(told, ['r0 read 0+1 Input/output error'])
  assert.is(replicas[2]!.requests('read').length, 0)
})

test('two replicas that have to be the same', () => {
  const { backend, replicas, told, run } = bench({ isBlkverify: true }, 2)
  replicas[1]!.data[700] = 1
  assert.is(run(backend.pread(512, bytes(512, 0))), EIO)
  assert.equal(told, ['quorum: offset=512 bytes=512 contents mismatch at offset 700'])
})

test('writes that overlap reach all replicas in one order', () => {
  const { backend, replicas, kernel, run } = bench()
  // The first request of one replica is the slowest.
  let delayNs = 5000
  const slow = replicas[1]!.pwrite.bind(replicas[1])
  replicas[1]!.pwrite = function* (...request) {
    const isFirst = delayNs > 0
    delayNs = 0
    if (isFirst) yield* kernel.sleepNs(5000)
    return yield* slow(...request)
  }
  function* both() {
    const one = kernel.spawn(write(1), makeLabel('one'))
    const two = kernel.spawn(write(2), makeLabel('two'))
    yield* kernel.join(one)
    yield* kernel.join(two)
  }
  function* write(value: number) {
    yield* backend.pwrite(0, bytes(1024, value))
  }
  run(both())
  for (const replica of replicas) assert.is(Buffer.compare(replica.data, replicas[0]!.data), 0)
})

test('a hole is one that all replicas have', () => {
  const { node, replicas, run } = bench()
  replicas[1]!.blockStatus = function* () {
    return { errno: OK, flags: StatusFlag.Data | StatusFlag.Allocated, bytes: 2048, mapOffsetBytes: 0, mapNode: null }
  }
  const holes = replicas.filter((_, index) => index !== 1)
  for (const replica of holes) {
    replica.blockStatus = function* () {
      return { errno: OK, flags: StatusFlag.Zero | StatusFlag.Allocated, bytes: 4096, mapOffsetBytes: 0, mapNode: null }
    }
  }
  const data = run(node.blockStatus('want-zero', 0, 8192))
  assert.equal([data.bytes, data.flags & StatusFlag.Data], [2048, StatusFlag.Data])
  replicas[1]!.blockStatus = holes[0]!.blockStatus
  const hole = run(node.blockStatus('want-zero', 0, 8192))
  assert.equal([hole.bytes, hole.flags & StatusFlag.Zero], [4096, StatusFlag.Zero])
})

test('others may not write to replicas, and nobody changes their length', () => {
  const { graph, backend, run } = bench()
  const other = new BlockBackend(graph, 'other')
  assert.throws(
    () => other.attach(graph.findNode('r0')!, Permission.Write, Permission.All),
    /unshared by node 'quorum' \(uses node 'r0' as 'children.0' child\)/,
  )
  assert.is.not(run(backend.truncate(32768, true, 'off')), OK)
})

test.run()
