import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, type Errno, makeLabel, OK } from '../../co'
import { BlockBackend } from '../backend'
import type { BlockDriver } from '../driver'
import { Permission, RequestFlag } from '../flags'
import type { BlockNode } from '../node'
import { MemoryDriver, testBench } from '../testing'
import { PreallocateDriver, type PreallocateOptions } from './preallocate'
import { RawDriver } from './raw'

const KiB = 1024
const WRITES = Permission.ConsistentRead | Permission.Write | Permission.Resize

/** A file in memory that grows by what is written or zeroed behind its end. */
class GrowingDriver extends MemoryDriver {
  refused = 0

  override *pwrite(offsetBytes: number, buffer: Uint8Array, flags: number): Co<Errno> {
    yield* this.reach(offsetBytes + buffer.length)
    return yield* super.pwrite(offsetBytes, buffer, flags)
  }
  override *pwriteZeroes(offsetBytes: number, lengthBytes: number, flags: number): Co<Errno> {
    if (this.canZero) yield* this.reach(offsetBytes + lengthBytes)
    else this.refused++
    return yield* super.pwriteZeroes(offsetBytes, lengthBytes, flags)
  }
  private *reach(endBytes: number): Co<void> {
    if (endBytes > this.data.length) yield* super.truncate(endBytes, false, 'off')
  }
}

/** A format over the filter over a growing file; `parent` is the edge through which the format writes. */
function bench(options: PreallocateOptions = { preallocSize: 16 * KiB, preallocAlign: 4 * KiB }, lengthBytes = 4 * KiB) {
  const stack = testBench()
  const disk = new GrowingDriver(lengthBytes)
  const file = stack.graph.addNode({ name: 'file', driver: disk })
  const filter = stack.graph.addNode({
    name: 'pre',
    driver: new PreallocateDriver(options),
    children: [{ name: 'file', role: 'filtered', node: file }],
    options: { discard: 'unmap' },
  })
  const holder = (node: BlockNode, permission: number) =>
    stack.graph.attach({
      name: 'file',
      parent: { describe: () => 'a format', node: null, drainBegin() {}, drainEnd() {}, drainBusy: () => false },
      node,
      permission,
      shared: Permission.All & ~Permission.Resize,
    })
  return { ...stack, disk, file, filter, holder }
}
const bytes = (count: number, value = 1): Uint8Array => new Uint8Array(count).fill(value)
const zeroes = (disk: MemoryDriver): string[] =>
  disk.requests('zero').map(({ offsetBytes, lengthBytes }) => `${offsetBytes / KiB}+${lengthBytes / KiB}`)

test('a write beyond the end allocates far beyond it, and users see what was written', () => {
  const { disk, filter, holder, run } = bench()
  const edge = holder(filter, WRITES)
  assert.is(run(edge.pwrite(4 * KiB, bytes(KiB))), OK)
  assert.equal([filter.lengthBytes, disk.data.length], [5 * KiB, 24 * KiB])
  assert.is(disk.requests('zero')[0]?.flags, RequestFlag.NoFallback)
  for (let at = 5; at < 24; at++) run(edge.pwrite(at * KiB, bytes(KiB)))
  assert.equal(zeroes(disk), ['4+20'])
  run(edge.pwrite(24 * KiB, bytes(KiB)))
  assert.equal(zeroes(disk), ['4+20', '24+20'])
  const buffer = bytes(30 * KiB, 0xee)
  assert.is(run(edge.pread(0, buffer)), OK)
  assert.is(
    buffer.findIndex((byte, at) => byte !== (at >= 4 * KiB && at < 25 * KiB ? 1 : 0)),
    -1,
  )
})

test('writes inside the file allocate nothing', () => {
  const { disk, filter, holder, run } = bench()
  const edge = holder(filter, WRITES)
  run(edge.pwrite(0, bytes(4 * KiB)))
  assert.equal(zeroes(disk), [])
})

test('zeroes in what is allocated already need not be written again', () => {
  const { disk, filter, holder, run } = bench()
  const edge = holder(filter, WRITES)
  run(edge.pwrite(4 * KiB, bytes(KiB)))
  run(edge.pwriteZeroes(5 * KiB, 2 * KiB))
  assert.equal([zeroes(disk).length, filter.lengthBytes], [1, 7 * KiB])
  run(edge.pwrite(6 * KiB, bytes(KiB)))
  run(edge.pwriteZeroes(6 * KiB, KiB))
  assert.equal(zeroes(disk), ['4+20', '6+1'])
  // Who wants it unmapped gets it unmapped.
  run(edge.pwriteZeroes(8 * KiB, KiB, RequestFlag.MayUnmap))
  assert.is(zeroes(disk).length, 3)
  run(edge.pwriteZeroes(23 * KiB, 4 * KiB))
  assert.is(zeroes(disk)[3], '24+20')
})

test('a write that comes while more is allocated is not overwritten by zeroes', () => {
  const { disk, filter, holder, kernel, clock } = bench()
  const edge = holder(filter, WRITES)
  disk.latencyNs = 100
  function* write(startNs: number, at: number): Co<void> {
    yield* kernel.sleepNs(startNs)
    assert.is(yield* edge.pwrite(at * KiB, bytes(KiB, at)), OK)
  }
  for (const [startNs, at] of [
    [0, 4],
    [10, 9],
    [50, 30],
    [60, 6],
    [250, 45],
  ] as const) {
    kernel.spawn(write(startNs, at), makeLabel(`w${at}`))
  }
  clock.run()
  for (const at of [4, 9, 30, 6, 45]) assert.is(disk.data[at * KiB], at, `write at ${at} KiB`)
})

test('what is too much goes when the node is closed', () => {
  const { disk, filter, graph, holder, run } = bench()
  const edge = holder(filter, WRITES)
  run(edge.pwrite(4 * KiB, bytes(KiB)))
  graph.detach(edge)
  run(graph.removeNode(filter))
  assert.is(disk.data.length, 5 * KiB)
})

test('what is too much goes when nobody may make the file longer any more', () => {
  const { disk, file, filter, graph, holder, run, clock } = bench()
  const edge = holder(filter, WRITES)
  run(edge.pwrite(4 * KiB, bytes(KiB)))
  const other = new BlockBackend(graph, 'other')
  assert.throws(() => other.attach(file, Permission.Write, Permission.All), /unshared by node 'pre'/)
  graph.setPermissions(edge, Permission.ConsistentRead, Permission.All)
  clock.run()
  assert.is(disk.data.length, 5 * KiB)
  other.dispose()
  new BlockBackend(graph, 'writer').attach(file, Permission.Write, Permission.All)
  assert.is(filter.lengthBytes, 5 * KiB)
})

test('a new length is what users see, and growth starts from there', () => {
  const { disk, filter, holder, run } = bench()
  const edge = holder(filter, WRITES)
  run(edge.pwrite(4 * KiB, bytes(KiB)))
  assert.is(run(edge.truncate(20 * KiB, true, 'off')), OK)
  assert.equal([filter.lengthBytes, disk.data.length], [20 * KiB, 20 * KiB])
  run(edge.pwrite(20 * KiB, bytes(KiB)))
  assert.equal(zeroes(disk), ['4+20', '20+20'])
  run(edge.truncate(2 * KiB, true, 'off'))
  assert.equal([filter.lengthBytes, disk.data.length], [2 * KiB, 2 * KiB])
})

test('a file that cannot be allocated grows as ever, and is not asked again', () => {
  const { disk, filter, holder, run } = bench()
  const edge = holder(filter, WRITES)
  disk.canZero = false
  assert.is(run(edge.pwrite(4 * KiB, bytes(KiB))), OK)
  assert.is(run(edge.pwrite(5 * KiB, bytes(KiB))), OK)
  assert.equal([disk.refused, disk.data.length, filter.lengthBytes], [1, 6 * KiB, 6 * KiB])
})

test('a user that may not make the file longer gets it as it is', () => {
  const { disk, filter, graph, run } = bench()
  const top: BlockDriver = new RawDriver({}, filter.lengthBytes)
  const node = graph.addNode({ driver: top, children: [{ name: 'file', role: 'image', node: filter }] })
  const backend = new BlockBackend(graph, 'drive')
  backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
  run(backend.pwrite(0, bytes(4 * KiB)))
  assert.equal([disk.requests('zero').length, disk.data.length], [0, 4 * KiB])
})

test('options that cannot be are refused', () => {
  assert.throws(() => bench({ preallocAlign: 1000 }), /prealloc-align parameter of preallocate filter is not aligned to 512/)
  assert.throws(() => bench({ preallocSize: -1 }), /prealloc-size/)
  const { graph } = testBench()
  const disk = new MemoryDriver(4096)
  disk.limitsWanted = { requestAlignmentBytes: 4096 }
  const file = graph.addNode({ driver: disk })
  assert.throws(
    () =>
      graph.addNode({
        driver: new PreallocateDriver({ preallocAlign: 512 }),
        children: [{ name: 'file', role: 'filtered', node: file }],
      }),
    /is not aligned to underlying node request alignment \(4096\)/,
  )
})

test.run()
