import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, type Errno, OK } from '../co'
import { BlockBackend } from './backend'
import { BlockDriver } from './driver'
import { RawDriver } from './drivers/raw'
import { BlockError } from './error'
import { type BlockLimits, Permission } from './flags'
import type { BlockGraph } from './graph'
import type { BlockChild, BlockNode } from './node'
import { MemoryDriver, OverlayDriver, testBench } from './testing'

const READ_WRITE = Permission.ConsistentRead | Permission.Write
const ALL_BUT_WRITE = Permission.All & ~Permission.Write

/** A filter that hands everything on and needs exactly what its parents need. */
class PassDriver extends BlockDriver {
  readonly name = 'pass'
  override readonly isFilter = true
  closed = 0
  private get child(): BlockChild {
    return this.node.filtered!
  }
  lengthBytes(): number {
    return this.child.node.lengthBytes
  }
  pread(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    return this.child.pread(offsetBytes, buffer, flags)
  }
  pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    return this.child.pwrite(offsetBytes, buffer, flags)
  }
  override *close(): Co<Errno> {
    this.closed++
    return OK
  }
}

const memory = (graph: BlockGraph, name: string, limits: Partial<BlockLimits> = {}): BlockNode => {
  const driver = new MemoryDriver(8192)
  driver.limitsWanted = limits
  return graph.addNode({ name, driver })
}
const raw = (graph: BlockGraph, name: string, node: BlockNode): BlockNode =>
  graph.addNode({ name, driver: new RawDriver(), children: [{ name: 'file', role: 'image', node }] })
const pass = (graph: BlockGraph, name: string, node: BlockNode): BlockNode =>
  graph.addNode({ name, driver: new PassDriver(), children: [{ name: 'file', role: 'filtered', node }] })
const device = (graph: BlockGraph, name: string, node: BlockNode, shared = Permission.All as number): BlockBackend => {
  const backend = new BlockBackend(graph, name)
  backend.attach(node, READ_WRITE, shared)
  return backend
}
/** Everything about the graph that an undone change must not have touched. */
const picture = (graph: BlockGraph): string[] =>
  [...graph.nodes.values()].flatMap((node) => [
    `${node.name} ${JSON.stringify(node.limits)} q${node.quiesceCount}`,
    ...[...node.parents].map((edge) => `  ${edge.parent.describe()}.${edge.name} ${edge.permission}/${edge.shared}`),
    ...[...node.children.values()].map((edge) => `  -> ${edge.node.name}`),
  ])

test('names of nodes follow the rule for identifiers, and are unique among nodes and devices', () => {
  const { graph } = testBench()
  const base = memory(graph, 'a')
  device(graph, 'drive0', base)
  const add = (name: string) => () => memory(graph, name)
  for (const bad of ['-x', '1a', '', 'a b', '#block1', 'ä']) {
    assert.throws(add(bad), (error: Error) => error.message === `Invalid node-name: '${bad}'`)
  }
  assert.throws(add('a'), (error: Error) => error.message === "Duplicate nodes with node-name='a'")
  assert.throws(add('drive0'), (error: Error) => error.message === 'node-name=drive0 is conflicting with a device id')
  assert.throws(add('n'.repeat(32)), (error: Error) => error.message === 'Node name too long')
  assert.is(memory(graph, 'N.a-b_9').name, 'N.a-b_9')
  assert.is(memory(graph, 'n'.repeat(31)).name.length, 31)
  assert.is(graph.findNode('b'), null)
  assert.throws(() => new BlockBackend(graph, 'drive0'), /^Device with id 'drive0' already exists$|already exists/)
  assert.throws(() => new BlockBackend(graph, 'a'), /Device name 'a' conflicts with an existing node name/)
})

test('a node without a name gets one that no user can choose', () => {
  const { graph } = testBench()
  const names = [0, 1].map(() => graph.addNode({ driver: new MemoryDriver(512) }).name)
  assert.equal(names, ['#block000', '#block001'])
})

test('a device or node is looked up by either name', () => {
  const { graph } = testBench()
  const node = memory(graph, 'a')
  device(graph, 'drive0', node)
  new BlockBackend(graph, 'empty')
  assert.is(graph.lookup('a'), node)
  assert.is(graph.lookup('drive0'), node)
  assert.throws(() => graph.lookup('empty'), /Device 'empty' has no medium/)
  assert.throws(() => graph.lookup('b'), /Cannot find device='b' nor node-name='b'/)
})

test('two users that exclude each other are told who needs what and who does not share it', () => {
  const { graph } = testBench()
  const disk = memory(graph, 'disk')
  const format = raw(graph, 'fmt', disk)
  device(graph, 'drive0', format, ALL_BUT_WRITE)
  const before = picture(graph)
  assert.throws(
    () => device(graph, '', disk),
    (error: BlockError) =>
      error instanceof BlockError &&
      error.message ===
        "Permission conflict on node 'disk': permissions 'write' are both required by an unnamed block device (uses node " +
          "'disk' as 'root' child) and unshared by node 'fmt' (uses node 'disk' as 'file' child).",
  )
  assert.equal(picture(graph), before)
})

test('the exclusion works in both directions, and through formats', () => {
  const { graph } = testBench()
  const disk = memory(graph, 'disk')
  const first = device(graph, 'first', disk)
  const format = raw(graph, 'fmt', disk)
  const second = new BlockBackend(graph, 'second')
  const before = picture(graph)
  assert.throws(
    () => second.attach(format, READ_WRITE, Permission.ConsistentRead),
    /'write' are both required by block device 'first'/,
  )
  assert.equal(picture(graph), before)
  first.setPermissions(Permission.ConsistentRead, Permission.All)
  second.attach(format, READ_WRITE, Permission.ConsistentRead)
  assert.throws(() => first.setPermissions(READ_WRITE, Permission.All), /Permission conflict/)
  assert.is(first.root!.permission, Permission.ConsistentRead)
  second.detach()
  first.setPermissions(READ_WRITE, Permission.All)
})

test('a read-only node has no writers, above it neither', () => {
  const { graph } = testBench()
  const node = graph.addNode({ name: 'ro', driver: new MemoryDriver(8192), options: { readOnly: true } })
  assert.throws(() => device(graph, 'd', node), /^BlockError: Block node is read-only$|Block node is read-only/)
  assert.throws(() => device(graph, 'e', raw(graph, 'fmt', node)), /Block node is read-only/)
})

test('a node that becomes read-only writes what it has in memory first, and keeps its writers out afterwards', () => {
  const { graph, run } = testBench()
  const heard: string[] = []
  class LazyDriver extends MemoryDriver {
    override *setReadOnly(isReadOnly: boolean): Co<void> {
      heard.push(`${isReadOnly ? 'read-only' : 'writable'}, may write: ${!this.node.options.readOnly}`)
    }
  }
  const node = graph.addNode({ name: 'lazy', driver: new LazyDriver(8192) })
  const writer = device(graph, 'd', node)
  run(graph.drainedBegin(node))
  function* refused(): Co<boolean> {
    try {
      yield* graph.setReadOnly(node, true)
      return false
    } catch (error) {
      return error instanceof BlockError && error.message === 'Block node is read-only'
    }
  }
  assert.is(run(refused()), true)
  assert.is(node.options.readOnly, false)
  writer.detach()
  heard.length = 0
  run(graph.setReadOnly(node, true))
  assert.throws(() => writer.attach(node, READ_WRITE, Permission.All), /Block node is read-only/)
  run(graph.setReadOnly(node, true))
  run(graph.setReadOnly(node, false))
  graph.drainedEnd(node)
  writer.attach(node, READ_WRITE, Permission.All)
  assert.equal(heard, ['read-only, may write: true', 'writable, may write: true'])
})

test('a node whose length is no multiple of its blocks takes writers only if they may resize it', () => {
  const { graph } = testBench()
  const driver = new MemoryDriver(8192 - 512)
  driver.limitsWanted = { requestAlignmentBytes: 4096 }
  const node = graph.addNode({ name: 'odd', driver })
  assert.throws(() => device(graph, 'd', node), /Image size is not a multiple of request alignment/)
  new BlockBackend(graph, 'e').attach(node, READ_WRITE | Permission.Resize, Permission.All)
})

test('a user that leaves takes nothing from the others, even if they could not come in any more', () => {
  const { graph } = testBench()
  const driver = new MemoryDriver(8192 - 512)
  driver.limitsWanted = { requestAlignmentBytes: 4096 }
  const format = raw(graph, 'fmt', graph.addNode({ name: 'odd', driver }))
  const resizer = new BlockBackend(graph, 'resizer')
  resizer.attach(format, READ_WRITE | Permission.Resize, Permission.All)
  const writer = device(graph, 'writer', format)
  resizer.detach()
  assert.is(format.children.get('file')!.permission, READ_WRITE)
  writer.detach()
  assert.is(format.children.get('file')!.permission, Permission.ConsistentRead)
})

test('a backing image is read by its overlay, and written to by others only if nobody minds', () => {
  const { graph } = testBench()
  const base = memory(graph, 'base')
  const overlay = graph.addNode({
    name: 'overlay',
    driver: new OverlayDriver(8192),
    children: [{ name: 'backing', role: 'cow', node: base }],
  })
  const user = device(graph, 'user', overlay)
  assert.is(overlay.backing!.permission, Permission.ConsistentRead)
  device(graph, 'second', base).dispose()
  user.setPermissions(READ_WRITE, ALL_BUT_WRITE)
  assert.throws(() => device(graph, 'third', base), /unshared by node 'overlay' \(uses node 'base' as 'backing' child\)/)
})

test('detect-zeroes=unmap needs discard=unmap', () => {
  const { graph } = testBench()
  const add = () => graph.addNode({ driver: new MemoryDriver(512), options: { detectZeroes: 'unmap' } })
  assert.throws(add, /setting detect-zeroes to unmap is not allowed without setting discard operation to unmap/)
  assert.is(graph.nodes.size, 0)
})

test('limits come from below, the strictest of each, and a format adds its own', () => {
  const { graph } = testBench()
  const disk = memory(graph, 'disk', { requestAlignmentBytes: 512, maxTransferBytes: 65536, pdiscardAlignmentBytes: 4096 })
  const format = pass(graph, 'p', raw(graph, 'fmt', disk))
  assert.is(format.limits.requestAlignmentBytes, 512)
  assert.is(format.limits.maxTransferBytes, 65536)
  assert.is(format.limits.pdiscardAlignmentBytes, 4096)
  ;(disk.driver as MemoryDriver).limitsWanted = { requestAlignmentBytes: 4096 }
  graph.refreshLimits(disk)
  assert.is(format.limits.requestAlignmentBytes, 4096)
  assert.is(format.limits.maxTransferBytes, 0)
})

test('a filter goes between a node and all its parents, and out again', () => {
  const { graph, run } = testBench()
  const disk = memory(graph, 'disk')
  const backend = device(graph, 'drive0', disk)
  const format = raw(graph, 'fmt', disk)
  const before = picture(graph)
  const filter = pass(graph, 'filter', disk)
  run(graph.drainedBegin(disk))
  graph.insertFilter(filter, disk)
  assert.is(backend.root!.node, filter)
  assert.is(format.children.get('file')!.node, filter)
  assert.equal([...disk.parents], [filter.filtered])
  assert.is(filter.filtered!.permission, READ_WRITE)
  assert.is(backend.root!.node.skipFilters(), disk)
  graph.drainedEnd(disk)
  assert.is(run(backend.pwrite(0, new Uint8Array(512).fill(1))), OK)

  run(graph.drainedBegin(filter))
  graph.removeFilter(filter)
  graph.drainedEnd(filter)
  run(graph.removeNode(filter))
  assert.is((filter.driver as PassDriver).closed, 1)
  assert.equal(picture(graph), before)
})

test('a change that would break a permission leaves the graph as it was', () => {
  const { graph, run } = testBench()
  const disk = memory(graph, 'disk')
  device(graph, 'writer', disk)
  const other = memory(graph, 'other')
  device(graph, 'jealous', other, ALL_BUT_WRITE)
  run(graph.drainedBegin(disk))
  const before = picture(graph)
  assert.throws(() => graph.replaceNode(disk, other), /Permission conflict on node 'other'/)
  assert.equal(picture(graph), before)
  graph.drainedEnd(disk)
})

test('replacing a node by one above it closes no cycle', () => {
  const { graph, run } = testBench()
  const disk = memory(graph, 'disk')
  const backend = device(graph, 'drive0', disk)
  const upper = raw(graph, 'upper', raw(graph, 'lower', disk))
  run(graph.drainedBegin(disk))
  graph.replaceNode(disk, upper)
  assert.is(backend.root!.node, upper)
  assert.equal(
    [...disk.parents].map((edge) => edge.parent.describe()),
    ["node 'lower'"],
  )
  graph.drainedEnd(disk)
})

test('parents that move to a node with other limits get those', () => {
  const { graph, run } = testBench()
  const disk = memory(graph, 'disk')
  const format = raw(graph, 'fmt', disk)
  const other = memory(graph, 'other', { requestAlignmentBytes: 4096 })
  run(graph.drainedBegin(disk))
  graph.replaceNode(disk, other)
  graph.drainedEnd(disk)
  assert.is(format.limits.requestAlignmentBytes, 4096)
})

test('only a drained node can be replaced', () => {
  const { graph } = testBench()
  assert.throws(() => graph.replaceNode(memory(graph, 'a'), memory(graph, 'b')), /replace-drained/)
})

test('a node in use, or blocked, cannot be removed', () => {
  const { graph, run } = testBench()
  const disk = memory(graph, 'disk')
  const format = raw(graph, 'fmt', disk)
  const backend = device(graph, 'drive0', format)
  assert.throws(() => run(graph.removeNode(format)), /Node fmt is in use/)
  const second = testBench()
  const base = memory(second.graph, 'base')
  const upper = raw(second.graph, 'upper', base)
  assert.throws(() => second.run(second.graph.removeNode(base)), /Block device base is in use/)
  const third = testBench()
  const busy = memory(third.graph, 'busy')
  const blocker = { reason: 'block device is in use by block job: mirror', allows: new Set(['resize'] as const) }
  busy.blockers.add(blocker)
  assert.throws(() => third.run(third.graph.removeNode(busy)), /Node 'busy' is busy: block device is in use by block job: mirror/)
  second.graph.nodes.get('upper')!.blockers.clear()
  second.kernel.failure = null
  second.run(second.graph.removeNode(upper))
  second.run(second.graph.removeNode(base))
  assert.is(second.graph.nodes.size, 0)
  assert.is(backend.root!.node, format)
})

test('a removed node has been flushed, and gives its children and its name free', () => {
  const { graph, run } = testBench()
  const disk = memory(graph, 'disk')
  const format = raw(graph, 'fmt', disk)
  const backend = device(graph, '', format)
  run(backend.pwrite(0, new Uint8Array(512).fill(1)))
  backend.dispose()
  run(graph.removeNode(format))
  assert.is((disk.driver as MemoryDriver).requests('flush').length, 1)
  assert.is(disk.parents.size, 0)
  assert.is(disk.quiesceCount, 0)
  raw(graph, 'fmt', disk)
})

test.run()
