import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OK } from '../../../co'
import { BlockBackend } from '../../backend'
import { BlockError } from '../../error'
import { Permission, RequestFlag } from '../../flags'
import type { BlockNode } from '../../node'
import { type TestBench, testBench } from '../../testing'
import { decodeHeader } from './header'
import { createQcow2, openQcow2, type Qcow2CreateOptions } from './index'
import { getRefcount, readU32, readU64 } from './layout'
import { checkRefcounts, GrowingFile, newImage, TEST_CODECS } from './testing'

const RULES = { isWritable: true, isForCheck: false }

function refusal(options: Qcow2CreateOptions): string {
  try {
    newImage(options)
  } catch (error) {
    if (error instanceof BlockError) return error.message
    throw error
  }
  return 'taken'
}

test('clusters lie where scripts look for them', () => {
  const content = newImage({ sizeBytes: 2 ** 30 })
  assert.equal([readU64(content, 48), readU64(content, 0x10000), readU64(content, 40)], [0x10000, 0x20000, 0x30000])
  assert.equal([readU32(content, 36), readU64(content, 24)], [2, 2 ** 30])
  const counts = [0, 1, 2, 3, 4].map((cluster) => getRefcount(content.subarray(0x20000), 4, cluster))
  assert.equal(counts, [1, 1, 1, 1, 0])
  checkRefcounts(content, true)
})

test('every combination of cluster size and refcount width gives an image without a leak', () => {
  for (let clusterBytes = 512; clusterBytes <= 2 ** 21; clusterBytes *= 8) {
    for (const refcountBits of [1, 8, 64]) {
      const content = newImage({ sizeBytes: 3 * clusterBytes, clusterBytes, refcountBits })
      checkRefcounts(content, true)
      assert.is(decodeHeader(content.slice(0, clusterBytes), RULES).sizeBytes, 3 * clusterBytes)
    }
  }
})

test('preallocation maps every cluster, and with falloc and full the file has all of them', () => {
  for (const preallocation of ['metadata', 'falloc', 'full'] as const) {
    for (const clusterBytes of [512, 65536]) {
      const content = newImage({ sizeBytes: 1 << 20, clusterBytes, preallocation })
      checkRefcounts(content, true)
      assert.ok(content.length >= 1 << 20)
    }
  }
})

test('the features that were asked for stand in the header', () => {
  const options = {
    sizeBytes: 1 << 20,
    lazyRefcounts: true,
    extendedL2: true,
    compressionType: 'zstd',
    backingName: 'a',
  } as const
  const header = decodeHeader(newImage({ ...options, backingFormat: 'raw' }).slice(0, 65536), RULES)
  assert.equal([header.compatible, header.incompatible, header.compressionType], [1n, 24n, 1])
  assert.equal([header.backingName, header.backingFormat], ['a', 'raw'])
})

test('options that do not go together are refused in QEMU’s words', () => {
  const size = { sizeBytes: 1 << 20 }
  const needsV3 = 'only supported with compatibility level 1.1 and above (use version=v3 or greater)'
  const file = testBench().graph.addNode({ driver: new GrowingFile() })
  for (const [options, text] of [
    [{ sizeBytes: 1000 }, 'Image size must be a multiple of 512 bytes'],
    [{ ...size, clusterBytes: 1000 }, 'Cluster size must be a power of two between 512 and 2048k'],
    [{ ...size, clusterBytes: 2 ** 22 }, 'Cluster size must be a power of two between 512 and 2048k'],
    [{ ...size, version: 2, extendedL2: true }, `Extended L2 entries are ${needsV3}`],
    [
      { ...size, clusterBytes: 8192, extendedL2: true },
      'Extended L2 entries are only supported with cluster sizes of at least 16384 bytes',
    ],
    [
      { ...size, preallocation: 'metadata', backingName: 'a' },
      'Backing file and preallocation can only be used at the same time if extended_l2 is on',
    ],
    [{ ...size, backingFormat: 'raw' }, 'Backing format cannot be used without backing file'],
    [{ ...size, version: 2, lazyRefcounts: true }, `Lazy refcounts ${needsV3}`],
    [{ ...size, refcountBits: 3 }, 'Refcount width must be a power of two and may not exceed 64 bits'],
    [
      { ...size, version: 2, refcountBits: 8 },
      'Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)',
    ],
    [{ ...size, dataFileRaw: true }, 'data-file-raw requires data-file'],
    [
      { ...size, dataFile: file, dataFileRaw: true, backingName: 'a' },
      'Backing file and data-file-raw cannot be used at the same time',
    ],
    [{ ...size, dataFile: file, version: 2 }, `External data files are ${needsV3}`],
    [{ ...size, version: 2, compressionType: 'zstd' }, `Non-zlib compression type is ${needsV3}`],
    [{ ...size, extendedL2: true, preallocation: 'metadata', backingName: 'a' }, 'taken'],
  ] as Array<[Qcow2CreateOptions, string]>) {
    assert.is(refusal(options), text)
  }
})

/** An image whose data lies in a file of its own. */
function dataFileStack(dataFileRaw: boolean): TestBench & { data: GrowingFile; file: GrowingFile; backend: BlockBackend } {
  const bench = testBench()
  const [file, data] = [new GrowingFile(), new GrowingFile()]
  const [fileNode, dataNode] = [file, data].map((driver) => bench.graph.addNode({ driver, options: { discard: 'unmap' } })) as [
    BlockNode,
    BlockNode,
  ]
  bench.run(createQcow2(fileNode, { sizeBytes: 1 << 20, dataFile: dataNode, dataFileName: 'data', dataFileRaw }))
  const driver = bench.run(openQcow2(fileNode, { codecs: TEST_CODECS, passDiscardRequest: true }))
  const children = [
    { name: 'file', role: 'image' as const, node: fileNode },
    { name: 'data-file', role: 'image' as const, node: dataNode },
  ]
  const node = bench.graph.addNode({ driver, children, options: { discard: 'unmap' } })
  bench.run(driver.start(null))
  const backend = new BlockBackend(bench.graph, '')
  backend.attach(node, Permission.ConsistentRead | Permission.Write | Permission.Resize, Permission.All)
  return { ...bench, data, file, backend }
}

test('an external data file has the data where the guest has it', () => {
  const { run, backend, data, file } = dataFileStack(false)
  assert.is(run(backend.pwrite(70000, new Uint8Array(512).fill(3))), OK)
  assert.equal([data.data[70000], data.data.length], [3, 1 << 20])
  run(backend.pdiscard(65536, 65536))
  assert.is(data.data[70000], 0, 'discarded')
  run(backend.flush())
  checkRefcounts(file.data)
})

test('a raw data file shows what the guest sees', () => {
  const { run, backend, data } = dataFileStack(true)
  data.data.fill(0)
  const model = new Uint8Array(1 << 20)
  for (const [kind, at, length] of [
    ['write', 1000, 200000],
    ['zero', 4096, 65536],
    ['discard', 65536, 131072],
    ['unmap', 0, 65536],
    ['write', 65000, 1000],
  ] as const) {
    if (kind === 'write') assert.is(run(backend.pwrite(at, new Uint8Array(length).fill(7))), OK)
    else if (kind === 'discard') assert.is(run(backend.pdiscard(at, length)), OK)
    else assert.is(run(backend.pwriteZeroes(at, length, kind === 'unmap' ? RequestFlag.MayUnmap : 0)), OK)
    model.fill(kind === 'write' ? 7 : 0, at, at + length)
    assert.is(Buffer.compare(data.data, model), 0, kind)
  }
})

test('an image says whether it needs a data file, and does not take what it does not need', () => {
  const bench = testBench()
  const [file, data] = [new GrowingFile(), new GrowingFile()]
  const [fileNode, dataNode] = [file, data].map((driver) => bench.graph.addNode({ driver })) as [BlockNode, BlockNode]
  const open = (withData: boolean): string => {
    const driver = bench.run(openQcow2(fileNode, { codecs: TEST_CODECS }))
    const children = [{ name: 'file', role: 'image' as const, node: fileNode }]
    if (withData) children.push({ name: 'data-file', role: 'image', node: dataNode })
    try {
      bench.graph.addNode({ driver, children })
    } catch (error) {
      return (error as Error).message
    }
    return 'taken'
  }
  bench.run(createQcow2(fileNode, { sizeBytes: 1 << 20, dataFile: dataNode, dataFileName: 'data' }))
  assert.is(open(false), "'data-file' is required for this image")
  bench.run(createQcow2(fileNode, { sizeBytes: 1 << 20 }))
  assert.is(open(true), "'data-file' can only be set for images with an external data file")
})

test.run()
