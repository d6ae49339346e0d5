import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, ENOSPC, makeLabel, OK } from '../../co'
import { BlockBackend } from '../backend'
import { Permission } from '../flags'
import { MemoryDriver, testBench } from '../testing'
import { BlkverifyDriver, type Mismatch, parseBlkverifyFilename } from './blkverify'

function bench() {
  const stack = testBench()
  const raw = new MemoryDriver(16384)
  const image = new MemoryDriver(16384)
  const mismatches: Mismatch[] = []
  const node = stack.graph.addNode({
    name: 'verify',
    driver: new BlkverifyDriver((mismatch) => mismatches.push(mismatch)),
    children: [
      { name: 'raw', role: 'filtered', node: stack.graph.addNode({ name: 'raw0', driver: raw }) },
      { name: 'test', role: 'image', node: stack.graph.addNode({ name: 'test0', driver: image }) },
    ],
    options: { discard: 'unmap' },
  })
  const backend = new BlockBackend(stack.graph, 'drive')
  backend.attach(node, Permission.ConsistentRead | Permission.Write | Permission.Resize, Permission.All)
  return { ...stack, raw, image, mismatches, backend, node }
}
const bytes = (count: number, value: number): Uint8Array => new Uint8Array(count).fill(value)

test('both images get every change, and reads are compared', () => {
  const { backend, raw, image, mismatches, run } = bench()
  assert.is(run(backend.pwrite(512, bytes(1024, 7))), OK)
  assert.is(run(backend.pwriteZeroes(1024, 512)), OK)
  assert.is(run(backend.flush()), OK)
  assert.is(Buffer.compare(raw.data, image.data), 0)
  const buffer = bytes(16384, 0xff)
  assert.is(run(backend.pread(0, buffer)), OK)
  assert.is(Buffer.compare(buffer, raw.data), 0)
  assert.equal([mismatches.length, raw.requests('flush').length, image.requests('flush').length], [0, 1, 1])
})

test('a byte that differs is told with its place', () => {
  const { backend, image, mismatches, run } = bench()
  image.data[5000] = 1
  assert.is(run(backend.pread(0, bytes(4096, 0))), OK)
  assert.is(run(backend.pread(4096, bytes(4096, 0))), EIO)
  assert.equal(mismatches, [
    {
      operation: 'read',
      offsetBytes: 4096,
      lengthBytes: 4096,
      text: 'blkverify: read offset=4096 bytes=4096 contents mismatch at offset 5000',
    },
  ])
})

test('an error of one image alone is a mismatch, of both it is just an error', () => {
  const { backend, raw, image, mismatches, run } = bench()
  image.fail = () => ENOSPC
  assert.is(run(backend.pwrite(0, bytes(512, 1))), EIO)
  assert.is(mismatches[0]?.text, 'blkverify: write offset=0 bytes=512 return value mismatch -28 != 0')
  raw.fail = () => ENOSPC
  assert.is(run(backend.pwrite(0, bytes(512, 1))), ENOSPC)
  assert.is(mismatches.length, 1)
})

test('requests that overlap reach both images in one order', () => {
  const { backend, raw, image, mismatches, kernel, clock } = bench()
  let turn = 0
  // Each image takes its own time for each request.
  raw.fail = () => {
    raw.latencyNs = [90, 10, 50, 70, 30][turn++ % 5]!
    return OK
  }
  image.fail = () => {
    image.latencyNs = [20, 80, 40, 10, 60, 30][turn++ % 6]!
    return OK
  }
  for (let index = 0; index < 12; index++) {
    const request = index % 3 === 2 ? backend.pread(0, bytes(2048, 0)) : backend.pwrite(256 * index, bytes(2048, index))
    kernel.spawn(
      (function* () {
        assert.is(yield* request, OK)
      })(),
      makeLabel(`r${index}`),
    )
  }
  clock.run()
  assert.equal(mismatches, [])
  assert.is(Buffer.compare(raw.data, image.data), 0)
})

test('users see the length of the image under test, and both change it', () => {
  const { backend, raw, image, node, run } = bench()
  run(node.children.get('test')!.node.driver.truncate(8192, true, 'off'))
  assert.is(backend.lengthBytes, 8192)
  assert.is(run(backend.truncate(4096, true, 'off')), OK)
  assert.equal([raw.data.length, image.data.length], [4096, 4096])
})

test('discards go nowhere: what they leave may differ', () => {
  const { backend, raw, image, run } = bench()
  run(backend.pwrite(0, bytes(4096, 3)))
  assert.is(run(backend.pdiscard(0, 4096)), OK)
  assert.equal([raw.requests('discard').length, image.requests('discard').length], [0, 0])
})

test('a file name names both images', () => {
  assert.equal(parseBlkverifyFilename('blkverify:/a:b:c'), { raw: '/a', test: 'b:c' })
  assert.throws(() => parseBlkverifyFilename('blkverify:a'), /requires raw copy and original image path/)
})

test.run()
