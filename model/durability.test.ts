import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UNKNOWN_WRITER } from './disk'
import { DurableDisk } from './durability'
import { SECTOR_BYTES, stampSectors, ZERO_WRITER } from './stamp'

const OLD = 7
const NEW = 8
const NEWER = 9

function disk(): DurableDisk {
  const made = new DurableDisk(2 * SECTOR_BYTES, (writer) => `w${writer}`)
  made.place(OLD, 0, 2 * SECTOR_BYTES)
  return made
}
/** A disk whose two sectors hold what these writers left. */
function image(...writers: number[]): Uint8Array {
  const bytes = new Uint8Array(writers.length * SECTOR_BYTES)
  for (const [sector, writer] of writers.entries()) stampSectors(bytes, sector * SECTOR_BYTES, writer, sector, 1)
  return bytes
}
function isLegal(model: DurableDisk, ...writers: number[]): boolean {
  return model.check(image(...writers)) === null
}
function write(model: DurableDisk, writer: number, isSafe = false): void {
  model.end(model.begin(writer, 0, 2 * SECTOR_BYTES), true, isSafe)
}
function flush(model: DurableDisk): void {
  model.flushed(model.moment())
}

test('what was not flushed may be there or not, sector by sector', () => {
  const model = disk()
  write(model, NEW)
  assert.ok(isLegal(model, OLD, OLD))
  assert.ok(isLegal(model, NEW, OLD))
  assert.ok(isLegal(model, OLD, NEW))
  assert.ok(isLegal(model, NEW, NEW))
})

test('what was never written is never legal, nor is what belongs to another sector', () => {
  const model = disk()
  write(model, NEW)
  assert.is(model.check(image(OLD, NEWER))?.sectorIndex, 1)
  const moved = image(OLD, OLD)
  moved.copyWithin(SECTOR_BYTES, 0, SECTOR_BYTES)
  assert.match(model.check(moved)!.actual, 'misdirected')
})

test('a flush makes safe what had ended when it began, and nothing else', () => {
  const model = disk()
  write(model, NEW)
  const began = model.moment()
  write(model, NEWER)
  model.flushed(began)
  assert.not.ok(isLegal(model, OLD, NEW))
  assert.ok(isLegal(model, NEW, NEWER))
})

test('a write that was in flight when a safe one began may have come after it', () => {
  const model = disk()
  const slow = model.begin(NEW, 0, SECTOR_BYTES)
  write(model, NEWER)
  flush(model)
  assert.ok(isLegal(model, NEW, NEWER), 'still in flight')
  model.end(slow, true, false)
  assert.ok(isLegal(model, NEW, NEWER), 'ended after it')
})

test('what is written through is safe without a flush', () => {
  const model = disk()
  write(model, NEW, true)
  assert.ok(isLegal(model, NEW, NEW))
  assert.is(model.check(image(OLD, NEW))?.expected, 'data of w8')
})

test('what failed may be there, and makes nothing else go away', () => {
  const model = disk()
  model.end(model.begin(NEW, 0, SECTOR_BYTES), false, false)
  flush(model)
  assert.ok(isLegal(model, OLD, OLD))
  assert.ok(isLegal(model, NEW, OLD))
})

test('after a discard of unknown effect a sector may read anything', () => {
  const model = disk()
  model.end(model.begin(UNKNOWN_WRITER, 0, SECTOR_BYTES), true, false)
  assert.ok(isLegal(model, NEWER, OLD))
  assert.not.ok(isLegal(model, OLD, NEWER))
})

test('a disk that takes the place of another begins with what it holds', () => {
  const model = disk()
  write(model, NEW)
  const at = model.moment()
  const later = model.begin(NEWER, SECTOR_BYTES, SECTOR_BYTES)
  model.moveTo(image(ZERO_WRITER, NEW), at)
  model.end(later, true, false)
  assert.ok(isLegal(model, ZERO_WRITER, NEWER))
  assert.ok(isLegal(model, ZERO_WRITER, NEW))
  assert.not.ok(isLegal(model, NEW, NEW))
})

test('of bytes that were hit nothing is expected after a power cut, and of their neighbours all', () => {
  const model = new DurableDisk(SECTOR_BYTES, (writer) => `w${writer}`)
  const found = new Uint8Array(SECTOR_BYTES)
  found[7] = 1
  assert.ok(model.check(found) !== null)
  model.hits = { isHit: (offsetBytes) => offsetBytes === 7 }
  assert.is(model.check(found), null)
  found[8] = 1
  assert.ok(model.check(found) !== null)
})

test.run()
