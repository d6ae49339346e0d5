import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EIO, type Errno, makeLabel, OK } from '../co'
import { BlockBackend } from './backend'
import { RawDriver } from './drivers/raw'
import { Permission } from './flags'
import { memoryStack } from './testing'

const SECTOR = new Uint8Array(512).fill(1)

test('a flush is sent only if something was written since the last one', () => {
  const { backend, disk, run } = memoryStack(4096)
  const flushes = () => disk.requests('flush').length
  run(backend.flush())
  assert.is(flushes(), 0)
  run(backend.pwrite(0, SECTOR))
  run(backend.flush())
  run(backend.flush())
  assert.is(flushes(), 1)
  run(backend.pwriteZeroes(0, 512))
  run(backend.flush())
  assert.is(flushes(), 2)
})

test('a failed flush is tried again by the next one, and a failed write needs one too', () => {
  const { backend, disk, run } = memoryStack(4096)
  disk.fail = () => EIO
  assert.is(run(backend.pwrite(0, SECTOR)), EIO)
  assert.is(run(backend.flush()), EIO)
  disk.fail = () => OK
  assert.is(run(backend.flush()), OK)
  assert.is(disk.requests('flush').length, 2)
})

test('flushes at one time share one request, unless something was written in between', () => {
  const { backend, disk, kernel, clock, run } = memoryStack(4096)
  run(backend.pwrite(0, SECTOR))
  const results: Errno[] = []
  function* flush(): Co<void> {
    results.push(yield* backend.flush())
  }
  function* writeAndFlush(): Co<void> {
    yield* kernel.sleepNs(50)
    yield* backend.pwrite(512, SECTOR)
    yield* flush()
  }
  disk.fail = (request) => {
    disk.latencyNs = request.kind === 'flush' ? 1000 : 1
    return OK
  }
  for (let index = 0; index < 4; index++) kernel.spawn(flush(), makeLabel(`f${index}`))
  kernel.spawn(writeAndFlush(), makeLabel('w'))
  clock.run()
  assert.equal(results, [OK, OK, OK, OK, OK])
  assert.is(disk.requests('flush').length, 2)
})

test('a flush goes down to children that may have been written to, whoever wrote', () => {
  const { backend, disk, graph, node, run } = memoryStack(4096)
  const format = graph.addNode({ driver: new RawDriver(), children: [{ name: 'file', role: 'image', node }] })
  const upper = new BlockBackend(graph, 'upper')
  upper.attach(format, Permission.ConsistentRead | Permission.Write, Permission.All)
  run(backend.pwrite(0, SECTOR))
  run(upper.flush())
  assert.is(disk.requests('flush').length, 1)
  upper.setPermissions(Permission.ConsistentRead, Permission.All)
  run(backend.pwrite(0, SECTOR))
  run(upper.flush())
  assert.is(disk.requests('flush').length, 1)
})

test('a child that cannot flush fails the flush of its parent', () => {
  const { disk, graph, node, run } = memoryStack(4096)
  const format = graph.addNode({ driver: new RawDriver(), children: [{ name: 'file', role: 'image', node }] })
  const upper = new BlockBackend(graph, 'upper')
  upper.attach(format, Permission.ConsistentRead | Permission.Write, Permission.All)
  run(upper.pwrite(0, SECTOR))
  disk.fail = () => EIO
  assert.is(run(upper.flush()), EIO)
  disk.fail = () => OK
  assert.is(run(upper.flush()), OK)
  assert.is(disk.requests('flush').length, 2)
})

test.run()
