import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, makeLabel, OK } from '../../co'
import { BlockBackend } from '../backend'
import { Permission } from '../flags'
import type { BlockNode } from '../node'
import { MemoryDriver, testBench } from '../testing'
import { ThrottleGroup, type ThrottleLimits } from '../throttle'
import { ThrottleDriver } from './throttle'

const MS = 1_000_000
const SECOND = 1000 * MS

/** Disks in one group; `start` sends a request and `done` has who ended when, in milliseconds. */
function bench(limits: ThrottleLimits, count = 1) {
  const stack = testBench()
  const group = new ThrottleGroup(stack.kernel, 'g', limits)
  const nodes: BlockNode[] = []
  const backends: BlockBackend[] = []
  for (let index = 0; index < count; index++) {
    const disk = stack.graph.addNode({ driver: new MemoryDriver(1 << 20), options: { discard: 'unmap' } })
    const node = stack.graph.addNode({
      name: `throttle${index}`,
      driver: new ThrottleDriver(group),
      children: [{ name: 'file', role: 'filtered', node: disk }],
      options: { discard: 'unmap' },
    })
    const backend = new BlockBackend(stack.graph, '')
    backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
    nodes.push(node)
    backends.push(backend)
  }
  const done: Array<[name: string, atMs: number]> = []
  function* finish(name: string, request: Co<number>): Co<void> {
    assert.is(yield* request, OK)
    done.push([name, Math.floor(stack.kernel.nowNs() / MS)])
  }
  const start = (name: string, request: Co<number>): void => {
    stack.kernel.spawn(finish(name, request), makeLabel(name))
  }
  return { ...stack, group, nodes, backends, done, start }
}
const kib = (count: number): Uint8Array => new Uint8Array(count * 1024)

test('requests start when the rate lets them', () => {
  const { backends, done, start, clock } = bench({ 'bps-total': 10240 })
  for (const name of ['a', 'b', 'c', 'd']) start(name, backends[0]!.pwrite(0, kib(1)))
  clock.run()
  // A tenth of a second fits in: the second one finds the bucket full, but not more than full.
  assert.equal(done, [
    ['a', 0],
    ['b', 0],
    ['c', 100],
    ['d', 200],
  ])
})

test('reads and writes have limits of their own, or one together', () => {
  const apart = bench({ 'iops-read': 10, 'iops-write': 5 })
  for (const name of ['r1', 'r2', 'r3']) apart.start(name, apart.backends[0]!.pread(0, kib(1)))
  for (const name of ['w1', 'w2', 'w3']) apart.start(name, apart.backends[0]!.pwrite(0, kib(1)))
  apart.clock.run()
  assert.equal(apart.done, [
    ['r1', 0],
    ['r2', 0],
    ['w1', 0],
    ['r3', 100],
    ['w2', 100],
    ['w3', 300],
  ])
  const together = bench({ 'iops-total': 10 })
  for (const name of ['r1', 'r2', 'r3']) together.start(name, together.backends[0]!.pread(0, kib(1)))
  for (const name of ['w1', 'w2', 'w3']) together.start(name, together.backends[0]!.pwrite(0, kib(1)))
  together.clock.run()
  assert.is(together.done[5]?.[1], 400)
  const third = together.done.slice(0, 4).filter(([name]) => name.startsWith('w'))
  assert.ok(third.length > 0, 'neither direction starves the other')
})

test('zeroes and discards count as writes, flushes as nothing', () => {
  const { backends, done, start, clock } = bench({ 'bps-write': 10240 })
  start('z', backends[0]!.pwriteZeroes(0, 2048))
  start('d', backends[0]!.pdiscard(0, 1024))
  start('w', backends[0]!.pwrite(0, kib(1)))
  start('f', backends[0]!.flush())
  start('r', backends[0]!.pread(0, kib(100)))
  clock.run()
  assert.equal(done, [
    ['z', 0],
    ['f', 0],
    ['r', 0],
    ['d', 100],
    ['w', 200],
  ])
})

test('a request longer than iops-size counts as several', () => {
  const { backends, done, start, clock } = bench({ 'iops-total': 10, 'iops-size': 1024 })
  start('long', backends[0]!.pwrite(0, kib(4)))
  start('a', backends[0]!.pwrite(0, kib(1)))
  start('b', backends[0]!.pwrite(0, new Uint8Array(512)))
  start('c', backends[0]!.pwrite(0, kib(1)))
  clock.run()
  assert.equal(done, [
    ['long', 0],
    ['a', 300],
    ['b', 400],
    ['c', 500],
  ])
})

test('the members of a group take turns, however much one of them asks for', () => {
  const { backends, done, start, clock } = bench({ 'iops-total': 10 }, 3)
  for (const name of ['a1', 'a2', 'a3', 'a4', 'a5']) start(name, backends[0]!.pread(0, kib(1)))
  for (const name of ['b1', 'b2']) start(name, backends[1]!.pread(0, kib(1)))
  start('c1', backends[2]!.pread(0, kib(1)))
  clock.run()
  assert.equal(
    done.map(([name]) => name),
    ['a1', 'a2', 'a3', 'b1', 'c1', 'a4', 'b2', 'a5'],
  )
  assert.is(done[7]?.[1], 600)
})

test('a drained section lets through what waits and what comes, and the rest pays for it', () => {
  const { backends, nodes, graph, done, start, clock, run } = bench({ 'iops-total': 1 })
  for (const name of ['a', 'b', 'c', 'd']) start(name, backends[0]!.pread(0, kib(1)))
  clock.run(10 * MS)
  assert.equal(done, [['a', 0]])
  run(graph.drainedBegin(nodes[0]!))
  assert.equal(
    done.map(([name]) => name),
    ['a', 'b', 'c', 'd'],
  )
  graph.drainedEnd(nodes[0]!)
  start('e', backends[0]!.pread(0, kib(1)))
  clock.run()
  assert.is(done[4]?.[1], 3900)
})

test('draining one member leaves the others of its group waiting', () => {
  const { backends, nodes, graph, done, start, clock, kernel } = bench({ 'iops-total': 1 }, 2)
  start('a1', backends[0]!.pread(0, kib(1)))
  start('a2', backends[0]!.pread(0, kib(1)))
  start('b1', backends[1]!.pread(0, kib(1)))
  clock.run(10 * MS)
  kernel.spawn(graph.drainedBegin(nodes[0]!), makeLabel('drain'))
  clock.run(20 * MS)
  assert.equal(
    done.map(([name]) => name),
    ['a1', 'a2'],
  )
  clock.run()
  assert.equal(done[2], ['b1', 1900])
})

test('new limits hold for those who wait already', () => {
  const { backends, group, done, start, clock } = bench({ 'bps-total': 1 })
  for (const name of ['a', 'b', 'c']) start(name, backends[0]!.pwrite(0, kib(1)))
  clock.run(SECOND)
  assert.is(done.length, 1)
  group.setLimits({ 'iops-total': 100 })
  clock.run(SECOND)
  assert.is(done.length, 3)
  group.setLimits({})
  for (let index = 0; index < 100; index++) start('free', backends[0]!.pwrite(0, kib(1)))
  clock.run()
  assert.equal(done[102], ['free', 1000])
})

test('a node changes its group in a drained section, and leaves it when it goes', () => {
  const { backends, nodes, graph, group, kernel, run } = bench({ 'iops-total': 1 })
  const driver = nodes[0]!.driver as ThrottleDriver
  const other = new ThrottleGroup(kernel, 'h')
  run(graph.drainedBegin(nodes[0]!))
  driver.setGroup(other)
  graph.drainedEnd(nodes[0]!)
  assert.equal([group.members.length, other.members.length], [0, 1])
  assert.is(run(backends[0]!.pread(0, kib(1))), OK)
  backends[0]!.dispose()
  run(graph.removeNode(nodes[0]!))
  assert.is(other.members.length, 0)
})

test.run()
