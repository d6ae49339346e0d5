/** Images that are handed over to another program and come back: what the next owner finds, and what comes back changed. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission } from '../block'
import { createBlockdev } from '../blockdev'
import { EPERM, OK } from '../co'
import type { JsonObject } from '../json'
import { answersOf, type MonitorBench, monitorBench, refusalsOf, request } from './testing'

const MIB = 1048576
const setActive = (active: boolean, node?: string): string =>
  request('blockdev-set-active', { active, ...(node === undefined ? {} : { 'node-name': node }) })
const QCOW2 = {
  driver: 'qcow2',
  'node-name': 'disk',
  file: { driver: 'file', filename: 'disk.qcow2', 'node-name': 'file' },
}

/** A program that has the image open. */
function owner(image?: Uint8Array): MonitorBench {
  const bench = monitorBench()
  if (image === undefined) {
    bench.files.contents.set('disk.qcow2', new Uint8Array(0))
    const options: JsonObject = new Map<string, never>([
      ['driver', 'qcow2' as never],
      [
        'file',
        new Map([
          ['driver', 'file'],
          ['filename', 'disk.qcow2'],
        ]) as never,
      ],
      ['size', MIB as never],
    ])
    bench.run(createBlockdev(bench.context, options))
  } else bench.files.contents.set('disk.qcow2', image)
  return bench
}
function io(bench: MonitorBench): BlockBackend {
  const backend = new BlockBackend(bench.graph, '')
  backend.letsGo = true
  const permission = Permission.ConsistentRead | Permission.Write
  backend.attach(bench.graph.findNode('disk')!, permission, Permission.All)
  return backend
}
const bytes = (value: number): Uint8Array => new Uint8Array(65536).fill(value)

test('what was written is in the file, with its persistent bitmaps, and nothing is written meanwhile', () => {
  const first = owner()
  const bitmap = request('block-dirty-bitmap-add', { node: 'disk', name: 'b', persistent: true })
  assert.equal(refusalsOf(first, request('blockdev-add', QCOW2), bitmap), [undefined, undefined])
  const disk = io(first)
  assert.is(first.run(disk.pwrite(0, bytes(7))), OK)
  assert.equal(refusalsOf(first, setActive(false, 'disk')), [undefined])
  const image = first.files.contents.get('disk.qcow2')!.slice()
  const buffer = bytes(0)
  assert.equal(
    [first.run(disk.pwrite(0, bytes(8))), first.run(disk.pread(0, buffer)), first.run(disk.flush())],
    [EPERM, EPERM, OK],
  )
  assert.is(Buffer.compare(image, first.files.contents.get('disk.qcow2')!), 0)

  const second = owner(image)
  assert.equal(refusalsOf(second, request('blockdev-add', QCOW2)), [undefined])
  const there = io(second)
  assert.is(second.run(there.pread(0, buffer)), OK)
  assert.equal(buffer, bytes(7))
  const found = second.graph.findNode('disk')!.namedBitmaps.get('b')!
  assert.equal([found.isPersistent, found.isInconsistent, found.bits.countBytes], [true, false, 65536])
})

test('an image that comes back is read anew', () => {
  const first = owner()
  answersOf(first, request('blockdev-add', QCOW2))
  const disk = io(first)
  first.run(disk.pwrite(0, bytes(7)))
  answersOf(first, setActive(false))
  const second = owner(first.files.contents.get('disk.qcow2')!.slice())
  answersOf(second, request('blockdev-add', QCOW2))
  const there = io(second)
  assert.is(second.run(there.pwrite(65536, bytes(9))), OK)
  assert.is(second.run(there.pwrite(0, bytes(3))), OK)
  answersOf(second, setActive(false))
  first.files.contents.set('disk.qcow2', second.files.contents.get('disk.qcow2')!.slice())
  assert.equal(refusalsOf(first, setActive(true)), [undefined])
  for (const [at, value] of [
    [0, 3],
    [65536, 9],
  ] as const) {
    const buffer = bytes(0)
    assert.is(first.run(disk.pread(at, buffer)), OK)
    assert.is(buffer[65535], value)
  }
  assert.is(first.run(disk.pwrite(131072, bytes(1))), OK)
})

test('who writes and does not let go, and parents that are active, keep a node', () => {
  const bench = owner()
  answersOf(bench, request('blockdev-add', QCOW2))
  const disk = io(bench)
  disk.letsGo = false
  const refusals = refusalsOf(bench, setActive(false, 'file'), setActive(false, 'disk'), setActive(false), setActive(false, 'x'))
  assert.equal(refusals, [
    'Node has active parent node',
    'Failed to inactivate node: Operation not permitted',
    'Failed to inactivate node: Operation not permitted',
    "Failed to find node with node-name='x'",
  ])
  assert.is(bench.run(disk.pwrite(0, bytes(1))), OK)
})

test('a node can be opened inactive, and nothing active stands on it', () => {
  const bench = owner()
  const raw = { driver: 'raw', 'node-name': 'above', file: 'disk' }
  const before = bench.files.contents.get('disk.qcow2')!.slice()
  const refusals = refusalsOf(
    bench,
    request('blockdev-add', { ...QCOW2, active: false }),
    request('blockdev-add', raw),
    request('block_resize', { 'node-name': 'disk', size: 2 * MIB }),
    request('blockdev-add', { ...raw, active: false }),
    setActive(true, 'above'),
  )
  assert.equal(refusals, [
    undefined,
    "Inactive 'disk' can't be a file child of active 'above'",
    "Permission 'resize' unavailable on inactive node",
    undefined,
    undefined,
  ])
  assert.is(Buffer.compare(before, bench.files.contents.get('disk.qcow2')!), 0)
  assert.is(bench.graph.findNode('disk')!.isInactive, false)
})

test('a mirror that is ready rests with its disks, and ends well afterwards', () => {
  const bench = monitorBench()
  const disk = (name: string): string =>
    request('blockdev-add', { driver: 'null-co', 'node-name': name, size: MIB, 'read-zeroes': true })
  const mirror = request('blockdev-mirror', { 'job-id': 'm', device: 'a', target: 'b', sync: 'full' })
  answersOf(bench, disk('a'), disk('b'), mirror)
  const job = bench.environment.jobs.find('m')
  assert.is(job.status, 'ready')
  assert.equal(refusalsOf(bench, setActive(false)), [undefined])
  assert.ok([...bench.graph.nodes.values()].every(({ isInactive }) => isInactive))
  assert.is(job.status, 'ready')
  assert.equal(refusalsOf(bench, request('block-job-cancel', { device: 'm' })), [undefined])
  assert.equal([job.status, job.errorText], ['null', null])
  assert.equal(refusalsOf(bench, setActive(true)), [undefined])
})

test.run()
