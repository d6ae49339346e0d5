import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Co, Mutex, makeLabel, WaitQueue } from '../co'
import { HostLoop } from './loop'
import { callBack } from './transfers'

const LABEL = makeLabel('test')

test('a run gives what its body returns, and the loop can be used again', async () => {
  const loop = new HostLoop()
  function* body(value: number): Co<number> {
    yield* loop.kernel.sleepNs(0)
    return value
  }
  assert.is(await loop.run(body(1)), 1)
  assert.is(await loop.run(body(2)), 2)
})

test('coroutines that are ready run in the order in which they were woken', async () => {
  const loop = new HostLoop()
  const order: string[] = []
  function* worker(name: string): Co<void> {
    for (let round = 0; round < 3; round++) {
      order.push(name + round)
      yield* loop.kernel.sleepNs(0)
    }
  }
  function* main(): Co<void> {
    const workers = ['a', 'b'].map((name) => loop.kernel.spawn(worker(name), LABEL))
    for (const each of workers) yield* loop.kernel.join(each)
  }
  await loop.run(main())
  assert.equal(order, ['a0', 'b0', 'a1', 'b1', 'a2', 'b2'])
})

test('sleepers wake in the order of their times, and never early', async () => {
  const loop = new HostLoop()
  const order: number[] = []
  function* sleeper(durationNs: number): Co<void> {
    const startNs = loop.kernel.nowNs()
    yield* loop.kernel.sleepNs(durationNs)
    assert.ok(loop.kernel.nowNs() - startNs >= durationNs)
    order.push(durationNs)
  }
  function* main(): Co<void> {
    const sleepers = [4_000_000, 1_000_000, 2_000_000].map((durationNs) => loop.kernel.spawn(sleeper(durationNs), LABEL))
    for (const each of sleepers) yield* loop.kernel.join(each)
  }
  await loop.run(main())
  assert.equal(order, [1_000_000, 2_000_000, 4_000_000])
})

test('the clock stands still while a coroutine runs', async () => {
  const loop = new HostLoop()
  function* main(): Co<void> {
    const startNs = loop.kernel.nowNs()
    const hrtime = process.hrtime.bigint()
    while (process.hrtime.bigint() === hrtime);
    assert.is(loop.kernel.nowNs(), startNs)
    yield* loop.kernel.sleepNs(0)
    assert.ok(loop.kernel.nowNs() > startNs)
  }
  await loop.run(main())
})

test('a coroutine that never parks for long does not keep the machine’s events out', async () => {
  const loop = new HostLoop()
  let hasHeard = false
  setImmediate(() => {
    hasHeard = true
  })
  let steps = 0
  function* main(): Co<void> {
    for (; !hasHeard && steps < 1e7; steps++) yield* loop.kernel.sleepNs(0)
  }
  await loop.run(main())
  assert.ok(hasHeard)
})

test('a callback of the machine wakes the coroutine that waits for it with its result', async () => {
  const loop = new HostLoop()
  assert.is(await loop.run(callBack(loop, (done) => setImmediate(done, 42))), 42)
})

test('what a body throws ends its run only', async () => {
  const loop = new HostLoop()
  function* faulty(): Co<void> {
    throw new Error('no such image')
  }
  function* innocent(): Co<string> {
    return 'fine'
  }
  const error = await loop.run(faulty()).catch((reason) => reason)
  assert.is(error.message, 'no such image')
  assert.is(await loop.run(innocent()), 'fine')
})

test('what a coroutine throws that was started on the way ends the run', async () => {
  const loop = new HostLoop()
  function* faulty(): Co<void> {
    throw new Error('broken')
  }
  function* main(): Co<void> {
    yield* loop.kernel.join(loop.kernel.spawn(faulty(), LABEL))
  }
  const error = await loop.run(main()).catch((reason) => reason)
  assert.is(error.message, 'broken')
})

test('a run in which nobody can go on says who waits for whom', async () => {
  const loop = new HostLoop()
  const left = new Mutex(loop.kernel, 'left')
  const right = new Mutex(loop.kernel, 'right')
  function* taker(first: Mutex, second: Mutex): Co<void> {
    yield* first.lock()
    yield* loop.kernel.sleepNs(0)
    yield* second.lock()
  }
  function* main(): Co<void> {
    const other = loop.kernel.spawn(taker(right, left), makeLabel('other'))
    yield* taker(left, right)
    yield* loop.kernel.join(other)
  }
  const error = await loop.run(main(), makeLabel('main')).catch((reason) => reason)
  assert.match(error.message, /^nothing can go on: .*left.*right|right.*left/)
})

test('somebody outside may wake a coroutine while the loop sleeps', async () => {
  const loop = new HostLoop()
  const queue = new WaitQueue(loop.kernel)
  function* main(): Co<string> {
    const self = loop.kernel.current!
    // Keeps the run from being taken for stuck.
    function* nightWatch(): Co<void> {
      yield* loop.kernel.sleepNs(60_000_000_000)
      loop.kernel.wake(self)
    }
    loop.kernel.spawn(nightWatch())
    setImmediate(() => queue.wakeAll())
    yield* queue.wait({ describe: () => 'waits for a signal' })
    return 'woken'
  }
  assert.is(await loop.run(main()), 'woken')
})

test.run()
