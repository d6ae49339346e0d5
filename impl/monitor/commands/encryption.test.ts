import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { answersOf, request as call, type MonitorBench, monitorBench, refusalsOf, toldBy } from '../testing'

const WORDS = ['first password', 'second password'] as const

function secrets(): string[] {
  return WORDS.map((data, index) => call('object-add', { 'qom-type': 'secret', id: `s${index}`, data }))
}
const add = (more: object): string => call('blockdev-add', { driver: 'luks', 'node-name': 'l', file: 'f', ...more })
const amend = (id: string, options: object): string =>
  call('x-blockdev-amend', { 'job-id': id, 'node-name': 'l', options: { driver: 'luks', ...options } })

/** A LUKS container in the node `f`, opened by the first password. */
function container(): MonitorBench {
  const bench = monitorBench()
  bench.files.contents.set('file', new Uint8Array(512))
  const create = { driver: 'luks', file: 'f', size: 65536, 'key-secret': 's0', 'cipher-alg': 'aes-128', 'iter-time': 1 }
  const refusals = refusalsOf(
    bench,
    ...secrets(),
    call('blockdev-add', { driver: 'file', filename: 'file', 'node-name': 'f' }),
    call('blockdev-create', { 'job-id': 'create', options: create }),
  )
  assert.equal(refusals, [undefined, undefined, undefined, undefined])
  return bench
}

function jobError(bench: MonitorBench, id: string): unknown {
  const jobs = answersOf(bench, call('query-jobs'))[0]!.return as Array<{ id: string; status: string; error?: string }>
  const job = jobs.find((each) => each.id === id)
  assert.is(job?.status, 'concluded', id)
  return job?.error
}

test('a container is made and opened with secrets, and a wrong one is told', () => {
  const bench = container()
  assert.is(jobError(bench, 'create'), undefined)
  assert.equal(
    refusalsOf(bench, add({}), add({ 'key-secret': 'gone' }), add({ 'key-secret': 's1' }), add({ 'key-secret': 's0' })),
    [
      "Parameter 'key-secret' is required for cipher",
      "No secret with id 'gone'",
      'Invalid password, cannot unlock any keyslot',
      undefined,
    ],
  )
  const nodes = answersOf(bench, call('query-named-block-nodes', { flat: true }))[0]!.return as Array<Record<string, unknown>>
  assert.equal(
    nodes.map((node) => [node['node-name'], node.encrypted]),
    [
      ['l', true],
      ['f', false],
    ],
  )
})

test('passwords are changed by jobs', () => {
  const bench = container()
  refusalsOf(bench, add({ 'key-secret': 's0' }), amend('a', { state: 'active', 'new-secret': 's1', 'iter-time': 1 }))
  assert.is(jobError(bench, 'a'), undefined)
  refusalsOf(bench, amend('b', { state: 'inactive', 'old-secret': 's0' }))
  assert.is(jobError(bench, 'b'), undefined)
  refusalsOf(bench, amend('c', { state: 'inactive', keyslot: 1 }))
  assert.match(String(jobError(bench, 'c')), /^Attempt to erase the only active keyslot 1/)
  refusalsOf(bench, amend('d', { state: 'active' }))
  assert.is(jobError(bench, 'd'), "'new-secret' is required to activate a keyslot")
  assert.equal(
    refusalsOf(bench, call('blockdev-del', { 'node-name': 'l' }), add({ 'key-secret': 's0' }), add({ 'key-secret': 's1' })),
    [undefined, 'Invalid password, cannot unlock any keyslot', undefined],
  )
})

test('nodes of other drivers are not amended', () => {
  const bench = container()
  const wanted = (node: string, options: object): string =>
    call('x-blockdev-amend', { 'job-id': 'a', 'node-name': node, options })
  assert.equal(
    refusalsOf(bench, wanted('gone', { driver: 'luks', state: 'active' }), wanted('f', { driver: 'luks', state: 'active' })),
    ["Cannot find device='' nor node-name='gone'", "x-blockdev-amend doesn't support changing the block driver"],
  )
})

test('no answer and no event has a password in it', () => {
  const bench = container()
  const told = toldBy(
    bench,
    add({ 'key-secret': 's1' }),
    add({ 'key-secret': 's0' }),
    call('query-named-block-nodes'),
    call('qom-get', { path: '/objects/s0', property: 'data' }),
    call('qom-list', { path: '/objects' }),
    call('qom-list', { path: '/objects/s0' }),
    amend('a', { state: 'active', 'new-secret': 's1', 'iter-time': 1 }),
    call('query-jobs'),
  )
  const text = JSON.stringify(told)
  assert.ok(told.length > 8)
  for (const word of WORDS) assert.not.ok(text.includes(word), word)
  assert.ok(text.includes("Property 'secret.data' not found"))
})

test.run()
