/** Quorums as monitors see them: their description, changes of their replicas, and the repair of one by a mirror. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { answersOf, monitorBench, refusalsOf, request } from './testing'

const MIB = 1048576
const file = (name: string): unknown => ({ driver: 'file', filename: name, 'node-name': name })

function bench() {
  const stand = monitorBench()
  for (const name of ['a', 'b', 'c', 'd']) stand.files.contents.set(name, new Uint8Array(MIB))
  const children = ['a', 'b', 'c'].map(file)
  const quorum = { driver: 'quorum', 'node-name': 'q', 'vote-threshold': 2, children }
  assert.equal(refusalsOf(stand, request('blockdev-add', quorum)), [undefined])
  return stand
}
/** Told with the newest first, as QEMU 11.1 does. */
function childrenOf(stand: ReturnType<typeof bench>): unknown {
  const [{ return: nodes } = {}] = answersOf(stand, request('query-named-block-nodes', { flat: true }))
  return (nodes as Array<Record<string, unknown>>).find((node) => node['node-name'] === 'q')?.['children']
}

test('a replica that is not like the others is replaced by a copy of what they agree on', () => {
  const stand = bench()
  stand.files.contents.get('b')!.fill(9)
  stand.files.contents.get('a')!.fill(7)
  stand.files.contents.get('c')!.fill(7)
  const mirror = { 'job-id': 'm', device: 'q', target: 'd', sync: 'full', replaces: 'b' }
  const bad: unknown[] = []
  stand.environment.events.listen((event) => {
    if (event.get('event') === 'QUORUM_REPORT_BAD') bad.push((event.get('data') as Map<string, unknown>).get('node-name'))
  })
  answersOf(stand, request('blockdev-add', file('d')), request('blockdev-mirror', mirror))
  answersOf(stand, request('job-complete', { id: 'm' }))
  assert.equal(bad, ['b'])
  assert.is(stand.environment.jobs.jobs.size, 0)
  assert.equal(childrenOf(stand), [
    { child: 'children.2', 'node-name': 'c' },
    { child: 'children.1', 'node-name': 'd' },
    { child: 'children.0', 'node-name': 'a' },
  ])
  assert.equal([...new Set(stand.files.contents.get('d'))], [7])
  assert.equal([...new Set(stand.files.contents.get('b'))], [9])
})

test('a replica that somebody else uses is not replaced', () => {
  const stand = bench()
  const above = { driver: 'raw', 'node-name': 'user', file: 'b', 'read-only': true }
  const mirror = { 'job-id': 'm', device: 'q', target: 'd', sync: 'full', replaces: 'b' }
  const refusals = refusalsOf(
    stand,
    request('blockdev-add', file('d')),
    request('blockdev-add', above),
    request('blockdev-mirror', mirror),
  )
  assert.is(refusals[1], undefined)
  assert.match(String(refusals[2]), /abrupt change of visible data/)
})

test('replicas go and come, as long as enough are left', () => {
  const stand = bench()
  const change = (more: object): string => request('x-blockdev-change', { parent: 'q', ...more })
  const refusals = refusalsOf(
    stand,
    request('blockdev-add', file('d')),
    change({ child: 'children.2' }),
    change({ child: 'children.1' }),
    change({ node: 'd' }),
    change({ node: 'd' }),
  )
  assert.equal(refusals, [
    undefined,
    undefined,
    'The number of children cannot be lower than the vote threshold 2',
    undefined,
    'The node d already has a parent',
  ])
  // The last number is given again; nobody owns the node that has left.
  assert.equal(childrenOf(stand), [
    { child: 'children.2', 'node-name': 'd' },
    { child: 'children.1', 'node-name': 'b' },
    { child: 'children.0', 'node-name': 'a' },
  ])
  assert.is(stand.context.graph.findNode('c'), null)
})

test('nodes of other lengths are no replicas', () => {
  const stand = bench()
  stand.files.contents.set('long', new Uint8Array(2 * MIB))
  const refusals = refusalsOf(
    stand,
    request('blockdev-add', file('long')),
    request('x-blockdev-change', { parent: 'q', node: 'long' }),
  )
  assert.match(String(refusals[1]), /^Cannot add node 'long' to quorum 'q': its length differs$/)
})

test.run()
