import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EINVAL, EIO, ENOSPC, ENOTSUP, makeLabel, OK } from '../../../co'
import { BlockError } from '../../error'
import { RequestFlag, StatusFlag } from '../../flags'
import { probeAllZero } from '../../status'
import { testBench } from '../../testing'
import { decodeHeader } from './header'
import { openQcow2, type Qcow2Driver, type Qcow2OpenOptions } from './index'
import { readU32, readU64, writeBits, writeU32 } from './layout'
import { checkRefcounts, GrowingFile, type ImageStack, newImage, newStack, openStack, TEST_CODECS } from './testing'

const CLUSTER = 65536
const SIZE = { sizeBytes: 64 * CLUSTER }
const ALL = { isWritable: false, isForCheck: true }

function bytes(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value)
}
function write(stack: ImageStack, at: number, length: number, value = 1): void {
  assert.is(stack.run(stack.backend.pwrite(at, bytes(length, value))), OK)
}
function read(stack: ImageStack, at: number, length: number): Uint8Array {
  const buffer = new Uint8Array(length)
  assert.is(stack.run(stack.backend.pread(at, buffer)), OK)
  return buffer
}
/** Requests to the file since the log was emptied, as kind and range. */
function requests(stack: ImageStack, kind: 'read' | 'write' | 'zero' | 'discard'): Array<[number, number]> {
  return stack.file.requests(kind).map((request) => [request.offsetBytes, request.lengthBytes])
}
function text(body: () => unknown): string {
  try {
    body()
  } catch (error) {
    if (error instanceof BlockError) return error.message
    throw error
  }
  return 'taken'
}
function headerOf(content: Uint8Array): ReturnType<typeof decodeHeader> {
  return decodeHeader(content.slice(0, CLUSTER), ALL)
}

test('neighbouring clusters are one request to the file', () => {
  const stack = newStack(SIZE)
  write(stack, 0, 512)
  stack.file.log.length = 0
  write(stack, CLUSTER, 16 * CLUSTER)
  assert.equal(requests(stack, 'write'), [[0x60000, 16 * CLUSTER]])
  write(stack, CLUSTER, 16 * CLUSTER)
  assert.equal(requests(stack, 'write').length, 2, 'in place')
  read(stack, 512, 17 * CLUSTER - 512)
  assert.equal(requests(stack, 'read'), [[0x50200, 17 * CLUSTER - 512]])
})

test('around a small write nothing is written where nothing was', () => {
  const stack = newStack(SIZE)
  write(stack, 0, 512)
  stack.file.log.length = 0
  write(stack, CLUSTER + 4096, 512)
  assert.equal(requests(stack, 'write'), [[0x61000, 512]])
  assert.equal(requests(stack, 'zero'), [], 'the file has never been there')
})

test('a place that was used before is zeroed around a small write', () => {
  const stack = newStack(SIZE)
  write(stack, 0, CLUSTER, 7)
  stack.run(stack.backend.pdiscard(0, CLUSTER))
  stack.run(stack.backend.flush())
  stack.file.log.length = 0
  write(stack, CLUSTER, 512)
  assert.equal(requests(stack, 'zero'), [[0x50000, CLUSTER]])
  assert.equal([...new Set(read(stack, CLUSTER + 512, CLUSTER - 512))], [0])
})

test('what surrounds a small write in the backing image is copied with it', () => {
  const below = bytes(3 * 4096, 9)
  const backing: NonNullable<Parameters<typeof newStack>[1]>['backing'] = ({ graph }) =>
    graph.addNode({ driver: new GrowingFile(below), options: { readOnly: true } })
  const stack = newStack({ sizeBytes: 64 * 4096, clusterBytes: 4096 }, { backing: backing! })
  stack.file.log.length = 0
  write(stack, 4096 + 512, 512, 3)
  const data = requests(stack, 'write').filter(([, length]) => length === 4096)
  assert.is(data.length, 2, 'the new table, and head, data and tail in one')
  assert.equal([...new Set(read(stack, 4096, 4096))], [9, 3])
  assert.equal([...new Set(read(stack, 2 * 4096, 4 * 4096))], [9, 0], 'zero behind the end of the backing image')
})

test('two writes to one new cluster share it, two to different ones run side by side', () => {
  const stack = newStack(SIZE)
  write(stack, 40 * CLUSTER, 512)
  stack.file.latencyNs = 1000
  const ends: number[] = []
  for (const at of [0, 512, CLUSTER]) {
    stack.kernel.spawn(
      (function* () {
        assert.is(yield* stack.backend.pwrite(at, bytes(512, 2)), OK)
        ends.push(at)
      })(),
      makeLabel('guest'),
    )
  }
  stack.clock.run()
  stack.file.latencyNs = 0
  assert.equal(ends, [0, CLUSTER, 512])
  assert.equal([...read(stack, 0, 1025)].filter((value) => value === 2).length, 1024)
  checkRefcounts(stack.close(), true)
})

test('a cluster that was given up is used again after a flush, not before', () => {
  const stack = newStack(SIZE)
  write(stack, 0, CLUSTER, 7)
  stack.run(stack.backend.pdiscard(0, CLUSTER))
  write(stack, CLUSTER, CLUSTER)
  const place = (at: number): number => stack.run(stack.node.blockStatus('want-zero', at, CLUSTER)).mapOffsetBytes
  assert.is(place(CLUSTER), 0x60000)
  stack.run(stack.backend.flush())
  write(stack, 2 * CLUSTER, CLUSTER)
  assert.is(place(2 * CLUSTER), 0x50000)
})

test('a cluster is not used again while a read of it is under way', () => {
  const stack = newStack(SIZE)
  write(stack, 0, CLUSTER, 7)
  stack.run(stack.backend.flush())
  const seen = new Uint8Array(CLUSTER)
  const slow = stack.file.pread.bind(stack.file)
  // This one read takes longer than everything else together.
  stack.file.pread = function* (offset, buffer, flags) {
    if (offset === 0x50000) yield* stack.kernel.sleepNs(1000)
    return yield* slow(offset, buffer, flags)
  }
  const order: string[] = []
  stack.kernel.spawn(
    (function* () {
      yield* stack.backend.pread(0, seen)
      order.push('read')
    })(),
    makeLabel('reader'),
  )
  stack.kernel.spawn(
    (function* () {
      yield* stack.kernel.sleepNs(10)
      yield* stack.backend.pdiscard(0, CLUSTER)
      yield* stack.backend.flush()
      order.push('flushed')
      yield* stack.backend.pwrite(CLUSTER, bytes(CLUSTER, 8))
    })(),
    makeLabel('writer'),
  )
  stack.clock.run()
  assert.equal(order, ['read', 'flushed'])
  assert.equal([...new Set(seen)], [7])
  assert.is(stack.run(stack.node.blockStatus('want-zero', CLUSTER, CLUSTER)).mapOffsetBytes, 0x50000)
})

test('discards reach the file when the tables no longer need it, if that is wanted', () => {
  for (const passDiscardRequest of [true, false]) {
    const stack = newStack(SIZE, { open: { passDiscardRequest } })
    write(stack, 0, 2 * CLUSTER)
    stack.run(stack.backend.pdiscard(0, 2 * CLUSTER))
    assert.equal(requests(stack, 'discard'), [])
    stack.run(stack.backend.flush())
    assert.equal(requests(stack, 'discard'), passDiscardRequest ? [[0x50000, 2 * CLUSTER]] : [])
  }
})

test('with discard-no-unref clusters keep their place', () => {
  const stack = newStack(SIZE, { open: { discardNoUnref: true } })
  write(stack, 0, CLUSTER)
  stack.run(stack.backend.pdiscard(0, CLUSTER))
  assert.equal(requests(stack, 'discard'), [[0x50000, CLUSTER]])
  const status = stack.run(stack.node.blockStatus('want-zero', 0, CLUSTER))
  assert.equal([status.flags & StatusFlag.Zero, status.mapOffsetBytes], [StatusFlag.Zero, 0x50000])
  write(stack, 512, 512)
  assert.is(stack.run(stack.node.blockStatus('want-zero', 0, CLUSTER)).mapOffsetBytes, 0x50000)
  assert.equal([read(stack, 0, 1)[0], read(stack, 512, 1)[0], read(stack, 1024, 1)[0]], [0, 1, 0])
})

test('parts of clusters are not discarded, and version 2 does not show what is below', () => {
  const stack = newStack(SIZE)
  write(stack, 0, 2 * CLUSTER)
  stack.run(stack.backend.pdiscard(512, 2 * CLUSTER - 512))
  assert.equal([read(stack, 512, 1)[0], read(stack, CLUSTER, 1)[0]], [1, 0])
  const old = newStack(
    { ...SIZE, version: 2 },
    { backing: ({ graph }) => graph.addNode({ driver: new GrowingFile(bytes(CLUSTER, 9)), options: { readOnly: true } }) },
  )
  write(old, 0, CLUSTER)
  assert.is(old.run(old.backend.pdiscard(0, CLUSTER)), OK, 'advice that is not taken')
  assert.is(read(old, 0, 1)[0], 1)
  assert.is(old.run(old.backend.pwriteZeroes(0, CLUSTER, RequestFlag.NoFallback)), ENOTSUP)
})

test('zeroes cost no data, and parts of a cluster that reads zero are zeroed with it', () => {
  const stack = newStack(SIZE)
  stack.run(stack.backend.pwriteZeroes(0, 8 * CLUSTER))
  assert.is(stack.run(stack.backend.pwriteZeroes(9 * CLUSTER + 512, 512, RequestFlag.NoFallback)), OK)
  write(stack, 10 * CLUSTER, 512)
  assert.is(stack.run(stack.backend.pwriteZeroes(10 * CLUSTER, 512, RequestFlag.NoFallback)), ENOTSUP)
  const status = stack.run(stack.node.blockStatus('want-zero', 0, 64 * CLUSTER))
  assert.equal([status.flags & StatusFlag.Zero, status.bytes], [StatusFlag.Zero, 8 * CLUSTER])
})

test('an empty image is known to be zero without reading a table', () => {
  const stack = newStack({ sizeBytes: 2 ** 41, clusterBytes: CLUSTER })
  stack.file.log.length = 0
  assert.equal(stack.run(probeAllZero(stack.backend.root!)), { errno: OK, isZero: true })
  assert.equal(stack.file.requests('read'), [])
})

test('an image whose file is thinner than its tables say asks the file for holes', () => {
  const content = newImage({ ...SIZE, preallocation: 'metadata' })
  for (const allocatedBytes of [content.length, 6 * CLUSTER]) {
    const stack = openStack(content)
    stack.file.allocatedBytes = () => allocatedBytes
    stack.file.allocated.fill(0)
    const status = stack.run(stack.node.blockStatus('want-zero', 0, 64 * CLUSTER))
    const isThin = allocatedBytes < content.length
    assert.equal(
      [status.flags & StatusFlag.Data, status.flags & StatusFlag.Zero],
      [StatusFlag.Data, isThin ? StatusFlag.Zero : 0],
    )
  }
})

test('compressed clusters lie one behind the other and are not overwritten', () => {
  const stack = newStack(SIZE)
  const compressed = (at: number, length: number): number =>
    stack.run(stack.backend.pwrite(at, bytes(length, at / CLUSTER + 1), RequestFlag.Compressed))
  assert.equal([compressed(0, 2 * CLUSTER), compressed(3 * CLUSTER, CLUSTER)], [OK, OK])
  assert.is(compressed(0, CLUSTER), EIO)
  assert.is(compressed(512, CLUSTER), EINVAL)
  assert.ok(stack.file.data.length < 0x50000 + 1024, 'three clusters in one')
  assert.equal([...new Set(read(stack, 0, 4 * CLUSTER))], [1, 0, 4])
  write(stack, CLUSTER + 512, 512, 9)
  assert.equal([...new Set(read(stack, CLUSTER, CLUSTER))], [1, 9])
  stack.run(stack.backend.pdiscard(0, 4 * CLUSTER))
  assert.equal([...new Set(read(stack, 0, 4 * CLUSTER))], [0])
  checkRefcounts(stack.close(), true)
})

test('data that does not shrink is stored as it is; without the method nothing is', () => {
  const noise = Uint8Array.from({ length: CLUSTER }, (_, at) => {
    const mixed = Math.imul(at + 1, 0x9e3779b1)
    return Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) >>> 24
  })
  const stack = newStack(SIZE)
  assert.is(stack.run(stack.backend.pwrite(0, noise, RequestFlag.Compressed)), OK)
  assert.is(stack.run(stack.node.blockStatus('want-zero', 0, CLUSTER)).mapOffsetBytes, 0x50000)
  const zstd = newStack({ ...SIZE, compressionType: 'zstd' })
  assert.is(zstd.run(zstd.backend.pwrite(0, noise, RequestFlag.Compressed)), ENOTSUP)
  assert.is(stack.run(stack.fileNode.parents.values().next().value!.pwrite(0, noise, RequestFlag.Compressed)), ENOTSUP, 'a file')
})

test('tables and clusters that a snapshot shares are copied before they change', () => {
  const source = newStack({ sizeBytes: 64 * 512, clusterBytes: 512 })
  write(source, 0, 1024, 5)
  const content = source.close()
  // As after a snapshot: two users of the table and of both clusters, and nobody owns them.
  const table = readU64(content, readU32(content, 44)) % 2 ** 40
  for (const cluster of [table / 512, table / 512 + 1, table / 512 + 2]) content[readU32(content, 52) + 512 + cluster * 2 + 1] = 2
  content[readU32(content, 44)] = 0
  content[table] = 0
  content[table + 8] = 0
  const stack = openStack(content)
  write(stack, 0, 512, 6)
  assert.equal([read(stack, 0, 1)[0], read(stack, 512, 1)[0]], [6, 5])
  const after = stack.close()
  const counts = [0, 1, 2].map((number) => after[readU32(content, 52) + 512 + (table / 512 + number) * 2 + 1])
  assert.equal(counts, [1, 1, 2], 'the snapshot keeps the old table and both clusters, the new table the second one')
  assert.is(after[table + 512], 5)
})

test('the refcount table grows when the file does', () => {
  const stack = newStack({ sizeBytes: 6000 * 512, clusterBytes: 512, refcountBits: 64 })
  const before = stack.driver.header.refcountTableOffsetBytes
  for (let at = 0; at < 6000 * 512; at += 100 * 512) write(stack, at, 100 * 512, 1 + (at % 251))
  for (let at = 0; at < 6000 * 512; at += 100 * 512) assert.is(read(stack, at + 512, 1)[0], 1 + (at % 251))
  const content = stack.close()
  assert.ok(headerOf(content).refcountTableOffsetBytes !== before)
  checkRefcounts(content, true)
})

test('lazy refcounts keep the dirty bit while the image is open and written to', () => {
  const stack = newStack({ ...SIZE, lazyRefcounts: true })
  assert.is(readU32(stack.file.data, 76), 0)
  write(stack, 0, 512)
  stack.run(stack.backend.flush())
  assert.is(readU32(stack.file.data, 76), 1)
  assert.throws(() => checkRefcounts(Uint8Array.from(stack.file.data).fill(0, 72, 80)), /^refcount 0 of cluster/)
  const content = stack.close()
  assert.is(readU32(content, 76), 0)
  checkRefcounts(content, true)
})

test('a dirty image is repaired before it is written to, and read as it is', () => {
  const content = newImage(SIZE)
  writeBits(content, 72, 1n)
  // A refcount that is behind: the L1 table's.
  content.fill(0, 0x20006, 0x20008)
  assert.is(
    text(() => openStack(content.slice(), { open: { readOnly: true } })),
    'taken',
  )
  let repaired: Qcow2Driver | null = null
  const bench = testBench()
  const file = new GrowingFile(content)
  const fileNode = bench.graph.addNode({ driver: file })
  const driver = bench.run(openQcow2(fileNode, { codecs: TEST_CODECS }))
  bench.graph.addNode({ driver, children: [{ name: 'file', role: 'image', node: fileNode }] })
  bench.run(
    driver.start(function* (asked) {
      repaired = asked
      return OK
    }),
  )
  assert.is(repaired, driver)
  assert.is(readU32(file.data, 76), 0)
})

test('without somebody else to repair it, an image repairs itself', () => {
  const content = newImage(SIZE)
  writeBits(content, 72, 1n)
  content.fill(0, 0x20006, 0x20008)
  assert.throws(() => checkRefcounts(Uint8Array.from(content).fill(0, 72, 80)))
  const stack = openStack(content)
  assert.is(readU32(stack.file.data, 76), 0)
  write(stack, 0, 512)
  checkRefcounts(stack.close(), false)
})

test('autoclear bits that are unknown go when the image is opened for writing', () => {
  const content = newImage(SIZE)
  writeBits(content, 88, 1n << 33n)
  assert.is(headerOf(openStack(content, { open: { readOnly: true } }).file.data).autoclear, 1n << 33n)
  assert.is(headerOf(openStack(content).file.data).autoclear, 0n)
})

test('options that cannot be are refused in QEMU’s words', () => {
  const refused = (open: Partial<Qcow2OpenOptions>, version: 2 | 3 = 3): string =>
    text(() => newStack({ ...SIZE, version }, { open }))
  for (const [open, wanted] of [
    [{ l2CacheEntryBytes: 1000 }, 'L2 cache entry size must be a power of two between 512 and the cluster size (65536)'],
    [{ l2CacheEntryBytes: 131072 }, 'L2 cache entry size must be a power of two between 512 and the cluster size (65536)'],
    [
      { cacheBytes: 1, l2CacheBytes: 1, refcountCacheBytes: 1 },
      'cache-size, l2-cache-size and refcount-cache-size may not be set at the same time',
    ],
    [{ cacheBytes: 1, l2CacheBytes: 2 }, 'l2-cache-size may not exceed cache-size'],
    [{ cacheBytes: 1, refcountCacheBytes: 2 }, 'refcount-cache-size may not exceed cache-size'],
    [{ cacheBytes: 1 << 20 }, 'taken'],
    [{ l2CacheEntryBytes: 4096 }, 'taken'],
  ] as const) {
    assert.is(refused(open), wanted)
  }
  assert.is(
    refused({ lazyRefcounts: true }, 2),
    'Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level',
  )
})

test('slices of tables serve as whole tables do', () => {
  const stack = newStack(
    { sizeBytes: 40 * 2 ** 20, clusterBytes: 4096 },
    { open: { l2CacheEntryBytes: 512, l2CacheBytes: 1024 } },
  )
  for (let at = 0; at < 40 * 2 ** 20; at += 2 ** 20 + 4096) write(stack, at, 8192, 1 + (at % 251))
  for (let at = 0; at < 40 * 2 ** 20; at += 2 ** 20 + 4096) assert.is(read(stack, at, 1)[0], 1 + (at % 251))
  checkRefcounts(stack.close(), true)
})

test('the backing file can be changed in the header', () => {
  const stack = newStack({ sizeBytes: 512 * 64, clusterBytes: 512, backingName: 'a', backingFormat: 'raw' })
  const change = (name: string | null, format: string | null): number => stack.run(stack.driver.changeBackingFile(name, format))
  assert.is(change('other', 'qcow2'), OK)
  assert.equal([headerOf(stack.file.data).backingName, headerOf(stack.file.data).backingFormat], ['other', 'qcow2'])
  assert.is(change('x'.repeat(1024), null), EINVAL)
  assert.is(change('x'.repeat(500), null), ENOSPC)
  assert.is(change(null, null), OK)
  assert.is(headerOf(stack.file.data).backingName, null)
})

test('what is special about an image is told as QMP has it', () => {
  assert.equal(newStack({ ...SIZE, extendedL2: true, refcountBits: 1 }).driver.specificInfo(), {
    compat: '1.1',
    'compression-type': 'zlib',
    'lazy-refcounts': false,
    'refcount-bits': 1,
    corrupt: false,
    'extended-l2': true,
  })
  assert.equal(newStack({ ...SIZE, version: 2 }).driver.specificInfo(), {
    compat: '0.10',
    'compression-type': 'zlib',
    'refcount-bits': 16,
  })
  const { driver } = newStack({ ...SIZE, extendedL2: true })
  assert.equal(driver.info(), { clusterBytes: CLUSTER, subclusterBytes: 2048 })
  assert.is(driver.hasZeroInit(), true)
})

test('a table that says nothing beyond the end of its file reads as zeroes', () => {
  const content = newImage(SIZE)
  const stack = openStack(content)
  write(stack, 0, CLUSTER)
  const closed = stack.close()
  writeU32(closed, 0x40004, 0x900000)
  const opened = openStack(closed, { open: { readOnly: true } })
  assert.equal([...new Set(read(opened, 0, CLUSTER))], [0])
})

test('version 2 zeroes by giving clusters up, but not where an image may come below', () => {
  const zeroed = (backing: { backingName?: string; backingFormat?: string }): number => {
    const stack = newStack({ ...SIZE, version: 2, ...backing })
    write(stack, 0, CLUSTER)
    return stack.run(stack.driver.pwriteZeroes(0, CLUSTER, 0))
  }
  assert.is(zeroed({}), OK)
  assert.is(zeroed({ backingName: 'later', backingFormat: 'raw' }), ENOTSUP)
})

test.run()
