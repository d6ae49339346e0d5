import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OK } from '../../co'
import { BlockBackend } from '../backend'
import { Permission, StatusFlag } from '../flags'
import { testBench } from '../testing'
import { NullDriver, type NullOptions } from './null_co'

function bench(options: NullOptions) {
  const stack = testBench()
  const node = stack.graph.addNode({ driver: new NullDriver(options), options: { discard: 'unmap' } })
  const backend = new BlockBackend(stack.graph, '')
  backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
  return { ...stack, node, backend }
}

test('it is 1 GiB unless told otherwise, and refuses impossible sizes and latencies', () => {
  assert.is(bench({}).backend.lengthBytes, 2 ** 30)
  assert.is(bench({ sizeBytes: 4096 }).backend.lengthBytes, 4096)
  assert.throws(() => new NullDriver({ sizeBytes: -1 }), /size is invalid/)
  assert.throws(() => new NullDriver({ latencyNs: -1 }), /latency-ns is invalid/)
})

test('it forgets what is written, and reads zeroes only with read-zeroes', () => {
  for (const readZeroes of [false, true]) {
    const { backend, run } = bench({ readZeroes })
    assert.is(run(backend.pwrite(0, new Uint8Array(512).fill(1))), OK)
    const buffer = new Uint8Array(512).fill(9)
    assert.is(run(backend.pread(0, buffer)), OK)
    assert.is(buffer[0], readZeroes ? 0 : 9)
  }
})

test('its status is zero with read-zeroes and unknown without', () => {
  const flags = (readZeroes: boolean) => {
    const { node, run } = bench({ readZeroes, sizeBytes: 8192 })
    return run(node.blockStatus('want-zero', 0, 4096)).flags
  }
  assert.is(flags(false), StatusFlag.OffsetValid)
  assert.is(flags(true), StatusFlag.OffsetValid | StatusFlag.Zero | StatusFlag.Allocated)
})

test('every request takes the latency', () => {
  const { backend, kernel, run } = bench({ latencyNs: 100 })
  run(backend.pwrite(0, new Uint8Array(512)))
  run(backend.pread(0, new Uint8Array(512)))
  run(backend.pwriteZeroes(0, 512))
  run(backend.pdiscard(0, 512))
  run(backend.flush())
  assert.is(kernel.nowNs(), 500)
})

test.run()
