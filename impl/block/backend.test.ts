import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ENOMEDIUM, makeLabel, OK } from '../co'
import { BlockBackend } from './backend'
import { Permission } from './flags'
import { memoryStack } from './testing'

test('a request that waited at the gate finds out that the medium is gone', () => {
  const { backend, graph, node, kernel, clock, run } = memoryStack(4096)
  run(graph.drainedBegin(node))
  let answer = -1
  kernel.spawn(
    (function* () {
      answer = yield* backend.pwrite(0, new Uint8Array(512))
    })(),
    makeLabel('w'),
  )
  clock.run()
  assert.is(answer, -1)
  assert.is(backend.inFlight, 0)
  backend.detach()
  clock.run()
  assert.is(answer, ENOMEDIUM)
  graph.drainedEnd(node)
})

test('a backend counts its requests in flight and cannot be detached under them', () => {
  const { backend, disk, kernel, clock } = memoryStack(4096)
  disk.latencyNs = 100
  kernel.spawn(
    (function* () {
      assert.is(yield* backend.pread(0, new Uint8Array(512)), OK)
    })(),
    makeLabel('r'),
  )
  clock.run(50)
  assert.is(backend.inFlight, 1)
  assert.throws(() => backend.detach(), /detach-idle/)
  clock.run()
  assert.is(backend.inFlight, 0)
})

test('a disposed backend gives its name and its node free', () => {
  const { backend, graph, node } = memoryStack(4096)
  backend.dispose()
  assert.is(node.parents.size, 0)
  assert.is(new BlockBackend(graph, 'drive0').describe(), "block device 'drive0'")
  assert.is(new BlockBackend(graph, '').describe(), 'an unnamed block device')
  assert.throws(() => backend.setPermissions(Permission.None, Permission.All), /backend-attached/)
})

test.run()
