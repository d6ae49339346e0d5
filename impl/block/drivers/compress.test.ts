import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OK } from '../../co'
import { BlockBackend } from '../backend'
import type { DriverInfo } from '../driver'
import { type BlockLimits, Permission, RequestFlag } from '../flags'
import { MemoryDriver, memoryStack, testBench } from '../testing'
import { CompressDriver } from './compress'

/** Clusters of 4 KiB that could be compressed. */
class ClusterDriver extends MemoryDriver {
  override refreshLimits(limits: BlockLimits): void {
    super.refreshLimits(limits)
    this.supportedWriteFlags = RequestFlag.Compressed
  }
  override info(): DriverInfo {
    return { clusterBytes: 4096, subclusterBytes: 4096 }
  }
}

test('writes come down as whole compressed clusters', () => {
  const stack = testBench()
  const image = new ClusterDriver(65536)
  image.data.fill(9)
  const node = stack.graph.addNode({
    driver: new CompressDriver(),
    children: [{ name: 'file', role: 'filtered', node: stack.graph.addNode({ driver: image }) }],
  })
  const backend = new BlockBackend(stack.graph, 'drive')
  backend.attach(node, Permission.ConsistentRead | Permission.Write, Permission.All)
  assert.is(stack.run(backend.pwrite(1000, new Uint8Array(4096).fill(1))), OK)
  assert.equal(
    image.requests('write').map(({ offsetBytes, lengthBytes, flags }) => [offsetBytes, lengthBytes, flags]),
    [[0, 8192, RequestFlag.Compressed]],
  )
  assert.equal([image.data[999], image.data[1000], image.data[5095], image.data[5096]], [9, 1, 1, 9])
  assert.is(stack.run(backend.pwriteZeroes(0, 4096)), OK)
  assert.is(image.requests('zero')[0]?.flags, 0)
})

test('a format that cannot compress is refused', () => {
  const { graph, node } = memoryStack(4096)
  assert.throws(
    () => graph.addNode({ driver: new CompressDriver(), children: [{ name: 'file', role: 'filtered', node }] }),
    /^Compression is not supported for underlying format: memory$|Compression is not supported for underlying format: memory/,
  )
})

test.run()
