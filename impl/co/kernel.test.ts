import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AssertionFailure } from './assert'
import { type Co, CoroutineState, describeWait } from './kernel'
import { makeLabel } from './label'
import { testKernel } from './testing'

const LABEL = makeLabel('test')

test('a spawned coroutine runs through the queue, never in the stack of the spawner', () => {
  const { kernel, run } = testKernel()
  const order: string[] = []
  function* child(): Co<void> {
    order.push('child')
  }
  function* parent(): Co<void> {
    kernel.spawn(child())
    order.push('parent')
  }
  kernel.spawn(parent(), LABEL)
  assert.equal(order, [])
  run()
  assert.equal(order, ['parent', 'child'])
})

test('a child without a label works for its parent', () => {
  const { kernel, run } = testKernel()
  let seen = ''
  function* child(): Co<void> {
    seen = kernel.current!.label.id
  }
  function* parent(): Co<void> {
    kernel.spawn(child())
  }
  kernel.spawn(parent(), makeLabel('g7'))
  run()
  assert.is(seen, 'g7')
})

test('sleeping moves virtual time by exactly the duration', () => {
  const { kernel, run } = testKernel()
  const times: number[] = []
  function* sleeper(durationNs: number): Co<void> {
    yield* kernel.sleepNs(durationNs)
    times.push(kernel.nowNs())
  }
  kernel.spawn(sleeper(500), LABEL)
  kernel.spawn(sleeper(20), LABEL)
  kernel.spawn(sleeper(0), LABEL)
  run()
  assert.equal(times, [0, 20, 500])
})

test('a second wake-up for one park is dropped', () => {
  const { kernel, run } = testKernel()
  let resumes = 0
  function* waiter(): Co<void> {
    for (let round = 0; round < 2; round++) {
      kernel.willPark({ describe: () => 'waits' })
      yield
      resumes++
    }
  }
  const coroutine = kernel.spawn(waiter(), LABEL)
  run()
  kernel.wake(coroutine)
  kernel.wake(coroutine)
  run()
  assert.is(resumes, 1)
  assert.is(coroutine.state, CoroutineState.Parked)
})

test('a wake-up from an earlier park does not end a later one', () => {
  const { kernel, run } = testKernel()
  const times: number[] = []
  function* waiter(): Co<void> {
    const self = kernel.willPark({ describe: () => 'waits with a time-out' })
    kernel.wakeAt(self, 1000)
    yield
    times.push(kernel.nowNs())
    yield* kernel.sleepNs(5000)
    times.push(kernel.nowNs())
  }
  const coroutine = kernel.spawn(waiter(), LABEL)
  function* waker(): Co<void> {
    yield* kernel.sleepNs(10)
    kernel.wake(coroutine)
  }
  kernel.spawn(waker(), LABEL)
  run()
  assert.equal(times, [10, 5010])
})

test('join returns when the other has ended, and at once if it has ended before', () => {
  const { kernel, run } = testKernel()
  const order: string[] = []
  function* worker(): Co<void> {
    yield* kernel.sleepNs(100)
    order.push('worked')
  }
  const worked = kernel.spawn(worker(), LABEL)
  function* joiner(name: string): Co<void> {
    yield* kernel.join(worked)
    order.push(name)
  }
  kernel.spawn(joiner('first'), LABEL)
  run()
  kernel.spawn(joiner('late'), LABEL)
  run()
  assert.equal(order, ['worked', 'first', 'late'])
  assert.is(kernel.live.size, 0)
})

test('an exception stops the kernel and names the coroutine', () => {
  const { kernel, run } = testKernel()
  let ran = false
  function* faulty(): Co<void> {
    throw new Error('broken')
  }
  function* innocent(): Co<void> {
    ran = true
  }
  const culprit = kernel.spawn(faulty(), LABEL)
  kernel.spawn(innocent(), LABEL)
  run()
  assert.is(kernel.failure?.coroutine, culprit)
  assert.is((kernel.failure?.error as Error).message, 'broken')
  assert.is(ran, false)
})

test('a yield without a reason is caught where it happens', () => {
  const { kernel, clock } = testKernel()
  function* careless(): Co<void> {
    yield
  }
  const coroutine = kernel.spawn(careless(), LABEL)
  assert.throws(
    () => kernel.resume(coroutine, clock.queue[0]!.parkSerial),
    (error: unknown) => error instanceof AssertionFailure && error.invariant === 'park-has-reason',
  )
})

test('waking a coroutine that runs is a defect', () => {
  const { kernel, run } = testKernel()
  function* selfish(): Co<void> {
    kernel.wake(kernel.current!)
  }
  kernel.spawn(selfish(), LABEL)
  run()
  assert.is((kernel.failure?.error as AssertionFailure).invariant, 'wake-parked')
})

test('destroy ends every coroutine where it stands and runs its finally blocks', () => {
  const { kernel, run } = testKernel()
  let cleaned = 0
  function* sleeper(): Co<void> {
    try {
      kernel.willPark({ describe: () => 'waits for ever' })
      yield
    } finally {
      cleaned++
    }
  }
  const first = kernel.spawn(sleeper(), LABEL)
  kernel.spawn(sleeper(), LABEL)
  run()
  assert.is(describeWait(first), 'test waits for ever')
  kernel.destroy()
  assert.is(cleaned, 2)
  assert.is(kernel.live.size, 0)
  assert.is(run(), 0)
})

test.run()
