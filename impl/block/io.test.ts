import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EINVAL, EIO, ENOMEDIUM, ENOMEM, ENOSPC, ENOTSUP, EPERM, type Errno, makeLabel, OK } from '../co'
import { BlockBackend } from './backend'
import { DirtyBitmap } from './dirty_bitmap'
import { Permission, RequestFlag } from './flags'
import { MemoryDriver, type MemoryRequest, type MemoryStack, memoryStack } from './testing'

const KIB = 1024
const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)
/** `kind offset+length` of the requests that reached the disk. */
const log = (stack: MemoryStack): string[] =>
  stack.disk.log.map((request: MemoryRequest) => `${request.kind} ${request.offsetBytes}+${request.lengthBytes}`)
const read = (stack: MemoryStack, offsetBytes: number, lengthBytes: number): Uint8Array => {
  const buffer = bytes(lengthBytes, 0xee)
  assert.is(stack.run(stack.backend.pread(offsetBytes, buffer)), OK)
  return buffer
}

test('an aligned write reaches the driver as it is, once', () => {
  const stack = memoryStack(64 * KIB, { requestAlignmentBytes: 512 })
  assert.is(stack.run(stack.backend.pwrite(1024, bytes(512, 7))), OK)
  assert.equal(log(stack), ['write 1024+512'])
  assert.equal(read(stack, 1024, 512), bytes(512, 7))
})

test('what leaves the medium is an I/O error for a backend, whatever the request', () => {
  const { backend, disk, run } = memoryStack(4096)
  for (const [offset, length] of [
    [-512, 512],
    [4096, 1],
    [3584, 1024],
    [2 ** 53, 512],
  ] as const) {
    assert.is(run(backend.pread(offset, bytes(length, 0))), EIO)
    assert.is(run(backend.pwrite(offset, bytes(length, 0))), EIO)
    assert.is(run(backend.pwriteZeroes(offset, length)), EIO)
    assert.is(run(backend.pdiscard(offset, length)), EIO)
  }
  assert.is(run(backend.pwriteZeroes(0, -1)), EIO)
  assert.is(disk.log.length, 0)
  assert.is(run(backend.pwrite(4096, bytes(0, 0))), OK)
  assert.is(backend.inFlight, 0)
})

test('an edge between nodes reads zeroes beyond the end', () => {
  const stack = memoryStack(4096, { requestAlignmentBytes: 512 })
  const claim = stack.graph.attach({
    name: 'file',
    parent: stack.node,
    node: stack.graph.addNode({ name: 'other', driver: new MemoryDriver(1024) }),
    permission: Permission.ConsistentRead,
    shared: Permission.All,
  })
  const buffer = bytes(1024, 9)
  assert.is(stack.run(claim.pread(512, buffer)), OK)
  assert.equal(buffer, bytes(1024, 0))
  buffer.fill(9)
  assert.is(stack.run(claim.pread(1 << 20, buffer)), OK)
  assert.equal(buffer, bytes(1024, 0))
})

test('a read-only node refuses every change', () => {
  const { graph, run } = memoryStack(4096)
  const node = graph.addNode({ driver: new MemoryDriver(4096), options: { readOnly: true } })
  const backend = new BlockBackend(graph, '')
  backend.attach(node, Permission.ConsistentRead, Permission.All)
  assert.is(run(backend.pwrite(0, bytes(512, 1))), EPERM)
  assert.is(run(backend.pwriteZeroes(0, 512)), EPERM)
  assert.is(run(backend.pdiscard(0, 512)), EPERM)
  assert.is(run(backend.truncate(0, false, 'off')), EPERM)
  assert.is(run(backend.flush()), OK)
})

test('a write through an edge without the permission is a defect', () => {
  const stack = memoryStack(4096)
  stack.backend.setPermissions(Permission.ConsistentRead, Permission.All)
  assert.throws(() => stack.run(stack.backend.pwrite(0, bytes(512, 1))), /write-permitted/)
})

test('a write that changes nothing needs only the permission to do so', () => {
  const stack = memoryStack(4096)
  stack.backend.setPermissions(Permission.WriteUnchanged, Permission.All)
  assert.is(stack.run(stack.backend.pwrite(0, bytes(512, 1), RequestFlag.WriteUnchanged)), OK)
})

test('without a medium every request says so', () => {
  const { graph, run } = memoryStack(4096)
  const backend = new BlockBackend(graph, 'empty')
  assert.is(run(backend.pread(0, bytes(1, 0))), ENOMEDIUM)
  assert.is(run(backend.pwrite(0, bytes(1, 0))), ENOMEDIUM)
  assert.is(run(backend.pwriteZeroes(0, 1)), ENOMEDIUM)
  assert.is(run(backend.pdiscard(0, 1)), ENOMEDIUM)
  assert.is(run(backend.flush()), ENOMEDIUM)
  assert.is(run(backend.truncate(0, false, 'off')), ENOMEDIUM)
  assert.is(backend.lengthBytes, 0)
})

test('an unaligned write reads the blocks that it covers in part, and only those', () => {
  const stack = memoryStack(64 * KIB, { requestAlignmentBytes: 4096 })
  stack.disk.data.fill(1)
  assert.is(stack.run(stack.backend.pwrite(4096 + 100, bytes(3 * 4096, 2))), OK)
  assert.equal(log(stack), ['read 4096+4096', 'read 16384+4096', 'write 4096+16384'])
  assert.equal(read(stack, 4096, 100), bytes(100, 1))
  assert.equal(read(stack, 4196, 3 * 4096), bytes(3 * 4096, 2))
  assert.equal(read(stack, 16484, 200), bytes(200, 1))
})

test('two partial blocks next to each other are read at once', () => {
  const stack = memoryStack(64 * KIB, { requestAlignmentBytes: 4096 })
  stack.run(stack.backend.pwrite(4000, bytes(200, 2)))
  assert.equal(log(stack), ['read 0+8192', 'write 0+8192'])
})

test('a partial block that cannot be read is not written', () => {
  const stack = memoryStack(64 * KIB, { requestAlignmentBytes: 4096 })
  stack.disk.fail = (request) => (request.kind === 'read' ? EIO : OK)
  assert.is(stack.run(stack.backend.pwrite(1, bytes(1, 2))), EIO)
  assert.is(stack.run(stack.backend.pwriteZeroes(1, 1)), EIO)
  assert.is(stack.disk.requests('write').length, 0)
})

test('writers into one block wait for each other, and none of their bytes is lost', () => {
  const stack = memoryStack(8 * KIB, { requestAlignmentBytes: 4096 })
  stack.disk.latencyNs = 1000
  const results: Errno[] = []
  for (let index = 0; index < 8; index++) {
    stack.kernel.spawn(
      (function* () {
        results.push(yield* stack.backend.pwrite(index * 512, bytes(512, index + 1)))
      })(),
      makeLabel(`w${index}`),
    )
  }
  stack.clock.run()
  assert.equal(results, new Array(8).fill(OK))
  for (let index = 0; index < 8; index++) assert.equal(read(stack, index * 512, 512), bytes(512, index + 1))
})

test('a read that comes during a read-modify-write of its block sees what that leaves', () => {
  const stack = memoryStack(8 * KIB, { requestAlignmentBytes: 4096 })
  stack.disk.latencyNs = 100
  stack.kernel.spawn(stack.backend.pwrite(10, bytes(10, 5)) as unknown as Co<void>, makeLabel('w'))
  stack.clock.run(50)
  assert.equal(read(stack, 8, 4), new Uint8Array([0, 0, 5, 5]))
})

test('long requests are split at the largest transfer, whole blocks at a time', () => {
  const stack = memoryStack(64 * KIB, { requestAlignmentBytes: 512, maxTransferBytes: 1300 })
  stack.run(stack.backend.pwrite(0, bytes(2560, 3)))
  assert.equal(log(stack), ['write 0+1024', 'write 1024+1024', 'write 2048+512'])
  stack.disk.log.length = 0
  assert.equal(read(stack, 0, 2560), bytes(2560, 3))
  assert.equal(log(stack), ['read 0+1024', 'read 1024+1024', 'read 2048+512'])
})

test('the first piece that fails ends the request', () => {
  const stack = memoryStack(64 * KIB, { maxTransferBytes: 1024 })
  stack.disk.fail = (request) => (request.offsetBytes === 1024 ? ENOSPC : OK)
  assert.is(stack.run(stack.backend.pwrite(0, bytes(4096, 3))), ENOSPC)
  assert.equal(log(stack), ['write 0+1024', 'write 1024+1024'])
  assert.is(stack.run(stack.backend.pread(0, bytes(4096, 3))), ENOSPC)
})

test('a write-zeroes request is cut at the unit that the driver likes and at its maximum', () => {
  const stack = memoryStack(
    64 * KIB,
    { requestAlignmentBytes: 512, pwriteZeroesAlignmentBytes: 4096, maxPwriteZeroesBytes: 9000 },
    { discard: 'unmap' },
  )
  assert.is(stack.run(stack.backend.pwriteZeroes(3584, 25 * 512, RequestFlag.MayUnmap)), OK)
  assert.equal(log(stack), ['zero 3584+512', 'zero 4096+8192', 'zero 12288+4096'])
  assert.equal(new Set(stack.disk.log.map((request) => request.flags)), new Set([RequestFlag.MayUnmap]))
  stack.disk.log.length = 0
  stack.run(stack.backend.pwriteZeroes(4096 + 512, 1024))
  stack.run(stack.backend.pwriteZeroes(8192, 4096 + 512))
  assert.equal(log(stack), ['zero 4608+1024', 'zero 8192+4096', 'zero 12288+512'])
})

test('where the driver cannot zero, zeroes are written as data in bounded pieces', () => {
  const stack = memoryStack(64 * KIB, { requestAlignmentBytes: 512, maxTransferBytes: 8192 })
  stack.disk.canZero = false
  stack.disk.data.fill(1)
  assert.is(stack.run(stack.backend.pwriteZeroes(512, 20000 - (20000 % 512))), OK)
  assert.equal(log(stack), ['write 512+8192', 'write 8704+8192', 'write 16896+3584'])
  assert.equal(stack.disk.data.subarray(512, 20480), bytes(20480 - 512, 0))
  assert.is(stack.disk.data[511], 1)
})

test('NoFallback rather fails than writes data', () => {
  const stack = memoryStack(4096)
  stack.disk.canZero = false
  assert.is(stack.run(stack.backend.pwriteZeroes(0, 4096, RequestFlag.NoFallback)), ENOTSUP)
  assert.is(stack.disk.requests('write').length, 0)
})

test('zeroing part of a block keeps the rest, and leaves a block that is all zero unallocated', () => {
  const stack = memoryStack(64 * KIB, { requestAlignmentBytes: 4096 }, { discard: 'unmap' })
  stack.disk.data.fill(1, 0, 8192)
  stack.disk.allocated.fill(1, 0, 16)
  assert.is(stack.run(stack.backend.pwriteZeroes(100, 4096 + 4096, RequestFlag.MayUnmap)), OK)
  assert.equal(stack.disk.data.subarray(0, 100), bytes(100, 1))
  assert.equal(stack.disk.data.subarray(100, 8292), bytes(8192, 0))
  // The last block read as zeroes before: it has not been filled with data.
  assert.equal(log(stack), ['read 0+4096', 'write 0+4096', 'zero 4096+4096', 'read 8192+4096', 'zero 8192+4096'])
  assert.is(stack.disk.allocated[16], 0)
})

test('a node that ignores discards drops them, and keeps what it zeroes allocated', () => {
  const stack = memoryStack(8192)
  const bitmap = new DirtyBitmap(8192, 512)
  stack.node.dirtyBitmaps.add(bitmap)
  assert.is(stack.run(stack.backend.pdiscard(0, 4096)), OK)
  assert.equal(log(stack), [])
  assert.is(bitmap.count, 0)
  assert.is(stack.run(stack.backend.pwriteZeroes(0, 4096, RequestFlag.MayUnmap)), OK)
  assert.is(stack.disk.log[0]!.flags, RequestFlag.None)
  assert.is(bitmap.count, 8)
})

test('a discard is cut like a zeroing, loses what is no whole block, and is advice', () => {
  const stack = memoryStack(
    64 * KIB,
    { requestAlignmentBytes: 512, pdiscardAlignmentBytes: 4096, maxPdiscardBytes: 8192 },
    { discard: 'unmap' },
  )
  assert.is(stack.run(stack.backend.pdiscard(3500, 14000)), OK)
  assert.equal(log(stack), ['discard 3584+512', 'discard 4096+8192', 'discard 12288+4096', 'discard 16384+1024'])
  assert.is(stack.run(stack.backend.pdiscard(10, 300)), OK)
  assert.is(stack.disk.log.length, 4)
  stack.disk.fail = (request) => (request.offsetBytes % 4096 !== 0 ? EINVAL : OK)
  assert.is(stack.run(stack.backend.pdiscard(3584, 4608)), OK)
  stack.disk.fail = (request) => (request.offsetBytes === 4096 ? EINVAL : OK)
  assert.is(stack.run(stack.backend.pdiscard(3584, 4608)), EINVAL)
  stack.disk.canDiscard = false
  assert.is(stack.run(stack.backend.pdiscard(0, 4096)), OK)
})

test('zeroes in the data are found and become zeroing, unmapping only where that was asked for', () => {
  for (const [detectZeroes, expected] of [
    ['off', ['write 0+512', 'write 512+512']],
    ['on', ['zero 0+512', 'write 512+512']],
    ['unmap', ['zero 0+512', 'write 512+512']],
  ] as const) {
    const stack = memoryStack(4096, {}, { detectZeroes, discard: 'unmap' })
    stack.run(stack.backend.pwrite(0, bytes(512, 0)))
    const almost = bytes(512, 0)
    almost[200] = 1
    stack.run(stack.backend.pwrite(512, almost))
    assert.equal(log(stack), [...expected])
    assert.is(stack.disk.log[0]!.flags, detectZeroes === 'unmap' ? RequestFlag.MayUnmap : RequestFlag.None)
  }
})

test('Fua becomes one flush after the write unless the driver can do better', () => {
  const stack = memoryStack(8192, { maxTransferBytes: 1024 })
  stack.run(stack.backend.pwrite(0, bytes(2048, 1), RequestFlag.Fua))
  assert.equal(log(stack), ['write 0+1024', 'write 1024+1024', 'flush 0+0'])
  stack.disk.log.length = 0
  stack.run(stack.backend.pwriteZeroes(0, 512, RequestFlag.Fua))
  assert.equal(log(stack), ['zero 0+512', 'flush 0+0'])
  stack.disk.log.length = 0
  stack.disk.canZero = false
  stack.run(stack.backend.pwriteZeroes(0, 2048, RequestFlag.Fua))
  assert.equal(log(stack), ['write 0+1024', 'write 1024+1024', 'flush 0+0'])
  stack.disk.log.length = 0
  stack.disk.supportedWriteFlags = RequestFlag.Fua
  stack.run(stack.backend.pwrite(0, bytes(2048, 1), RequestFlag.Fua))
  assert.equal(
    stack.disk.log.map((request) => request.flags),
    [RequestFlag.Fua, RequestFlag.Fua],
  )
})

test('a driver’s own Fua for zeroes is made up for where zeroes are written as data', () => {
  const stack = memoryStack(8192)
  stack.disk.canZero = false
  stack.disk.supportedZeroFlags |= RequestFlag.Fua
  stack.run(stack.backend.pwriteZeroes(0, 512, RequestFlag.Fua))
  assert.equal(log(stack), ['write 0+512', 'flush 0+0'])
})

test('a Fua write whose flush fails has failed', () => {
  const stack = memoryStack(8192)
  stack.disk.fail = (request) => (request.kind === 'flush' ? EIO : OK)
  assert.is(stack.run(stack.backend.pwrite(0, bytes(512, 1), RequestFlag.Fua)), EIO)
})

test('dirty bitmaps learn of a write before its writer does, also of one that failed', () => {
  const stack = memoryStack(8192, { requestAlignmentBytes: 512 }, { discard: 'unmap' })
  const bitmap = new DirtyBitmap(8192, 1024)
  stack.node.dirtyBitmaps.add(bitmap)
  stack.disk.latencyNs = 10
  stack.disk.fail = (request) => (request.offsetBytes >= 4096 ? EIO : OK)
  const seen: boolean[] = []
  function* main(): Generator<undefined, void, undefined> {
    yield* stack.backend.pwrite(100, bytes(1, 1))
    seen.push(bitmap.get(0), bitmap.get(1024))
    yield* stack.backend.pwrite(4096, bytes(512, 1))
    seen.push(bitmap.get(4096))
    yield* stack.backend.pwriteZeroes(5120, 512)
    seen.push(bitmap.get(5120))
    yield* stack.backend.pdiscard(7168, 512)
    seen.push(bitmap.get(7168))
  }
  stack.run(main())
  assert.equal(seen, [true, false, true, true, true])
  assert.is(bitmap.count, 4)
})

test('limits that do not fit each other cut zeroes and discards at the maximum, not into bytes', () => {
  const limits = {
    maxPwriteZeroesBytes: 2048,
    pwriteZeroesAlignmentBytes: 4096,
    maxPdiscardBytes: 2048,
    pdiscardAlignmentBytes: 4096,
  }
  const { run, disk, backend } = memoryStack(16384, limits, { discard: 'unmap' })
  assert.is(run(backend.pwriteZeroes(0, 8192)), 0)
  assert.is(run(backend.pdiscard(0, 8192)), 0)
  for (const kind of ['zero', 'discard'] as const) {
    assert.equal(
      disk.requests(kind).map(({ lengthBytes }) => lengthBytes),
      [2048, 2048, 2048, 2048],
    )
  }
})

test('a request that needs a bounce buffer, and gets none, ends with ENOMEM and has done nothing', () => {
  const stack = memoryStack(64 * KIB, { requestAlignmentBytes: 4096 })
  const { graph, backend, run } = stack
  const asked: string[] = []
  graph.mayAllocate = (_node, offsetBytes, lengthBytes, isWrite) => {
    asked.push(`${isWrite ? 'write' : 'read'} ${offsetBytes}+${lengthBytes}`)
    return false
  }
  assert.is(run(backend.pread(512, bytes(512, 0))), ENOMEM)
  assert.is(run(backend.pwrite(512, bytes(4096, 7))), ENOMEM)
  assert.is(run(backend.pwriteZeroes(512, 512)), ENOMEM)
  assert.equal(asked, ['read 0+4096', 'write 0+8192', 'write 0+4096'])
  assert.equal(log(stack), [])
  assert.is(run(backend.pwrite(4096, bytes(4096, 7))), OK)
})

test.run()
