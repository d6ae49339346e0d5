import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EINVAL, makeLabel, OK } from '../co'
import { BlockBackend } from './backend'
import { DirtyBitmap } from './dirty_bitmap'
import { Permission } from './flags'
import { MemoryDriver, memoryStack, OverlayDriver, testBench } from './testing'

const RESIZER = Permission.ConsistentRead | Permission.Write | Permission.Resize

test('the length changes, new area reads zero, and dirty bitmaps follow', () => {
  const { backend, node, run } = memoryStack(4096)
  backend.setPermissions(RESIZER, Permission.All)
  const bitmap = new DirtyBitmap(4096, 1024)
  node.dirtyBitmaps.add(bitmap)
  run(backend.pwrite(3072, new Uint8Array(1024).fill(1)))
  assert.is(run(backend.truncate(8192, true, 'off')), OK)
  assert.equal([backend.lengthBytes, bitmap.lengthBytes, bitmap.count], [8192, 8192, 1])
  const buffer = new Uint8Array(2048).fill(9)
  run(backend.pread(3584, buffer))
  assert.equal([buffer[0], buffer[511], buffer[512], buffer[2047]], [1, 1, 0, 0])
  assert.is(run(backend.truncate(1024, true, 'off')), OK)
  assert.equal([backend.lengthBytes, bitmap.lengthBytes, bitmap.count], [1024, 1024, 0])
  assert.is(run(backend.truncate(-1, true, 'off')), EINVAL)
  assert.is(run(backend.truncate(0.5, true, 'off')), EINVAL)
})

test('a node is not cut under a request in flight', () => {
  const { backend, disk, kernel, clock } = memoryStack(4096)
  backend.setPermissions(RESIZER, Permission.All)
  disk.latencyNs = 100
  const order: string[] = []
  function* write(): Co<void> {
    assert.is(yield* backend.pwrite(3584, new Uint8Array(512).fill(1)), OK)
    order.push(`written, ${backend.lengthBytes} bytes long`)
  }
  function* cut(): Co<void> {
    assert.is(yield* backend.truncate(512, true, 'off'), OK)
    order.push(`cut, ${backend.lengthBytes} bytes long`)
  }
  kernel.spawn(write(), makeLabel('w'))
  kernel.spawn(cut(), makeLabel('c'))
  clock.run()
  assert.equal(order, ['written, 4096 bytes long', 'cut, 512 bytes long'])
})

test('an overlay that grows does not show its longer backing image', () => {
  const { graph, run } = testBench()
  const base = new MemoryDriver(8192)
  base.data.fill(7)
  const backing = graph.addNode({ driver: base })
  const top = graph.addNode({ driver: new OverlayDriver(2048), children: [{ name: 'backing', role: 'cow', node: backing }] })
  const backend = new BlockBackend(graph, '')
  backend.attach(top, RESIZER, Permission.All)
  assert.is(run(backend.truncate(16384, true, 'off')), OK)
  const buffer = new Uint8Array(16384)
  assert.is(run(backend.pread(0, buffer)), OK)
  assert.equal([buffer[0], buffer[2047], buffer[2048], buffer[8191], buffer[8192]], [7, 7, 0, 0, 0])
})

test('changing the length without the permission is a defect', () => {
  const { backend, run } = memoryStack(4096)
  assert.throws(() => run(backend.truncate(0, true, 'off')), /resize-permitted/)
})

test.run()
