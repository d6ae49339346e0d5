import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OK } from '../co'
import { memoryStack } from './testing'
import { setWriteThreshold, type WriteThresholdEvent, writeThresholdOf } from './write_threshold'

function armed(endBytes: number) {
  const stack = memoryStack(16384, {}, { discard: 'unmap' })
  const events: WriteThresholdEvent[] = []
  const arm = (bytes: number): void => setWriteThreshold(stack.node, bytes, (event) => events.push(event))
  arm(endBytes)
  return { ...stack, events, arm }
}

test('a write beyond the threshold is told once, with what it exceeds', () => {
  const { backend, node, run, events } = armed(8192)
  assert.is(writeThresholdOf(node), 8192)
  run(backend.pwrite(7680, new Uint8Array(512)))
  assert.equal(events, [])
  run(backend.pwrite(8000, new Uint8Array(1024)))
  run(backend.pwrite(12000, new Uint8Array(1024)))
  assert.equal(events, [
    { event: 'BLOCK_WRITE_THRESHOLD', data: { 'node-name': 'disk', 'amount-exceeded': 832, 'write-threshold': 8192 } },
  ])
  assert.is(writeThresholdOf(node), 0)
})

test('zeroes count as writes, reads and discards do not', () => {
  const { backend, run, events } = armed(4096)
  run(backend.pread(8192, new Uint8Array(512)))
  run(backend.pdiscard(8192, 4096))
  assert.is(events.length, 0)
  run(backend.pwriteZeroes(8192, 4096))
  assert.is(events[0]?.data['amount-exceeded'], 8192)
})

test('a threshold below what has been written already waits for the next write', () => {
  const { backend, run, events, arm } = armed(0)
  run(backend.pwrite(12288, new Uint8Array(4096)))
  arm(4096)
  assert.is(events.length, 0)
  run(backend.pwrite(4096, new Uint8Array(512)))
  assert.is(events[0]?.data['amount-exceeded'], 512)
})

test('0 disarms, and a new threshold replaces the old one', () => {
  const { backend, node, run, events, arm } = armed(4096)
  arm(0)
  run(backend.pwrite(8192, new Uint8Array(512)))
  arm(10000)
  arm(12000)
  run(backend.pwrite(10240, new Uint8Array(512)))
  assert.is(events.length, 0)
  assert.is(run(backend.pwrite(12288, new Uint8Array(512))), OK)
  assert.is(events[0]?.data['write-threshold'], 12000)
  assert.is(node.highestWrittenBytes, 12800)
  assert.throws(() => arm(-1), /expects uint64/)
})

test.run()
