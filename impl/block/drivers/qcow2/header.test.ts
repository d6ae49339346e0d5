import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ENOSPC } from '../../../co'
import { BlockError } from '../../error'
import { decodeHeader, encodeHeader, headerFits, headerSpan, type Qcow2Header } from './header'
import { EXTENSION_BITMAPS, EXTENSION_FEATURE_NAMES, writeBits, writeU32, writeU64 } from './layout'
import { newImage } from './testing'

const RULES = { isWritable: true, isForCheck: false }

function firstCluster(): Uint8Array {
  return newImage({ sizeBytes: 1 << 20 }).slice(0, 65536)
}
function header(change: Partial<Qcow2Header> = {}): Qcow2Header {
  return { ...decodeHeader(firstCluster(), RULES), ...change }
}
function refusal(bytes: Uint8Array, rules = RULES): string {
  try {
    decodeHeader(bytes, rules)
  } catch (error) {
    if (error instanceof BlockError) return error.message
    throw error
  }
  return 'taken'
}
/** What is said about a new image in which one field is changed. */
function changed(change: (bytes: Uint8Array) => void, rules = RULES): string {
  const bytes = firstCluster()
  change(bytes)
  return refusal(bytes, rules)
}

test('a header survives being written and read', () => {
  const full = header({
    backingName: 'Datei für unten.raw',
    backingFormat: 'raw',
    unknownFields: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    unknownExtensions: [{ type: 0x12345678, data: Uint8Array.of(1, 2, 3) }],
    autoclear: 1n,
    bitmaps: { count: 2, directoryBytes: 100, directoryOffsetBytes: 65536 * 9 },
    compatible: 1n << 40n,
  })
  assert.equal(decodeHeader(encodeHeader(full), RULES), full)
})

test('version 2 has no features and refcounts of 16 bits', () => {
  const old = decodeHeader(newImage({ sizeBytes: 512, version: 2 }).slice(0, 65536), RULES)
  assert.equal([old.version, old.refcountOrder, old.incompatible, old.compressionType], [2, 4, 0n, 0])
})

test('fields that cannot be right are refused in QEMU’s words', () => {
  const tooLarge = (at: number, value: number) => (bytes: Uint8Array) => writeU32(bytes, at, value)
  for (const [text, change] of [
    ['Image is not in qcow2 format', tooLarge(0, 0)],
    ['Unsupported qcow2 version 4', tooLarge(4, 4)],
    ['Unsupported cluster size: 2^8', tooLarge(20, 8)],
    ['Unsupported cluster size: 2^22', tooLarge(20, 22)],
    ['qcow2 header too short', tooLarge(100, 103)],
    ['qcow2 header exceeds cluster size', tooLarge(100, 65537)],
    ['Invalid backing file offset', (bytes: Uint8Array) => writeU64(bytes, 8, 65537)],
    ['Unsupported encryption method 3', tooLarge(32, 3)],
    ['Missing CRYPTO header for crypt method 2', tooLarge(32, 2)],
    ['Active L1 table too large', tooLarge(36, 0x7fffffff)],
    ['L1 table is too small', tooLarge(36, 0)],
    ['Active L1 table offset invalid', (bytes: Uint8Array) => writeU64(bytes, 40, 65537)],
    ['Image is too big', (bytes: Uint8Array) => writeU32(bytes, 24, 0x7fffffff)],
    ['Reference count table offset invalid', (bytes: Uint8Array) => writeU64(bytes, 48, 1)],
    ['Reference count table too large', tooLarge(56, 0x7fffffff)],
    ['Image does not contain a reference count table', tooLarge(56, 0)],
    ['Snapshot table too large', tooLarge(60, 65537)],
    ['Snapshot table offset invalid', (bytes: Uint8Array) => writeU64(bytes, 64, 512)],
    ['Reference count entry width too large; may not exceed 64 bits', tooLarge(96, 7)],
    ['qcow2: Compression type incompatible feature bit must be set', (bytes: Uint8Array) => (bytes[104] = 1)],
    ['qcow2: Compression type incompatible feature bit must not be set', (bytes: Uint8Array) => (bytes[79] = 8)],
    ['qcow2: unknown compression type: 2', (bytes: Uint8Array) => (bytes[104] = 2)],
  ] as Array<[string, (bytes: Uint8Array) => void]>) {
    assert.is(changed(change), text)
  }
})

test('backing file names end inside the header', () => {
  const name = (at: number, length: number) => (bytes: Uint8Array) => {
    writeU64(bytes, 8, at)
    writeU32(bytes, 16, length)
  }
  assert.is(changed(name(600, 1023)), 'taken')
  assert.is(changed(name(600, 1024)), 'Backing file name too long')
  assert.is(changed(name(65530, 7)), 'Backing file name too long')
})

test('extensions end inside the header', () => {
  const extension = (type: number, length: number) => (bytes: Uint8Array) => {
    writeU32(bytes, 112, type)
    writeU32(bytes, 116, length)
  }
  assert.is(changed(extension(0x1234, 65536)), 'Header extension too large')
  assert.is(changed(extension(0xe2792aca, 16)), 'ERROR: ext_backing_format: len=16 too large (>=16)')
  assert.is(changed(extension(EXTENSION_BITMAPS, 20)), 'bitmaps_ext: Invalid extension length')
})

test('a corrupt image may be read and checked, not written', () => {
  const corrupt = (bytes: Uint8Array) => writeBits(bytes, 72, 2n)
  assert.is(changed(corrupt), 'qcow2: Image is corrupt; cannot be opened read/write')
  assert.is(changed(corrupt, { isWritable: false, isForCheck: false }), 'taken')
  assert.is(changed(corrupt, { isWritable: true, isForCheck: true }), 'taken')
})

test('unknown features are called by the name that the image has for them', () => {
  const bytes = firstCluster()
  writeBits(bytes, 72, (1n << 5n) | (1n << 62n))
  assert.is(refusal(bytes), 'Unsupported qcow2 feature(s): Unknown incompatible feature: 4000000000000020')
  assert.is(bytes[112], EXTENSION_FEATURE_NAMES >>> 24, 'the names come first')
  // The second name becomes the one of bit 5.
  bytes[120 + 48 + 1] = 5
  assert.is(refusal(bytes), 'Unsupported qcow2 feature(s): corrupt bit, Unknown incompatible feature: 4000000000000000')
})

test('a header that does not fit into its cluster is refused', () => {
  const small = decodeHeader(newImage({ sizeBytes: 512, clusterBytes: 512 }).slice(0, 512), RULES)
  const long = { ...small, backingName: 'x'.repeat(400) }
  assert.is(headerFits(small), true)
  assert.is(headerFits(long), false)
  assert.throws(
    () => encodeHeader(long),
    (error: unknown) => error instanceof BlockError && error.errno === ENOSPC,
  )
})

test('the span of a header is its cluster', () => {
  assert.is(headerSpan(newImage({ sizeBytes: 512, clusterBytes: 4096 })), 4096)
})

test.run()
