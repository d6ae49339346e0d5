import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createImage } from '../../blockdev'
import { EACCES } from '../../co'
import { request as call, type MonitorBench, monitorBench, refusalsOf } from '../testing'

const FILES = ['base', 'first', 'second']
const image = (name: string, more: object = {}) => ({
  driver: 'qcow2',
  'node-name': name,
  file: { driver: 'file', filename: name },
  ...more,
})

/** `first`, writable, on `base`, which goes with it; `second`, read-only. */
function twoNodes(): MonitorBench {
  const bench = monitorBench()
  for (const filename of FILES) {
    bench.run(createImage(bench.context, { filename, format: 'qcow2', sizeBytes: 65536, announce: () => {} }))
  }
  const added = refusalsOf(
    bench,
    call('blockdev-add', image('first', { backing: image('base', { 'read-only': true }) })),
    call('blockdev-add', image('second', { 'read-only': true })),
  )
  assert.equal(added, [undefined, undefined])
  return bench
}

function stateOf({ graph }: MonitorBench): unknown {
  return [...graph.nodes.values()].map((node) => {
    const { readOnly, detectZeroes, discard } = node.options
    return [node.name, readOnly, detectZeroes, discard, node.backing?.node.name, node.quiesceCount]
  })
}

const CHANGED_FIRST = image('first', { backing: null, 'read-only': true, 'detect-zeroes': 'on', discard: 'unmap' })
const reopen = (bench: MonitorBench, ...options: object[]) => refusalsOf(bench, call('blockdev-reopen', { options }))

test('several nodes are reopened together', () => {
  const bench = twoNodes()
  assert.equal(reopen(bench, CHANGED_FIRST, image('second')), [undefined])
  const { graph } = bench
  assert.is(graph.findNode('base'), null)
  assert.is(graph.lookup('first').options.detectZeroes, 'on')
  assert.ok(graph.lookup('first').options.readOnly)
  assert.not(graph.lookup('second').options.readOnly)
})

test('a node that cannot change keeps those before it as they were', () => {
  const bench = twoNodes()
  const before = stateOf(bench)
  bench.files.readOnly.set('second', EACCES)
  assert.equal(reopen(bench, CHANGED_FIRST, image('second')), ["Could not open 'second': Permission denied"])
  assert.equal(stateOf(bench), before)
  assert.equal(reopen(bench, CHANGED_FIRST, image('gone')), ["Failed to find node with node-name='gone'"])
  assert.equal(stateOf(bench), before)
  bench.files.readOnly.delete('second')
  assert.equal(reopen(bench, CHANGED_FIRST, image('second')), [undefined])
})

test.run()
