import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EIO, ENOSPC, ENOTSUP, EPERM, type Errno, makeLabel, OK } from '../co'
import { BlockBackend } from './backend'
import { DirtyBitmap } from './dirty_bitmap'
import type { BlockDriver } from './driver'
import { Permission } from './flags'
import { copiesRanges, copyThrough } from './io_copy'
import type { BlockNode, NodeOptions } from './node'
import { MemoryDriver, type TestBench, testBench } from './testing'

const LENGTH = 64 * 1024

/** Copies from others of its kind. */
class CopyingDriver extends MemoryDriver {
  copies = 0
  copyErrno: Errno = OK
  override copiesFrom(source: BlockDriver): boolean {
    return source instanceof CopyingDriver
  }
  override *copyFrom(source: BlockDriver, offsetBytes: number, lengthBytes: number): Co<Errno> {
    this.copies++
    if (this.copyErrno !== OK) return this.copyErrno
    this.data.set((source as CopyingDriver).data.subarray(offsetBytes, offsetBytes + lengthBytes), offsetBytes)
    return OK
  }
}

interface Pair extends TestBench {
  from: CopyingDriver
  to: CopyingDriver
  source: BlockNode
  target: BlockNode
  copy(offsetBytes: number, lengthBytes: number): Errno
  reader: BlockBackend
  writer: BlockBackend
}

function pair(options: Partial<NodeOptions> = {}): Pair {
  const bench = testBench()
  const from = new CopyingDriver(LENGTH)
  const to = new CopyingDriver(LENGTH)
  from.data.forEach((_, index) => {
    from.data[index] = (index * 7 + 1) & 0xff
  })
  const source = bench.graph.addNode({ name: 'source', driver: from })
  const target = bench.graph.addNode({ name: 'target', driver: to, options })
  const reader = new BlockBackend(bench.graph, '')
  reader.attach(source, Permission.ConsistentRead, Permission.All)
  const writer = new BlockBackend(bench.graph, '')
  writer.attach(target, options.readOnly === true ? Permission.None : Permission.Write, Permission.All)
  const copy = (offsetBytes: number, lengthBytes: number): Errno =>
    bench.run(copyThrough(reader.root!, writer.root!, offsetBytes, lengthBytes))
  return { ...bench, from, to, source, target, reader, writer, copy }
}

test('a range is copied, that range only, and the target’s dirty bitmaps hear of it', () => {
  const { from, to, target, copy } = pair()
  const dirty = new DirtyBitmap(LENGTH, 512)
  target.dirtyBitmaps.add(dirty)
  const generation = target.writeGeneration
  assert.is(copy(4096, 8192), OK)
  assert.equal(to.data.subarray(4096, 12_288), from.data.subarray(4096, 12_288))
  assert.ok(to.data.subarray(0, 4096).every((byte) => byte === 0))
  assert.ok(to.data.subarray(12_288).every((byte) => byte === 0))
  assert.is(dirty.nextDirty(0), 4096)
  assert.is(dirty.count, 16)
  assert.ok(target.writeGeneration > generation)
})

test('a copy that fails may have changed something', () => {
  const { to, target, copy } = pair()
  const dirty = new DirtyBitmap(LENGTH, 512)
  target.dirtyBitmaps.add(dirty)
  to.copyErrno = ENOSPC
  assert.is(copy(0, 512), ENOSPC)
  assert.is(dirty.count, 1)
})

test('what must not be copied as it is, is not', () => {
  const looking = pair({ detectZeroes: 'on' })
  assert.not.ok(copiesRanges(looking.source, looking.target))
  assert.is(looking.copy(0, 512), ENOTSUP)
  const locked = pair({ readOnly: true })
  assert.is(locked.copy(0, 512), EPERM)
  const { source, target, copy, to } = pair()
  assert.ok(copiesRanges(source, target))
  assert.not.ok(copiesRanges(source, source))
  assert.is(copy(LENGTH - 512, 1024), EIO)
  assert.is(to.copies + looking.to.copies + locked.to.copies, 0)
})

for (const side of ['source', 'target'] as const) {
  test(`a copy waits for a request that excludes it at the ${side}`, () => {
    const { to, [side]: node, kernel, clock, reader, writer } = pair()
    const seen: number[] = []
    kernel.spawn(
      (function* (): Co<void> {
        const request = node.requests.begin(0, 512)
        node.requests.serialise(request, 512)
        yield* kernel.sleepNs(1000)
        seen.push(to.copies)
        node.requests.end(request)
      })(),
      makeLabel('excluding'),
    )
    kernel.spawn(
      (function* (): Co<void> {
        assert.is(yield* copyThrough(reader.root!, writer.root!, 0, 4096), OK)
        seen.push(to.copies)
      })(),
      makeLabel('copy'),
    )
    clock.run()
    assert.equal(seen, [0, 1])
  })
}

test.run()
