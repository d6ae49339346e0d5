import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DirtyBitmap } from './dirty_bitmap'

/** The same promises, kept by a set of chunk numbers. */
class NaiveBitmap {
  readonly chunks = new Set<number>()
  lengthBytes: number
  readonly granularityBytes: number
  constructor(lengthBytes: number, granularityBytes: number) {
    this.lengthBytes = lengthBytes
    this.granularityBytes = granularityBytes
  }
  get bits(): number {
    return Math.ceil(this.lengthBytes / this.granularityBytes)
  }
  touched(offsetBytes: number, lengthBytes: number): number[] {
    const first = Math.floor(offsetBytes / this.granularityBytes)
    const last = Math.floor((offsetBytes + lengthBytes - 1) / this.granularityBytes)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  }
  next(offsetBytes: number, isSet: boolean): number {
    if (offsetBytes >= this.lengthBytes) return -1
    for (let chunk = Math.floor(offsetBytes / this.granularityBytes); chunk < this.bits; chunk++) {
      if (this.chunks.has(chunk) === isSet) return chunk * this.granularityBytes
    }
    return -1
  }
  truncate(lengthBytes: number): void {
    this.lengthBytes = lengthBytes
    for (const chunk of this.chunks) if (chunk >= this.bits) this.chunks.delete(chunk)
  }
}

const step = fc.record({
  kind: fc.constantFrom('set', 'set', 'reset', 'truncate', 'setAll', 'resetAll', 'ask', 'ask'),
  at: fc.nat(9999),
  length: fc.nat(9999),
})

function sameAnswers(bitmap: DirtyBitmap, naive: NaiveBitmap, offset: number, length: number): void {
  assert.is(bitmap.count, naive.chunks.size)
  assert.is(bitmap.bitCount, naive.bits)
  assert.is(bitmap.nextDirty(offset), naive.next(offset, true))
  assert.is(bitmap.nextClean(offset), naive.next(offset, false))
  if (length === 0) return
  const touched = naive.touched(offset, length)
  assert.is(bitmap.get(offset), naive.chunks.has(touched[0]!))
  assert.is(
    bitmap.isAllSet(offset, length),
    touched.every((chunk) => naive.chunks.has(chunk)),
  )
  assert.is(
    bitmap.isAnySet(offset, length),
    touched.some((chunk) => naive.chunks.has(chunk)),
  )
}

// More than 1024 chunks have a summary, more than 32768 two; both kinds must appear.
for (const chunks of [40, 1500, 40_000]) {
  test(`a bitmap of about ${chunks} chunks answers as a set of numbers does`, () => {
    fc.assert(
      fc.property(
        fc.nat(4).map((exponent) => 2 ** exponent),
        fc.nat(15),
        fc.array(step, { maxLength: 30 }),
        (granularity, tail, steps) => {
          const length = chunks * granularity - (tail % granularity)
          const bitmap = new DirtyBitmap(length, granularity)
          const naive = new NaiveBitmap(length, granularity)
          for (const { kind, at, length: share } of steps) {
            const total = naive.lengthBytes
            const offset = Math.floor((total * at) / 10_000)
            // Short ranges are the common case: the share enters by its square.
            const size = Math.min(total - offset, Math.ceil((total * share * share) / 1e8))
            if (kind === 'setAll' || kind === 'resetAll') {
              bitmap[kind]()
              naive.chunks.clear()
              if (kind === 'setAll') for (let chunk = 0; chunk < naive.bits; chunk++) naive.chunks.add(chunk)
            } else if (kind === 'truncate') {
              const to = Math.ceil(length / 2) + Math.floor((length * share) / 10_000)
              bitmap.truncate(to)
              naive.truncate(to)
            } else if (size > 0 && kind === 'set') {
              bitmap.set(offset, size)
              for (const chunk of naive.touched(offset, size)) naive.chunks.add(chunk)
            } else if (size > 0 && kind === 'reset') {
              const start = offset - (offset % granularity)
              const end = Math.min(total, Math.ceil((offset + size) / granularity) * granularity)
              bitmap.reset(start, end - start)
              for (const chunk of naive.touched(start, end - start)) naive.chunks.delete(chunk)
            } else sameAnswers(bitmap, naive, offset, size)
          }
          for (let from = 0, next = 0; next >= 0; from = next + granularity) {
            next = bitmap.nextDirty(from)
            assert.is(next, naive.next(from, true))
          }
        },
      ),
      { seed: 20261123, numRuns: chunks > 10_000 ? 25 : 60 },
    )
  })
}

/** Bits as the formats of images keep them. */
function bytesOf(chunks: ReadonlySet<number>, bytes: number): Uint8Array {
  const saved = new Uint8Array(bytes)
  for (const chunk of chunks) saved[Math.floor(chunk / 8)]! |= 1 << (chunk % 8)
  return saved
}

for (const chunks of [1, 31, 32, 40, 1500, 2048, 40_000]) {
  test(`${chunks} chunks are saved as bytes and come back in pieces`, () => {
    const bytes = Math.ceil(chunks / 32) * 4
    const run = fc.tuple(fc.nat(chunks - 1), fc.nat(70))
    fc.assert(
      fc.property(fc.array(run, { maxLength: 12 }), fc.array(run, { maxLength: 3 }), fc.nat(bytes), (saved, kept, cut) => {
        const bitmap = new DirtyBitmap(chunks, 1)
        const other = new DirtyBitmap(chunks, 1)
        const expected = new Set<number>()
        const setIn = (target: DirtyBitmap, [at, size]: [number, number], into: Set<number>): void => {
          const end = Math.min(at + size + 1, chunks)
          target.set(at, end - at)
          for (let chunk = at; chunk < end; chunk++) into.add(chunk)
        }
        for (const range of saved) setIn(bitmap, range, expected)
        // What lies behind the last bit is clear, and is not taken in.
        const image = new Uint8Array(bytes + 8).fill(0xee)
        bitmap.saveBytes(0, image)
        assert.equal(image, bytesOf(expected, bytes + 8))
        if (chunks % 32 > 0) image[bytes - 1]! |= 0x80
        image.fill(0xff, bytes)
        const middle = cut - (cut % 4)
        const part = new Uint8Array(bytes - middle)
        bitmap.saveBytes(middle, part)
        assert.equal(part, bytesOf(expected, bytes).slice(middle))
        for (const range of kept) setIn(other, range, expected)
        other.loadBytes(middle, image.subarray(middle))
        other.loadBytes(0, image.subarray(0, middle))
        const found = new Set<number>()
        for (let at = other.nextDirty(0); at >= 0; at = other.nextDirty(at + 1)) found.add(at)
        assert.equal([other.count, [...found]], [expected.size, [...expected].sort((a, b) => a - b)])
      }),
      { seed: 20261125, numRuns: chunks > 10_000 ? 10 : 40 },
    )
  })
}

test('nothing is found behind the end, nor behind the last word of a level', () => {
  const bitmap = new DirtyBitmap(2500, 1024)
  bitmap.set(2048, 1)
  assert.equal([bitmap.nextDirty(2499), bitmap.nextDirty(2500)], [2048, -1])
  assert.equal([bitmap.nextClean(2499), bitmap.nextClean(2500)], [-1, -1])
  bitmap.resetAll()
  assert.equal([bitmap.nextClean(2499), bitmap.nextClean(2500)], [2048, -1])
  const wide = new DirtyBitmap(2048, 1)
  wide.set(0, 1)
  assert.is(wide.nextDirty(2047), -1)
  const single = new DirtyBitmap(512, 512)
  single.setAll()
  single.resetAll()
  assert.is(single.count, 0)
})

test('a range ends where it ends', () => {
  const bitmap = new DirtyBitmap(4096, 512)
  bitmap.set(512, 1024)
  assert.equal([bitmap.isAllSet(512, 1024), bitmap.isAllSet(512, 1025), bitmap.isAllSet(511, 2)], [true, false, false])
  assert.equal([bitmap.isAnySet(0, 512), bitmap.isAnySet(0, 513), bitmap.isAnySet(1536, 512)], [false, true, false])
  for (const ask of ['isAllSet', 'isAnySet', 'reset', 'set'] as const) {
    assert.throws(() => bitmap[ask](512, 0), /bitmap-range-not-empty/)
    assert.throws(() => bitmap[ask](4096, 512), /bitmap-range:/)
  }
})

test('merging takes the very first chunk', () => {
  const bytes = new DirtyBitmap(64, 1)
  bytes.set(0, 1)
  const target = new DirtyBitmap(64, 1)
  target.merge(bytes)
  assert.equal([target.get(0), target.count], [true, 1])
})

test('merging sets what either had, across granularities', () => {
  const target = new DirtyBitmap(10_000, 1024)
  const fine = new DirtyBitmap(10_000, 512)
  fine.set(1500, 10)
  fine.set(9999, 1)
  target.set(4096, 1)
  target.merge(fine)
  const dirty = []
  for (let at = target.nextDirty(0); at >= 0; at = target.nextDirty(at + 1024)) dirty.push(at)
  assert.equal(dirty, [1024, 4096, 9216])
})

test('a disk beyond 2^32 bytes has no wrapped chunk numbers', () => {
  const bitmap = new DirtyBitmap(2 ** 42, 65536)
  bitmap.set(2 ** 41 + 5, 1)
  assert.is(bitmap.nextDirty(0), 2 ** 41)
  assert.is(bitmap.get(2 ** 41 + 65535), true)
  assert.is(bitmap.nextClean(2 ** 41), 2 ** 41 + 65536)
  bitmap.reset(2 ** 41, 65536)
  assert.is(bitmap.count, 0)
})

test('forgetting a chunk by halves is a defect, the tail of the disk is not', () => {
  const bitmap = new DirtyBitmap(2500, 1024)
  bitmap.setAll()
  assert.is(bitmap.countBytes, 3072)
  assert.throws(() => bitmap.reset(0, 100), /bitmap-reset-aligned/)
  assert.throws(() => bitmap.reset(100, 924), /bitmap-reset-aligned/)
  assert.throws(() => bitmap.set(2400, 101), /bitmap-range/)
  assert.throws(() => bitmap.set(0, 0), /bitmap-range-not-empty/)
  assert.throws(() => new DirtyBitmap(10, 3), /bitmap-granularity-power-of-two/)
  bitmap.reset(2048, 452)
  assert.is(bitmap.count, 2)
})

test('an empty disk has no bits and no answers', () => {
  const bitmap = new DirtyBitmap(0, 512)
  bitmap.setAll()
  bitmap.resetAll()
  assert.equal([bitmap.bitCount, bitmap.nextDirty(0), bitmap.nextClean(0)], [0, -1, -1])
})

test.run()
