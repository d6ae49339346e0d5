import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ReferenceDisk, UNKNOWN_WRITER } from './disk'
import { SECTOR_BYTES, stampSectors, ZERO_WRITER } from './stamp'

const SECTORS = 8
const nameOf = (writer: number): string => `w${writer}`

function disk(): ReferenceDisk {
  return new ReferenceDisk(SECTORS * SECTOR_BYTES, nameOf)
}

/** Bytes of consecutive sectors from `first` on, by writer. */
function bytes(first: number, ...writers: number[]): Uint8Array {
  const made = new Uint8Array(writers.length * SECTOR_BYTES)
  writers.forEach((writer, index) => {
    stampSectors(made, index * SECTOR_BYTES, writer, first + index, 1)
  })
  return made
}

function change(model: ReferenceDisk, writer: number, first: number, count: number) {
  return model.begin(writer, first * SECTOR_BYTES, count * SECTOR_BYTES)
}
function write(model: ReferenceDisk, writer: number, first: number, count: number, certain = true): void {
  model.end(change(model, writer, first, count), certain)
}
function read(model: ReferenceDisk, first: number, ...writers: number[]) {
  const begun = model.beginRead(first * SECTOR_BYTES, writers.length * SECTOR_BYTES)
  return model.endRead(begun, bytes(first, ...writers))
}

test('a new disk reads zero, and what was placed reads as that', () => {
  const model = disk()
  model.place(7, SECTOR_BYTES, SECTOR_BYTES)
  assert.is(read(model, 0, 0, 7, 0), null)
  assert.equal(read(model, 0, 0, 0, 0), { sectorIndex: 1, expected: 'data of w7', actual: 'zeroes' })
})

test('of bytes that were hit nothing is expected, and of those beside them what is expected of all', () => {
  const model = disk()
  write(model, 1, 0, 1)
  model.hits = { isHit: (offsetBytes) => offsetBytes === 100 }
  const readWith = (offsetBytes: number): boolean => {
    const data = bytes(0, 1)
    data[offsetBytes]! ^= 1
    return model.endRead(model.beginRead(0, SECTOR_BYTES), data) === null
  }
  assert.ok(readWith(100))
  assert.not(readWith(99))
  assert.not(readWith(101))
})

test('a write is read from its end on, and stale data is called by its writer', () => {
  const model = disk()
  write(model, 1, 0, 2)
  write(model, 2, 1, 2)
  assert.is(read(model, 0, 1, 2, 2, 0), null)
  assert.equal(read(model, 0, 1, 1), { sectorIndex: 1, expected: 'data of w2', actual: 'data of w1' })
})

test('zeroes that were lost are called so', () => {
  const model = disk()
  write(model, 1, 0, 2)
  write(model, ZERO_WRITER, 0, 1)
  assert.equal(read(model, 0, 1, 1), { sectorIndex: 0, expected: 'zeroes', actual: 'data of w1' })
})

test('data of another sector is misdirected', () => {
  const model = disk()
  write(model, 1, 0, 4)
  const begun = model.beginRead(0, SECTOR_BYTES)
  const found = model.endRead(begun, bytes(3, 1))
  assert.is(found?.actual, 'data of w1 for sector 3, which is misdirected here')
})

test('bytes that nobody wrote are told from where they begin', () => {
  const model = disk()
  write(model, 1, 0, 1)
  const data = bytes(0, 1)
  data[100] = 0xff
  const found = model.endRead(model.beginRead(0, SECTOR_BYTES), data)
  assert.is(found?.actual, 'bytes that nobody wrote (from byte 100 of the sector on)')
})

test('a read beside a write may return either, sector by sector', () => {
  const model = disk()
  write(model, 1, 0, 3)
  const pending = change(model, 2, 0, 3)
  assert.is(read(model, 0, 1, 2, 1), null)
  assert.is(read(model, 0, 2, 1, 2), null)
  assert.equal(read(model, 0, 1, 0, 1)?.expected, 'data of w1 or data of w2')
  model.end(pending, true)
  assert.is.not(read(model, 0, 1, 2, 2), null)
  assert.is(read(model, 0, 2, 2, 2), null)
})

test('a read that began before the end of a write may still return what was before', () => {
  const model = disk()
  write(model, 1, 0, 1)
  const pending = change(model, 2, 0, 1)
  const early = model.beginRead(0, SECTOR_BYTES)
  model.end(pending, true)
  const late = model.beginRead(0, SECTOR_BYTES)
  assert.is(model.endRead(late, bytes(0, 1))?.actual, 'data of w1')
  assert.is(model.endRead(early, bytes(0, 1)), null)
})

/** Two writes side by side, of sectors 0 and 1 and of `first` and the one after it. */
function sideBySide(first: number): ReferenceDisk {
  const model = disk()
  const left = change(model, 1, 0, 2)
  const right = change(model, 2, first, 2)
  model.end(right, true)
  model.end(left, true)
  return model
}

test('of two writes side by side either may be the last', () => {
  assert.is(read(sideBySide(1), 0, 1, 1, 2), null)
  assert.is(read(sideBySide(1), 0, 1, 2, 2), null)
  assert.is(read(sideBySide(1), 0, 1, 0, 2)?.sectorIndex, 1)
})

test('what a read has shown stays until it is written to again', () => {
  const model = sideBySide(0)
  assert.is(read(model, 0, 1, 2), null)
  assert.is(read(model, 0, 1, 2), null)
  assert.is(read(model, 0, 1, 1)?.expected, 'data of w2')
  assert.is(model.checkWhole(bytes(0, 2, 2, 0, 0, 0, 0, 0, 0))?.expected, 'data of w1')
  write(model, 3, 1, 1)
  assert.is(read(model, 0, 1, 3), null)
})

test('a read beside a write shows nothing that has to stay', () => {
  const model = disk()
  write(model, 1, 0, 1)
  const pending = change(model, 2, 0, 1)
  const beside = model.beginRead(0, SECTOR_BYTES)
  const failing = change(model, 3, 0, 1)
  model.end(pending, false)
  model.end(failing, false)
  assert.is(model.endRead(beside, bytes(0, 2)), null)
  assert.is(read(model, 0, 3), null)
  assert.is(read(model, 0, 2)?.expected, 'data of w3')
})

test('a later write settles what two others had left open', () => {
  for (const right of [1, 2]) {
    const model = sideBySide(0)
    write(model, 3, 0, 1)
    assert.is(read(model, 0, 3, right), null)
    assert.is(read(model, 0, 1, right)?.sectorIndex, 0)
  }
})

test('a failed write may have happened sector by sector, until something certain covers it', () => {
  for (const outcome of [[2, 1] as const, [1, 2] as const]) {
    const model = disk()
    write(model, 1, 0, 2)
    write(model, 2, 0, 2, false)
    assert.is(read(model, 0, ...outcome), null)
    write(model, 3, 0, 2)
    assert.is(read(model, 0, 2, 3)?.actual, 'data of w2')
  }
})

test('a failed write that ran beside another one may have come after it', () => {
  const made = (): ReferenceDisk => {
    const model = disk()
    const failing = change(model, 1, 0, 1)
    const working = change(model, 2, 0, 1)
    model.end(working, true)
    model.end(failing, false)
    return model
  }
  assert.is(read(made(), 0, 1), null)
  assert.is(read(made(), 0, 2), null)
  assert.is(read(made(), 0, 0)?.expected, 'data of w1 or data of w2')
})

test('after a discard of unknown outcome anything goes, until it is written to again', () => {
  for (const writers of [[9, 0] as const, [0, 9] as const]) {
    const model = disk()
    write(model, 1, 0, 2)
    write(model, UNKNOWN_WRITER, 0, 2)
    assert.is(read(model, 0, ...writers), null)
    write(model, 3, 0, 1)
    assert.is(read(model, 0, 3, writers[1]), null)
    assert.is(read(model, 0, 9, 9)?.sectorIndex, 0)
  }
})

test('changes that end out of order leave the later one in place', () => {
  const model = disk()
  const slow = change(model, 9, 0, 4)
  const first = change(model, 1, 0, 1)
  model.end(first, true)
  write(model, 2, 0, 1)
  model.end(slow, false)
  assert.is(read(model, 0, 1)?.actual, 'data of w1')
  assert.is(read(model, 0, 2), null)
})

test('the whole disk is checked against what must be there', () => {
  const model = disk()
  write(model, 1, 7, 1)
  assert.is(model.checkWhole(bytes(0, 0, 0, 0, 0, 0, 0, 0, 1)), null)
  assert.is(model.checkWhole(bytes(0, 0, 0, 0, 0, 0, 0, 0, 0))?.sectorIndex, 7)
})

test('on another disk its own content counts, and changes in flight go there', () => {
  const model = disk()
  write(model, 1, 0, 2)
  const pending = change(model, 2, 1, 1)
  model.moveTo(bytes(0, 5, 0, 0, 0, 0, 0, 0, 0))
  assert.is(read(model, 0, 5, 0), null)
  assert.is(read(model, 0, 1, 0)?.expected, 'data of w5')
  model.end(pending, true)
  assert.is(read(model, 0, 5, 2), null)
  assert.is(read(model, 0, 5, 0)?.expected, 'data of w2')
})

test('a change that the guest gave up before the disk became another one may still come, there', () => {
  const made = (): ReferenceDisk => {
    const model = disk()
    const lost = model.begin(3, 0, SECTOR_BYTES)
    model.end(lost, false)
    model.moveTo(bytes(0, 5, 0, 0, 0, 0, 0, 0, 0))
    return model
  }
  assert.is(read(made(), 0, 5, 0), null)
  assert.is(read(made(), 0, 3, 0), null)
  assert.is(read(made(), 0, 1, 0)?.expected, 'data of w5 or data of w3')
})

test('data at an odd address is checked like any other', () => {
  const model = disk()
  write(model, 1, 0, 1)
  const odd = new Uint8Array(SECTOR_BYTES + 1).subarray(1)
  odd.set(bytes(0, 1))
  assert.is(model.endRead(model.beginRead(0, SECTOR_BYTES), odd), null)
})

test.run()
