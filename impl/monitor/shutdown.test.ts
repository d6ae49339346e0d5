/** The end of a program has a bound, whatever jobs wait for. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeLabel, WaitQueue } from '../co'
import { endActivity, flushNodes } from './shutdown'
import { answersOf, monitorBench, request, toldBy } from './testing'

const disk = (name: string): string =>
  request('blockdev-add', { driver: 'null-co', 'node-name': name, size: 1048576, 'read-zeroes': true })
const backup = request('blockdev-backup', { 'job-id': 'b', device: 'source', target: 'target', sync: 'full', speed: 1 })

const mirror = request('blockdev-mirror', { 'job-id': 'm', device: 'source', target: 'target', sync: 'full' })

test('jobs that are cancelled end the wait as soon as they end, not at the next look', () => {
  const bench = monitorBench()
  const { environment, kernel } = bench
  answersOf(bench, disk('source'), disk('target'), mirror)
  assert.is(environment.jobs.jobs.size, 1)
  const beforeNs = kernel.nowNs()
  assert.equal(bench.run(endActivity(environment)), [])
  assert.is(environment.jobs.jobs.size, 0)
  assert.ok(kernel.nowNs() - beforeNs < 1_000_000, `${kernel.nowNs() - beforeNs} ns`)
})

test('concluded jobs that wait to be dismissed are dismissed', () => {
  const bench = monitorBench()
  const { environment } = bench
  const kept = { 'job-id': 'b', device: 'source', target: 'target', sync: 'full', 'auto-dismiss': false }
  const told = toldBy(bench, disk('source'), disk('target'), request('blockdev-backup', kept), request('quit'))
  assert.is(environment.jobs.jobs.size, 0)
  assert.ok(told.some(({ data }) => (data as { status?: string } | undefined)?.status === 'null'))
})

test('a request that never ends is waited for no longer than the bound, and named', () => {
  const bench = monitorBench()
  const { environment, kernel, context } = bench
  answersOf(bench, disk('source'), disk('target'))
  const never = new WaitQueue(kernel)
  const { driver } = context.graph.nodes.get('target')!
  driver.pwriteZeroes = driver.pwrite = function* () {
    yield* never.wait({ describe: () => 'waits for ever' })
    return 0
  }
  answersOf(bench, backup)
  const beforeNs = kernel.nowNs()
  assert.equal(bench.run(endActivity(environment, 5_000_000)), ["job 'b'"])
  const tookNs = kernel.nowNs() - beforeNs
  assert.ok(tookNs >= 5_000_000 && tookNs < 6_000_000, `${tookNs} ns`)
  // Nobody waits a second time.
  assert.equal(bench.run(endActivity(environment, 5_000_000)), ["job 'b'"])
  assert.is(kernel.nowNs() - beforeNs, tookNs)
  // The copy still can be written out as far as it goes.
  bench.run(flushNodes(environment, 1_000_000))
})

test('a coroutine is joined up to a time', () => {
  const { kernel, run } = monitorBench()
  const sleeper = kernel.spawn(kernel.sleepNs(100), makeLabel('sleeper'))
  function* body() {
    const isEarly = yield* kernel.joinUntil(sleeper, kernel.nowNs() + 10)
    const atNs = kernel.nowNs()
    return [isEarly, atNs, yield* kernel.joinUntil(sleeper, atNs + 1000), kernel.nowNs()]
  }
  assert.equal(run(body()), [false, 10, true, 100])
})

test.run()
