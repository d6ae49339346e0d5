import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EIO, type Errno, makeLabel, OK } from '../../co'
import { BlockBackend } from '../backend'
import { Permission, RequestFlag } from '../flags'
import { MemoryDriver, testBench } from '../testing'
import { LogWritesDriver, type LogWritesOptions } from './blklogwrites'

const DISK = 16384

class GrowingDriver extends MemoryDriver {
  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    const endBytes = offsetBytes + buffer.length
    if (endBytes > this.data.length) yield* super.truncate(endBytes, false, 'off')
    return yield* super.pwrite(offsetBytes, buffer, flags)
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    const endBytes = offsetBytes + lengthBytes
    if (endBytes > this.data.length) yield* super.truncate(endBytes, false, 'off')
    return yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
  }
}

function bench(options: LogWritesOptions = {}, log = new GrowingDriver(0)) {
  const stack = testBench()
  const disk = new MemoryDriver(DISK)
  const driver = new LogWritesDriver(options)
  const node = stack.graph.addNode({
    name: 'logged',
    driver,
    children: [
      { name: 'file', role: 'filtered', node: stack.graph.addNode({ driver: disk, options: { discard: 'unmap' } }) },
      { name: 'log', role: 'image', node: stack.graph.addNode({ driver: log }) },
    ],
    options: { discard: 'unmap' },
  })
  stack.run(driver.start())
  const backend = new BlockBackend(stack.graph, 'drive')
  backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
  return { ...stack, disk, log, driver, node, backend }
}
const bytes = (count: number, value: number): Uint8Array => new Uint8Array(count).fill(value)

/** The log as `kind sector+sectors` lines, and what a replay of all of it gives. */
function replay(log: Uint8Array, sectorBytes = 512): { entries: string[]; disk: Uint8Array } {
  const view = Buffer.from(log)
  assert.is(view.readBigUInt64LE(0), 0x6a736677736872n)
  assert.is(view.readBigUInt64LE(8), 1n)
  assert.is(view.readUInt32LE(24), sectorBytes)
  const disk = new Uint8Array(DISK)
  const entries: string[] = []
  let at = sectorBytes
  for (let left = Number(view.readBigUInt64LE(16)); left > 0; left--) {
    const [sector, sectors, flags] = [0, 8, 16].map((field) => Number(view.readBigUInt64LE(at + field))) as [
      number,
      number,
      number,
    ]
    const kind = ['write', 'flush', 'fua', '?', 'discard'][flags]!
    entries.push(`${kind} ${sector}+${sectors}`)
    at += sectorBytes
    if (kind === 'discard') disk.fill(0, sector * sectorBytes, (sector + sectors) * sectorBytes)
    else {
      disk.set(view.subarray(at, at + sectors * sectorBytes), sector * sectorBytes)
      at += sectors * sectorBytes
    }
  }
  return { entries, disk }
}

test('every change is in the log, and replaying it gives the disk', () => {
  const { backend, disk, log, run } = bench()
  run(backend.pwrite(512, bytes(1024, 7)))
  run(backend.pwriteZeroes(1024, 512))
  run(backend.pwrite(4096, bytes(2048, 9)))
  run(backend.pdiscard(4096, 1024))
  run(backend.flush())
  const replayed = replay(log.data)
  assert.equal(replayed.entries, ['write 1+2', 'write 2+1', 'write 8+4', 'discard 8+2', 'flush 0+0'])
  assert.is(Buffer.compare(replayed.disk, disk.data), 0)
})

test('the superblock counts what is there at a flush, after so many entries, and at the end', () => {
  const { backend, log, node, graph, run } = bench({ superUpdateInterval: 3 })
  const counted = (): number => replay(log.data).entries.length
  run(backend.pwrite(0, bytes(512, 1)))
  run(backend.pwrite(0, bytes(512, 2)))
  assert.is(counted(), 0)
  run(backend.pwrite(0, bytes(512, 3)))
  assert.is(counted(), 3)
  run(backend.pwrite(0, bytes(512, 4)))
  backend.dispose()
  run(graph.removeNode(node))
  // A node that goes is flushed.
  assert.is(counted(), 5)
})

test('a flush stands before what ended while it ran', () => {
  const { backend, disk, log, kernel, clock, run } = bench()
  run(backend.pwrite(0, bytes(512, 1)))
  disk.fail = (request) => {
    disk.latencyNs = request.kind === 'flush' ? 100 : 10
    return OK
  }
  function* flush(): Co<void> {
    yield* backend.flush()
  }
  function* write(): Co<void> {
    yield* kernel.sleepNs(20)
    yield* backend.pwrite(512, bytes(512, 2))
  }
  kernel.spawn(flush(), makeLabel('f'))
  kernel.spawn(write(), makeLabel('w'))
  clock.run()
  run(backend.flush())
  assert.equal(replay(log.data).entries, ['write 0+1', 'flush 0+0', 'write 1+1', 'flush 0+0'])
})

test('what failed is not in the log, and a flush that failed says nothing', () => {
  const { backend, disk, log, node, graph, run } = bench()
  disk.fail = (request) => (request.kind === 'write' && request.offsetBytes === 0 ? EIO : request.kind === 'flush' ? EIO : OK)
  assert.is(run(backend.pwrite(0, bytes(512, 1))), EIO)
  assert.is(run(backend.pwrite(512, bytes(512, 1))), OK)
  assert.is(run(backend.flush()), EIO)
  disk.fail = () => OK
  backend.dispose()
  run(graph.removeNode(node))
  assert.equal(replay(log.data).entries.slice(0, 2), ['write 1+1', 'write 0+0'])
})

test('a log is continued where it ended, with its own sectors', () => {
  const first = bench({ sectorBytes: 4096 })
  assert.is(first.node.limits.requestAlignmentBytes, 4096)
  first.run(first.backend.pwrite(4096, bytes(4096, 1)))
  first.run(first.backend.pwriteZeroes(8192, 4096))
  first.run(first.backend.flush())
  const second = bench({ append: true }, Object.assign(new GrowingDriver(0), { data: first.log.data }))
  assert.is(second.node.limits.requestAlignmentBytes, 4096)
  second.run(second.backend.pwrite(0, bytes(4096, 2)))
  second.run(second.backend.flush())
  assert.equal(replay(second.log.data, 4096).entries, ['write 1+1', 'write 2+1', 'flush 0+0', 'write 0+1', 'flush 0+0'])
})

test('a log that is none is refused, and so are odd options', () => {
  assert.throws(() => bench({ append: true }, new GrowingDriver(4096)), /Invalid log superblock magic/)
  assert.throws(() => bench({ sectorBytes: 1000 }), /Invalid log sector size 1000/)
  assert.throws(() => bench({ superUpdateInterval: 0 }), /Invalid log superblock update interval 0/)
  const lying = new GrowingDriver(1024)
  const head = Buffer.from(lying.data.buffer)
  head.writeBigUInt64LE(0x6a736677736872n, 0)
  head.writeBigUInt64LE(1n, 8)
  head.writeBigUInt64LE(1n, 16)
  head.writeUInt32LE(512, 24)
  head.writeBigUInt64LE(2n ** 60n, 520)
  assert.throws(() => bench({ append: true }, lying), /Invalid log entry 0/)
})

test('durable writes are logged as such', () => {
  const stack = bench()
  stack.disk.supportedWriteFlags = RequestFlag.Fua
  stack.graph.refreshLimits(stack.disk.node)
  stack.run(stack.backend.pwrite(0, bytes(512, 1), RequestFlag.Fua))
  stack.run(stack.backend.flush())
  assert.equal(replay(stack.log.data).entries, ['fua 0+1', 'flush 0+0'])
})

test.run()
