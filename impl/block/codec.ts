/**
 * Compression of single clusters, as formats store them. The host hands in the fast ones of the machine; worlds use the
 * portable ones of this room. Both must read what the other has written.
 *
 * What may fail: input that does not shrink to the room that there is, and data that is no compressed data; both are
 * told by the result, never by an exception.
 */

/** One method of compression. Calls are synchronous: a cluster is at most 2 MiB. */
export interface Codec {
  /** Compresses `input` into the start of `output`; returns the length, or -1 if it does not fit. */
  compress(input: Uint8Array, output: Uint8Array): number
  /**
   * Fills all of `output` from the start of `input`, which may have anything behind its end; false if it cannot.
   */
  decompress(input: Uint8Array, output: Uint8Array): boolean
}

/** A method whose streams say themselves how much they hold. */
export interface StreamCodec {
  /** Compresses `input` into the start of `output`; returns the length, or -1 if it does not fit. */
  compress(input: Uint8Array, output: Uint8Array): number
  /** Fills `output` from its start; returns how much the stream holds, or -1 if it is none or has more than fits. */
  expand(input: Uint8Array, output: Uint8Array): number
}

/** The methods that a format may ask for. A method that is null is unknown on this machine: ENOTSUP. */
export interface Codecs {
  /** Raw deflate streams (RFC 1951) with a window of 4 KiB. */
  deflate: Codec | null
  /** Zstandard frames (RFC 8878). */
  zstd: Codec | null
  /** Zlib streams (RFC 1950) with windows of up to 32 KiB. */
  zlib: StreamCodec | null
}

const ADLER_MODULUS = 65521

/** The checksum at the end of zlib streams (RFC 1950, 8.2). */
export function adler32(bytes: Uint8Array): number {
  let [low, high] = [1, 0]
  for (let index = 0; index < bytes.length; index++) {
    low = (low + bytes[index]!) % ADLER_MODULUS
    high = (high + low) % ADLER_MODULUS
  }
  return ((high << 16) | low) >>> 0
}

const ZSTD_MAGIC = 0xfd2fb528
const ZSTD_DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const
const ZSTD_CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const
const ZSTD_BLOCK_RLE = 1

/**
 * Length of the Zstandard frame at the start of `input`, found by walking over its block headers, or -1 if there is no whole
 * frame. Images pad compressed data, while decoders want to see the frame alone (RFC 8878, section 3.1.1).
 */
export function zstdFrameBytes(input: Uint8Array): number {
  const magic = (input[0]! | (input[1]! << 8) | (input[2]! << 16) | (input[3]! << 24)) >>> 0
  if (input.length < 6 || magic !== ZSTD_MAGIC) return -1
  const descriptor = input[4]!
  const isSingleSegment = (descriptor & 32) !== 0
  const sizeFlag = descriptor >>> 6
  const contentSizeBytes = sizeFlag === 0 && isSingleSegment ? 1 : ZSTD_CONTENT_SIZE_BYTES[sizeFlag as 0 | 1 | 2 | 3]
  const dictionaryBytes = ZSTD_DICTIONARY_ID_BYTES[(descriptor & 3) as 0 | 1 | 2 | 3]
  let at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes + contentSizeBytes
  for (let isLast = false; !isLast; ) {
    if (at + 3 > input.length) return -1
    const block = input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16)
    isLast = (block & 1) !== 0
    at += 3 + (((block >>> 1) & 3) === ZSTD_BLOCK_RLE ? 1 : block >>> 3)
  }
  if ((descriptor & 4) !== 0) at += 4
  return at <= input.length ? at : -1
}
