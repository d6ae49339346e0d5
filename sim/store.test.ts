import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readSector, writerOf } from '../model/stamp'
import type { DiskPlan } from './plan'
import { BufferPool } from './pool'
import { DiskStore, GARBAGE_BYTE } from './store'
import { KIB, PLAIN_DISK } from './testing'

const UNIT = 4 * KIB

/** Four units, the last one of 512 bytes only. */
function store(changes: Partial<DiskPlan> = {}): DiskStore {
  return new DiskStore('source', { ...PLAIN_DISK, lengthBytes: 3 * UNIT + 512, ...changes }, new BufferPool())
}
function full(): DiskStore {
  return store({ initial: [{ id: 's1', offsetBytes: 0, lengthBytes: 3 * UNIT + 512, content: 'data' }] })
}
function map(disk: DiskStore): string {
  return [...disk.allocated].join('')
}
function isZero(disk: DiskStore, offsetBytes: number, lengthBytes: number): boolean {
  return disk.bytes.subarray(offsetBytes, offsetBytes + lengthBytes).every((byte) => byte === 0)
}

test('what lies there at first carries the stamp of its extent, and later extents overwrite', () => {
  const disk = store({
    initial: [
      { id: 's1', offsetBytes: 0, lengthBytes: 1024, content: 'data' },
      { id: 's2', offsetBytes: 512, lengthBytes: 512, content: 'data' },
      { id: 's3', offsetBytes: 2 * UNIT, lengthBytes: 512, content: 'zero' },
    ],
  })
  assert.equal(readSector(disk.bytes, 0), { kind: 'stamp', writer: writerOf('s1'), sectorIndex: 0 })
  assert.equal(readSector(disk.bytes, 512), { kind: 'stamp', writer: writerOf('s2'), sectorIndex: 1 })
  assert.equal(readSector(disk.bytes, 1024), { kind: 'zero' })
  assert.is(map(disk), '1010')
})

test('a write allocates the units that it touches', () => {
  const disk = store()
  disk.write(UNIT - 512, new Uint8Array(1024).fill(7))
  assert.is(map(disk), '1100')
  assert.is(disk.allocatedBytes, 2 * UNIT)
  assert.ok(isZero(disk, 0, UNIT - 512))
})

test('the last unit counts with its own length', () => {
  const disk = store()
  disk.write(3 * UNIT, new Uint8Array(512).fill(7))
  assert.is(disk.allocatedBytes, 512)
})

test('a write beyond the end keeps what is inside; a read there gives zeroes', () => {
  const disk = store()
  disk.write(3 * UNIT, new Uint8Array(UNIT).fill(7))
  const buffer = new Uint8Array(1024).fill(9)
  disk.read(3 * UNIT, buffer)
  assert.ok(buffer.subarray(0, 512).every((byte) => byte === 7))
  assert.ok(buffer.subarray(512).every((byte) => byte === 0))
})

test('zeroing deallocates whole units only, the short one at the end included', () => {
  const disk = full()
  disk.writeZeroes(512, 3 * UNIT - 512, true)
  assert.is(map(disk), '1001')
  assert.ok(isZero(disk, 512, 3 * UNIT - 512))
  assert.not.ok(isZero(disk, 3 * UNIT, 512))
  disk.writeZeroes(3 * UNIT, 512, true)
  assert.is(map(disk), '1000')
})

test('zeroing in place allocates, also where nothing was', () => {
  const disk = store()
  disk.writeZeroes(UNIT - 512, 1024, false)
  assert.is(map(disk), '1100')
})

test('zeroing a part of a hole leaves it a hole if it reads zero, and gives it space if not', () => {
  const zero = full()
  zero.discard(0, UNIT, 'reads-zero')
  zero.writeZeroes(0, 512, true)
  assert.is(map(zero), '0111')
  const old = full()
  old.discard(0, UNIT, 'reads-old')
  old.writeZeroes(0, 512, true)
  assert.is(map(old), '1111')
  assert.not.ok(isZero(old, 512, 512))
})

for (const [leaves, reads] of [
  ['reads-zero', 'zero'],
  ['reads-old', 'stamp'],
  ['reads-garbage', 'corrupt'],
] as const) {
  test(`a discard deallocates the units inside it; a disk of ${leaves} then reads ${reads}`, () => {
    const disk = full()
    assert.ok(disk.discard(512, 2 * UNIT, leaves))
    assert.is(map(disk), '1011')
    assert.is(readSector(disk.bytes, UNIT).kind, reads)
    assert.is(readSector(disk.bytes, UNIT - 512).kind, 'stamp')
    assert.is(readSector(disk.bytes, 2 * UNIT).kind, 'stamp')
    assert.is(disk.isZeroHoleAt(UNIT), leaves === 'reads-zero')
    if (leaves === 'reads-garbage') assert.is(disk.bytes[UNIT], GARBAGE_BYTE)
  })
}

test('a discard of less than a unit does nothing', () => {
  const disk = full()
  assert.not.ok(disk.discard(512, UNIT, 'reads-zero'))
  assert.is(map(disk), '1111')
})

test('a hole that was discarded and zeroed since is known to read zero', () => {
  const disk = full()
  disk.discard(0, UNIT, 'reads-old')
  assert.not.ok(disk.isZeroHoleAt(0))
  disk.writeZeroes(0, UNIT, true)
  assert.ok(disk.isZeroHoleAt(0))
})

test('a stretch of like units ends where allocation or knowledge changes', () => {
  const disk = full()
  disk.discard(0, UNIT, 'reads-zero')
  disk.discard(UNIT, UNIT, 'reads-old')
  const end = 3 * UNIT + 512
  assert.equal(
    [0, UNIT, 2 * UNIT].map((at) => disk.sameUntil(at, end)),
    [UNIT, 2 * UNIT, end],
  )
  assert.is(disk.sameUntil(2 * UNIT, 3 * UNIT - 512), 3 * UNIT - 512)
})

test('a buffer that comes back from the pool reads zero again', () => {
  const pool = new BufferPool()
  const first = pool.take(5000).fill(1)
  pool.giveBack()
  const second = pool.take(6000)
  assert.is(second.buffer, first.buffer, 'it is the same one')
  assert.ok(second.every((byte) => byte === 0))
  assert.is(second.length, 6000)
})

test.run()
