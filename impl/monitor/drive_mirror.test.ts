/** What a mirror to a named file leaves in the graph: the image below the copy, whatever names it. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockBackend, Permission } from '../block'
import { createImage } from '../blockdev'
import { answersOf, type MonitorBench, monitorBench, refusalsOf, request } from './testing'

const file = (filename: string): object => ({ driver: 'file', filename })
const add = (options: object): string => request('blockdev-add', options)

function make(bench: MonitorBench, filename: string, backing?: string): void {
  const below = backing === undefined ? {} : { backingFilename: backing, backingFormat: 'qcow2' }
  bench.run(createImage(bench.context, { filename, format: 'qcow2', sizeBytes: 65536, announce: () => {}, ...below }))
}

/** `top` over `base`, and another image over `other`. */
function bench(): MonitorBench {
  const made = monitorBench()
  make(made, 'base')
  make(made, 'top', 'base')
  make(made, 'other')
  make(made, 'there', 'other')
  const base = add({ driver: 'qcow2', 'node-name': 'base', file: file('base'), 'read-only': true })
  const top = add({ driver: 'qcow2', 'node-name': 'top', file: file('top'), backing: 'base' })
  assert.equal(refusalsOf(made, base, top), [undefined, undefined])
  return made
}

type Told = Record<string, unknown>

/** Starts a mirror, ends it, and gives what is below its target. */
function below(made: MonitorBench, args: object, ending = request('job-complete', { id: 'j' })): Told | undefined {
  const common = { 'job-id': 'j', device: 'top', 'node-name': 'copy', format: 'qcow2', 'auto-dismiss': false }
  const started = answersOf(made, request('drive-mirror', { ...common, ...args }))
  assert.equal(started, [{ return: {} }])
  // Somebody who only looks: without anybody the copy would be closed.
  new BlockBackend(made.graph, '').attach(made.graph.findNode('copy')!, Permission.None, Permission.All)
  assert.equal(answersOf(made, ending), [{ return: {} }])
  const [nodes, jobs] = answersOf(made, request('query-named-block-nodes', { flat: true }), request('query-jobs'))
  assert.equal(
    (jobs!['return'] as Told[]).map(({ status, error }) => [status, error]),
    [['concluded', undefined]],
  )
  const all = nodes!['return'] as Told[]
  const copy = all.find((node) => node['node-name'] === 'copy')
  const child = (copy?.['children'] as Told[] | undefined)?.find((each) => each['child'] === 'backing')
  return all.find((node) => node['node-name'] === child?.['node-name'])
}

test('a new image with the top of a chain stands on what the chain stood on', () => {
  assert.is(below(bench(), { target: 'new', sync: 'top' })?.['node-name'], 'base')
})

test('a new image with what guests have written stands on the source', () => {
  assert.is(below(bench(), { target: 'new', sync: 'none' })?.['node-name'], 'top')
})

test('a new image with all of a disk stands on nothing', () => {
  assert.is(below(bench(), { target: 'new', sync: 'full' }), undefined)
})

test('an image that was there stands on what its header names', () => {
  assert.is(below(bench(), { target: 'there', mode: 'existing', sync: 'full' })?.['file'], 'other')
})

test('a copy that guests do not go over to gets its image below as well', () => {
  const ending = request('block-job-cancel', { device: 'j' })
  assert.is(below(bench(), { target: 'new', sync: 'top' }, ending)?.['node-name'], 'base')
})

test('a switch-over to a copy whose image below is gone fails, and the guest stays', () => {
  const made = bench()
  const common = { 'job-id': 'j', device: 'top', 'node-name': 'copy', format: 'qcow2', 'auto-dismiss': false }
  assert.equal(answersOf(made, request('drive-mirror', { ...common, target: 'there', mode: 'existing', sync: 'full' })), [
    { return: {} },
  ])
  made.files.contents.delete('other')
  answersOf(made, request('job-complete', { id: 'j' }))
  const [jobs] = answersOf(made, request('query-jobs'))
  assert.is((jobs!['return'] as Told[])[0]!['error'], 'Operation not permitted')
})

test('an image that somebody writes to can be opened, with all below it, by whoever forces it', () => {
  const again = { driver: 'qcow2', 'read-only': true, file: file('top') }
  const refusals = refusalsOf(bench(), add({ ...again, 'node-name': 'forced', 'force-share': true }))
  assert.equal(refusals, [undefined])
})

test.run()
