import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, makeLabel, OK } from '../co'
import { BlockBackend } from './backend'
import { RawDriver } from './drivers/raw'
import { Permission } from './flags'
import type { BlockNode } from './node'
import { MemoryDriver, memoryStack } from './testing'

const READ_WRITE = Permission.ConsistentRead | Permission.Write

function stackOfTwo() {
  const stack = memoryStack(8192)
  const format = stack.graph.addNode({
    name: 'format',
    driver: new RawDriver(),
    children: [{ name: 'file', role: 'image', node: stack.node }],
  })
  const device = new BlockBackend(stack.graph, 'device')
  device.attach(format, READ_WRITE, Permission.All)
  const order: string[] = []
  const spawn = (name: string, body: Co<unknown>): void => {
    stack.kernel.spawn(
      (function* (): Co<void> {
        yield* body
        order.push(name)
      })(),
      makeLabel(name),
    )
  }
  const write = (backend: BlockBackend): Co<number> => backend.pwrite(0, new Uint8Array(512).fill(1))
  return { ...stack, format, device, order, spawn, write }
}

test('a drained section begins when what was in flight above the node has ended, and holds back what comes', () => {
  const { clock, graph, node, device, disk, order, spawn, write } = stackOfTwo()
  disk.latencyNs = 100
  spawn('early', write(device))
  clock.run(10)
  spawn('drained', graph.drainedBegin(node))
  clock.run(20)
  spawn('late', write(device))
  clock.run(1000)
  assert.equal(order, ['early', 'drained'])
  assert.is(device.inFlight, 0)
  graph.drainedEnd(node)
  clock.run()
  assert.equal(order, ['early', 'drained', 'late'])
})

test('a status query that comes from no backend is waited for too', () => {
  const { clock, graph, node, disk, order, spawn } = stackOfTwo()
  disk.latencyNs = 100
  spawn('status', node.blockStatus('want-zero', 0, 512))
  clock.run(10)
  spawn('drained', graph.drainedBegin(node))
  clock.run()
  assert.equal(order, ['status', 'drained'])
  graph.drainedEnd(node)
})

test('who waits for a drained section says for what, and for whom', () => {
  const { clock, kernel, graph, node, format, device, disk, spawn, write } = stackOfTwo()
  disk.latencyNs = 100
  spawn('early', write(device))
  clock.run(10)
  spawn('drainer', graph.drainedBegin(node))
  clock.run(20)
  const drainer = [...kernel.live].find((coroutine) => coroutine.label.id === 'drainer')!
  assert.is(
    drainer.waitsFor!.describe(),
    "waits until node 'disk' is drained: 1 in flight at node 'disk', 1 in flight at node 'format', block device 'device' is busy",
  )
  assert.ok([...drainer.waitsFor!.heldBy!()].every((coroutine) => coroutine.label.id === 'early'))
  assert.is(format.quiesceCount, 1)
  clock.run()
  graph.drainedEnd(node)
})

test('draining a node leaves its children and its siblings alone', () => {
  const { graph, node, format, run, backend, device } = stackOfTwo()
  run(graph.drainedBegin(format))
  assert.is(node.quiesceCount, 0)
  assert.is(device.isShut(), true)
  assert.is(backend.isShut(), false)
  assert.is(run(backend.pwrite(0, new Uint8Array(512))), OK)
  graph.drainedEnd(format)
  assert.is(device.isShut(), false)
})

test('sections nest: requests go on after the last end', () => {
  const { clock, graph, node, format, device, order, spawn, write, run } = stackOfTwo()
  run(graph.drainedBegin(node))
  run(graph.drainedBegin(format))
  run(graph.drainedBegin(node))
  spawn('late', write(device))
  for (const ended of [node, format, node]) {
    clock.run()
    assert.equal(order, [])
    graph.drainedEnd(ended)
  }
  clock.run()
  assert.equal(order, ['late'])
  assert.throws(() => graph.drainedEnd(node), /quiesce-count/)
})

test('a backend that does not queue works inside its own drained section', () => {
  const { graph, node, format, run } = stackOfTwo()
  const job = new BlockBackend(graph, '')
  job.attach(format, READ_WRITE, Permission.All)
  job.queuesWhileDrained = false
  run(graph.drainedBegin(node))
  assert.is(run(job.pwrite(0, new Uint8Array(512))), OK)
  graph.drainedEnd(node)
})

test('the owner of a backend is told once each way, and its own work delays the section', () => {
  const { clock, graph, node, order, spawn } = stackOfTwo()
  const calls: string[] = []
  let isBusy = true
  const job = new BlockBackend(graph, '', {
    drainBegin: () => calls.push('begin'),
    drainEnd: () => calls.push('end'),
    drainBusy: () => isBusy,
  })
  job.attach(node, Permission.None, Permission.All)
  spawn('drained', graph.drainedBegin(node))
  clock.run()
  assert.equal(order, [])
  isBusy = false
  graph.drainProgress()
  clock.run()
  assert.equal(order, ['drained'])
  graph.drainedEnd(node)
  assert.equal(calls, ['begin', 'end'])
})

test('a parent that is attached to a drained node is drained, one that is detached is free again', () => {
  const { graph, node, run } = stackOfTwo()
  run(graph.drainedBegin(node))
  const late = new BlockBackend(graph, 'late')
  late.attach(node, READ_WRITE, Permission.All)
  assert.is(late.isShut(), true)
  const format = graph.addNode({ driver: new RawDriver(), children: [{ name: 'file', role: 'image', node }] })
  assert.is(format.quiesceCount, 1)
  late.detach()
  assert.is(late.isShut(), false)
  graph.drainedEnd(node)
  assert.is(format.quiesceCount, 0)
})

test('replacing a drained node by one that is not lets the parents go on, and the counts stay even', () => {
  const { clock, graph, node, format, device, order, spawn, write, run, backend } = stackOfTwo()
  const other = graph.addNode({ name: 'other', driver: new MemoryDriver(8192) })
  run(graph.drainedBegin(node))
  spawn('late', write(device))
  clock.run()
  graph.replaceNode(node, other)
  assert.equal([format.quiesceCount, other.quiesceCount, node.quiesceCount], [0, 0, 1])
  clock.run()
  assert.equal(order, ['late'])
  assert.is((other.driver as MemoryDriver).requests('write').length, 1)
  graph.drainedEnd(node)
  assert.is(backend.isShut(), false)
})

test('replacing a node by a drained one stops the parents until that one is released', () => {
  const { graph, node, format, device, run } = stackOfTwo()
  const other = graph.addNode({ name: 'other', driver: new MemoryDriver(8192) })
  run(graph.drainedBegin(node))
  run(graph.drainedBegin(other))
  graph.replaceNode(node, other)
  assert.is(format.quiesceCount, 1)
  graph.drainedEnd(node)
  assert.is(device.isShut(), true)
  graph.drainedEnd(other)
  assert.is(device.isShut(), false)
})

test('no request is forgotten, whatever the order of sections and requests', () => {
  const { clock, graph, node, format, device, backend, disk, order, spawn, write } = stackOfTwo()
  disk.latencyNs = 30
  function* drainLoop(target: BlockNode, pauseNs: number): Co<void> {
    for (let round = 0; round < 20; round++) {
      yield* graph.drainedBegin(target)
      assert.is(target.inFlight, 0)
      yield* graph.kernel.sleepNs(pauseNs)
      graph.drainedEnd(target)
      yield* graph.kernel.sleepNs(7)
    }
  }
  function* writeLoop(target: BlockBackend): Co<void> {
    for (let round = 0; round < 20; round++) assert.is(yield* write(target), OK)
  }
  spawn('d1', drainLoop(node, 40))
  spawn('d2', drainLoop(format, 11))
  spawn('w1', writeLoop(device))
  spawn('w2', writeLoop(backend))
  clock.run()
  assert.equal([...order].sort(), ['d1', 'd2', 'w1', 'w2'])
  assert.is(disk.requests('write').length, 40)
})

test.run()
