import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AllocationBound } from './allocation'

const units = (...set: number[]): Uint8Array => Uint8Array.from({ length: 8 }, (_, unit) => (set.includes(unit) ? 1 : 0))

test('nothing may be allocated without a reason', () => {
  const bound = new AllocationBound(8 * 512, 512, [])
  assert.is(bound.firstExcess(units()), -1)
  assert.is(bound.firstExcess(units(3, 5)), 3)
})

test('data allows the units that it touches and no others', () => {
  const bound = new AllocationBound(8 * 512, 512, [])
  bound.allow(700, 1100)
  assert.is(bound.firstExcess(units(1, 2)), -1)
  assert.is(bound.firstExcess(units(0)), 0)
  assert.is(bound.firstExcess(units(3)), 3)
})

test('data allows what shares a block with it, and an exact range does not', () => {
  const bound = new AllocationBound(8 * 512, 512, [1024, 2048])
  bound.allow(1024, 1025)
  assert.is(bound.firstExcess(units(0, 1, 2, 3)), -1)
  assert.is(bound.firstExcess(units(4)), 4)
  bound.allowExactly(2560, 3072)
  assert.is(bound.firstExcess(units(5)), -1)
  assert.is(bound.firstExcess(units(4)), 4)
})

test('where nothing is known everything is allowed', () => {
  const bound = new AllocationBound(8 * 512, 512, [])
  bound.allowAll()
  assert.is(bound.firstExcess(units(0, 1, 2, 3, 4, 5, 6, 7)), -1)
})

test('a reason beyond the end of the disk does no harm', () => {
  const bound = new AllocationBound(7 * 512 + 100, 512, [4096])
  bound.allow(7 * 512, 7 * 512 + 100)
  assert.is(bound.firstExcess(units(7)), -1)
})

test('a block that holds something is filled by whoever changes a part of it', () => {
  const allocated = new Uint8Array(32)
  allocated[15] = 1
  const bound = new AllocationBound(32 * 512, 512, [])
  bound.allowUnits(allocated, 4096)
  allocated.fill(1, 8, 16)
  assert.is(bound.firstExcess(allocated), -1)
  allocated[16] = 1
  assert.is(bound.firstExcess(allocated), 16)
  const alone = new AllocationBound(32 * 512, 512, [])
  alone.allowUnits(new Uint8Array(32).fill(1, 15, 16), 512)
  assert.is(alone.firstExcess(allocated), 8)
})

test.run()
