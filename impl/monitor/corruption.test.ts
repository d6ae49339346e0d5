/** What a monitor hears of an image that is found corrupt. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission } from '../block'
import { createImage } from '../blockdev'
import { EIO, OK } from '../co'
import { answersOf, monitorBench, request } from './testing'

const L2_TABLE_AT = 0x40000

test('an image that is found corrupt is told of once, with its node and whether it goes on', () => {
  const bench = monitorBench()
  const { graph, files, environment } = bench
  const filename = 'disk.qcow2'
  bench.run(createImage(bench.context, { filename, format: 'qcow2', sizeBytes: 1048576, announce: () => {} }))
  const told: unknown[] = []
  environment.events.listen((event) => {
    const data = event.get('data')
    told.push([event.get('event'), data instanceof Map ? Object.fromEntries(data) : null])
  })
  const add = { driver: 'qcow2', 'node-name': 'disk', file: { driver: 'file', filename } }
  const use = (body: (backend: BlockBackend) => Generator<undefined, number, undefined>): number => {
    assert.equal(answersOf(bench, request('blockdev-add', add))[0], { return: {} })
    const backend = new BlockBackend(graph, '')
    backend.attach(graph.nodes.get('disk')!, Permission.ConsistentRead | Permission.Write, Permission.All)
    const errno = bench.run(body(backend))
    backend.dispose()
    assert.equal(answersOf(bench, request('blockdev-del', { 'node-name': 'disk' }))[0], { return: {} })
    return errno
  }
  assert.is(
    use((backend) => backend.pwrite(0, new Uint8Array(65536).fill(1))),
    OK,
  )
  assert.equal(told, [])
  files.contents.get(filename)!.set([0x80, 0, 0, 0, 0, 5, 2, 0], L2_TABLE_AT)
  assert.is(
    use((backend) => backend.pread(0, new Uint8Array(512))),
    EIO,
  )
  const msg = 'Cluster allocation offset 0x50200 unaligned (L2 offset: 0x40000, L2 index: 0)'
  assert.equal(told, [['BLOCK_IMAGE_CORRUPTED', { device: '', 'node-name': 'disk', msg, fatal: true }]])
})

test.run()
