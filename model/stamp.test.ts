import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readSector, SECTOR_BYTES, stampSectors, writerOf, ZERO_WRITER } from './stamp'

function stamped(writer: number, sectorIndex: number, shift = 0): Uint8Array {
  const bytes = new Uint8Array(shift + 2 * SECTOR_BYTES).subarray(shift)
  stampSectors(bytes, 0, writer, sectorIndex, 2)
  return bytes
}

test('a stamped sector says who wrote it and where it belongs', () => {
  const bytes = stamped(17, 5)
  assert.equal(readSector(bytes, 0), { kind: 'stamp', writer: 17, sectorIndex: 5 })
  assert.equal(readSector(bytes, SECTOR_BYTES), { kind: 'stamp', writer: 17, sectorIndex: 6 })
})

test('stamps are the same bytes wherever they lie in memory', () => {
  for (const shift of [1, 2, 3]) assert.equal([...stamped(0x7fffffff, 9, shift)], [...stamped(0x7fffffff, 9)])
})

test('writer 0 writes zeroes', () => {
  const bytes = stamped(3, 0)
  stampSectors(bytes, 0, ZERO_WRITER, 0, 1)
  assert.equal(readSector(bytes, 0), { kind: 'zero' })
  assert.is(readSector(bytes, SECTOR_BYTES).kind, 'stamp')
})

test('any changed byte makes a sector corrupt', () => {
  for (let at = 0; at < SECTOR_BYTES; at += 7) {
    for (const bytes of [stamped(17, 5), new Uint8Array(SECTOR_BYTES)]) {
      bytes[at]! ^= 0x40
      assert.is(readSector(bytes, 0).kind, 'corrupt', `byte ${at}`)
    }
  }
})

test('only what was written is touched', () => {
  const bytes = new Uint8Array(3 * SECTOR_BYTES)
  stampSectors(bytes, SECTOR_BYTES, 4, 0, 1)
  assert.is(
    bytes.findIndex((byte) => byte !== 0),
    SECTOR_BYTES,
  )
  assert.ok(bytes.subarray(2 * SECTOR_BYTES).every((byte) => byte === 0))
})

test('ids become different positive integers, always the same', () => {
  const ids = ['s', 'd', 'g'].flatMap((prefix) => Array.from({ length: 2000 }, (_, index) => `${prefix}${index}`))
  const writers = new Set(ids.map(writerOf))
  assert.is(writers.size, ids.length)
  for (const writer of writers) assert.ok(Number.isInteger(writer) && writer > 0 && writer <= 2 ** 31)
  assert.is(writerOf('g1'), 1_964_376_043, 'it is on the disks of every report')
})

test.run()
