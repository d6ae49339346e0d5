import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BufferStock } from './buffer_stock'

function stock(): { stock: BufferStock; made: number[] } {
  const made: number[] = []
  const allocate = (bytes: number): Uint8Array => {
    made.push(bytes)
    return new Uint8Array(bytes)
  }
  return { stock: new BufferStock(allocate), made }
}

test('a buffer serves the next request of any length that fits', () => {
  const { stock: buffers, made } = stock()
  const first = buffers.take(5000)
  buffers.giveBack(first)
  assert.is(buffers.take(8192), first)
  assert.equal(made, [8192])
})

test('two requests at a time have two buffers', () => {
  const { stock: buffers } = stock()
  assert.is.not(buffers.take(512), buffers.take(512))
})

test('a buffer that is too short makes place for a longer one', () => {
  const { stock: buffers, made } = stock()
  buffers.giveBack(buffers.take(512))
  const longer = buffers.take(70_000)
  buffers.giveBack(longer)
  assert.is(buffers.take(100), longer)
  assert.equal(made, [4096, 131_072])
})

test('long buffers are as long as asked for, and are not kept', () => {
  const { stock: buffers, made } = stock()
  buffers.giveBack(buffers.take(1_000_000))
  buffers.take(1_000_000)
  assert.equal(made, [1_000_000, 1_000_000])
})

test('giving a buffer back twice is a defect', () => {
  const { stock: buffers } = stock()
  const buffer = buffers.take(512)
  buffers.giveBack(buffer)
  assert.throws(() => buffers.giveBack(buffer), /buffer-given-back-once/)
})

test.run()
