/** What queries tell of nodes; expectations are what QEMU 11.1 tells of the same nodes. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createImage } from '../blockdev'
import { answersOf, type MonitorBench, monitorBench, refusalsOf, request } from './testing'

type Told = Record<string, unknown>

function makeFile(bench: MonitorBench, filename: string, format: string, backing?: string): void {
  const below = backing === undefined ? {} : { backingFilename: backing, backingFormat: 'qcow2' }
  bench.run(createImage(bench.context, { filename, format, sizeBytes: 1048576, announce: () => {}, ...below }))
}

const file = (filename: string): object => ({ driver: 'file', filename })
const add = (options: object): string => request('blockdev-add', options)
const NODES = request('query-named-block-nodes', { flat: true })
const MIRROR = {
  'job-id': 'j',
  device: 'top',
  target: 'target',
  sync: 'full',
  'filter-node-name': 'filter',
  'auto-dismiss': true,
}

/** `top` over `base`, `target`, and a blkdebug filter below `raw`. */
function bench(): MonitorBench {
  const made = monitorBench()
  makeFile(made, 'base', 'qcow2')
  makeFile(made, 'top', 'qcow2', 'base')
  makeFile(made, 'target', 'raw')
  const rule = { event: 'none', iotype: 'read', errno: 5, once: true }
  const refusals = refusalsOf(
    made,
    add({ driver: 'qcow2', 'node-name': 'base', file: file('base'), 'read-only': true }),
    add({ driver: 'qcow2', 'node-name': 'top', file: { ...file('top'), 'node-name': 'top-file' }, backing: 'base' }),
    add({ driver: 'blkdebug', 'node-name': 'debug', image: file('target'), 'inject-error': [rule] }),
    add({ driver: 'raw', 'node-name': 'target', file: 'debug' }),
  )
  assert.equal(refusals, [undefined, undefined, undefined, undefined])
  return made
}

function nodesAfter(made: MonitorBench, ...requests: string[]): Map<string, Told> {
  const nodes = answersOf(made, ...requests, NODES).at(-1)!['return'] as Told[]
  return new Map(nodes.map((node) => [String(node['node-name']), node]))
}

const imageOf = (nodes: Map<string, Told>, name: string): Told => nodes.get(name)!['image'] as Told

test('a filter tells what stands below it, and of a job no limits', () => {
  const nodes = nodesAfter(bench(), request('blockdev-mirror', MIRROR))
  const [filter, top] = [imageOf(nodes, 'filter'), imageOf(nodes, 'top')]
  for (const member of ['actual-size', 'cluster-size', 'dirty-flag']) {
    assert.ok(top[member] !== undefined, member)
    assert.is(filter[member], top[member], member)
  }
  const alignments = Object.entries(filter['limits'] as Told).filter(([name]) => name.includes('alignment'))
  assert.equal(Object.fromEntries(alignments), { 'request-alignment': 1, 'min-mem-alignment': 512, 'opt-mem-alignment': 4096 })
  assert.is((top['limits'] as Told)['min-mem-alignment'], 1)
})

test('the map of a mirror is a bitmap without a name on its filter', () => {
  const nodes = nodesAfter(bench(), request('blockdev-mirror', { ...MIRROR, granularity: 65536 }))
  const bitmap = { count: 0, granularity: 65536, recording: false, busy: false, persistent: false }
  const [told] = nodes.get('filter')!['dirty-bitmaps'] as Told[]
  assert.equal({ ...told, count: 0 }, bitmap)
  assert.is(nodes.get('top')!['dirty-bitmaps'], undefined)
})

test('raw has no format to tell of, blkdebug no size; a filter below both is not in the way', () => {
  const nodes = nodesAfter(bench())
  const target = imageOf(nodes, 'target')
  assert.is(target['format-specific'], undefined)
  assert.is(target['actual-size'], undefined)
  assert.is(target['dirty-flag'], false)
  assert.is(imageOf(nodes, 'debug')['dirty-flag'], false)
})

test('children are listed with the newest first', () => {
  const nodes = nodesAfter(bench())
  const children = nodes.get('top')!['children'] as Told[]
  assert.equal(
    children.map((child) => child['child']),
    ['backing', 'file'],
  )
})

test('a backing image that a user has attached shows in the name, unless the header says just that', () => {
  const made = bench()
  // In memory the header's words are the whole name; opened through a node of its own it reads the same.
  assert.is(imageOf(nodesAfter(made), 'top')['filename'], 'top')
  const other = add({ driver: 'qcow2', 'node-name': 'over', file: file('top'), backing: 'target' })
  assert.match(String(imageOf(nodesAfter(made, other), 'over')['filename']), '"backing":')
})

test('members of a name that meet in one bucket stand as in QEMU', () => {
  const name = String(imageOf(nodesAfter(bench()), 'debug')['filename'])
  assert.ok(name.indexOf('inject-error.0.event') < name.indexOf('inject-error.0.errno'), name)
})

test('an image below another cannot be deleted, and is told whose it is', () => {
  const [refusal] = refusalsOf(bench(), request('blockdev-del', { 'node-name': 'base' }))
  assert.is(refusal, "Node 'base' is busy: node is used as backing hd of 'top'")
})

test.run()
