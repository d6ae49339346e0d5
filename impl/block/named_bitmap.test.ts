import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, EIO, type Errno, OK } from '../co'
import { DirtyBitmap } from './dirty_bitmap'
import { addBitmap, clearBitmap, enableBitmap, findBitmap, listBitmaps, mergeBitmaps, removeBitmap } from './index'
import { adoptBitmap, BitmapRefusal, defaultGranularity, type NamedBitmap } from './named_bitmap'
import type { BlockNode } from './node'
import { MemoryDriver, type MemoryStack, memoryStack, type TestBench, testBench } from './testing'

const KIB = 1024

function write(stack: MemoryStack, atKib: number): void {
  assert.is(stack.run(stack.backend.pwrite(atKib * KIB, new Uint8Array(KIB).fill(1))), OK)
}
function dirty({ bits }: NamedBitmap): number[] {
  const found: number[] = []
  for (let at = bits.nextDirty(0); at >= 0; at = bits.nextDirty(at + bits.granularityBytes)) found.push(at / KIB)
  return found
}
/** What `body` is refused with. */
function refusal(body: () => unknown): string {
  try {
    body()
  } catch (error) {
    return (error as Error).message
  }
  return 'taken'
}
/** A stack that has a bitmap `a`; one on which something was refused takes no more. */
function withBitmap(): MemoryStack {
  const stack = memoryStack(64 * KIB)
  add(stack, 'a')
  return stack
}
function add(stack: MemoryStack, name: string, more: { disabled?: boolean; granularityBytes?: number } = {}): NamedBitmap {
  return stack.run(addBitmap(stack.node, { name, granularityBytes: KIB, ...more }))
}

test('a bitmap takes in what changes while it records', () => {
  const stack = memoryStack(64 * KIB)
  const on = add(stack, 'on')
  const off = add(stack, 'off', { disabled: true })
  write(stack, 3)
  enableBitmap(stack.node, 'off', true)
  enableBitmap(stack.node, 'on', false)
  write(stack, 5)
  assert.equal([dirty(on), dirty(off)], [[3], [5]])
  const before = clearBitmap(stack.node, 'off')
  write(stack, 6)
  assert.equal(dirty(off), [6])
  off.restore(before)
  write(stack, 7)
  assert.equal(dirty(off), [5, 7])
})

test('listings are in QMP’s words, the newest first', () => {
  const stack = memoryStack(64 * KIB)
  add(stack, 'a')
  add(stack, 'b', { disabled: true, granularityBytes: 4096 })
  write(stack, 1)
  assert.equal(listBitmaps(stack.node), [
    { name: 'b', count: 0, granularity: 4096, recording: false, busy: false, persistent: false },
    { name: 'a', count: 1024, granularity: 1024, recording: true, busy: false, persistent: false },
  ])
  assert.is(defaultGranularity(stack.node), 65536)
})

test('wrong wishes are refused in QEMU’s words', () => {
  const stack = memoryStack(64 * KIB)
  const { node } = stack
  const bitmap = add(stack, 'a')
  assert.is(
    refusal(() => add(withBitmap(), 'a')),
    'Bitmap already exists: a',
  )
  assert.is(
    refusal(() => add(withBitmap(), '')),
    'Bitmap name cannot be empty',
  )
  assert.match(
    refusal(() => add(withBitmap(), 'x'.repeat(1024))),
    'Bitmap name too long: xxx',
  )
  for (const granularityBytes of [256, 1000, 0]) {
    const text = 'Granularity must be power of 2 and at least 512'
    assert.is(
      refusal(() => add(withBitmap(), 'b', { granularityBytes })),
      text,
    )
  }
  assert.is(
    refusal(() => findBitmap(node, 'b')),
    "Dirty bitmap 'b' not found",
  )
  const plain = withBitmap()
  assert.is(
    refusal(() => plain.run(addBitmap(plain.node, { name: 'p', persistent: true }))),
    "Can't store persistent bitmaps to disk: Operation not supported",
  )
  bitmap.setBusy(true)
  const busy = "Bitmap 'a' is currently in use by another operation and cannot be used"
  assert.is(
    refusal(() => clearBitmap(node, 'a')),
    busy,
  )
  bitmap.setBusy(false)
  bitmap.isReadOnly = true
  assert.is(
    refusal(() => clearBitmap(node, 'a')),
    "Bitmap 'a' is readonly and cannot be modified",
  )
  bitmap.demand(BitmapRefusal.AllowReadOnly)
  bitmap.isReadOnly = false
  bitmap.isInconsistent = true
  assert.is(
    refusal(() => enableBitmap(node, 'a', true)),
    "Bitmap 'a' is inconsistent and cannot be used",
  )
  stack.run(removeBitmap(node, 'a'))
  assert.is(node.namedBitmaps.size, 0)
})

test('merging takes all sources or none, and can be taken back', () => {
  const stack = memoryStack(64 * KIB)
  const { node } = stack
  const target = add(stack, 'target', { disabled: true })
  const coarse = add(stack, 'coarse', { granularityBytes: 4096 })
  write(stack, 9)
  enableBitmap(node, 'coarse', false)
  add(stack, 'fine')
  write(stack, 20)
  const sources = [
    { node, name: 'coarse' },
    { node, name: 'fine' },
  ]
  const before = mergeBitmaps(node, 'target', sources)
  assert.equal([dirty(target), dirty(coarse)], [[8, 9, 10, 11, 20], [8]])
  target.restore(before)
  assert.equal(dirty(target), [])
  assert.is(
    refusal(() => mergeBitmaps(node, 'target', [sources[1]!, { node, name: 'none' }])),
    "Dirty bitmap 'none' not found",
  )
  const other = memoryStack(32 * KIB)
  add(other, 'short')
  assert.is(
    refusal(() => mergeBitmaps(node, 'target', [sources[1]!, { node: other.node, name: 'short' }])),
    "Bitmaps are of different sizes (destination size is 65536, source size is 32768) and can't be merged",
  )
  assert.equal(dirty(target), [])
})

/** A format that keeps bitmaps, as far as their table goes. */
class Keeping extends MemoryDriver {
  clusterBytes = 0
  removeErrno: Errno = OK
  readonly calls: string[] = []

  override info() {
    return { clusterBytes: this.clusterBytes, subclusterBytes: this.clusterBytes }
  }
  override *checkStorableBitmap(name: string, granularityBytes: number): Co<void> {
    this.calls.push(`check ${name} ${granularityBytes}`)
  }
  override *removeStoredBitmap(name: string): Co<Errno> {
    this.calls.push(`remove ${name}`)
    return this.removeErrno
  }
}
function keepingNode(): { stack: TestBench; disk: Keeping; node: BlockNode } {
  const stack = testBench()
  const disk = new Keeping(64 * KIB)
  return { stack, disk, node: stack.graph.addNode({ name: 'disk', driver: disk }) }
}

test('a persistent bitmap is asked for and removed in the image, others are not', () => {
  const { stack, disk, node } = keepingNode()
  const kept = stack.run(addBitmap(node, { name: 'kept', persistent: true, granularityBytes: 512 }))
  const plain = stack.run(addBitmap(node, { name: 'plain' }))
  assert.equal([kept.isPersistent, plain.isPersistent, plain.granularityBytes], [true, false, 65536])
  stack.run(removeBitmap(node, 'plain'))
  assert.equal(disk.calls, ['check kept 512'])
  assert.is(node.dirtyBitmaps.size, 1, 'a bitmap that is gone hears of nothing')
  stack.run(removeBitmap(node, 'kept'))
  assert.equal([disk.calls.at(-1), node.dirtyBitmaps.size, node.namedBitmaps.size], ['remove kept', 0, 0])
})

test('a bitmap that cannot be removed from the image stays', () => {
  const { stack, disk, node } = keepingNode()
  stack.run(addBitmap(node, { name: 'kept', persistent: true }))
  disk.removeErrno = EIO
  assert.is(
    refusal(() => stack.run(removeBitmap(node, 'kept'))),
    "Failed to remove persistent bitmap 'kept': Input/output error",
  )
  assert.is(node.namedBitmaps.size, 1)
})

test('a bitmap in use or in an image for reading only is not removed', () => {
  for (const state of ['busy', 'readonly'] as const) {
    const stack = withBitmap()
    const bitmap = findBitmap(stack.node, 'a')
    if (state === 'busy') bitmap.setBusy(true)
    else bitmap.isReadOnly = true
    assert.match(
      refusal(() => stack.run(removeBitmap(stack.node, 'a'))),
      state === 'busy' ? 'currently in use' : 'is readonly',
    )
    // What is refused is only what was asked about.
    bitmap.demand(BitmapRefusal.Inconsistent)
  }
})

test('chunks are as large as clusters where nobody says otherwise, within bounds', () => {
  const { disk, node } = keepingNode()
  const wanted = [0, 512, 4096, 8192, 65536, 1 << 20].map((clusterBytes) => {
    disk.clusterBytes = clusterBytes
    return defaultGranularity(node)
  })
  assert.equal(wanted, [65536, 4096, 4096, 8192, 65536, 65536])
})

test('a bitmap that is taken over from an image records nothing and is kept by nobody', () => {
  const { node } = keepingNode()
  const bitmap = adoptBitmap(node, 'x'.repeat(1023), new DirtyBitmap(64 * KIB, KIB))
  const { recording, persistent, busy } = bitmap.info()
  assert.equal([recording, persistent, busy, bitmap.isReadOnly, node.dirtyBitmaps.size], [false, false, false, false, 0])
})

test('what an inconsistent bitmap says means nothing', () => {
  const stack = withBitmap()
  const bitmap = findBitmap(stack.node, 'a')
  write(stack, 3)
  bitmap.isInconsistent = true
  const { count, inconsistent } = bitmap.info()
  assert.equal([count, inconsistent], [0, true])
  bitmap.truncate(KIB)
  assert.is(bitmap.bits.lengthBytes, 64 * KIB)
})

test('the successor of a bitmap that does not record follows the length of the node', () => {
  const stack = memoryStack(64 * KIB)
  const bitmap = add(stack, 'a', { disabled: true })
  bitmap.createSuccessor()
  bitmap.truncate(32 * KIB)
  bitmap.reclaim()
  assert.equal([bitmap.bits.lengthBytes, bitmap.isEnabled, stack.node.dirtyBitmaps.size], [32 * KIB, false, 0])
})

test('only bitmaps that mean something are merged, and only into those that may change', () => {
  const stack = memoryStack(64 * KIB)
  const sources = [{ node: stack.node, name: 'source' }]
  const target = add(stack, 'target')
  const source = add(stack, 'source')
  target.isReadOnly = true
  assert.match(
    refusal(() => mergeBitmaps(stack.node, 'target', sources)),
    "Bitmap 'target' is readonly",
  )
  target.isReadOnly = false
  source.isReadOnly = true
  mergeBitmaps(stack.node, 'target', sources)
  source.isInconsistent = true
  assert.match(
    refusal(() => mergeBitmaps(stack.node, 'target', sources)),
    "Bitmap 'source' is inconsistent",
  )
})

test('a successor takes changes in while an operation uses the bitmap', () => {
  for (const works of [true, false]) {
    const stack = memoryStack(64 * KIB)
    const bitmap = add(stack, 'a')
    write(stack, 1)
    bitmap.createSuccessor()
    write(stack, 2)
    assert.equal(dirty(bitmap), [1])
    assert.equal([bitmap.isBusy, bitmap.isEnabled], [true, true])
    assert.throws(() => bitmap.createSuccessor(), /in use by another operation/)
    if (works) bitmap.abdicate()
    else bitmap.reclaim()
    write(stack, 3)
    assert.equal(dirty(bitmap), works ? [2, 3] : [1, 2, 3])
    assert.is(bitmap.isBusy, false)
    assert.is(stack.node.dirtyBitmaps.size, 1)
  }
})

test('bitmaps follow the length of the node, recording or not', () => {
  const stack = memoryStack(64 * KIB)
  const on = add(stack, 'on')
  const off = add(stack, 'off', { disabled: true })
  write(stack, 60)
  on.createSuccessor()
  stack.backend.setPermissions(15, 15)
  assert.is(stack.run(stack.backend.truncate(32 * KIB, false, 'off')), OK)
  assert.is(stack.run(stack.backend.truncate(128 * KIB, false, 'off')), OK)
  write(stack, 100)
  on.reclaim()
  assert.equal([dirty(on), off.bits.lengthBytes], [[100], 128 * KIB])
})

test.run()
