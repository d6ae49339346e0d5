/** Other options for an image that is there: its content stays, its refcounts are exact, and a power cut costs leaks at worst. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OK } from '../../../co'
import { RequestFlag } from '../../flags'
import type { Qcow2AmendOptions, Qcow2CreateOptions } from './index'
import { readU32, writeBits } from './layout'
import {
  checkRefcounts,
  GrowingFile,
  type ImageStack,
  newStack,
  openStack,
  RecordingFile,
  randomFrom,
  someChoices,
  stateAt,
} from './testing'

const CLUSTER = 1024
const SIZE = { sizeBytes: CLUSTER * 200, clusterBytes: CLUSTER }

/** An image of every kind of cluster, and what it reads. */
function filled(options: Partial<Qcow2CreateOptions> = {}): { stack: ImageStack; content: Buffer } {
  const stack = newStack({ ...SIZE, ...options })
  const content = Buffer.alloc(SIZE.sizeBytes)
  for (const [at, clusters, value] of [
    [0, 9, 1],
    [20, 40, 2],
    [150, 3, 3],
  ] as const) {
    content.fill(value, at * CLUSTER, (at + clusters) * CLUSTER)
    assert.is(stack.run(stack.backend.pwrite(at * CLUSTER, content.subarray(at * CLUSTER, (at + clusters) * CLUSTER))), OK)
  }
  const data = new Uint8Array(CLUSTER).fill(4)
  const flags = stack.driver.info().clusterBytes === CLUSTER ? RequestFlag.Compressed : 0
  assert.is(stack.run(stack.backend.pwrite(100 * CLUSTER, data, flags)), OK)
  content.set(data, 100 * CLUSTER)
  for (const [at, flags] of [
    [2, 0],
    [30, RequestFlag.MayUnmap],
    [120, 0],
  ] as const) {
    assert.is(stack.run(stack.backend.pwriteZeroes(at * CLUSTER, CLUSTER * 2, flags)), OK)
    content.fill(0, at * CLUSTER, (at + 2) * CLUSTER)
  }
  return { stack, content }
}

function amend(stack: ImageStack, options: Qcow2AmendOptions): void {
  stack.run(stack.driver.amend(options))
}
function assertReads(stack: ImageStack, content: Buffer): void {
  const read = Buffer.alloc(stack.node.lengthBytes)
  assert.is(stack.run(stack.backend.pread(0, read)), OK)
  assert.ok(read.equals(content), 'the content stays')
}
function refusal(options: Qcow2AmendOptions, create: Partial<Qcow2CreateOptions> = {}): string {
  const { stack } = filled(create)
  try {
    amend(stack, options)
  } catch (error) {
    return (error as Error).message
  }
  return 'taken'
}

test('up and down between versions', () => {
  const { stack, content } = filled()
  amend(stack, { version: 2 })
  assertReads(stack, content)
  assert.is(stack.run(stack.backend.pwriteZeroes(0, CLUSTER)), OK)
  content.fill(0, 0, CLUSTER)
  const bytes = stack.close()
  assert.is(readU32(bytes, 4), 2)
  checkRefcounts(bytes, true)
  const again = openStack(bytes)
  assertReads(again, content)
  amend(again, { version: 3, lazyRefcounts: true })
  assertReads(again, content)
  assert.is(again.driver.specificInfo()['lazy-refcounts'], true)
  amend(again, { lazyRefcounts: false })
  const last = again.close()
  assert.is(readU32(last, 4), 3)
  checkRefcounts(last, true)
  assertReads(openStack(last), content)
})

test('a version 2 image keeps zeroes above something that lies below', () => {
  const below = new Uint8Array(SIZE.sizeBytes).fill(9)
  const { stack } = filled()
  const content = stack.close()
  const withBacking = openStack(content, {
    backing: ({ graph }) => graph.addNode({ driver: new GrowingFile(below), options: { readOnly: true } }),
  })
  const before = Buffer.alloc(SIZE.sizeBytes)
  assert.is(withBacking.run(withBacking.backend.pread(0, before)), OK)
  amend(withBacking, { version: 2 })
  assertReads(withBacking, before)
  checkRefcounts(withBacking.close(), true)
})

test('refcounts of every width', () => {
  const { stack, content } = filled()
  for (const refcountBits of [64, 32, 8, 4, 2, 1, 16]) {
    amend(stack, { refcountBits })
    assert.is(stack.driver.specificInfo()['refcount-bits'], refcountBits)
    assertReads(stack, content)
    assert.is(stack.run(stack.backend.pwrite(180 * CLUSTER, new Uint8Array(CLUSTER).fill(refcountBits))), OK)
    content.fill(refcountBits, 180 * CLUSTER, 181 * CLUSTER)
  }
  const bytes = stack.close()
  checkRefcounts(bytes, true)
  assertReads(openStack(bytes), content)
})

test('a refcount that has no room in the new width is told', () => {
  const { stack } = filled()
  const snapshot = { name: 'a', dateSeconds: 1, dateNanoseconds: 0, vmClockNs: 0n, vmStateBytes: 0, icount: null }
  assert.is(stack.run(stack.driver.snapshotCreate(snapshot)), OK)
  assert.throws(() => amend(stack, { refcountBits: 1 }), /Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x/)
})

test('what does not go together is refused in QEMU’s words', () => {
  assert.is(refusal({ refcountBits: 12 }), 'Refcount width must be a power of two and may not exceed 64 bits')
  assert.is(refusal({ version: 2 }, { refcountBits: 8 }), 'compat=0.10 requires refcount_bits=16')
  const width = 'Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)'
  assert.is(refusal({ refcountBits: 8 }, { version: 2 }), width)
  const lazy = 'Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)'
  assert.is(refusal({ lazyRefcounts: true }, { version: 2 }), lazy)
  assert.is(refusal({ backingName: 'x' }), 'Cannot amend the backing file')
  assert.is(refusal({ dataFileName: 'x' }), 'data-file can only be set for images that use an external data file')
  assert.is(refusal({ dataFileRaw: true }), 'data_file_raw cannot be set on existing images')
  assert.is(refusal({ backingName: '', backingFormat: '' }), 'taken')
  assert.is(
    refusal({ version: 2 }, { clusterBytes: 16384, extendedL2: true, sizeBytes: SIZE.sizeBytes }),
    'Cannot downgrade an image with incompatible features 0x10 set',
  )
})

test('another length', () => {
  const { stack, content } = filled()
  amend(stack, { sizeBytes: SIZE.sizeBytes * 4 })
  assertReads(stack, Buffer.concat([content, Buffer.alloc(SIZE.sizeBytes * 3)]))
  checkRefcounts(stack.close(), true)
})

test('an empty image shows what lies below, and its file is short', () => {
  const { stack } = filled()
  const before = stack.file.data.length
  assert.is(stack.run(stack.driver.makeEmpty()), OK)
  assertReads(stack, Buffer.alloc(SIZE.sizeBytes))
  const bytes = stack.close()
  checkRefcounts(bytes, true)
  assert.ok(bytes.length < before / 2, `${bytes.length} of ${before}`)
})

test('what nobody knows is kept in the header', () => {
  const { stack } = filled()
  stack.driver.header.unknownExtensions.push({ type: 0x12345678, data: new Uint8Array([1, 2, 3]) })
  amend(stack, { lazyRefcounts: true })
  amend(stack, { version: 2 })
  amend(stack, { version: 3 })
  const again = openStack(stack.close())
  assert.equal(again.driver.header.unknownExtensions, [{ type: 0x12345678, data: new Uint8Array([1, 2, 3]) }])
})

test('features that nobody knows are named as the image names them', () => {
  const { stack } = filled({ clusterBytes: 65536, sizeBytes: SIZE.sizeBytes })
  const bytes = stack.close()
  writeBits(bytes, 72, (1n << 40n) | (1n << 50n))
  assert.throws(() => openStack(bytes.slice()), /^Unsupported qcow2 feature\(s\): Unknown incompatible feature: 4010000000000$/)
  // The first name of the table: of an incompatible feature, of bit 0.
  const at = Buffer.from(bytes).indexOf('dirty bit')
  bytes[at - 1] = 40
  assert.throws(
    () => openStack(bytes),
    /^Unsupported qcow2 feature\(s\): dirty bit, Unknown incompatible feature: 4000000000000$/,
  )
})

test('a power cut in another width leaks clusters at worst', () => {
  let count = 0
  for (const refcountBits of [1, 8, 64]) {
    const { stack: first, content } = filled()
    const start = first.close().slice()
    const file = new RecordingFile(start)
    const stack = openStack(start, { file })
    amend(stack, { refcountBits })
    stack.close()
    const random = randomFrom(refcountBits)
    for (let cut = 0; cut < file.events.length; cut++) {
      for (const keeps of someChoices(file.events, cut, random)) {
        const state = stateAt({ start, events: file.events }, cut, keeps)
        checkRefcounts(state)
        assertReads(openStack(state, { open: { readOnly: true } }), content)
        count++
      }
    }
  }
  assert.ok(count > 30, `${count} states`)
})

test.run()
