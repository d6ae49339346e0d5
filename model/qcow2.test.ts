import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkImage } from './qcow2'

const CLUSTER = 512
const ALONE = 0x80000000

/** Header, refcount table, refcount block, L1 table, L2 table, one cluster of data: clusters 0 to 5. */
function sound(): DataView {
  const view = new DataView(new ArrayBuffer(6 * CLUSTER))
  view.setUint32(0, 0x514649fb)
  view.setUint32(4, 3)
  view.setUint32(20, 9)
  view.setUint32(28, 64 * CLUSTER)
  view.setUint32(36, 1)
  view.setUint32(44, 3 * CLUSTER)
  view.setUint32(52, CLUSTER)
  view.setUint32(56, 1)
  view.setUint32(96, 4)
  view.setUint32(CLUSTER + 4, 2 * CLUSTER)
  for (let cluster = 0; cluster < 6; cluster++) view.setUint16(2 * CLUSTER + cluster * 2, 1)
  point(view, 3 * CLUSTER, ALONE, 4 * CLUSTER)
  point(view, 4 * CLUSTER, ALONE, 5 * CLUSTER)
  return view
}
function point(view: DataView, at: number, high: number, low: number): void {
  view.setUint32(at, high)
  view.setUint32(at + 4, low)
}
function check(view: DataView): ReturnType<typeof checkImage> {
  return checkImage(new Uint8Array(view.buffer))
}
function broken(change: (view: DataView) => void): string {
  const view = sound()
  change(view)
  return check(view).corruptions.join('; ')
}

test('a sound image has nothing to tell', () => {
  assert.equal(check(sound()), { corruptions: [], leakedClusters: 0 })
})

test('a cluster that nothing refers to has leaked', () => {
  const view = sound()
  point(view, 4 * CLUSTER, 0, 0)
  assert.equal(check(view), { corruptions: [], leakedClusters: 1 })
})

test('each contradiction is a corruption', () => {
  assert.match(
    broken((view) => view.setUint32(0, 1)),
    'does not begin as an image',
  )
  assert.match(
    broken((view) => view.setUint32(76, 2)),
    'calls itself corrupt',
  )
  assert.match(
    broken((view) => view.setUint16(2 * CLUSTER + 10, 0)),
    'cluster 5 is referred to 1 times and counted 0 times',
  )
  assert.match(
    broken((view) => point(view, 4 * CLUSTER + 8, ALONE, 5 * CLUSTER)),
    'cluster 5 is referred to 2 times',
  )
  assert.match(
    broken((view) => point(view, 4 * CLUSTER, 0, 5 * CLUSTER)),
    'says not to be alone',
  )
  assert.match(
    broken((view) => point(view, 4 * CLUSTER, ALONE + 1, 0)),
    'far behind the end',
  )
  assert.match(
    broken((view) => point(view, 3 * CLUSTER, ALONE, 2 * CLUSTER)),
    'cluster 2 is referred to 2 times',
  )
})

test('the counts of a dirty image mean nothing', () => {
  const view = sound()
  view.setUint32(76, 1)
  view.setUint16(2 * CLUSTER + 10, 0)
  assert.equal(check(view), { corruptions: [], leakedClusters: 0 })
})

test('entries for data in another file lead nowhere here', () => {
  const view = sound()
  view.setUint32(76, 4)
  point(view, 4 * CLUSTER, ALONE, 40 * CLUSTER)
  view.setUint16(2 * CLUSTER + 10, 0)
  assert.equal(check(view), { corruptions: [], leakedClusters: 0 })
})

test('compressed data is counted by the clusters that it touches', () => {
  const view = sound()
  // Two sectors from the last bytes of cluster 4 on would touch clusters 4 and 5; here one sector inside cluster 5.
  point(view, 4 * CLUSTER, 0x40000000, 5 * CLUSTER + 16)
  assert.equal(check(view), { corruptions: [], leakedClusters: 0 })
  point(view, 4 * CLUSTER, 0xc0000000, 5 * CLUSTER + 16)
  assert.match(check(view).corruptions[0]!, 'compressed and says to be alone')
})

test.run()
