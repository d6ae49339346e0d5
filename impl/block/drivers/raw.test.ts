import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EIO, ENOTSUP, OK } from '../../co'
import { BlockBackend } from '../backend'
import { type BlockLimits, Permission, RequestFlag } from '../flags'
import { type MemoryStack, memoryStack } from '../testing'
import { RawDriver, type RawOptions } from './raw'

const ALL = Permission.ConsistentRead | Permission.Write | Permission.Resize

function window(options: RawOptions, limits: Partial<BlockLimits> = {}): MemoryStack & { raw: BlockBackend } {
  const stack = memoryStack(16384, limits, { discard: 'unmap' })
  const node = stack.graph.addNode({
    driver: new RawDriver(options, stack.node.lengthBytes),
    children: [{ name: 'file', role: 'image', node: stack.node }],
    options: { discard: 'unmap' },
  })
  const raw = new BlockBackend(stack.graph, 'raw')
  raw.attach(node, ALL, Permission.All)
  return { ...stack, raw }
}
const text = (wanted: string) => (error: Error) => error.message === wanted

test('a window must lie in its file', () => {
  assert.throws(
    () => window({ offsetBytes: 16385 }),
    text('Offset (16385) cannot be greater than size of the containing file (16384)'),
  )
  assert.throws(
    () => window({ offsetBytes: 16000, sizeBytes: 512 }),
    text(
      'The sum of offset (16000) and size (512) has to be smaller or equal to the  actual size of the containing file (16384)',
    ),
  )
  assert.throws(() => window({ sizeBytes: 1000 }), text('Specified size is not multiple of 512'))
  assert.is(window({ offsetBytes: 16384 }).raw.lengthBytes, 0)
})

test('every request is moved by the offset, and ends at the size', () => {
  const { raw, disk, run } = window({ offsetBytes: 4096, sizeBytes: 8192 })
  assert.is(raw.lengthBytes, 8192)
  run(raw.pwrite(512, new Uint8Array(512).fill(1)))
  run(raw.pread(1024, new Uint8Array(512)))
  run(raw.pwriteZeroes(2048, 512, RequestFlag.MayUnmap))
  run(raw.pdiscard(4096, 512))
  assert.equal(
    disk.log.map((request) => [request.kind, request.offsetBytes, request.flags]),
    [
      ['write', 4608, 0],
      ['read', 5120, 0],
      ['zero', 6144, RequestFlag.MayUnmap],
      ['discard', 8192, 0],
    ],
  )
  assert.is(run(raw.pwrite(8192, new Uint8Array(1))), EIO)
})

test('NoFallback holds below a raw image too', () => {
  const { raw, disk, run } = window({})
  disk.canZero = false
  assert.is(run(raw.pwriteZeroes(0, 512, RequestFlag.NoFallback)), ENOTSUP)
  assert.is(disk.log.length, 0)
  assert.is(run(raw.pwriteZeroes(0, 512)), OK)
})

test('a window at an odd place has the blocks that fit there, and its file pads', () => {
  const { raw, disk, run } = window({ offsetBytes: 1536 }, { requestAlignmentBytes: 4096, pwriteZeroesAlignmentBytes: 4096 })
  const { limits } = raw.root!.node
  assert.equal([limits.requestAlignmentBytes, limits.pwriteZeroesAlignmentBytes], [512, 0])
  disk.data.fill(3)
  assert.is(run(raw.pwrite(0, new Uint8Array(512).fill(1))), OK)
  assert.equal([disk.data[1535], disk.data[1536], disk.data[2047], disk.data[2048]], [3, 1, 1, 3])
  const { errno, bytes } = run(raw.root!.node.blockStatus('want-zero', 3600, 8192))
  assert.equal([errno, bytes > 0], [OK, true])
})

test('a window of fixed size keeps it; otherwise the file changes its length', () => {
  const fixed = window({ sizeBytes: 8192 })
  assert.is(fixed.run(fixed.raw.truncate(4096, true, 'off')), ENOTSUP)
  const open = window({ offsetBytes: 4096 })
  assert.is(open.run(open.raw.truncate(4096, true, 'off')), OK)
  assert.equal([open.raw.lengthBytes, open.disk.data.length], [4096, 8192])
})

test.run()
