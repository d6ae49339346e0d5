import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BufferStock } from './buffer_stock'

function stock(): { stock: BufferStock; made: number[] } {
  const made: number[] = []
  const allocate = (_offsetBytes: number, bytes: number): Uint8Array => {
    made.push(bytes)
    return new Uint8Array(bytes)
  }
  return { stock: new BufferStock(allocate), made }
}

test('a buffer serves the next request of any length that fits', () => {
  const { stock: buffers, made } = stock()
  const first = buffers.take(0, 5000)!
  buffers.giveBack(first)
  assert.is(buffers.take(0, 8192)!, first)
  assert.equal(made, [8192])
})

test('two requests at a time have two buffers', () => {
  const { stock: buffers } = stock()
  assert.is.not(buffers.take(0, 512)!, buffers.take(0, 512)!)
})

test('a buffer that is too short makes place for a longer one', () => {
  const { stock: buffers, made } = stock()
  buffers.giveBack(buffers.take(0, 512)!)
  const longer = buffers.take(0, 70_000)!
  buffers.giveBack(longer)
  assert.is(buffers.take(0, 100)!, longer)
  assert.equal(made, [4096, 131_072])
})

test('long buffers are as long as asked for, and are not kept', () => {
  const { stock: buffers, made } = stock()
  buffers.giveBack(buffers.take(0, 1_000_000)!)
  buffers.take(0, 1_000_000)!
  assert.equal(made, [1_000_000, 1_000_000])
})

test('where there is no memory, the place is told and nothing is given', () => {
  const asked: string[] = []
  const buffers = new BufferStock((offsetBytes, bytes) => {
    asked.push(`${offsetBytes}+${bytes}`)
    return null
  })
  assert.is(buffers.take(512, 5000), null)
  assert.equal(asked, ['512+8192'])
})

test('lengths are powers of two from 4 KiB to 256 KiB, which is kept, and sixteen are', () => {
  const { stock: buffers, made } = stock()
  const taken = [4096, 4097, 8192, 262_144, 262_145].map((bytes) => buffers.take(0, bytes)!)
  assert.equal(made, [4096, 8192, 8192, 262_144, 262_145])
  buffers.giveBack(taken[3]!)
  assert.is(buffers.take(0, 512), taken[3])
  const many = Array.from({ length: 18 }, () => buffers.take(0, 512)!)
  for (const buffer of many) buffers.giveBack(buffer)
  made.length = 0
  for (let count = 0; count < 18; count++) buffers.take(0, 512)
  assert.is(made.length, 2)
})

test('giving a buffer back twice is a defect', () => {
  const { stock: buffers } = stock()
  const buffer = buffers.take(0, 512)!
  buffers.giveBack(buffer)
  assert.throws(() => buffers.giveBack(buffer), /buffer-given-back-once/)
})

test.run()
