import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { measureQcow2 } from './measure'
import { newImage } from './testing'

test('a fully allocated image has the length that was measured', () => {
  for (const options of [
    { sizeBytes: 8 << 20 },
    { sizeBytes: 1 << 20, clusterBytes: 4096, refcountBits: 1 },
    { sizeBytes: 3 << 20, extendedL2: true },
  ]) {
    const { fullyAllocatedBytes } = measureQcow2(options, 0)
    const image = newImage({ ...options, preallocation: 'metadata' })
    assert.is(image.length, fullyAllocatedBytes)
  }
})

test('what is not data is measured as tables only', () => {
  assert.equal(measureQcow2({ sizeBytes: 1 << 30 }, 0), { requiredBytes: 393216, fullyAllocatedBytes: 1074135040 })
  const { requiredBytes } = measureQcow2({ sizeBytes: 1 << 30 }, 65536)
  assert.is(requiredBytes, 393216 + 65536)
})

test.run()
