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

/** The methods that a format may ask for. A method that is null is unknown on this machine: ENOTSUP. */
export interface Codecs {
  /** Raw deflate streams (RFC 1951) with a window of 4 KiB. */
  deflate: Codec | null
  /** Zstandard frames (RFC 8878). */
  zstd: Codec | null
}
