/**
 * Compression by the machine: Node's zlib, and Zstandard as WebAssembly. What may fail: Zstandard may not be there (then
 * images that need it cannot be read, ENOTSUP); data that is none is told by the result, never by an exception.
 */
import * as zlib from 'node:zlib'
import { type Codec, type Codecs, type StreamCodec, zstdFrameBytes } from '../block/codec'

/** What QEMU reads: a window of 4 KiB. */
const WINDOW_BITS = 12
const ZSTD_LEVEL = 3

const DEFLATE: Codec = {
  compress(input, output) {
    const packed = zlib.deflateRawSync(input, { windowBits: WINDOW_BITS })
    if (packed.length > output.length) return -1
    output.set(packed)
    return packed.length
  },
  decompress(input, output) {
    try {
      // Behind the end of the stream lies what the image has there.
      const plain = zlib.inflateRawSync(input, { finishFlush: zlib.constants.Z_SYNC_FLUSH, maxOutputLength: output.length })
      output.set(plain)
      return plain.length === output.length
    } catch {
      return false
    }
  },
}

const ZLIB: StreamCodec = {
  compress(input, output) {
    const packed = zlib.deflateSync(input)
    if (packed.length > output.length) return -1
    output.set(packed)
    return packed.length
  },
  expand(input, output) {
    try {
      const plain = zlib.inflateSync(input, { finishFlush: zlib.constants.Z_SYNC_FLUSH, maxOutputLength: output.length })
      output.set(plain)
      return plain.length
    } catch {
      return -1
    }
  },
}

type Zstd = typeof import('@bokuweb/zstd-wasm')

function zstdCodec(zstd: Zstd): Codec {
  return {
    compress(input, output) {
      const packed = zstd.compress(Buffer.from(input.buffer, input.byteOffset, input.length), ZSTD_LEVEL)
      if (packed.length > output.length) return -1
      output.set(packed)
      return packed.length
    },
    decompress(input, output) {
      const frameBytes = zstdFrameBytes(input)
      if (frameBytes === -1 || zstdContentBytes(input) > output.length) return false
      const frame = Buffer.from(input.buffer, input.byteOffset, frameBytes)
      try {
        const plain = zstd.decompress(frame, { defaultHeapSize: output.length })
        output.set(plain)
        return plain.length === output.length
      } catch {
        return false
      }
    },
  }
}

/** What a frame says that it holds, or 0: the decoder takes that much memory, whatever the image says. */
function zstdContentBytes(input: Uint8Array): number {
  const view = Buffer.from(input.buffer, input.byteOffset, input.length)
  const descriptor = view[4]!
  const isSingleSegment = (descriptor & 32) !== 0
  const at = 5 + (isSingleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]!
  switch (descriptor >>> 6) {
    case 0:
      return isSingleSegment ? view[at]! : 0
    case 1:
      return view.readUInt16LE(at) + 256
    case 2:
      return view.readUInt32LE(at)
    default:
      return view.readUInt32LE(at) + view.readUInt32LE(at + 4) * 2 ** 32
  }
}

/** Without Zstandard, at once. */
export const HOST_CODECS: Codecs = { deflate: DEFLATE, zstd: null, zlib: ZLIB }

/** All codecs of this machine. */
export async function loadCodecs(): Promise<Codecs> {
  try {
    const zstd: Zstd = require('@bokuweb/zstd-wasm')
    await zstd.init()
    return { deflate: DEFLATE, zstd: zstdCodec(zstd), zlib: ZLIB }
  } catch {
    return HOST_CODECS
  }
}
