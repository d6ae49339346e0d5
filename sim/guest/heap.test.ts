import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { GuestHeap } from './heap'

test('what is taken does not overlap, and all of it can be taken again in one piece when it is free', () => {
  const sizes = fc.array(fc.record({ units: fc.integer({ min: 1, max: 20 }), frees: fc.nat(30) }), { maxLength: 60 })
  fc.assert(
    fc.property(sizes, (steps) => {
      const heap = new GuestHeap(64, 64 + 100 * 16)
      const taken: Array<{ at: number; bytes: number }> = []
      for (const { units, frees } of steps) {
        const bytes = units * 16
        const at = heap.take(bytes)
        if (at >= 0) {
          assert.ok(at >= 64 && at + bytes <= 64 + 1600)
          assert.ok(taken.every((other) => at + bytes <= other.at || other.at + other.bytes <= at))
          taken.push({ at, bytes })
        }
        const [freed] = taken.splice(frees, 1)
        if (freed !== undefined) heap.free(freed.at, freed.bytes)
        assert.is(heap.freeBytes, 1600 - taken.reduce((sum, { bytes: held }) => sum + held, 0))
      }
      for (const { at, bytes } of taken) heap.free(at, bytes)
      assert.is(heap.take(1600), 64)
      assert.is(heap.take(16), -1)
    }),
    { seed: 4, numRuns: 200 },
  )
})

test('a heap of nothing is refused', () => {
  assert.throws(() => new GuestHeap(16, 16), /no memory/)
})

test.run()
