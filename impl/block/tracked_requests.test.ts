import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, findWaitCycle, makeLabel } from '../co'
import { testBench } from './testing'
import { TrackedRequests } from './tracked_requests'

/** Starts requests that note when they got in and last `durationNs` from then on. */
function bench() {
  const { clock, kernel } = testBench()
  const requests = new TrackedRequests(kernel)
  const order: string[] = []
  function* body(name: string, offsetBytes: number, endBytes: number, alignmentBytes: number, durationNs: number): Co<void> {
    const request = requests.begin(offsetBytes, endBytes - offsetBytes)
    if (alignmentBytes > 0) requests.serialise(request, alignmentBytes)
    yield* requests.waitForConflicts(request)
    order.push(`+${name}`)
    yield* kernel.sleepNs(durationNs)
    order.push(`-${name}`)
    requests.end(request)
  }
  /** `alignmentBytes` 0: an ordinary request. */
  const start = (name: string, offsetBytes: number, endBytes: number, alignmentBytes: number, durationNs = 100) =>
    kernel.spawn(body(name, offsetBytes, endBytes, alignmentBytes, durationNs), makeLabel(name))
  return { clock, kernel, requests, order, start }
}

test('ordinary requests never wait for each other', () => {
  const { clock, order, start } = bench()
  start('a', 0, 100, 0)
  start('b', 50, 150, 0)
  clock.run()
  assert.equal(order, ['+a', '+b', '-a', '-b'])
})

test('a serialising request waits for what overlaps its whole blocks, and others wait for it', () => {
  const { clock, order, start } = bench()
  start('before', 0, 10, 0)
  start('serial', 500, 510, 512)
  start('after', 511, 512, 0)
  start('elsewhere', 512, 600, 0)
  clock.run(50)
  // `after` overlaps a request that waits itself and has not touched anything: it goes on.
  assert.equal(order, ['+before', '+after', '+elsewhere'])
  clock.run()
  assert.equal(order, ['+before', '+after', '+elsewhere', '-before', '-after', '-elsewhere', '+serial', '-serial'])
})

test('an ordinary request waits while a serialising one is at work', () => {
  const { clock, order, start, requests } = bench()
  start('serial', 500, 510, 512)
  clock.run(10)
  assert.is(requests.hasSerialising, true)
  const waiting = start('late', 0, 1, 0)
  clock.run(20)
  assert.equal(order, ['+serial'])
  assert.match(waiting.waitsFor!.describe(), /waits for another request in 0..1/)
  assert.is([...waiting.waitsFor!.heldBy!()][0]!.label.id, 'serial')
  clock.run()
  assert.equal(order, ['+serial', '-serial', '+late', '-late'])
  assert.is(requests.hasSerialising, false)
})

test('many serialising requests on one block all get their turn, one at a time, and no cycle forms', () => {
  const { clock, kernel, order, start, requests } = bench()
  for (let index = 0; index < 6; index++) start(String(index), index * 10, index * 10 + 5, 512)
  for (let timeNs = 0; timeNs < 700; timeNs += 50) {
    clock.run(timeNs)
    assert.is(findWaitCycle(kernel.live), null)
  }
  clock.run()
  assert.is(order.length, 12)
  for (let index = 0; index < 12; index += 2) assert.is(order[index]!.slice(1), order[index + 1]!.slice(1))
  assert.is(requests.count, 0)
})

test('an object that serves again has forgotten its former request', () => {
  const { clock, kernel, requests } = bench()
  function* body(): Co<void> {
    const first = requests.begin(0, 10)
    requests.serialise(first, 512)
    const second = requests.begin(1000, 10)
    requests.end(first)
    const third = requests.begin(5, 5)
    assert.is(third.isSerialising, false)
    assert.is(requests.hasSerialising, false)
    assert.equal([third.offsetBytes, third.endBytes, second.offsetBytes, second.endBytes], [5, 10, 1000, 1010])
    assert.is(third, first)
    requests.end(second)
    requests.end(third)
    assert.throws(() => requests.end(third), /request-in-flight/)
    assert.is(requests.count, 0)
  }
  kernel.spawn(body(), makeLabel('t'))
  clock.run()
})

test.run()
