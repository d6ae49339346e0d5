import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EFBIG, EINVAL, EIO, ENOTSUP, OK } from '../../../co'
import type { PreallocationMode } from '../../driver'
import { readU64 } from './layout'
import { checkRefcounts, GrowingFile, type ImageStack, newStack, openStack } from './testing'

const CLUSTER = 4096
const SIZE = { sizeBytes: 64 * CLUSTER, clusterBytes: CLUSTER }

function resize(stack: ImageStack, clusters: number, preallocation: PreallocationMode = 'off'): number {
  return stack.run(stack.backend.truncate(clusters * CLUSTER, false, preallocation))
}
function values(stack: ImageStack, at: number, length: number): number[] {
  const buffer = new Uint8Array(length)
  assert.is(stack.run(stack.backend.pread(at, buffer)), OK)
  return [...new Set(buffer)]
}

test('an image grows beyond its first table, and the old one is given up', () => {
  const stack = newStack(SIZE)
  const before = stack.driver.header.l1OffsetBytes
  stack.run(stack.backend.pwrite(0, new Uint8Array(CLUSTER).fill(3)))
  assert.is(resize(stack, 600 * 512), OK)
  assert.ok(stack.driver.header.l1OffsetBytes !== before)
  assert.is(stack.run(stack.backend.pwrite(600 * 512 * CLUSTER - CLUSTER, new Uint8Array(CLUSTER).fill(4))), OK)
  const again = openStack(stack.close())
  assert.is(again.backend.lengthBytes, 600 * 512 * CLUSTER)
  assert.equal([values(again, 0, CLUSTER), values(again, 600 * 512 * CLUSTER - CLUSTER, CLUSTER)], [[3], [4]])
  checkRefcounts(again.close(), true)
})

test('an image that shrinks gives clusters and tables up, and its file with them', () => {
  const stack = newStack({ sizeBytes: 2048 * CLUSTER, clusterBytes: CLUSTER })
  for (let at = 0; at < 2048; at += 256) stack.run(stack.backend.pwrite(at * CLUSTER, new Uint8Array(CLUSTER * 4).fill(3)))
  stack.run(stack.backend.flush())
  const before = stack.file.data.length
  assert.is(resize(stack, 300), OK)
  assert.ok(stack.file.data.length < before / 2, `${stack.file.data.length} of ${before}`)
  assert.equal(values(stack, 0, 4 * CLUSTER), [3])
  checkRefcounts(stack.close(), true)
})

test('what an image gains reads zero, whatever was there or lies below', () => {
  const stack = newStack(
    { ...SIZE, sizeBytes: 10 * CLUSTER },
    {
      backing: ({ graph }) =>
        graph.addNode({ driver: new GrowingFile(new Uint8Array(32 * CLUSTER).fill(9)), options: { readOnly: true } }),
    },
  )
  stack.run(stack.backend.pwrite(0, new Uint8Array(10 * CLUSTER).fill(5)))
  assert.is(stack.run(stack.backend.truncate(9 * CLUSTER + 512, false, 'off')), OK)
  assert.is(resize(stack, 20), OK)
  assert.equal(values(stack, 0, 9 * CLUSTER + 512), [5])
  assert.equal(values(stack, 9 * CLUSTER + 512, 11 * CLUSTER - 512), [0])
})

test('growing can map and allocate what it adds', () => {
  for (const mode of ['metadata', 'falloc', 'full'] as const) {
    const stack = newStack(SIZE)
    stack.run(stack.backend.pwrite(0, new Uint8Array(64 * CLUSTER).fill(5)))
    stack.run(stack.backend.pdiscard(0, 64 * CLUSTER))
    stack.run(stack.backend.flush())
    assert.is(resize(stack, 128, mode), OK)
    assert.equal(values(stack, 0, 128 * CLUSTER), [0], 'places that were used before too')
    assert.ok(stack.run(stack.node.blockStatus('want-zero', 64 * CLUSTER, CLUSTER)).mapOffsetBytes > 0, mode)
    checkRefcounts(stack.close(), true)
  }
})

test('a table that cannot be moved stays where it is', () => {
  const stack = newStack(SIZE)
  stack.run(stack.backend.pwrite(0, new Uint8Array(CLUSTER).fill(3)))
  let failures = 0
  stack.file.fail = ({ kind, offsetBytes }) => (kind === 'write' && offsetBytes === 36 && failures++ === 0 ? EIO : OK)
  assert.is(resize(stack, 600 * 512), EIO)
  assert.is(resize(stack, 600 * 512), OK)
  stack.file.fail = ({ kind, offsetBytes }) => (kind === 'write' && offsetBytes === 36 ? EIO : OK)
  assert.is(resize(stack, 1200 * 512), EIO)
  assert.is(stack.run(stack.backend.pwrite(0, new Uint8Array(CLUSTER))), EIO, 'nobody knows which table counts')
})

test('lengths and modes that cannot be are refused', () => {
  const stack = newStack(SIZE)
  assert.is(stack.run(stack.backend.truncate(1000, false, 'off')), EINVAL)
  assert.is(resize(stack, 32, 'metadata'), EINVAL)
  assert.is(stack.run(stack.backend.truncate(2 ** 52, false, 'off')), EFBIG)
  assert.is(stack.driver.header.sizeBytes, 64 * CLUSTER)
  const old = newStack({ ...SIZE, version: 2 })
  old.driver.header.snapshotCount = 1
  assert.is(resize(old, 65), ENOTSUP)
  const bitmaps = newStack(SIZE)
  bitmaps.driver.header.bitmaps = { count: 1, directoryBytes: 64, directoryOffsetBytes: 0 }
  const unknown = { name: 'unknown', tableOffsetBytes: CLUSTER, tableEntries: 1, flags: 1, granularityBits: 16 }
  bitmaps.driver.image.storedBitmaps = [unknown]
  assert.is(resize(bitmaps, 65), ENOTSUP)
})

test('the length in the file is the one that was asked for', () => {
  const stack = newStack(SIZE)
  assert.is(resize(stack, 65), OK)
  assert.is(readU64(stack.file.data, 24), 65 * CLUSTER)
})

test.run()
