import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { GuestMemory } from './guest_memory'

test('a range is in memory only if all of it is', () => {
  const memory = new GuestMemory(new Uint8Array(0x100), 0x1000)
  const cases: Array<[address: number, length: number, offset: number]> = [
    [0x1000, 0x100, 0],
    [0x1000, 0x101, -1],
    [0x0fff, 1, -1],
    [0x10ff, 1, 0xff],
    [0x10ff, 2, -1],
    [0x1100, 0, 0x100],
    [0x1101, 0, -1],
    [0, 0x2000, -1],
    [2 ** 63, 16, -1],
    [0x1000, 0xffff_ffff, -1],
  ]
  for (const [address, length, offset] of cases) assert.is(memory.offsetOf(address, length), offset, `${address} + ${length}`)
})

test('words are little-endian wherever they lie', () => {
  const bytes = new Uint8Array(32)
  const memory = new GuestMemory(bytes.subarray(8))
  memory.writeU16(1, 0x1234)
  memory.writeU32(3, 0x89abcdef)
  assert.equal([...bytes.subarray(9, 15)], [0x34, 0x12, 0xef, 0xcd, 0xab, 0x89])
  assert.is(memory.readU16(1), 0x1234)
  assert.is(memory.readU32(3), 0x89abcdef)
  memory.writeU32(7, 5)
  assert.is(memory.readU64(3), 5 * 2 ** 32 + 0x89abcdef)
})

test.run()
