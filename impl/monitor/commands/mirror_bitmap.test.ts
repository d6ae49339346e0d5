/** A mirror that goes on with a persistent bitmap after the image has been closed, and after a crash. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createImage } from '../../blockdev'
import { answersOf, request as call, type MonitorBench, monitorBench, refusalsOf } from '../testing'

const SIZE_BYTES = 1048576
const NODE = { driver: 'qcow2', 'node-name': 'disk', file: { driver: 'file', filename: 'disk.qcow2' } }
const MIRROR = { 'job-id': 'j', device: 'disk', target: 'copy', 'auto-dismiss': false }
const BITMAP = { node: 'disk', name: 'b' }

function benchWithBitmap(): MonitorBench {
  const bench = monitorBench()
  const announce = (): void => {}
  for (const filename of ['disk.qcow2', 'copy.qcow2'])
    bench.run(createImage(bench.context, { filename, format: 'qcow2', sizeBytes: SIZE_BYTES, announce }))
  const refusals = refusalsOf(
    bench,
    call('blockdev-add', NODE),
    call('blockdev-add', { ...NODE, 'node-name': 'copy', file: { driver: 'file', filename: 'copy.qcow2' } }),
    call('block-dirty-bitmap-add', { ...BITMAP, persistent: true }),
  )
  assert.equal(refusals, [undefined, undefined, undefined])
  return bench
}

/** The bitmap as query-named-block-nodes tells it. */
function bitmapOf(bench: MonitorBench): Record<string, unknown> | undefined {
  const [{ return: nodes } = { return: [] }] = answersOf(bench, call('query-named-block-nodes', { flat: true }))
  const disk = (nodes as Array<Record<string, unknown>>).find((node) => node['node-name'] === 'disk')
  return (disk?.['dirty-bitmaps'] as Array<Record<string, unknown>> | undefined)?.[0]
}

test('whoever knows only the members of QEMU gets its answers', () => {
  const texts = refusalsOf(
    benchWithBitmap(),
    call('blockdev-mirror', { ...MIRROR, sync: 'incremental' }),
    call('blockdev-mirror', { ...MIRROR, sync: 'bitmap', 'bitmap-mode': 'always' }),
    call('drive-mirror', { device: 'disk', target: 'x', sync: 'full', bitmap: 'b' }),
  )
  assert.equal(texts, [
    "Sync mode 'incremental' not supported",
    "Sync mode 'bitmap' not supported",
    "Parameter 'bitmap' is unexpected",
  ])
})

test('what a mirror leaves in a bitmap is kept in the image, and the next mirror goes on with it', () => {
  // After READY everything is copied; before it nobody has said so.
  for (const [force, left] of [
    [false, 0],
    [true, SIZE_BYTES],
  ] as const) {
    const bench = benchWithBitmap()
    const { graph, kernel } = bench
    graph.findNode('disk')!.namedBitmaps.get('b')!.bits.setAll()
    const start = call('blockdev-mirror', { ...MIRROR, sync: 'full', bitmap: 'b', 'bitmap-mode': 'on-success' })
    assert.equal(
      refusalsOf(bench, ...(force ? [start, call('block-job-cancel', { device: 'j', force })] : [start])).at(0),
      undefined,
    )
    bench.run(kernel.sleepNs(1_000_000_000))
    if (!force) assert.equal(refusalsOf(bench, call('block-job-cancel', { device: 'j' })), [undefined])
    bench.run(kernel.sleepNs(1_000_000_000))
    const reopened = refusalsOf(
      bench,
      call('job-dismiss', { id: 'j' }),
      call('blockdev-del', { 'node-name': 'disk' }),
      call('blockdev-add', NODE),
    )
    assert.equal(reopened, [undefined, undefined, undefined])
    const found = bitmapOf(bench)
    const kept = ['persistent', 'busy', 'inconsistent', 'count'].map((name) => found?.[name])
    assert.equal(kept, [true, false, undefined, left], `force ${force}`)
    assert.equal(refusalsOf(bench, call('blockdev-mirror', { ...MIRROR, sync: 'incremental', bitmap: 'b' })), [undefined])
  }
})

test('a bitmap of an image that was not closed means nothing: a mirror refuses it', () => {
  const bench = benchWithBitmap()
  assert.equal(refusalsOf(bench, call('blockdev-del', { 'node-name': 'disk' }), call('blockdev-add', NODE)), [
    undefined,
    undefined,
  ])
  // A second opening of the same file finds what a crash would leave.
  const second = monitorBench()
  for (const name of ['disk.qcow2', 'copy.qcow2']) second.files.contents.set(name, bench.files.contents.get(name)!.slice())
  const refusals = refusalsOf(
    second,
    call('blockdev-add', NODE),
    call('blockdev-add', { ...NODE, 'node-name': 'copy', file: { driver: 'file', filename: 'copy.qcow2' } }),
    call('blockdev-mirror', { ...MIRROR, sync: 'incremental', bitmap: 'b' }),
  )
  assert.equal(refusals, [undefined, undefined, "Bitmap 'b' is inconsistent and cannot be used"])
})

test.run()
