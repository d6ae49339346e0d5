import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  ClusterType,
  compressedBytes,
  compressedHigh,
  compressedOffset,
  compressedOffsetEnd,
  copiedHigh,
  entryOffset,
  geometryOf,
  getRefcount,
  lowWord,
  setRefcount,
  standardType,
  subclusterType,
} from './layout'

test('refcounts of every width keep to their bits', () => {
  for (let order = 0; order <= 6; order++) {
    const { refcountMax, refcountBlockEntries } = geometryOf(9, order, false)
    const block = new Uint8Array(512)
    const model = new Array<number>(refcountBlockEntries).fill(0)
    fc.assert(
      fc.property(fc.nat(refcountBlockEntries - 1), fc.nat(), fc.boolean(), (index, value, isMax) => {
        const wanted = isMax ? refcountMax : value % (refcountMax + 1)
        setRefcount(block, order, index, wanted)
        model[index] = wanted
        for (let entry = 0; entry < refcountBlockEntries; entry++) {
          if (getRefcount(block, order, entry) !== model[entry]) return false
        }
        return true
      }),
      { numRuns: 50, seed: 1 },
    )
  }
})

test('refcounts below a byte begin at its lowest bit', () => {
  const block = new Uint8Array(512)
  setRefcount(block, 1, 0, 3)
  setRefcount(block, 1, 5, 1)
  assert.equal([block[0], block[1]], [3, 4])
})

test('a compressed entry gives back where the data lies, in whole sectors', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 9, max: 21 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.nat(),
      (bits, place, size) => {
        const offset = Math.floor(place * (compressedOffsetEnd(bits) - 2 ** bits))
        const length = 1 + (size % (2 ** bits - 1))
        const high = compressedHigh(bits, offset, length)
        const low = lowWord(offset)
        const told = compressedBytes(bits, high, low)
        return (
          standardType(high, low, false) === ClusterType.Compressed &&
          compressedOffset(bits, high, low) === offset &&
          told >= length &&
          told < length + 512 &&
          (offset + told) % 512 === 0
        )
      },
    ),
    { seed: 1 },
  )
})

test('entries keep offsets up to the largest that is exact', () => {
  for (const offset of [512, 65536, 2 ** 32, 2 ** 40 + 512, 2 ** 53 - 512]) {
    assert.is(entryOffset(copiedHigh(offset), lowWord(offset)), offset)
  }
})

test('the type of a cluster follows from flags and offset', () => {
  const offset = 0x10000
  assert.is(standardType(0, 0, false), ClusterType.UnallocatedPlain)
  assert.is(standardType(0, 1, false), ClusterType.ZeroPlain)
  assert.is(standardType(0, offset, false), ClusterType.Normal)
  assert.is(standardType(0, offset | 1, false), ClusterType.ZeroAllocated)
  assert.is(standardType(0x80000000, 0, false), ClusterType.UnallocatedPlain)
  assert.is(standardType(0x80000000, 0, true), ClusterType.Normal, 'the start of an external data file')
})

test('subclusters have both bits, one, or none', () => {
  const type = (low: number, zero: number, data: number): ClusterType => subclusterType(0, low, zero, data, 3, false)
  assert.is(type(0x10000, 0, 8), ClusterType.Normal)
  assert.is(type(0x10000, 8, 0), ClusterType.ZeroAllocated)
  assert.is(type(0x10000, 4, 4), ClusterType.UnallocatedAllocated)
  assert.is(type(0x10000, 8, 8), ClusterType.Invalid)
  assert.is(type(0, 8, 0), ClusterType.ZeroPlain)
  assert.is(type(0, 4, 0), ClusterType.UnallocatedPlain)
  assert.is(type(0, 0, 1), ClusterType.Invalid)
  assert.is(subclusterType(0x40000000, 0, 0, 0, 31, false), ClusterType.Compressed)
})

test.run()
