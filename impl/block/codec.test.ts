import * as zlib from 'node:zlib'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { zstdFrameBytes } from './codec'
import { PORTABLE_CODECS } from './codec_portable'

const deflate = PORTABLE_CODECS.deflate!
const zstd = PORTABLE_CODECS.zstd!

/** A byte that nothing tells from the others. */
function noise(at: number): number {
  const mixed = Math.imul(at + 1, 0x9e3779b1)
  return Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) >>> 24
}

/** Data with repetitions near and far, and some that has none. */
function samples(): Uint8Array[] {
  const mixed = Uint8Array.from({ length: 65536 }, (_, at) => (Math.imul(at >>> 4, at >>> 9) + (at & 3)) & 255)
  const random = Uint8Array.from({ length: 5000 }, (_, at) => noise(at))
  return [
    new Uint8Array(512),
    new Uint8Array(65536).fill(7),
    mixed,
    random,
    Uint8Array.of(1),
    Uint8Array.from([1, 2, 3, 1, 2, 3, 1]),
  ]
}

test('what is deflated here is read here and by zlib with a window of 4 KiB', () => {
  for (const input of samples()) {
    const output = new Uint8Array(input.length + 1000)
    const length = deflate.compress(input, output)
    assert.ok(length > 0)
    const packed = output.subarray(0, length)
    const foreign = zlib.inflateRawSync(packed, { windowBits: 12 })
    assert.is(Buffer.compare(foreign, input), 0)
    const plain = new Uint8Array(input.length)
    assert.is(deflate.decompress(output, plain), true, 'with something behind its end')
    assert.is(Buffer.compare(plain, input), 0)
  }
})

test('what zlib has deflated is read here', () => {
  for (const input of samples()) {
    const plain = new Uint8Array(input.length)
    const packed = Buffer.concat([zlib.deflateRawSync(input, { windowBits: 12 }), Buffer.alloc(300, 5)])
    assert.is(deflate.decompress(packed, plain), true)
    assert.is(Buffer.compare(plain, input), 0)
  }
})

test('repetitions make data shorter, and what does not fit is refused', () => {
  assert.ok(deflate.compress(new Uint8Array(65536).fill(7), new Uint8Array(65536)) < 1000)
  const random = samples()[3]!
  assert.is(deflate.compress(random, new Uint8Array(random.length - 1)), -1)
  assert.is(zstd.compress(new Uint8Array(512), new Uint8Array(511)), -1)
})

test('garbage and data of another length are refused', () => {
  const plain = new Uint8Array(1000)
  assert.is(deflate.decompress(new Uint8Array(100).fill(0xff), plain), false)
  assert.is(deflate.decompress(zlib.deflateRawSync(new Uint8Array(999)), plain), false)
  assert.is(zstd.decompress(new Uint8Array(100).fill(0xff), plain), false)
  assert.is(zstd.decompress(new Uint8Array(0), plain), false)
})

/** A frame of 16 bytes with a checksum field: 3 raw ones and 13 times the same. */
const FRAME = Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0x20, 16, 0x18, 0, 0, 1, 2, 3, 0x6b, 0, 0, 9])

test('a frame ends with its last block, whatever follows', () => {
  assert.is(zstdFrameBytes(FRAME), FRAME.length)
  assert.is(zstdFrameBytes(Buffer.concat([FRAME, Buffer.alloc(40, 1)])), FRAME.length)
  assert.is(zstdFrameBytes(FRAME.subarray(0, FRAME.length - 1)), -1)
  const plain = new Uint8Array(16)
  assert.is(zstd.decompress(Buffer.concat([FRAME, Buffer.alloc(40, 1)]), plain), true)
  assert.equal([...plain], [1, 2, 3, ...new Array(13).fill(9)])
})

test.run()
