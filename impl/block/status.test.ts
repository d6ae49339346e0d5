import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EIO, OK } from '../co'
import { BlockBackend } from './backend'
import { BlockDriver, type BlockStatus, type StatusMode, statusOf } from './driver'
import { RawDriver } from './drivers/raw'
import { Permission, StatusFlag } from './flags'
import type { BlockNode } from './node'
import { isAllocatedAbove, probeAllZero } from './status'
import { MemoryDriver, type MemoryStack, memoryStack, OverlayDriver, type TestBench, testBench } from './testing'

const [Data, Zero, Allocated, Eof] = [StatusFlag.Data, StatusFlag.Zero, StatusFlag.Allocated, StatusFlag.Eof]
const ask = (bench: TestBench, node: BlockNode, at: number, length: number, mode: StatusMode = 'want-zero') => {
  const { errno, flags, bytes } = bench.run(node.blockStatus(mode, at, length))
  return { errno, flags, bytes }
}
const above = (bench: TestBench, top: BlockNode, base: BlockNode | null, at: number, length: number) => {
  const { errno, flags, bytes } = bench.run(top.blockStatusAbove(base, 'want-zero', at, length))
  return { errno, flags, bytes }
}
const filled = (stack: MemoryStack, at: number, length: number): MemoryStack => {
  stack.run(stack.backend.pwrite(at, new Uint8Array(length).fill(1)))
  return stack
}

test('status is clamped to the range asked and to the node, and tells its end', () => {
  const stack = filled(memoryStack(8192), 1024, 1024)
  assert.equal(ask(stack, stack.node, 0, 8192), { errno: OK, flags: Allocated | Zero, bytes: 1024 })
  assert.equal(ask(stack, stack.node, 1024, 512), { errno: OK, flags: Allocated | Data, bytes: 512 })
  assert.equal(ask(stack, stack.node, 4096, 1 << 20), { errno: OK, flags: Allocated | Zero | Eof, bytes: 4096 })
  assert.equal(ask(stack, stack.node, 8192, 1), { errno: OK, flags: Eof, bytes: 0 })
  assert.equal(ask(stack, stack.node, 100, 0), { errno: OK, flags: 0, bytes: 0 })
  assert.is(stack.node.inFlight, 0)
})

test('the driver is asked about whole blocks, and its answer is cut to the question', () => {
  const stack = filled(memoryStack(8192, { requestAlignmentBytes: 1024 }), 2048, 1024)
  stack.disk.log.length = 0
  assert.equal(ask(stack, stack.node, 1500, 700), { errno: OK, flags: Allocated | Zero, bytes: 548 })
  assert.equal(
    stack.disk.log.map((request) => [request.offsetBytes, request.lengthBytes]),
    [[1024, 2048]],
  )
  assert.equal(ask(stack, stack.node, 2100, 10), { errno: OK, flags: Allocated | Data, bytes: 10 })
})

test('an error of the driver is the answer', () => {
  const stack = memoryStack(8192)
  stack.disk.fail = () => EIO
  assert.is(ask(stack, stack.node, 0, 512).errno, EIO)
  assert.is(above(stack, stack.node, null, 0, 512).errno, EIO)
  assert.is(stack.node.inFlight, 0)
})

test('a raw image has the holes of its file, also through a window', () => {
  const stack = filled(memoryStack(8192), 2048, 1024)
  const children = [{ name: 'file', role: 'image' as const, node: stack.node }]
  const whole = stack.graph.addNode({ driver: new RawDriver(), children })
  assert.equal(ask(stack, whole, 0, 8192), { errno: OK, flags: Allocated | Zero, bytes: 2048 })
  assert.equal(ask(stack, whole, 2048, 8192), { errno: OK, flags: Allocated | Data, bytes: 1024 })
  const window = stack.graph.addNode({ driver: new RawDriver({ offsetBytes: 1024, sizeBytes: 1536 }), children })
  assert.equal(ask(stack, window, 0, 8192), { errno: OK, flags: Allocated | Zero, bytes: 1024 })
  assert.equal(ask(stack, window, 1024, 8192), { errno: OK, flags: Allocated | Data | Eof, bytes: 512 })
})

/** A format whose table says "all data, look below", as a driver with Recurse does. */
class TableDriver extends BlockDriver {
  readonly name = 'table'
  lengthBytes(): number {
    return 8192
  }
  pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<number> {
    return this.node.children.get('file')!.pread(offsetBytes, buffer, flags)
  }
  pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<number> {
    return this.node.children.get('file')!.pwrite(offsetBytes, buffer, flags)
  }
  override *blockStatus(_mode: StatusMode, offsetBytes: number, lengthBytes: number): Co<BlockStatus> {
    const flags = StatusFlag.Data | StatusFlag.OffsetValid | StatusFlag.Recurse
    return statusOf(flags, lengthBytes, offsetBytes, this.node.children.get('file')!.node)
  }
}

test('what a format calls data is refined by its storage, if somebody wants to know of zeroes', () => {
  const stack = filled(memoryStack(4096), 2048, 512)
  const node = stack.graph.addNode({ driver: new TableDriver(), children: [{ name: 'file', role: 'image', node: stack.node }] })
  const known = Allocated | Data | StatusFlag.OffsetValid
  assert.equal(ask(stack, node, 0, 8192), { errno: OK, flags: known | Zero, bytes: 2048 })
  assert.equal(ask(stack, node, 2048, 512), { errno: OK, flags: known, bytes: 512 })
  // Beyond the end of the storage, which reads zero.
  assert.equal(ask(stack, node, 4096, 4096), { errno: OK, flags: known | Zero | Eof, bytes: 4096 })
  assert.equal(ask(stack, node, 0, 8192, 'allocation-only'), { errno: OK, flags: known | Eof, bytes: 8192 })
  stack.disk.fail = () => EIO
  assert.equal(ask(stack, node, 0, 512), { errno: OK, flags: known, bytes: 512 })
})

/** top (8 KiB, data at 0) over middle (4 KiB, data at 1 KiB) over base (2 KiB, all data), units of 512 bytes. */
function chain() {
  const bench = testBench()
  const make = (name: string, driver: MemoryDriver, data: readonly [number, number], below?: BlockNode): BlockNode => {
    driver.allocated.fill(1, data[0] / 512, (data[0] + data[1]) / 512)
    const children = below === undefined ? [] : [{ name: 'backing', role: 'cow' as const, node: below }]
    return bench.graph.addNode({ name, driver, children })
  }
  const base = make('base', new MemoryDriver(2048), [0, 2048])
  const middle = make('middle', new OverlayDriver(4096), [1024, 512], base)
  const top = make('top', new OverlayDriver(8192), [0, 512], middle)
  return { bench, base, middle, top }
}

test('a chain answers with the first layer that determines the data; beyond a short backing image it reads zero', () => {
  const { bench, top } = chain()
  assert.equal(above(bench, top, null, 0, 8192), { errno: OK, flags: Allocated | Data, bytes: 512 })
  assert.equal(above(bench, top, null, 512, 8192), { errno: OK, flags: Allocated | Data, bytes: 512 })
  assert.equal(above(bench, top, null, 1024, 8192), { errno: OK, flags: Allocated | Data, bytes: 512 })
  assert.equal(above(bench, top, null, 1536, 8192), { errno: OK, flags: Allocated | Data, bytes: 512 })
  // The middle layer is not allocated here, and the base ends before it.
  assert.equal(above(bench, top, null, 2048, 8192), { errno: OK, flags: Allocated | Zero, bytes: 2048 })
  assert.equal(above(bench, top, null, 4096, 8192), { errno: OK, flags: Allocated | Zero | Eof, bytes: 4096 })
})

test('allocation above a base leaves the base out', () => {
  const { bench, base, middle, top } = chain()
  const allocation = (below: BlockNode | null, at: number) => bench.run(isAllocatedAbove(top, below, at, 8192 - at))
  assert.equal(allocation(base, 512), { errno: OK, isAllocated: false, bytes: 512 })
  assert.equal(allocation(base, 1024), { errno: OK, isAllocated: true, bytes: 512 })
  assert.equal(allocation(middle, 1024), { errno: OK, isAllocated: false, bytes: 7168 })
  assert.equal(allocation(null, 1536), { errno: OK, isAllocated: true, bytes: 512 })
})

/** A filter with no knowledge of its own. */
class FilterDriver extends TableDriver {
  override readonly isFilter = true
}

test('a filter answers as its child, but is no layer: what its child holds is not above the child', () => {
  const stack = filled(memoryStack(8192), 0, 512)
  const children = [{ name: 'file', role: 'filtered' as const, node: stack.node }]
  const filter = stack.graph.addNode({ driver: new FilterDriver(), children })
  assert.equal(ask(stack, filter, 0, 8192), { errno: OK, flags: Allocated | Data, bytes: 512 })
  assert.equal(above(stack, filter, null, 0, 8192), { errno: OK, flags: Allocated | Data, bytes: 512 })
  assert.equal(stack.run(isAllocatedAbove(filter, stack.node, 0, 8192)), { errno: OK, isAllocated: false, bytes: 8192 })
})

test('an empty image is known to be zero, a filled one not', () => {
  const stack = memoryStack(1 << 20)
  const probe = () => stack.run(probeAllZero(stack.backend.root!))
  assert.equal(probe(), { errno: OK, isZero: true })
  filled(stack, 1 << 19, 512)
  assert.equal(probe(), { errno: OK, isZero: false })
})

test('an image that says so is zero without a look, and one of very many extents is not asked to its end', () => {
  class Known extends MemoryDriver {
    override readsAllZero(): boolean {
      return true
    }
  }
  class Fragmented extends MemoryDriver {
    override *blockStatus(mode: StatusMode, offsetBytes: number, lengthBytes: number) {
      return yield* super.blockStatus(mode, offsetBytes, Math.min(lengthBytes, 512))
    }
  }
  const probe = (disk: MemoryDriver) => {
    const { graph, run } = testBench()
    const backend = new BlockBackend(graph, 'b')
    backend.attach(graph.addNode({ name: 'disk', driver: disk }), Permission.ConsistentRead, Permission.All)
    return run(probeAllZero(backend.root!)).isZero
  }
  const known = new Known(4096)
  known.allocated.fill(1)
  assert.equal([probe(known), known.log.length], [true, 0])
  const [most, more] = [new Fragmented(64 * 512), new Fragmented(65 * 512)]
  assert.equal([probe(most), probe(more)], [true, false])
  assert.is(more.requests('status').length, 64)
})

test('a short allocated head is read, a long one or one with data is taken for what it is', () => {
  const stack = memoryStack(1 << 20)
  const probe = () => stack.run(probeAllZero(stack.backend.root!))
  stack.run(stack.backend.pwrite(0, new Uint8Array(4096)))
  assert.equal(probe(), { errno: OK, isZero: true })
  assert.equal(stack.disk.requests('read').length, 1)
  filled(stack, 4095, 1)
  assert.equal(probe(), { errno: OK, isZero: false })
  stack.run(stack.backend.pwrite(0, new Uint8Array(129 * 1024)))
  assert.equal(probe(), { errno: OK, isZero: false })
  assert.equal(stack.disk.requests('read').length, 2)
})

test('the probe gives up on an image of many extents and passes errors on', () => {
  const stack = memoryStack(1 << 20)
  const node = stack.graph.addNode({ driver: new OverlayDriver(1 << 20) })
  const overlay = node.driver as OverlayDriver
  for (let unit = 1; unit < 2048; unit += 2) overlay.allocated[unit] = 1
  const backend = new BlockBackend(stack.graph, '')
  backend.attach(node, Permission.ConsistentRead, Permission.All)
  assert.equal(stack.run(probeAllZero(backend.root!)), { errno: OK, isZero: false })
  assert.ok(overlay.log.length < 100)
  overlay.fail = () => EIO
  assert.equal(stack.run(probeAllZero(backend.root!)), { errno: EIO, isZero: false })
})

test.run()
