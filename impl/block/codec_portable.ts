/**
 * Compression without the machine, for worlds and browsers. Deflate is written with fixed codes and a window of 4 KiB, which
 * is what images allow (libraries for JavaScript use 32 KiB); it is small rather than good. Zstandard is only read: what is
 * to be written counts as incompressible.
 */
import { inflateSync } from 'fflate'
import { decompress as zstdDecompress } from 'fzstd'
import { assert } from '../co'
import { adler32, type Codec, type Codecs, type StreamCodec, zstdFrameBytes } from './codec'

const WINDOW_BYTES = 4096
const MATCH_BYTES_MIN = 3
const MATCH_BYTES_MAX = 258
const HASH_BITS = 12
const END_OF_BLOCK = 256

/** The first length, respectively distance, of each code, and how many bits say how far beyond it (RFC 1951, 3.2.5). */
const LENGTH_BASES = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
]
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]
const DISTANCE_BASES = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073]

/** Bits, lowest first, into a buffer that may be too short. */
class BitWriter {
  private readonly output: Uint8Array
  private at = 0
  private pending = 0
  private pendingBits = 0

  constructor(output: Uint8Array) {
    this.output = output
  }
  put(value: number, bits: number): void {
    assert(bits <= 16 && value < 1 << bits, 'bits-fit')
    this.pending |= value << this.pendingBits
    this.pendingBits += bits
    while (this.pendingBits >= 8) {
      this.output[this.at++] = this.pending
      this.pending >>>= 8
      this.pendingBits -= 8
    }
  }
  /** A Huffman code, whose first bit is its highest. */
  putCode(code: number, bits: number): void {
    let reversed = 0
    for (let bit = 0; bit < bits; bit++) reversed |= ((code >>> bit) & 1) << (bits - 1 - bit)
    this.put(reversed, bits)
  }
  /** The number of bytes, or -1 if they did not fit. */
  finish(): number {
    if (this.pendingBits > 0) this.put(0, 8 - this.pendingBits)
    return this.at <= this.output.length ? this.at : -1
  }
  get isFull(): boolean {
    return this.at > this.output.length
  }
}

/** A literal or a length by the fixed code (RFC 1951, 3.2.6). */
function putSymbol(writer: BitWriter, symbol: number): void {
  assert(symbol >= 0 && symbol < 286, 'deflate-symbol')
  if (symbol < 144) writer.putCode(0x30 + symbol, 8)
  else if (symbol < 256) writer.putCode(0x190 + symbol - 144, 9)
  else if (symbol < 280) writer.putCode(symbol - 256, 7)
  else writer.putCode(0xc0 + symbol - 280, 8)
}

/** The last code whose base is not above `value`. */
function codeFor(bases: readonly number[], value: number): number {
  let code = bases.length - 1
  while (bases[code]! > value) code--
  return code
}

function putMatch(writer: BitWriter, lengthBytes: number, distanceBytes: number): void {
  assert(distanceBytes >= 1 && distanceBytes <= WINDOW_BYTES, 'match-in-window')
  const length = codeFor(LENGTH_BASES, lengthBytes)
  putSymbol(writer, END_OF_BLOCK + 1 + length)
  writer.put(lengthBytes - LENGTH_BASES[length]!, LENGTH_EXTRA[length]!)
  const distance = codeFor(DISTANCE_BASES, distanceBytes)
  writer.putCode(distance, 5)
  writer.put(distanceBytes - DISTANCE_BASES[distance]!, distance < 4 ? 0 : (distance >>> 1) - 1)
}

function matchBytes(input: Uint8Array, from: number, at: number): number {
  const end = Math.min(input.length - at, MATCH_BYTES_MAX)
  let length = 0
  while (length < end && input[from + length] === input[at + length]) length++
  return length
}

const DEFLATE: Codec = {
  compress(input, output) {
    const writer = new BitWriter(output)
    const latest = new Int32Array(1 << HASH_BITS).fill(-1)
    // The only block, with fixed codes.
    writer.put(1, 1)
    writer.put(1, 2)
    for (let at = 0; at < input.length && !writer.isFull; ) {
      let length = 0
      let from = -1
      if (at + MATCH_BYTES_MIN <= input.length) {
        const hash =
          (Math.imul(input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16), 0x9e3779b1) >>> 0) >>> (32 - HASH_BITS)
        from = latest[hash]!
        latest[hash] = at
        if (from >= 0 && at - from <= WINDOW_BYTES) length = matchBytes(input, from, at)
      }
      if (length < MATCH_BYTES_MIN) putSymbol(writer, input[at++]!)
      else {
        putMatch(writer, length, at - from)
        at += length
      }
    }
    putSymbol(writer, END_OF_BLOCK)
    return writer.finish()
  },
  decompress(input, output) {
    try {
      const plain = inflateSync(input, { out: output })
      return plain.length === output.length
    } catch {
      return false
    }
  },
}

const ZSTD: Codec = {
  compress: () => -1,
  decompress(input, output) {
    const frameBytes = zstdFrameBytes(input)
    if (frameBytes === -1) return false
    try {
      return zstdDecompress(input.subarray(0, frameBytes), output).length === output.length
    } catch {
      return false
    }
  },
}

/** Method 8 with a window of 4 KiB, and a check of these two bytes (RFC 1950, 2.2). */
const ZLIB_HEAD = [0x48, 0x89] as const
const ZLIB_TAIL_BYTES = 4
const ZLIB_METHOD_DEFLATE = 8
const ZLIB_HAS_DICTIONARY = 32

const ZLIB: StreamCodec = {
  compress(input, output) {
    const room = output.length - ZLIB_HEAD.length - ZLIB_TAIL_BYTES
    const bytes = room <= 0 ? -1 : DEFLATE.compress(input, output.subarray(ZLIB_HEAD.length, ZLIB_HEAD.length + room))
    if (bytes === -1) return -1
    output.set(ZLIB_HEAD)
    const endBytes = ZLIB_HEAD.length + bytes
    assert(endBytes + ZLIB_TAIL_BYTES <= output.length, 'zlib-fits')
    new DataView(output.buffer, output.byteOffset).setUint32(endBytes, adler32(input))
    return endBytes + ZLIB_TAIL_BYTES
  },
  expand(input, output) {
    const [method = 0, flags = 0] = input
    const isZlib = (method & 15) === ZLIB_METHOD_DEFLATE && (method * 256 + flags) % 31 === 0
    if (!isZlib || (flags & ZLIB_HAS_DICTIONARY) !== 0) return -1
    try {
      // What does not fit would be cut off without a word.
      const plain = inflateSync(input.subarray(ZLIB_HEAD.length), { out: new Uint8Array(output.length + 1) })
      if (plain.length > output.length) return -1
      output.set(plain)
      return plain.length
    } catch {
      return -1
    }
  },
}

export const PORTABLE_CODECS: Codecs = { deflate: DEFLATE, zstd: ZSTD, zlib: ZLIB }
