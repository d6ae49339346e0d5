import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { PORTABLE_CODECS } from '../block/codec_portable'
import { loadCodecs } from './codec'

/** A byte that nothing tells from the others. */
function noise(at: number): number {
  const mixed = Math.imul(at + 1, 0x9e3779b1)
  return Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) >>> 24
}

const INPUT = Uint8Array.from({ length: 65536 }, (_, at) => (Math.imul(at >>> 5, 37) + (at & 7)) & 255)

test('each method reads what it wrote, and the portable one does too', async () => {
  const codecs = await loadCodecs()
  for (const method of ['deflate', 'zstd'] as const) {
    const codec = codecs[method]!
    const output = new Uint8Array(INPUT.length)
    const length = codec.compress(INPUT, output)
    assert.ok(length > 0 && length < INPUT.length / 4, method)
    for (const reader of [codec, PORTABLE_CODECS[method]!]) {
      const plain = new Uint8Array(INPUT.length)
      assert.is(reader.decompress(output.subarray(0, length + 100), plain), true, method)
      assert.is(Buffer.compare(plain, INPUT), 0)
    }
  }
})

test('garbage, data that does not shrink and frames that promise too much are refused', async () => {
  const { deflate, zstd } = await loadCodecs()
  const random = Uint8Array.from({ length: 4096 }, (_, at) => noise(at))
  for (const codec of [deflate!, zstd!]) {
    assert.is(codec.compress(random, new Uint8Array(random.length - 1)), -1)
    assert.is(codec.decompress(new Uint8Array(512).fill(0xff), new Uint8Array(512)), false)
    const output = new Uint8Array(INPUT.length)
    const length = codec.compress(INPUT, output)
    assert.is(codec.decompress(output.subarray(0, length), new Uint8Array(INPUT.length + 1)), false)
    assert.is(codec.decompress(output.subarray(0, length), new Uint8Array(INPUT.length - 1)), false)
  }
})

test('zlib streams say how long they are, and either codec reads those of the other', async () => {
  const { zlib } = await loadCodecs()
  for (const writer of [zlib!, PORTABLE_CODECS.zlib!]) {
    const output = new Uint8Array(INPUT.length)
    const length = writer.compress(INPUT, output)
    assert.ok(length > 0 && length < INPUT.length / 2)
    for (const reader of [zlib!, PORTABLE_CODECS.zlib!]) {
      const plain = new Uint8Array(INPUT.length + 100)
      assert.is(reader.expand(output.subarray(0, length), plain), INPUT.length)
      assert.is(Buffer.compare(plain.subarray(0, INPUT.length), INPUT), 0)
      assert.is(reader.expand(output.subarray(0, length), new Uint8Array(INPUT.length - 1)), -1)
      assert.is(reader.expand(new Uint8Array(512).fill(0xff), new Uint8Array(512)), -1)
    }
    assert.is(writer.compress(INPUT, new Uint8Array(length - 1)), -1)
  }
})

test.run()
