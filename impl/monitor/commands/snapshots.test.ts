import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createImage } from '../../blockdev'
import { answersOf, request as call, type MonitorBench, monitorBench, refusalsOf } from '../testing'

/** Requests to a monitor with a node `disk` of format qcow2, and one called `null`. */
function benchWithDisk(): MonitorBench {
  const bench = monitorBench()
  const filename = 'disk.qcow2'
  bench.run(createImage(bench.context, { filename, format: 'qcow2', sizeBytes: 1048576, announce: () => {} }))
  const added = refusalsOf(
    bench,
    call('blockdev-add', { driver: 'qcow2', 'node-name': 'disk', file: { driver: 'file', filename } }),
    call('blockdev-add', { driver: 'null-co', 'node-name': 'null', size: 65536 }),
  )
  assert.equal(added, [undefined, undefined])
  return bench
}
const answers = (...requests: string[]) => answersOf(benchWithDisk(), ...requests)
const refusals = (...requests: string[]) => refusalsOf(benchWithDisk(), ...requests)

test('an internal snapshot is made and deleted, and told when it goes', () => {
  const [made, nodes, deleted, left] = answers(
    call('blockdev-snapshot-internal-sync', { device: 'disk', name: 's' }),
    call('query-named-block-nodes', { flat: true }),
    call('blockdev-snapshot-delete-internal-sync', { device: 'disk', name: 's' }),
    call('query-named-block-nodes', { flat: true }),
  )
  assert.equal(made, { return: {} })
  assert.match(JSON.stringify(nodes), '"name":"s"')
  const told = deleted!['return'] as Record<string, unknown>
  assert.is(told['id'], '1')
  assert.is(told['vm-state-size'], 0)
  assert.not.match(JSON.stringify(left), '"name":"s"')
})

test('what is wrong about internal snapshots is said in the words of QEMU', () => {
  assert.equal(
    refusals(
      call('blockdev-snapshot-internal-sync', { device: 'disk', name: '' }),
      call('blockdev-snapshot-internal-sync', { device: 'none', name: 's' }),
      call('blockdev-snapshot-internal-sync', { device: 'null', name: 's' }),
      call('blockdev-snapshot-internal-sync', { device: 'disk', name: 's' }),
      call('blockdev-snapshot-internal-sync', { device: 'disk', name: 's' }),
      call('blockdev-snapshot-delete-internal-sync', { device: 'disk' }),
      call('blockdev-snapshot-delete-internal-sync', { device: 'disk', id: '9' }),
      call('blockdev-snapshot-delete-internal-sync', { device: 'disk', id: '9', name: 's' }),
    ),
    [
      'Name is empty',
      "Cannot find device='none' nor node-name='none'",
      "Block format 'null-co' used by device 'null' does not support internal snapshots",
      undefined,
      "Snapshot with name 's' already exists on device 'disk'",
      'Name or id must be provided',
      "Snapshot with id '9' and name 'null' does not exist on device 'disk'",
      "Snapshot with id '9' and name 's' does not exist on device 'disk'",
    ],
  )
})

test('a transaction that fails leaves no snapshot', () => {
  const action = { type: 'blockdev-snapshot-internal-sync', data: { device: 'disk', name: 's' } }
  const [failed, nodes] = answers(
    call('transaction', { actions: [action, { type: 'abort', data: {} }] }),
    call('query-named-block-nodes', { flat: true }),
  )
  assert.ok('error' in failed!)
  assert.not.match(JSON.stringify(nodes), '"name":"s"')
})

test('a backup of a drive is part of a transaction', () => {
  const backup = { type: 'drive-backup', data: { device: 'disk', 'job-id': 'j', target: 'copy.qcow2', sync: 'full' } }
  const [failed, jobs, started, running] = answers(
    call('transaction', { actions: [backup, { type: 'abort', data: {} }] }),
    call('query-jobs'),
    call('transaction', { actions: [{ ...backup, data: { ...backup.data, 'auto-dismiss': false } }] }),
    call('query-jobs'),
  )
  assert.ok('error' in failed!)
  assert.equal(jobs, { return: [] })
  assert.equal(started, { return: {} })
  assert.is((running!['return'] as Array<{ id: string }>)[0]!.id, 'j')
})

test('the digest of a bitmap is that of its 64-bit words', () => {
  const digest = call('x-debug-block-dirty-bitmap-sha256', { node: 'disk', name: 'b' })
  const [, empty] = answers(call('block-dirty-bitmap-add', { node: 'disk', name: 'b' }), digest)
  assert.equal(empty, { return: { sha256: 'af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc' } })
  assert.equal(refusals(digest), ["Dirty bitmap 'b' not found"])
})

test.run()
