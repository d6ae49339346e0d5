/**
 * A bitmap over byte ranges with one bit per `granularityBytes` (a power of two), hierarchical so that finding the next
 * set bit of a huge, nearly empty disk is fast. The last bit may cover a short chunk.
 *
 * `set` rounds outwards. `reset` takes aligned ranges only (the end may be the end of the disk): a reset that rounded
 * outwards would forget somebody's write (QEMU's hbitmap bugs of 2019).
 *
 * Level 0 holds the bits; bit i of level n+1 says whether word i of level n is not zero. Bitmaps of at most 1024 bits have
 * level 0 alone: scanning 32 words is cheaper than keeping a summary.
 */
import { assert } from '../co'

const BITS_PER_WORD = 32
const FLAT_WORDS_MAX = 32

export class DirtyBitmap {
  readonly granularityBytes: number
  private readonly shift: number
  private bytes: number
  private bits: number
  private levels: Uint32Array[]
  private setCount = 0

  constructor(lengthBytes: number, granularityBytes: number) {
    assert(granularityBytes >= 1 && Number.isInteger(Math.log2(granularityBytes)), 'bitmap-granularity-power-of-two')
    assert(Number.isSafeInteger(lengthBytes) && lengthBytes >= 0, 'bitmap-length')
    this.granularityBytes = granularityBytes
    this.shift = Math.log2(granularityBytes)
    this.bytes = lengthBytes
    this.bits = this.chunksIn(lengthBytes)
    this.levels = makeLevels(this.bits)
  }

  get lengthBytes(): number {
    return this.bytes
  }
  /** Number of bits: ceil(length / granularity). */
  get bitCount(): number {
    return this.bits
  }
  /** Number of set bits. */
  get count(): number {
    return this.setCount
  }
  /** Whole chunks, even for a short tail, as query-named-block-nodes shows. */
  get countBytes(): number {
    return this.setCount * this.granularityBytes
  }
  /** The bottom level, bit i & 31 of word i >> 5; for inspection only. */
  get words(): Uint32Array {
    return this.levels[0]!
  }

  /** Divides rounding up; a shift would wrap above 2^31. */
  private chunksIn(lengthBytes: number): number {
    return Math.ceil(lengthBytes / this.granularityBytes)
  }
  private chunkOf(offsetBytes: number): number {
    return offsetBytes < 0x80000000 ? offsetBytes >>> this.shift : Math.floor(offsetBytes / this.granularityBytes)
  }

  get(offsetBytes: number): boolean {
    assert(offsetBytes >= 0 && offsetBytes < this.bytes, 'bitmap-range', () => `${offsetBytes} of ${this.bytes}`)
    const bit = this.chunkOf(offsetBytes)
    return ((this.levels[0]![bit >>> 5]! >>> (bit & 31)) & 1) === 1
  }

  /** Sets every chunk touched by [offset, offset + length). length > 0. */
  set(offsetBytes: number, lengthBytes: number): void {
    this.checkRange(offsetBytes, lengthBytes)
    this.change(this.chunkOf(offsetBytes), this.chunkOf(offsetBytes + lengthBytes - 1) + 1, true)
  }

  /** Clears whole chunks; both ends aligned, the end may be the end of the disk. length > 0. */
  reset(offsetBytes: number, lengthBytes: number): void {
    this.checkRange(offsetBytes, lengthBytes)
    const endBytes = offsetBytes + lengthBytes
    assert(offsetBytes % this.granularityBytes === 0, 'bitmap-reset-aligned', () => `start ${offsetBytes}`)
    assert(endBytes % this.granularityBytes === 0 || endBytes === this.bytes, 'bitmap-reset-aligned', () => `end ${endBytes}`)
    this.change(this.chunkOf(offsetBytes), this.chunksIn(endBytes), false)
  }

  setAll(): void {
    if (this.bits > 0) this.change(0, this.bits, true)
  }
  resetAll(): void {
    if (this.bits > 0) this.change(0, this.bits, false)
  }

  private checkRange(offsetBytes: number, lengthBytes: number): void {
    assert(lengthBytes > 0, 'bitmap-range-not-empty', () => `${offsetBytes}+${lengthBytes}`)
    assert(
      offsetBytes >= 0 && offsetBytes + lengthBytes <= this.bytes,
      'bitmap-range',
      () => `${offsetBytes}+${lengthBytes} of ${this.bytes}`,
    )
  }

  private change(firstBit: number, endBit: number, value: boolean): void {
    assert(firstBit < endBit && endBit <= this.bits, 'bitmap-bits', () => `${firstBit}..${endBit} of ${this.bits}`)
    const words = this.levels[0]!
    const lastWord = (endBit - 1) >>> 5
    for (let word = firstBit >>> 5; word <= lastWord; word++) {
      const base = word * BITS_PER_WORD
      let mask = 0xffffffff
      if (firstBit > base) mask <<= firstBit & 31
      if (endBit < base + BITS_PER_WORD) mask &= (1 << (endBit & 31)) - 1
      const before = words[word]!
      const after = (value ? before | mask : before & ~mask) >>> 0
      if (before === after) continue
      words[word] = after
      this.setCount += countBits(after) - countBits(before)
      if ((before === 0) !== (after === 0)) this.summarise(word, after !== 0)
    }
    assert(this.setCount >= 0 && this.setCount <= this.bits, 'bitmap-count')
  }

  /** Carries "word `index` of level 0 became (not) zero" up as far as it changes anything. */
  private summarise(index: number, nonZero: boolean): void {
    let at = index
    for (let level = 1; level < this.levels.length; level++) {
      const words = this.levels[level]!
      const word = at >>> 5
      const before = words[word]!
      const after = nonZero ? before | (1 << (at & 31)) : before & ~(1 << (at & 31))
      words[word] = after
      if ((before === 0) === (after === 0)) return
      at = word
    }
  }

  /** Offset of the first chunk at or after `offsetBytes` whose bit is set, or -1. */
  nextDirty(offsetBytes: number): number {
    assert(offsetBytes >= 0, 'bitmap-search')
    if (offsetBytes >= this.bytes || this.setCount === 0) return -1
    const bit = this.nextSetBit(0, this.chunkOf(offsetBytes))
    assert(bit < this.bits, 'bitmap-tail-clear')
    return bit < 0 ? -1 : bit * this.granularityBytes
  }

  /** First set bit of `level` at or after `from`, or -1; climbs one level when the rest of a word is empty. */
  private nextSetBit(level: number, from: number): number {
    const words = this.levels[level]!
    const first = from >>> 5
    if (first >= words.length) return -1
    const rest = words[first]! >>> (from & 31)
    if (rest !== 0) return from + trailingZeroes(rest)
    if (level + 1 === this.levels.length) {
      for (let word = first + 1; word < words.length; word++) {
        if (words[word] !== 0) return word * BITS_PER_WORD + trailingZeroes(words[word]!)
      }
      return -1
    }
    const word = this.nextSetBit(level + 1, first + 1)
    return word < 0 ? -1 : word * BITS_PER_WORD + trailingZeroes(words[word]!)
  }

  /** Offset of the first chunk at or after `offsetBytes` whose bit is clear, or -1. */
  nextClean(offsetBytes: number): number {
    assert(offsetBytes >= 0, 'bitmap-search')
    if (offsetBytes >= this.bytes || this.setCount === this.bits) return -1
    const words = this.levels[0]!
    const from = this.chunkOf(offsetBytes)
    let word = from >>> 5
    let clear = ~words[word]! & (0xffffffff << (from & 31))
    while (clear === 0 && ++word < words.length) clear = ~words[word]!
    if (clear === 0) return -1
    const bit = word * BITS_PER_WORD + trailingZeroes(clear)
    return bit < this.bits ? bit * this.granularityBytes : -1
  }

  /** True if every chunk touched by the range is set. */
  isAllSet(offsetBytes: number, lengthBytes: number): boolean {
    this.checkRange(offsetBytes, lengthBytes)
    const clean = this.nextClean(offsetBytes)
    return clean < 0 || clean >= offsetBytes + lengthBytes
  }

  /** True if a chunk touched by the range is set. */
  isAnySet(offsetBytes: number, lengthBytes: number): boolean {
    this.checkRange(offsetBytes, lengthBytes)
    const dirty = this.nextDirty(this.chunkOf(offsetBytes) * this.granularityBytes)
    return dirty >= 0 && dirty < offsetBytes + lengthBytes
  }

  /** Sets here what is set in `other`, which covers the same disk, possibly with another granularity. */
  merge(other: DirtyBitmap): void {
    assert(other.bytes === this.bytes, 'bitmap-merge-same-length')
    for (let from = other.nextDirty(0); from >= 0; ) {
      const end = other.nextClean(from)
      const endBytes = end < 0 ? this.bytes : Math.min(end, this.bytes)
      this.set(from, endBytes - from)
      from = end < 0 ? -1 : other.nextDirty(end)
    }
  }

  /** Bits as bytes, the lowest bit of a byte first, from byte `fromByte` on; what lies behind the last bit is 0. */
  saveBytes(fromByte: number, bytes: Uint8Array): void {
    const words = this.levels[0]!
    assert(fromByte % 4 === 0 && bytes.length % 4 === 0, 'bitmap-bytes-aligned')
    for (let at = 0; at < bytes.length; at += 4) {
      const word = words[(fromByte + at) / 4] ?? 0
      bytes[at] = word
      bytes[at + 1] = word >>> 8
      bytes[at + 2] = word >>> 16
      bytes[at + 3] = word >>> 24
    }
  }

  /** Sets what `saveBytes` has given; bits behind the last one are ignored. */
  loadBytes(fromByte: number, bytes: Uint8Array): void {
    const words = this.levels[0]!
    assert(fromByte % 4 === 0 && bytes.length % 4 === 0, 'bitmap-bytes-aligned')
    for (let at = 0; at < bytes.length; at += 4) {
      const index = (fromByte + at) / 4
      if (index >= words.length) return
      let word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
      const rest = this.bits - index * BITS_PER_WORD
      if (rest < BITS_PER_WORD) word &= (1 << rest) - 1
      const before = words[index]!
      const after = (before | word) >>> 0
      if (before === after) continue
      words[index] = after
      this.setCount += countBits(after) - countBits(before)
      if (before === 0) this.summarise(index, true)
    }
  }

  /** The disk has another length now: what is new is clean, what is gone is forgotten. */
  truncate(lengthBytes: number): void {
    assert(Number.isSafeInteger(lengthBytes) && lengthBytes >= 0, 'bitmap-length')
    const keep = Math.min(this.bits, this.chunksIn(lengthBytes))
    if (keep < this.bits) this.change(keep, this.bits, false)
    const old = this.levels[0]!
    this.bytes = lengthBytes
    this.bits = this.chunksIn(lengthBytes)
    this.levels = makeLevels(this.bits)
    this.levels[0]!.set(old.subarray(0, this.levels[0]!.length))
    for (let word = 0; word < this.levels[0]!.length; word++) {
      if (this.levels[0]![word] !== 0) this.summarise(word, true)
    }
  }
}

function makeLevels(bitCount: number): Uint32Array[] {
  const levels = [new Uint32Array(Math.ceil(bitCount / BITS_PER_WORD))]
  while (levels.at(-1)!.length > FLAT_WORDS_MAX) levels.push(new Uint32Array(Math.ceil(levels.at(-1)!.length / BITS_PER_WORD)))
  return levels
}

function trailingZeroes(word: number): number {
  return 31 - Math.clz32(word & -word)
}

/** Set bits of a 32-bit word, by adding ever wider fields in parallel. */
function countBits(word: number): number {
  let sum = word - ((word >>> 1) & 0x55555555)
  sum = (sum & 0x33333333) + ((sum >>> 2) & 0x33333333)
  return Math.imul((sum + (sum >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
